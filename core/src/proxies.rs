//! Whose word about a client's address is taken: the proxies in front of the engine. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// One address, or all that share their first bits (`10.0.0.0/8`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// As IPv6; an IPv4 address is a mapped one.
    base: u128,
    /// 1 to 128, of which a mapped address takes the first 96.
    prefix: u32,
}

/// Bits before an IPv4 address that is mapped to IPv6.
const MAPPED: u32 = 96;

impl Network {
    /// Whether `ip` is one of its addresses. An IPv4 address that is mapped to IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        (bits(ip) ^ self.base) >> (128 - self.prefix) == 0
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = IpAddr::V6(Ipv6Addr::from_bits(self.base)).to_canonical();
        match base {
            _ if self.prefix == 128 => base.fmt(f),
            IpAddr::V4(_) => write!(f, "{base}/{}", self.prefix - MAPPED),
            IpAddr::V6(_) => write!(f, "{base}/{}", self.prefix),
        }
    }
}

/// Why a text is no [`Network`]: a whole sentence, with the text in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError(String);

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let Ok(ip) = address.parse::<IpAddr>() else {
            return Err(NetworkError(format!(
                "`{text}` is neither an IP address nor a network such as 10.0.0.0/8"
            )));
        };
        let (most, before) = if ip.is_ipv4() { (32, MAPPED) } else { (128, 0) };
        let digits = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.map_or(Some(most), |bits| Some(bits).filter(digits)?.parse().ok());
        // Of no bits at all: whoever connects could then claim any address.
        let Some(length) = length.filter(|bits| (1..=most).contains(bits)) else {
            return Err(NetworkError(format!("`{text}` must end in /1 to /{most}, or be one address")));
        };
        let prefix = before + length;
        let base = bits(ip) & u128::MAX << (128 - prefix);
        let network = Network { base, prefix };
        if base != bits(ip) {
            return Err(NetworkError(format!(
                "`{text}` says more than {length} bits: write {network}, or {ip} for the one address"
            )));
        }
        Ok(network)
    }
}

pub(crate) fn is_trusted(proxies: &[Network], ip: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(ip))
}

/// The address of the client that speaks through `peer`. `forwarded`: the `X-Forwarded-For` lines in their order. Each proxy
/// appends whom it speaks for, so that they are read from the end: the first address that is no trusted proxy is the
/// client's. What stands before it, or before something that is no address, anybody may have written.
pub(crate) fn client_of<'a>(
    proxies: &[Network],
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let mut client = peer.to_canonical();
    let mut hops = forwarded.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    while is_trusted(proxies, client)
        && let Some(before) = hops.next().and_then(address)
    {
        client = before;
    }
    client
}

