//! The agent's configuration: a small YAML file, checked whole before anything is done.
//!
//! ```yaml
//! data: /var/lib/trireme-agent
//! controllers: [10.1.0.10:7401, {address: "10.2.0.10:7401", region: aliyun}]
//! join: {address: "10.1.0.10:7402", token_file: /etc/trireme/token}
//! drivers: {compose: {projects: [dvn], files: [/opt/dvn]}}
//! log: {format: json, level: info}
//! telemetry: {listen: 127.0.0.1:7405}
//! ```
//!
//! Once the node has joined, the controllers tell of each other; those named here are asked as
//! well, so that a fleet whose controllers have all moved can be found again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use trireme_proto::id::RegionId;
use trireme_telemetry::{Options as Telemetry, OptionsError};

use crate::host::Drivers;

/// Largest configuration that is read, in bytes.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// Most controllers: the largest group has five.
pub const CONTROLLERS_MAX: usize = 16;

/// Tells why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("configuration {path} is larger than {FILE_LEN_MAX} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not a configuration.
    #[error("{name}:{line}:{column}: {message}")]
    Invalid {
        /// Name of the file.
        name: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// More controllers than any fleet has.
    #[error("{name}: {found} controllers are more than {CONTROLLERS_MAX}")]
    TooManyControllers {
        /// Name of the file.
        name: String,
        /// How many there are.
        found: usize,
    },
    /// Metrics and health cannot be shown like that.
    #[error("{name}: {source}")]
    Telemetry {
        /// Name of the file.
        name: String,
        /// Why.
        source: OptionsError,
    },
}

/// The agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory for the journal, the identity, and what services run from.
    pub data: PathBuf,
    /// Controllers to ask.
    #[serde(default)]
    pub controllers: Vec<Controller>,
    /// How to join; needed only until the node has joined.
    #[serde(default)]
    pub join: Option<Join>,
    /// What may be driven here beside processes; nothing unless it is named.
    #[serde(default)]
    pub drivers: Drivers,
    /// Whether checks and artifacts may lead to link-local addresses, where clouds answer every
    /// process with the host's credentials.
    #[serde(default)]
    pub link_local: bool,
    /// What to log.
    #[serde(default)]
    pub log: Log,
    /// Metrics and health.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// A controller to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Where agents reach it.
    pub address: Address,
    /// Where it is; those of the node's own region are asked first.
    pub region: Option<RegionId>,
}

/// How to join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Where a controller listens for those who have no certificate yet.
    pub address: Address,
    /// File that holds the one-time token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// What to log, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// Least important level that is written.
    pub level: LogLevel,
}

/// Shape of a line of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Least important level that is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures that need somebody.
    Error,
    /// What may become one.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// And why.
    Debug,
}

/// A `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

/// Tells that a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write host:port, such as 10.1.0.10:7401")]
pub struct AddressError(String);

impl Address {
    /// Returns the address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let good = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let host_ok = match bare {
                Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
                None => {
                    !host.is_empty()
                        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
                }
            };
            host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if good { Ok(Self(text.to_owned())) } else { Err(AddressError(text.to_owned())) }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Written as an address alone, or as a map with the region beside it.
