//! What the supervisors of all drivers have in common: what they are asked, and how they tell.

use std::sync::{Arc, RwLock};

use tokio::sync::{mpsc, oneshot, watch};
use trireme_proto::id::ActionId;
use trireme_proto::model::Driver;

use super::facts::NodeFacts;
use super::layout::ServiceDir;
use super::{HostError, Observation, Started, Stopped};

/// What a supervisor is asked.
#[derive(Debug)]
pub(super) enum Command {
    Start {
        action: ActionId,
        recreate: bool,
        reply: oneshot::Sender<Result<Started, HostError>>,
    },
    Stop {
        reply: oneshot::Sender<Result<Stopped, HostError>>,
    },
    /// Something was staged: what runs may be known by it now.
    Look {
        reply: oneshot::Sender<Result<(), HostError>>,
    },
}

/// How a supervisor is reached.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    pub(super) dir: ServiceDir,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) seen: watch::Receiver<Observation>,
}

/// Which supervisor looks after a service: one for each driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Process,
    Compose,
    Systemd,
}

/// All of them.
pub(super) const KINDS: [Kind; 3] = [Kind::Process, Kind::Compose, Kind::Systemd];

impl Kind {
    pub(super) fn of(driver: &Driver) -> Self {
        match driver {
            Driver::Process(_) => Self::Process,
            Driver::Compose(_) => Self::Compose,
            Driver::Systemd(_) => Self::Systemd,
        }
    }

    /// Returns the name of the file in which the supervisor remembers what it started.
    pub(super) fn record(self) -> &'static str {
        match self {
            Self::Process => "run.json",
            Self::Compose => "project.json",
            Self::Systemd => "unit.json",
        }
    }
}

/// What every supervisor is given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) dir: ServiceDir,
    pub(super) node: Arc<RwLock<NodeFacts>>,
    pub(super) boot: Arc<str>,
    pub(super) changes: Arc<watch::Sender<u64>>,
}

impl Given {
    pub(super) fn node(&self) -> NodeFacts {
        self.node.read().expect("no holder of this lock can panic").clone()
    }
}

/// Tells what a supervisor sees to whoever wants to know.
#[derive(Debug)]
pub(super) struct Teller {
    seen: watch::Sender<Observation>,
    changes: Arc<watch::Sender<u64>>,
}

impl Teller {
    pub(super) fn new(changes: Arc<watch::Sender<u64>>) -> Self {
        Self { seen: watch::Sender::new(Observation::nothing()), changes }
    }

    /// Returns where what was told last can be read at any time.
    pub(super) fn watch(&self) -> watch::Receiver<Observation> {
        self.seen.subscribe()
    }

    /// Tells, if there is news.
    pub(super) fn tell(&self, observation: Observation) {
        let changed = self.seen.send_if_modified(|seen| {
            let differs = *seen != observation;
            *seen = observation;
            differs
        });
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}
