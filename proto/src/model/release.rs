//! Releases: what a version is, down to the digest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ServiceId, Version};

/// One version of a service: the artifact by digest, and how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Service it is a version of.
    pub service: ServiceId,
    /// Exact version; never a tag that moves.
    pub version: Version,
    /// File that makes the release, known by its digest.
    pub artifact: Artifact,
    /// Program and arguments; `{artifact}`, `{address}`, `{node}`, `{region}`, `{service}`,
    /// `{version}` and `{data}` are filled in. Never passed to a shell.
    pub argv: Vec<String>,
    /// Environment of the process, besides PATH; the same placeholders are filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Where a file comes from and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// `file:///…`, `http://…` or `https://…`.
    pub url: String,
    /// SHA-256 digest of the file.
    pub sha256: Digest,
}
