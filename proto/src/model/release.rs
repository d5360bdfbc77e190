//! Releases: what a version is, down to the digest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::service::Driver;
use crate::digest::Digest;
use crate::id::{ServiceId, Version};

/// One version of a service: a file or images by digest, and how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Service it is a version of.
    pub service: ServiceId,
    /// Exact version; never a tag that moves.
    pub version: Version,
    /// File that makes the release, known by its digest; for the drivers process and systemd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Image of each service of the project that the fleet runs, known by its digest; for the
    /// driver compose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, Image>,
    /// Program and arguments, which stand in place of a unit's `ExecStart`; `{artifact}`, `{address}`, `{node}`, `{region}`, `{service}`,
    /// `{version}` and `{data}` are filled in. Never passed to a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// Environment of the process, besides PATH; the same placeholders are filled in. For the
    /// driver compose, what `${NAME}` in the compose file stands for.
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

/// Tells that a release is none that a driver could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("driver {driver} needs a release with {needs}")]
pub struct Misfit {
    /// Name of the driver.
    pub driver: &'static str,
    /// What such a release has.
    pub needs: &'static str,
}

impl Release {
    /// Checks that `driver` can run the release.
    pub fn fits(&self, driver: &Driver) -> Result<(), Misfit> {
        let (file, images) = (self.artifact.is_some(), !self.images.is_empty());
        let argv = !self.argv.is_empty();
        let (fits, needs) = match driver {
            Driver::Process(_) | Driver::Systemd(_) => {
                (file && argv && !images, "`artifact` and `argv`")
            }
            Driver::Compose(_) => (images && !file && !argv, "`images` alone"),
        };
        if fits { Ok(()) } else { Err(Misfit { driver: driver.name(), needs }) }
    }
}
