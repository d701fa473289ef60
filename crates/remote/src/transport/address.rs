//! Which addresses lie in the public internet.
//!
//! The answer is "no" for everything the special-purpose registries of RFC 6890 do not call globally reachable, and
//! for IPv6 forms that carry such an IPv4 address inside them: a gateway would deliver them to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// Whether `address` is reachable from anywhere in the internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What a host's text says about its address without asking DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// An address, in whichever notation.
    Literal(IpAddr),
    /// `localhost` or a name below it (RFC 6761, section 6.3).
    Loopback,
    /// Any other name.
    Name(String),
    /// Neither a name nor an address.
    Malformed,
}

impl Spelling {
    /// Reads `host`, which has no port; IPv6 addresses may stand in brackets. Forms such as `127.1` or `0x7f000001`
    /// are addresses: what connects would read them so.
    pub(crate) fn of(host: &str) -> Self {
        if let Ok(address) = host.parse::<Ipv6Addr>() {
            return Self::Literal(IpAddr::V6(address));
        }
        match Host::parse(host) {
            Ok(Host::Ipv4(address)) => Self::Literal(IpAddr::V4(address)),
            Ok(Host::Ipv6(address)) => Self::Literal(IpAddr::V6(address)),
            Ok(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                if name == "localhost" || name.ends_with(".localhost") {
                    Self::Loopback
                } else {
                    Self::Name(name.to_owned())
                }
            }
            Err(_) => Self::Malformed,
        }
    }
}

/// Whether `host` (no port; IPv6 addresses may stand in brackets) names this machine by its spelling alone:
/// `localhost`, a name below it, or a loopback address.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    match Spelling::of(host) {
        Spelling::Loopback => true,
        Spelling::Literal(address) => address.to_canonical().is_loopback(),
        Spelling::Name(_) | Spelling::Malformed => false,
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, second, ..] => second & 0xc0 == 64,
        [172, second, ..] => second & 0xf0 == 16,
        [169, 254, ..] | [192, 168, ..] => true,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // Multicast, reserved and broadcast.
        [first, ..] => first >= 224,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    match address.segments() {
        // IPv4-mapped, and NAT64 with the well-known prefix (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded(bits)),
        // 6to4 (RFC 3056).
        [0x2002, ..] => is_public_v4(embedded(bits >> 80)),
        // Teredo (RFC 4380): the server's address, and the client's with every bit turned over.
        [0x2001, 0, ..] => is_public_v4(embedded(bits >> 64)) && is_public_v4(embedded(!bits)),
        // Protocol assignments such as benchmarking and ORCHID (2001::/23), and documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // The registries hand out global unicast from 2000::/3 alone.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address in the lowest 32 of `bits`.
fn embedded(bits: u128) -> Ipv4Addr {
    let [.., a, b, c, d] = bits.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 92a: private, local and special addresses, and what carries one inside (NAT64, 6to4, Teredo).
    #[test]
    fn special_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001:0:a00:1::f7f7:f7f7",
            "2001:0:808:808::80ff:fffe",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::",
            "3fff:fff::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text} passed for public");
        }
    }

    #[test]
    fn other_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:0:808:808::f7f7:f7f7",
            "2001:200::1",
            "2002:808:808::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "3fff:1000::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text} did not pass for public");
        }
    }

    /// Row 92a: loopback however it is written.
    #[test]
    fn every_notation_of_loopback_is_loopback() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "127.1",
            "0x7f000001",
            "2130706433",
            "::1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "notlocalhost", "10.0.0.1", "[fe80::1]", "", "a b"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