impl<'de> Deserialize<'de> for Controller {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            address: Address,
            #[serde(default)]
            region: Option<RegionId>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Controller;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("host:port or {address: host:port, region: NAME}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Controller, E> {
                Ok(Controller { address: text.parse().map_err(E::custom)?, region: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Controller, A::Error> {
                let Full { address, region } = Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Controller { address, region })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Config {
    /// Reads the configuration in `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_LEN_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the configuration `text`; `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let at = error.location();
            let full = error.to_string();
            ConfigError::Invalid {
                name: name.to_owned(),
                line: at.map_or(1, |at| at.line()),
                column: at.map_or(1, |at| at.column()),
                message: message(&full).to_owned(),
            }
        })?;
        let found = config.controllers.len();
        if found > CONTROLLERS_MAX {
            return Err(ConfigError::TooManyControllers { name: name.to_owned(), found });
        }
        let telemetry = |source| ConfigError::Telemetry { name: name.to_owned(), source };
        config.telemetry.check(false).map_err(telemetry)?;
        Ok(config)
    }
}

/// Returns an error's text without the position that stands before or after it.
fn message(full: &str) -> &str {
    let first = full.lines().next().unwrap_or(full);
    let first = first.split(" at line ").next().unwrap_or(first);
    match first.strip_prefix("error: ") {
        Some(rest) => rest,
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{ComposeHost, SystemdHost};

    fn error(text: &str) -> String {
        Config::parse("agent.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn reads_a_whole_configuration() {
        let config = Config::parse(
            "agent.yaml",
            "data: /var/lib/trireme-agent\n\
             controllers: [10.1.0.10:7401, {address: '[::1]:7401', region: aliyun}]\n\
             join: {address: 'join.example:7402', token_file: /etc/token}\n\
             drivers: {compose: {projects: [dvn, 'pool-*'], files: [/opt]}, exec: [web], \
             systemd: {units: [web.service], store: /srv/releases}}\n\
             log: {format: json, level: warn}\n",
        )
        .unwrap();
        let address = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(
            config,
            Config {
                data: "/var/lib/trireme-agent".into(),
                controllers: vec![
                    Controller { address: address("10.1.0.10:7401"), region: None },
                    Controller {
                        address: address("[::1]:7401"),
                        region: Some("aliyun".parse().unwrap())
                    },
                ],
                join: Some(Join {
                    address: address("join.example:7402"),
                    token_file: Some("/etc/token".into())
                }),
                drivers: Drivers {
                    compose: ComposeHost {
                        projects: vec!["dvn".parse().unwrap(), "pool-*".parse().unwrap()],
                        files: vec!["/opt".into()],
                        ..ComposeHost::default()
                    },
                    systemd: SystemdHost {
                        units: vec!["web.service".parse().unwrap()],
                        store: "/srv/releases".into(),
                        ..SystemdHost::default()
                    },
                    exec: vec!["web".parse().unwrap()],
                },
                link_local: false,
                log: Log { format: LogFormat::Json, level: LogLevel::Warn },
                telemetry: Telemetry::default(),
            }
        );
    }

    #[test]
    fn the_data_directory_is_all_that_must_be_said() {
        let config = Config::parse("agent.yaml", "data: d").unwrap();
        assert_eq!((config.controllers, config.join, config.log), (vec![], None, Log::default()));
    }

    #[test]
    fn errors_name_the_place_and_what_is_wrong() {
        for (text, expected) in [
            ("data: d\ncontroler: []\n", "agent.yaml:2:1: unknown field `controler`"),
            ("controllers: []\n", "agent.yaml:1:1: missing field `data`"),
            (
                "data: d\ncontrollers: [nowhere]\n",
                "agent.yaml:2:15: `nowhere` is not an address: write host:port",
            ),
            (
                "data: d\ncontrollers:\n  - {adress: 'a:1'}\n",
                "agent.yaml:3:6: unknown field `adress`",
            ),
            (
                "data: d\ntelemetry: {listen: '10.1.0.1:7405'}\n",
                "agent.yaml: telemetry.listen: 10.1.0.1:7405 is not on the loopback",
            ),
            (
                "data: d\ntelemetry: {listen: here}\n",
                "agent.yaml:2:21: `here` is neither IP:PORT nor `off`",
            ),
            ("data: d\nlog: {format: xml}\n", "agent.yaml:2:15: unknown variant `xml`"),
            ("data: d\njoin: {}\n", "agent.yaml:2:7: missing field `address`"),
            ("data: d\ndata: e\n", "agent.yaml:2:1: duplicate mapping key: data"),
            ("data: [\n", "agent.yaml:"),
            ("", "agent.yaml:1:1: "),
        ] {
            let error = error(text);
            assert!(error.starts_with(expected), "{text:?} gave\n  {error}\nnot\n  {expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn too_many_controllers_are_refused() {
        let text = format!("data: d\ncontrollers: [{}]\n", "a:1, ".repeat(CONTROLLERS_MAX + 1));
        assert_eq!(error(&text), "agent.yaml: 17 controllers are more than 16");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Path::new("/nowhere/agent.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read configuration /nowhere/agent.yaml");
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for good in ["a:1", "10.0.0.1:65535", "[::1]:80", "my-host.example:443"] {
            assert!(good.parse::<Address>().is_ok(), "{good} was refused");
        }
        for bad in ["", "a", ":1", "a:0", "a:65536", "a:b", "::1:80", "[x]:1", "u@a:1", "a:1/x"] {
            assert!(bad.parse::<Address>().is_err(), "{bad} passed");
        }
    }
}
