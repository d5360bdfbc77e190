//! Where requests may come from: addresses and networks of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Tells that a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a network: write ADDRESS or ADDRESS/BITS, such as 10.1.0.0/16 or 2001:db8::/48, \
     with nothing set beyond its bits"
)]
pub struct NetworkError(String);

/// The address that a request came from; an IPv4 address in IPv6's clothes is taken as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl Source {
    /// Reads the address of an `address:port` as audit entries hold it.
    pub fn of_peer(text: &str) -> Option<Self> {
        text.parse::<SocketAddr>().ok().map(|address| address.ip().into())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A network, written `10.1.0.0/16`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    base: IpAddr,
    bits: u32,
}

/// Returns an address as a number of 128 bits from the left, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// Returns the bits that a network of `bits` looks at.
fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

impl Network {
    /// Returns whether an address lies inside.
    pub fn contains(&self, source: Source) -> bool {
        let ((base, kind), (asked, other)) = (number(self.base), number(source.0));
        kind == other && (base ^ asked) & mask(self.bits) == 0
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let refused = || NetworkError(text.chars().take(64).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                (address, Some(bits.parse().map_err(|_| refused())?))
            }
            Some(_) => return Err(refused()),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| refused())?;
        let (number, most) = number(base);
        let bits = bits.unwrap_or(most);
        // One who writes 10.1.2.3/16 means something else than 10.1.0.0/16, or has mistyped.
        if bits > most || number & !mask(bits) != 0 || base != base.to_canonical() {
            return Err(refused());
        }
        Ok(Self { base, bits })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == number(self.base).1 {
            return f.pad(&self.base.to_string());
        }
        f.pad(&format!("{}/{}", self.base, self.bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        network.parse::<Network>().unwrap().contains(address.into())
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        assert!(holds("10.1.0.0/16", "10.1.255.9") && !holds("10.1.0.0/16", "10.2.0.1"));
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        assert!(holds("10.1.2.3", "::ffff:10.1.2.3"), "IPv4 in IPv6's clothes");
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::"));
        assert!(!holds("::/0", "10.0.0.1"), "the two kinds are told apart");
        assert!(holds("127.1.0.128/25", "127.1.0.200") && !holds("127.1.0.128/25", "127.1.0.1"));
    }

    #[test]
    fn networks_are_read_as_they_are_written_and_nothing_else_is_one() {
        for text in ["10.1.0.0/16", "10.1.2.3", "2001:db8::/48", "::1", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "/8",
            "10.1.2.3/16",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/8/8",
            "10.0.0.0/99999999999",
            "localhost",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?} passed");
        }
    }
}
