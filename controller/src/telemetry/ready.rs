//! Whether this controller does its work: what `/readyz` tells, and `grpc.health.v1` a little of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use trireme_proto::time::WallTime;
use trireme_telemetry::{Check, disk};

use crate::brain::Brain;
use crate::clock::wall;
use crate::pki::Authority;

/// Entries that may wait to be applied: what comes in half a second under load.
const LAG_MAX: u64 = 2000;

/// Time between two looks for gRPC health.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Services that need a leader, by their full names; the others work without.
const NEED_LEADER: [&str; 2] = ["fleet.v1.Operator", "fleet.v1.Enrol"];

/// Services that work without a leader: agents are held, and told of the fleet.
const NEED_NOTHING: [&str; 1] = ["fleet.v1.Agent"];

/// What is looked at.
#[derive(Debug, Clone)]
pub struct Readiness {
    brain: Arc<Brain>,
    authority: Arc<Authority>,
    data: PathBuf,
    leaving: CancellationToken,
}

impl Readiness {
    /// Looks at the parts of a controller whose data directory is `data`; `leaving` tells that it
    /// is about to stop.
    pub fn new(
        brain: &Arc<Brain>,
        authority: &Arc<Authority>,
        data: &Path,
        leaving: &CancellationToken,
    ) -> Self {
        Self {
            brain: Arc::clone(brain),
            authority: Arc::clone(authority),
            data: data.to_owned(),
            leaving: leaving.clone(),
        }
    }

    /// Makes every check.
    pub async fn checks(&self) -> Vec<Check> {
        let disk = disk(self.data.clone()).await;
        vec![self.stays(), self.leader(), self.applied(), disk, self.certificates(wall())]
    }

    fn stays(&self) -> Check {
        let leaving = self.leaving.is_cancelled();
        Check::new("running", !leaving, if leaving { "it stops" } else { "it runs" })
    }

    fn leader(&self) -> Check {
        match self.brain.present_leader() {
            Some(leader) => Check::new("leader", true, format!("{leader} leads")),
            None => Check::new("leader", false, "no leader is heard from"),
        }
    }

    fn applied(&self) -> Check {
        let status = self.brain.raft.status();
        let (committed, applied) = (status.committed.unwrap_or(0), status.applied.unwrap_or(0));
        let lag = committed.saturating_sub(applied);
        Check::new("applied", lag <= LAG_MAX, format!("{applied} of {committed}"))
    }

    fn certificates(&self, now: WallTime) -> Check {
        let own = self.authority.credentials().verified().not_after;
        let issuing = self.authority.issuer().not_after();
        let first = own.min(issuing);
        Check::new("certificates", now < first, format!("the first ends at {first}"))
    }

    /// Tells gRPC health until the controller is about to stop, and then that nothing is served.
    pub async fn report(self, reporter: HealthReporter) {
        loop {
            let stays = !self.leaving.is_cancelled();
            let leads = stays && self.brain.present_leader().is_some();
            for service in NEED_LEADER {
                reporter.set_service_status(service, status(leads)).await;
            }
            for service in NEED_NOTHING {
                reporter.set_service_status(service, status(stays)).await;
            }
            reporter.set_service_status("", status(leads)).await;
            if !stays {
                return;
            }
            tokio::select! {
                () = self.leaving.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

const fn status(serves: bool) -> ServingStatus {
    if serves { ServingStatus::Serving } else { ServingStatus::NotServing }
}
