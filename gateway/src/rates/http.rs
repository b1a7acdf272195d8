//! How many HTTP requests one user, and one address, may make; pure. Each shard counts for itself: a request is
//! counted where its connection was accepted.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

use super::bucket::{Bucket, Kept, Rate};
use crate::config::RateConfig;

/// Whose bucket was empty; in the order of [`Caller::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    User,
    Ip,
}

impl Caller {
    pub(crate) const NAMES: [&'static str; 2] = ["user", "ip"];
}

/// Whom an address stands for: an IPv4 address, or a /64 of IPv6, since one host has a whole /64 to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Host(Ipv6Addr);

impl Host {
    fn of(ip: IpAddr) -> Host {
        Host(match ip.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64),
        })
    }
}

/// The rates of a shard's requests.
#[derive(Debug)]
pub(crate) struct HttpRates {
    users: Limited<u64>,
    hosts: Limited<Host>,
}

impl HttpRates {
    pub(crate) fn new(config: &RateConfig) -> Self {
        HttpRates {
            users: Limited::new(
                Rate::new(config.user_rest_per_s, config.user_rest_burst),
                config.users_per_shard_max,
            ),
            hosts: Limited::new(
                Rate::new(config.ip_auth_per_s, config.ip_auth_burst),
                config.ips_per_shard_max,
            ),
        }
    }

    /// A request with a good token. Err: milliseconds until the next is taken.
    pub(crate) fn take_user(&mut self, user_id: u64, now_ms: u64) -> Result<(), u64> {
        self.users.take(user_id, now_ms)
    }

    /// A request of somebody unknown. Err: milliseconds until the next is taken.
    pub(crate) fn take_ip(&mut self, ip: IpAddr, now_ms: u64) -> Result<(), u64> {
        self.hosts.take(Host::of(ip), now_ms)
    }

    /// How often a user, and an address, found no room.
    pub(crate) fn without_room(&self) -> [u64; 2] {
        [self.users.kept.without_room(), self.hosts.kept.without_room()]
    }
}

#[derive(Debug)]
struct Limited<K> {
    rate: Rate,
    kept: Kept<K, 1>,
    /// Shared by all who find no room: however many they are, what they ask for together is bounded.
    shared: Bucket,
}

impl<K: Eq + Hash> Limited<K> {
    fn new(rate: Rate, max: usize) -> Self {
        Limited { rate, kept: Kept::new(max), shared: Bucket::default() }
    }

    fn take(&mut self, whose: K, now_ms: u64) -> Result<(), u64> {
        let now_us = now_ms.saturating_mul(1000);
        let bucket = match self.kept.of(whose, now_us) {
            Some([bucket]) => bucket,
            None => &mut self.shared,
        };
        if let Some(wait_ms) = self.rate.wait_ms(*bucket, now_us) {
            return Err(wait_ms);
        }
        self.rate.take(bucket, now_us);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> HttpRates {
        HttpRates::new(&RateConfig {
            user_rest_per_s: 10,
            user_rest_burst: 2,
            ip_auth_per_s: 5,
            ip_auth_burst: 1,
            users_per_shard_max: 2,
            ips_per_shard_max: 1,
            ..RateConfig::default()
        })
    }

    #[test]
    fn a_user_has_a_burst_and_then_his_rate() {
        let mut rates = rates();
        for (user, now_ms, expect) in [
            (1, 1_000, Ok(())),
            (1, 1_000, Ok(())),
            (1, 1_000, Err(100)),
            (2, 1_000, Ok(())),
            (1, 1_099, Err(1)),
            (1, 1_100, Ok(())),
        ] {
            assert_eq!(rates.take_user(user, now_ms), expect, "{user} at {now_ms}");
        }
    }

    #[test]
    fn addresses_of_one_host_share_a_bucket() {
        let mut take = {
            let mut rates = rates();
            rates.hosts = Limited::new(Rate::new(5, 1), 10);
            move |ip: &str| rates.take_ip(ip.parse().expect(ip), 1_000)
        };
        assert_eq!(take("192.0.2.1"), Ok(()));
        assert_eq!(take("::ffff:192.0.2.1"), Err(200));
        assert_eq!(take("192.0.2.2"), Ok(()));
        assert_eq!(take("2001:db8:1:2::1"), Ok(()));
        assert_eq!(take("2001:db8:1:2:ffff::1"), Err(200));
        assert_eq!(take("2001:db8:1:3::1"), Ok(()));
    }

    #[test]
    fn who_finds_no_room_shares_one_bucket_with_the_others() {
        let mut rates = rates();
        let mut take = |user, now_ms| rates.take_user(user, now_ms);
        assert_eq!([take(1, 1_000), take(2, 1_000)], [Ok(()); 2]);
        assert_eq!([take(3, 1_000), take(4, 1_000)], [Ok(()); 2]);
        assert_eq!([take(5, 1_000), take(3, 1_000)], [Err(100); 2]);
        assert_eq!(take(1, 1_000), Ok(()), "with a bucket of his own");
        assert_eq!(rates.without_room(), [4, 0]);
        // The buckets are full again: there is room.
        assert_eq!(rates.take_user(3, 2_000), Ok(()));
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        assert_eq!([rates.take_ip(ip(1), 2_000), rates.take_ip(ip(2), 2_000)], [Ok(()); 2]);
        assert_eq!(rates.take_ip(ip(3), 2_000), Err(200));
        assert_eq!(rates.without_room(), [4, 2]);
    }
}
