//! Checks: how a service's health is asked for on its node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// One check, repeated on every node that runs the service; `http`, `tcp` or `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct Check {
    /// Name, unique within the service.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Time from one run to the next.
    pub every: Span,
    /// A run that takes longer has failed; at most `every`.
    pub timeout: Span,
    /// Passes in a row that make it healthy.
    pub rise: u32,
    /// Failures in a row that make it unhealthy.
    pub fall: u32,
}

/// Tells that a check asks nothing, or several things at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("check `{0}` needs exactly one of http, tcp and command")]
pub struct ProbeError(String);

/// A check as it is written: serde refuses unknown fields only where nothing is flattened.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"required": ["http"]}, {"required": ["tcp"]}, {"required": ["command"]}
]))]
struct Written {
    /// Name, unique within the service.
    name: String,
    /// An HTTP GET that must answer with the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpCheck>,
    /// A TCP connection that must open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpCheck>,
    /// A program with the exit codes of Nagios plugins: 0 ok, 1 warning, 2 critical, 3 unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<CommandCheck>,
    /// Time from one run to the next.
    #[serde(default = "every_default")]
    every: Span,
    /// A run that takes longer has failed; at most `every`.
    #[serde(default = "timeout_default")]
    timeout: Span,
    /// Passes in a row that make it healthy.
    #[serde(default = "count_default")]
    rise: u32,
    /// Failures in a row that make it unhealthy.
    #[serde(default = "count_default")]
    fall: u32,
}

impl TryFrom<Written> for Check {
    type Error = ProbeError;
    fn try_from(written: Written) -> Result<Self, ProbeError> {
        let Written { name, http, tcp, command, every, timeout, rise, fall } = written;
        let probe = match (http, tcp, command) {
            (Some(http), None, None) => Probe::Http(http),
            (None, Some(tcp), None) => Probe::Tcp(tcp),
            (None, None, Some(command)) => Probe::Command(command),
            _ => return Err(ProbeError(name)),
        };
        Ok(Self { name, probe, every, timeout, rise, fall })
    }
}

impl From<Check> for Written {
    fn from(check: Check) -> Self {
        let Check { name, probe, every, timeout, rise, fall } = check;
        let (mut http, mut tcp, mut command) = (None, None, None);
        match probe {
            Probe::Http(probe) => http = Some(probe),
            Probe::Tcp(probe) => tcp = Some(probe),
            Probe::Command(probe) => command = Some(probe),
        }
        Self { name, http, tcp, command, every, timeout, rise, fall }
    }
}

/// What a check asks; exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// An HTTP GET that must answer with the status.
    Http(HttpCheck),
    /// A TCP connection that must open.
    Tcp(TcpCheck),
    /// A program with the exit codes of Nagios plugins: 0 ok, 1 warning, 2 critical, 3 unknown.
    Command(CommandCheck),
}

/// An HTTP GET; redirects are not followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// URL with the placeholders of a release's argv.
    pub url: String,
    /// Status that passes; any 2xx if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// `host:port` with the placeholders of a release's argv.
    pub address: String,
}

/// A program run for its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandCheck {
    /// Program and arguments, never a shell string.
    pub argv: Vec<String>,
    /// Environment besides PATH.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

fn every_default() -> Span {
    Span::secs(2)
}

fn timeout_default() -> Span {
    Span::secs(1)
}

fn count_default() -> u32 {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_look_the_same_in_json_and_refuse_what_they_do_not_know() {
        let text = concat!(
            r#"{"name":"health","http":{"url":"http://127.0.0.1/"},"#,
            r#""every":"2s","timeout":"1s","rise":2,"fall":2}"#
        );
        let check: Check = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&check).unwrap(), text);
        for (bad, message) in [
            (r#"{"name":"a"}"#, "check `a` needs exactly one of http, tcp and command"),
            (
                r#"{"name":"a","tcp":{"address":"a:1"},"command":{"argv":[]}}"#,
                "check `a` needs exactly one of http, tcp and command",
            ),
            (r#"{"name":"a","evry":"1s"}"#, "unknown field `evry`"),
        ] {
            let error = serde_json::from_str::<Check>(bad).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
