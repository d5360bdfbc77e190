//! Names and numbers that identify things, parsed and printed here only.
//!
//! Names of regions, nodes, services and controllers are DNS labels: they appear in DNS answers
//! and certificates, so one grammar serves everywhere. Numbers are assigned in apply.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name: the longest DNS label.
pub const NAME_LEN_MAX: usize = 63;

/// Tells why a string is not a name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} `{value}` is not a name: use 1 to {NAME_LEN_MAX} of a-z, 0-9 and -, \
     starting and ending with a letter or digit"
)]
pub struct NameError {
    kind: &'static str,
    value: String,
}

/// Tells why a string is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Tags that move cannot be rolled back to.
    #[error("version `{0}` is a moving tag: name the exact version, such as 1.4.2")]
    Moving(String),
    /// The characters or the length are off.
    #[error(
        "version `{0}` must be 1 to 64 of letters, digits, . _ + - and start with a digit or letter"
    )]
    Malformed(String),
}

/// Returns whether `text` is a DNS label in lower case.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            bytes.len() <= NAME_LEN_MAX
                && inner(first)
                && inner(last)
                && bytes.iter().all(|&b| inner(b) || b == b'-')
        }
        _ => false,
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_label(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { kind: $kind, value: text.to_owned() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
                })
            }
        }
    )*};
}

names! {
    /// Names a region: one cloud's place.
    RegionId = "region";
    /// Names a node: one host with one agent.
    NodeId = "node";
    /// Names a service.
    ServiceId = "service";
    /// Names a controller.
    ControllerId = "controller";
    /// Names an alert rule.
    RuleId = "alert rule";
    /// Names a channel that alerts are sent through.
    ChannelId = "channel";
    /// Names a checklist.
    ChecklistId = "checklist";
    /// Names an item of a checklist.
    ItemId = "item";
}

/// A release's version; never a tag that moves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// Returns the version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the word that stands where a plan names a version and has none.
    pub(crate) fn of_operation(word: &'static str) -> Self {
        Self(word.to_owned())
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        if matches!(text, "latest" | "stable" | "main" | "master" | "edge") {
            return Err(VersionError::Moving(text.to_owned()));
        }
        let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
        if first_ok && rest_ok && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(VersionError::Malformed(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl schemars::JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z._+-]{0,63}$"
        })
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "-{}"), self.0))
            }
        }

        impl FromStr for $name {
            type Err = NumberError;
            fn from_str(text: &str) -> Result<Self, NumberError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| NumberError { prefix: $prefix, value: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = NumberError;
            fn try_from(text: String) -> Result<Self, NumberError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}

/// Tells why a string is not a numbered id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not of the form {prefix}-NUMBER")]
pub struct NumberError {
    prefix: &'static str,
    value: String,
}

numbers! {
    /// One upgrade.
    UpgradeId = "upgrade";
    /// One grant of the ledger.
    GrantId = "grant";
    /// One action on one host.
    ActionId = "action";
    /// One exception to rules of the ledger.
    OverrideId = "override";
    /// One occurrence of what an alert rule looks for.
    IncidentId = "incident";
    /// One message through one channel.
    NoticeId = "notice";
    /// One silence.
    SilenceId = "silence";
    /// One time that a checklist was gone through.
    RunId = "run";
}

/// A region or a node, where both can be meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A whole region.
    Region(RegionId),
    /// One node.
    Node(NodeId),
}

/// Tells that a string names neither a region nor a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place: write region/NAME or node/NAME")]
pub struct PlaceError(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(name) => write!(f, "region/{name}"),
            Self::Node(name) => write!(f, "node/{name}"),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let refused = || PlaceError(text.to_owned());
        match text.split_once('/') {
            Some(("region", name)) => name.parse().map(Self::Region).map_err(|_| refused()),
            Some(("node", name)) => name.parse().map(Self::Node).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;
    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "aws", "aws-1", "0x"] {
            assert_eq!(good.parse::<NodeId>().unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", long.as_str()] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn moving_tags_are_not_versions() {
        assert!(matches!("latest".parse::<Version>(), Err(VersionError::Moving(_))));
        assert!("1.4.2-rc.1+b5".parse::<Version>().is_ok());
        assert!("../1".parse::<Version>().is_err());
    }

    #[test]
    fn numbered_ids_round_trip() {
        let id: UpgradeId = "upgrade-7".parse().unwrap();
        assert_eq!((id, id.to_string().as_str()), (UpgradeId(7), "upgrade-7"));
        assert!("upgrade-x".parse::<UpgradeId>().is_err());
        assert!("grant-7".parse::<UpgradeId>().is_err());
    }
}
