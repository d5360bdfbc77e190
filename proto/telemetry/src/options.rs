//! What the daemons' configuration says about the listener for metrics and health.
//!
//! ```yaml
//! telemetry:
//!   listen: 127.0.0.1:7404     # or off
//!   hosts: [c-aws.internal]    # names under which it is asked, besides its address
//! ```

use std::net::SocketAddr;

use serde::Deserialize;

/// Most names: each is compared with each request.
const HOSTS_MAX: usize = 16;

/// Tells why options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It would be open to the network without certificates.
    #[error(
        "telemetry.listen: {0} is not on the loopback, and an agent has no certificate to listen \
         with: listen on 127.0.0.1 and let a collector on this host read it"
    )]
    Open(SocketAddr),
    /// More names than any host has.
    #[error("telemetry.hosts: {0} names are more than {HOSTS_MAX}")]
    Hosts(usize),
}

/// The listener for metrics and health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where it listens; if nothing is said, on the loopback where that is free.
    pub listen: Option<Listen>,
    /// Names under which it is asked, besides its address.
    pub hosts: Vec<String>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// There.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse();
        address.map(Self::At).map_err(|_| format!("`{text}` is neither IP:PORT nor `off`"))
    }
}

impl Options {
    /// Checks what can be checked before anything is started; `has_certificate` tells whether the
    /// daemon can show one as a server.
    pub fn check(&self, has_certificate: bool) -> Result<(), OptionsError> {
        if self.hosts.len() > HOSTS_MAX {
            return Err(OptionsError::Hosts(self.hosts.len()));
        }
        match self.listen {
            Some(Listen::At(at)) if !has_certificate && !at.ip().is_loopback() => {
                Err(OptionsError::Open(at))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Options {
        Options { listen: Some(Listen::At(text.parse().unwrap())), hosts: Vec::new() }
    }

    /// DMP-36.
    #[test]
    fn plain_text_is_spoken_on_the_loopback_alone() {
        for open in ["0.0.0.0:7405", "[::]:7405", "10.1.0.1:7405", "[2001:db8::1]:7405"] {
            let refusal = at(open).check(false).unwrap_err();
            assert_eq!(refusal, OptionsError::Open(open.parse().unwrap()));
            assert_eq!(at(open).check(true), Ok(()), "with certificates");
        }
        for shut in ["127.0.0.1:7405", "127.9.9.9:1", "[::1]:7405"] {
            assert_eq!(at(shut).check(false), Ok(()));
        }
        assert_eq!(Options::default().check(false), Ok(()));
    }
}
