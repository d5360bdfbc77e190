//! The controller's configuration file: read whole, unknown keys refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use trireme_proto::id::{ControllerId, RegionId};
use trireme_proto::identity::FleetName;
use trireme_telemetry::Options as Telemetry;

use crate::peers::{Address, Own};
use crate::raft::Profile;
use crate::state::fleet::Controller;

/// Tells why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("configuration {path}: {message}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// The values contradict each other.
    #[error("configuration {path}: {message}", path = path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to write instead.
        message: String,
    },
}

/// Everything a controller is told at its start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the fleet, as in every certificate.
    pub fleet: FleetName,
    /// Name of this controller.
    pub name: ControllerId,
    /// Region it runs in.
    pub region: RegionId,
    /// Number in the Raft group; belongs to one data directory for ever.
    pub raft_id: u64,
    /// Data directory.
    pub data: PathBuf,
    /// Directory of the files with secrets that channels name, each readable by its owner alone;
    /// `secrets` in the data directory if absent.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// Timing: lan, wan or wan-slow.
    #[serde(default = "wan")]
    pub profile: String,
    /// Domain that the built-in DNS answers for.
    pub domain: String,
    /// Log entries between snapshots.
    #[serde(default = "snapshot_every")]
    pub snapshot_every: u64,
    /// Form of the log on standard error.
    #[serde(default)]
    pub log: LogFormat,
    /// Addresses to listen on.
    pub listen: Listen,
    /// Metrics and health.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// Every controller of the fleet, this one included.
    pub controllers: Vec<Member>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Addresses to listen on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For other controllers.
    pub peer: SocketAddr,
    /// For agents and operators.
    pub api: SocketAddr,
    /// For joining nodes.
    pub enrol: SocketAddr,
    /// For DNS, UDP and TCP.
    pub dns: SocketAddr,
}

/// A controller as the others reach it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub name: ControllerId,
    /// Region it runs in.
    pub region: RegionId,
    /// Number in the Raft group.
    pub raft_id: u64,
    /// host:port for other controllers.
    pub peer: String,
    /// host:port for agents and operators.
    pub api: String,
    /// host:port for joining nodes.
    pub enrol: String,
    /// ip:port of its DNS.
    pub dns: String,
}

impl Member {
    /// Returns it as the replicated state lists it.
    fn record(&self) -> Controller {
        Controller {
            raft_id: self.raft_id,
            region: self.region.clone(),
            address: self.api.clone(),
            enrol: self.enrol.clone(),
            dns: self.dns.clone(),
            peer: self.peer.clone(),
        }
    }
}

fn wan() -> String {
    "wan".to_owned()
}

fn snapshot_every() -> u64 {
    crate::raft::Config::SNAPSHOT_EVERY
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads and checks the text of a configuration file; `path` is what errors call it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        config
            .check()
            .map_err(|message| ConfigError::Contradiction { path: path.to_owned(), message })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.profile()?;
        self.telemetry.check(true).map_err(|error| error.to_string())?;
        let own = self.controllers.iter().find(|member| member.name == self.name);
        let own = own.ok_or_else(|| {
            format!("`controllers` does not list {}, which is this one: add it", self.name)
        })?;
        if own.raft_id != self.raft_id || own.region != self.region {
            return Err(format!(
                "`controllers` lists {} with raft_id {} in {}, but it has raft_id {} in {} above",
                self.name, own.raft_id, own.region, self.raft_id, self.region
            ));
        }
        let ids: std::collections::BTreeSet<_> =
            self.controllers.iter().map(|m| m.raft_id).collect();
        let names: std::collections::BTreeSet<_> =
            self.controllers.iter().map(|m| &m.name).collect();
        let count = self.controllers.len();
        if ids.len() != count || names.len() != count {
            return Err("`controllers` names a controller or a raft_id twice".to_owned());
        }
        if self.snapshot_every == 0 {
            return Err("`snapshot_every` must be at least 1".to_owned());
        }
        Ok(())
    }

    /// Returns the directory of the secrets that channels name.
    pub fn secrets(&self) -> PathBuf {
        self.secrets.clone().unwrap_or_else(|| self.data.join("secrets"))
    }

    /// Returns the timing profile.
    pub fn profile(&self) -> Result<Profile, String> {
        self.profile.parse().map_err(|error: crate::raft::UnknownProfile| error.to_string())
    }

    /// Returns the other controllers.
    pub fn others(&self) -> BTreeMap<ControllerId, Address> {
        self.controllers
            .iter()
            .filter(|member| member.name != self.name)
            .map(|member| {
                let address = Address { raft_id: member.raft_id, peer: member.peer.clone() };
                (member.name.clone(), address)
            })
            .collect()
    }

    /// Returns the controllers as the replicated state lists them.
    pub fn records(&self) -> BTreeMap<ControllerId, Controller> {
        self.controllers.iter().map(|member| (member.name.clone(), member.record())).collect()
    }

    /// Returns how others reach this controller.
    pub fn own(&self) -> Option<Own> {
        let own = self.controllers.iter().find(|member| member.name == self.name)?;
        Some(Own { name: own.name.clone(), record: own.record() })
    }
}
