//! Regions: the places that fail together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::RegionId;

/// A place whose nodes fail together: one cloud's region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Name of the region.
    pub name: RegionId,
    /// Cloud that runs it, such as aws, aliyun or gcp; a label for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
}
