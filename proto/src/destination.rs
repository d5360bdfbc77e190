//! Where an address leads, so that nobody is talked into asking what only this host may ask.
//!
//! Manifests name addresses that nodes check and that controllers send alerts to. Whoever writes a
//! manifest must not thereby read a cloud's metadata service, which answers every process on a
//! host with the host's credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Somewhere on the internet.
    Public,
    /// This host, or a network that is not the internet.
    Private,
    /// Nowhere that anybody has business: link-local, where metadata services answer, multicast,
    /// and what names no host.
    Forbidden,
}

/// Metadata services that are not link-local: Alibaba Cloud's, and AWS's of IPv6.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Returns where an address leads.
pub fn destination(address: IpAddr) -> Destination {
    let address = embedded(address);
    if METADATA.contains(&address) {
        return Destination::Forbidden;
    }
    match address {
        IpAddr::V4(v4) => destination_v4(v4),
        IpAddr::V6(v6) => destination_v6(v6),
    }
}

/// Returns the IPv4 address that an IPv6 one stands for: mapped, or translated by NAT64.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [.., high, low] = v6.segments();
    let last = || {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => last(),
        _ => address,
    }
}

fn destination_v4(v4: Ipv4Addr) -> Destination {
    let [a, b, ..] = v4.octets();
    if v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || a == 0 || a >= 240 {
        Destination::Forbidden
    } else if v4.is_loopback() || v4.is_private() || (a == 100 && (64..128).contains(&b)) {
        Destination::Private
    } else {
        Destination::Public
    }
}

fn destination_v6(v6: Ipv6Addr) -> Destination {
    if v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified() {
        Destination::Forbidden
    } else if v6.is_loopback() || v6.is_unique_local() {
        Destination::Private
    } else {
        Destination::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B14: however it is written, a metadata service is not asked.
    #[test]
    fn addresses_lead_where_they_lead_however_they_are_written() {
        let cases = [
            (Destination::Public, &["1.1.1.1", "100.128.0.1", "2606:4700::1111"][..]),
            (
                Destination::Private,
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "10.0.0.1",
                    "172.16.0.1",
                    "192.168.1.1",
                    "100.64.0.1",
                    "::1",
                    "fd12::1",
                    "::ffff:10.0.0.1",
                ],
            ),
            (
                Destination::Forbidden,
                &[
                    "169.254.169.254",
                    "169.254.0.1",
                    "100.100.100.200",
                    "fd00:ec2::254",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "fe80::1",
                    "0.0.0.0",
                    "::",
                    "224.0.0.1",
                    "255.255.255.255",
                    "240.0.0.1",
                    "ff02::1",
                ],
            ),
        ];
        for (expected, addresses) in cases {
            for address in addresses {
                assert_eq!(destination(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
