//! How many connections that are not upgraded each peer has. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Whom a limit is for: an IPv4 address, or a /64 of IPv6, since one host has a whole /64 to choose its address from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(Ipv6Addr);

impl Peer {
    pub(crate) fn of(ip: IpAddr) -> Peer {
        Peer(match ip.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64),
        })
    }
}

/// Connections by peer. It holds no peer without one, so it is bounded by the number of connections. Peers choose the
/// keys, which is why they are hashed with a secret.
#[derive(Default)]
pub(crate) struct Peers {
    counts: HashMap<Peer, usize>,
}

impl Peers {
    pub(crate) fn count(&self, peer: Peer) -> usize {
        self.counts.get(&peer).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, peer: Peer) {
        *self.counts.entry(peer).or_insert(0) += 1;
    }

    pub(crate) fn remove(&mut self, peer: Peer) {
        let Some(count) = self.counts.get_mut(&peer) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&peer);
        }
        if self.counts.is_empty() {
            // After a storm of many peers its room is not kept for ever.
            self.counts.shrink_to(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one_peer() {
        let peer = |ip: &str| Peer::of(ip.parse().expect(ip));
        let same = |a, b| assert_eq!(peer(a), peer(b), "{a} {b}");
        let differ = |a, b| assert_ne!(peer(a), peer(b), "{a} {b}");
        same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff");
        differ("2001:db8:1:2::1", "2001:db8:1:3::1");
        same("::ffff:192.0.2.1", "192.0.2.1");
        differ("192.0.2.1", "192.0.2.2");
    }

    #[test]
    fn a_peer_without_connections_is_forgotten() {
        let (mut peers, a, b) = (Peers::default(), Peer::of([192, 0, 2, 1].into()), Peer::of([0; 16].into()));
        peers.add(a);
        peers.add(a);
        peers.add(b);
        peers.remove(a);
        assert_eq!((peers.count(a), peers.count(b), peers.counts.len()), (1, 1, 2));
        peers.remove(a);
        peers.remove(a);
        peers.remove(b);
        assert_eq!((peers.count(a), peers.counts.len()), (0, 0));
    }
}
