//! Checks: how a service's health is asked for on its node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// One check, repeated on every node that runs the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Name, unique within the service.
    pub name: String,
    /// What is asked.
    #[serde(flatten)]
    pub probe: Probe,
    /// Time from one run to the next.
    #[serde(default = "every_default")]
    pub every: Span,
    /// A run that takes longer has failed; at most `every`.
    #[serde(default = "timeout_default")]
    pub timeout: Span,
    /// Passes in a row that make it healthy.
    #[serde(default = "count_default")]
    pub rise: u32,
    /// Failures in a row that make it unhealthy.
    #[serde(default = "count_default")]
    pub fall: u32,
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
