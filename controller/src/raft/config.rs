//! What one member of the Raft group is told at its start, and the timing profiles.
//!
//! | profile | heartbeat | election | probe | leader lost to next leader |
//! |---|---|---|---|---|
//! | lan: one region, RTT under 5 ms | 60 ms | 150..250 ms | 600 ms | about 0.5 s |
//! | wan: RTT up to 150 ms | 400 ms | 1.2..1.6 s | 3.3 s | about 3.5 s |
//! | wan-slow: RTT up to 300 ms | 750 ms | 2.25..3 s | 6.5 s | about 6 s |
//!
//! Three quarters of a heartbeat must exceed the slowest round trip plus one fsync of a follower.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use openraft::{SnapshotPolicy, StepDownPolicy};

use super::failure::StartError;

/// Entries of one append; its bytes are capped by [`super::MESSAGE_BYTES_MAX`].
const APPEND_ENTRIES_MAX: u64 = 1024;

/// Requests waiting for the Raft core; more wait outside, in [`super::Raft::propose`].
const CORE_QUEUE_MAX: u64 = 8192;

/// How long one piece of a snapshot, or its installation, may take: 3/4 of this is enforced.
const SNAPSHOT_STEP: Duration = Duration::from_secs(40);

/// Everything one member needs to know about itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the fleet; members of another are refused.
    pub fleet: String,
    /// Raft id of this controller, never used again for another data directory.
    pub id: u64,
    /// Name of this controller, as in its certificate.
    pub name: String,
    /// Data directory of its own; made if it does not exist.
    pub dir: PathBuf,
    /// Timing that fits the slowest link between controllers.
    pub profile: Profile,
    /// Entries between snapshots.
    pub snapshot_every: u64,
}

impl Config {
    /// Entries between snapshots unless configured otherwise.
    pub const SNAPSHOT_EVERY: u64 = 10_000;

    /// Returns the settings of the library for these.
    pub(super) fn library(&self) -> Result<openraft::Config, StartError> {
        let timing = self.profile.timing();
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: self.fleet.clone(),
            heartbeat_interval: ms(timing.heartbeat),
            election_timeout_min: ms(timing.election_min),
            election_timeout_max: ms(timing.election_max),
            quorum_loss_probe_interval: Some(ms(timing.probe)),
            enable_pre_vote: Some(true),
            // A restarted leader stands for election like everybody else: its state machine may
            // be behind what it once served.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            max_payload_entries: APPEND_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.snapshot_every.saturating_mul(2),
            // Above the policy, or a follower one snapshot behind would be sent the next for ever.
            replication_lag_threshold: self.snapshot_every.saturating_mul(4),
            // Purging costs a share of a transaction, so it is done by the hundred.
            purge_batch_size: 256.min(self.snapshot_every),
            install_snapshot_timeout: ms(SNAPSHOT_STEP),
            removed_leader_step_down: StepDownPolicy::After(ms(timing.election_min)),
            backoff: "200ms 400ms ..1s".to_owned(),
            api_channel_size: Some(CORE_QUEUE_MAX),
            notification_channel_size: Some(CORE_QUEUE_MAX),
            ..openraft::Config::default()
        }
        .validate()
        .map_err(|e| StartError::Config(e.to_string()))
    }
}

/// A set of timings for one kind of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// One region, round trips under 5 ms.
    Lan,
    /// Regions of three clouds, round trips up to 150 ms.
    #[default]
    Wan,
    /// Round trips up to 300 ms, with jitter.
    WanSlow,
}

/// The waits of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// Longest such silence; also the lease of a leader.
    pub election_max: Duration,
    /// How long a leader without a quorum keeps silent before it probes again.
    pub probe: Duration,
}

impl Profile {
    /// Returns the waits.
    pub const fn timing(self) -> Timing {
        let (heartbeat, min, max, probe) = match self {
            Self::Lan => (60, 150, 250, 600),
            Self::Wan => (400, 1200, 1600, 3300),
            Self::WanSlow => (750, 2250, 3000, 6500),
        };
        Timing {
            heartbeat: Duration::from_millis(heartbeat),
            election_min: Duration::from_millis(min),
            election_max: Duration::from_millis(max),
            probe: Duration::from_millis(probe),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::WanSlow => "wan-slow",
        })
    }
}

/// Tells that a word is not the name of a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile `{0}` is unknown: use lan, wan or wan-slow")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;
    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        [Self::Lan, Self::Wan, Self::WanSlow]
            .into_iter()
            .find(|p| p.to_string() == text)
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}
