//! Manifests as validated values, one noun per file.

mod alert;
mod channel;
mod check;
mod checklist;
mod image;
mod region;
mod release;
mod service;

pub use alert::{
    Absent, AlertRule, Bound, CheckFails, Condition, Metric, Only, Ready, Recommend, Remedy,
    Severity, State,
};
pub use channel::{
    Alertmanager, Channel, Dingtalk, Feishu, Grouping, Language, Target, Telegram, Webhook, Wecom,
};
pub use check::{Check, CommandCheck, HttpCheck, Probe, ProbeError, TcpCheck};
pub use checklist::{
    Ask, By, Checklist, ClockTime, Daily, Fact, InService, InSight, Item, Link, Monthly, Passing,
    Quiet, Schedule, Weekday, Weekly, Zone,
};
pub use image::{Image, ImageError};
pub use region::Region;
pub use release::{Artifact, Misfit, Release};
pub use service::{
    ApprovalPolicy, Bake, ByHand, ComposeDriver, Deadline, DnsTraffic, Driver, ProcessDriver,
    Restart, Selector, Service, Serving, StopSignal, SystemdDriver, Traffic, UpgradePolicy,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One document of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Object {
    /// A place where nodes live.
    Region(Region),
    /// Something the fleet runs.
    Service(Service),
    /// One version of a service.
    Release(Release),
    /// Something that somebody is told of.
    AlertRule(AlertRule),
    /// A way by which they are told.
    Channel(Channel),
    /// What is looked at again and again.
    Checklist(Checklist),
}

impl Object {
    /// Returns the kind as it is written in manifests.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Region(_) => "Region",
            Self::Service(_) => "Service",
            Self::Release(_) => "Release",
            Self::AlertRule(_) => "AlertRule",
            Self::Channel(_) => "Channel",
            Self::Checklist(_) => "Checklist",
        }
    }

    /// Returns the name people use: `web`, or `web@1.2.0` for a release.
    pub fn name(&self) -> String {
        match self {
            Self::Region(region) => region.name.to_string(),
            Self::Service(service) => service.name.to_string(),
            Self::Release(release) => format!("{}@{}", release.service, release.version),
            Self::AlertRule(rule) => rule.name.to_string(),
            Self::Channel(channel) => channel.name.to_string(),
            Self::Checklist(list) => list.name.to_string(),
        }
    }
}