/// An address as proxies write it: `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, some with a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let ip = text.parse().ok();
    let ip = ip.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    let ip = ip.or_else(|| Some(bracketed()?.into()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn networks_are_read_and_shown() {
        let check = |text: &str, shown: &str, within: &[&str], without: &[&str]| {
            let network: Network = text.parse().expect(text);
            assert_eq!(network.to_string(), shown);
            assert_eq!(network.to_string().parse(), Ok(network));
            let contains = |ip: &&str| network.contains(ip.parse().expect(ip));
            assert!(within.iter().all(contains), "{text}");
            assert!(!without.iter().any(contains), "{text}");
        };
        check(
            "10.0.0.0/8",
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            &["11.0.0.0", "::a00:1"],
        );
        check("192.0.2.7", "192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("192.0.2.7/32", "192.0.2.7", &["192.0.2.7"], &["192.0.2.6"]);
        check("128.0.0.0/1", "128.0.0.0/1", &["255.255.255.255"], &["127.0.0.1", "ffff::"]);
        check("2001:db8::/32", "2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::", "32.1.13.184"]);
        check("::1", "::1", &["::1"], &["::2", "127.0.0.1", "0.0.0.1"]);
        check("::ffff:10.0.0.0/104", "10.0.0.0/8", &["10.9.9.9"], &["11.0.0.0"]);
        check("8000::/1", "8000::/1", &["ffff::"], &["7fff::", "10.0.0.1"]);
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_sentence() {
        let check = |text: &str, words: &str| {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains(words), "{error}");
        };
        for text in [
            "",
            "/",
            "proxy.example",
            "10.0.0",
            "10.0.0.0.0/8",
            " 10.0.0.1",
            "[::1]",
            "10.0.0.1:80",
            "fe80::1%eth0",
        ] {
            check(text, "neither");
        }
        for text in [
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/0",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "0.0.0.0/0",
        ] {
            check(text, "/1 to /32");
        }
        for text in ["::/0", "2001:db8::/129", "::/99999999999"] {
            check(text, "/1 to /128");
        }
        check("10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1 for");
        check("2001:db8::1/64", "write 2001:db8::/64, or 2001:db8::1 for");
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_is() {
        let proxies = networks(&["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1"]);
        let check = |peer: &str, lines: &[&[u8]], expect: &str| {
            let client = client_of(&proxies, peer.parse().expect(peer), lines.iter().copied());
            assert_eq!(client.to_string(), expect, "{peer} {lines:?}");
        };
        // Who is no proxy is taken at no word.
        check("203.0.113.9", &[b"198.51.100.1"], "203.0.113.9");
        check("192.0.2.2", &[b"198.51.100.1, 10.0.0.1"], "192.0.2.2");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[b"203.0.113.7"], "203.0.113.7");
        check("::ffff:10.0.0.1", &[b"203.0.113.7"], "203.0.113.7");
        check("2001:db8:1::5", &[b"2001:db8:2::9"], "2001:db8:2::9");
        check("192.0.2.1", &[b"::ffff:203.0.113.7"], "203.0.113.7");
        // What a client wrote stands first, and is not looked at.
        check("10.0.0.1", &[b"127.0.0.1, 203.0.113.7"], "203.0.113.7");
        check("10.0.0.1", &[b"10.9.9.9, 203.0.113.7, 10.0.0.2, 192.0.2.1"], "203.0.113.7");
        check("10.0.0.1", &[b"x, <script>, 203.0.113.7"], "203.0.113.7");
        // Lines are one list.
        check("10.0.0.1", &[b"198.51.100.1", b"203.0.113.7", b"10.0.0.2"], "203.0.113.7");
        check("10.0.0.1", &[b"198.51.100.1, 203.0.113.7", b"10.0.0.2,10.0.0.3"], "203.0.113.7");
        // Proxies all the way: the farthest of them.
        check("10.0.0.1", &[b"10.0.0.3, 10.0.0.2"], "10.0.0.3");
        // Behind what is no address, nothing is believed.
        check("10.0.0.1", &[b"203.0.113.7, unknown"], "10.0.0.1");
        check("10.0.0.1", &[b"203.0.113.7, _hidden, 10.0.0.2"], "10.0.0.2");
        for wrong in [
            &b""[..],
            b" ",
            b",",
            b"203.0.113.7,",
            b"\xff",
            b"1.2.3",
            b"1.2.3.4.5",
            b"0x7f.1",
            b"[::1",
            b"::1]",
            b"fe80::1%eth0",
            b"1.2.3.4:99999",
            b"for=1.2.3.4",
            b"\"1.2.3.4\"",
        ] {
            check("10.0.0.1", &[wrong], "10.0.0.1");
        }
        // As some write it.
        check("10.0.0.1", &[b"\t203.0.113.7 "], "203.0.113.7");
        check("10.0.0.1", &[b"203.0.113.7:4711"], "203.0.113.7");
        check("10.0.0.1", &[b"[2001:db8:2::9]"], "2001:db8:2::9");
        check("10.0.0.1", &[b"[2001:db8:2::9]:443"], "2001:db8:2::9");
    }

    proptest! {
        #[test]
        fn whatever_stands_there_the_answer_is_the_peer_or_stands_there(lines in prop::collection::vec("[0-9a-f.:, \\[\\]]{0,40}", 0..4)) {
            let proxies = networks(&["10.0.0.0/8"]);
            let peer: IpAddr = [10, 0, 0, 1].into();
            let client = client_of(&proxies, peer, lines.iter().map(String::as_bytes));
            let there = lines.iter().flat_map(|line| line.split(',')).filter_map(|hop| address(hop.as_bytes()));
            prop_assert!(client == peer || there.into_iter().any(|ip| ip == client));
        }
    }
}
