//! Who is in sight: what agents last said, by which controller, and how long ago. Pure data.
//!
//! Presence is soft: it lives in the leader's memory, is gathered anew by each leader, and never
//! enters the log. Only transitions do. Ages count from when the leader asked (DESIGN rule 15).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trireme_proto::action::{Observed, Samples, ServiceState};
use trireme_proto::id::{ControllerId, NodeId, ServiceId};
use trireme_proto::time::{FleetTime, Span, WallTime};

use crate::state::ledger::EVIDENCE_AGE_MAX;
use crate::state::{Evidence, Fleet, NodeEvidence};

/// Silence after which a node counts as lost: three heartbeats at least.
pub const WINDOW: Span = Span::secs(5);

/// What a controller saw of a node that is connected to it; passed on in digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Time since its last heartbeat.
    pub age: Span,
    /// Generation it acknowledges.
    pub generation: u64,
    /// Version of its agent.
    pub agent_version: String,
    /// What it says of each service.
    pub observed: BTreeMap<ServiceId, Observed>,
    /// Numbers that alert rules ask for.
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    pub samples: Samples,
    /// When its certificate ends, if it was verified here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<WallTime>,
}

impl Seen {
    /// Returns whether it says the same of everything that is decided from at once; numbers change
    /// all the time, and wait for the next look.
    pub fn agrees(&self, other: &Self) -> bool {
        self.generation == other.generation
            && self.agent_version == other.agent_version
            && self.observed == other.observed
    }
}

/// What the leader knows of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Controller it is connected to.
    pub controller: ControllerId,
    /// Fleet time of its heartbeat, never later than it was.
    pub at: FleetTime,
    /// What was seen.
    pub seen: Seen,
}

/// What the leader knows of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When the leader asked for the newest answer.
    pub at: FleetTime,
    /// Index it has applied, which confirms routing changes up to it.
    pub applied: u64,
}

/// All that a leader knows besides the replicated state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// When this leader began to look.
    pub since: FleetTime,
    /// Nodes in sight.
    pub nodes: BTreeMap<NodeId, Sighting>,
    /// Controllers that answered.
    pub controllers: BTreeMap<ControllerId, Heard>,
}

impl Presence {
    /// Takes in the digest that `controller` gave to a question asked at `asked`.
    pub fn hear(
        &mut self,
        asked: FleetTime,
        controller: &ControllerId,
        applied: u64,
        nodes: BTreeMap<NodeId, Seen>,
    ) {
        self.controllers.insert(controller.clone(), Heard { at: asked, applied });
        for (node, seen) in nodes {
            // Fleet time stands still without a leader: a heartbeat may be older than it is.
            let Some(at) = asked.0.checked_sub(seen.age.0).map(FleetTime) else { continue };
            let newer = self.nodes.get(&node).is_none_or(|known| known.at <= at);
            if newer {
                self.nodes.insert(node, Sighting { controller: controller.clone(), at, seen });
            }
        }
    }

    /// Returns what a command carries so that apply can judge: what is too old says nothing.
    pub fn evidence(&self, now: FleetTime) -> Evidence {
        let nodes = self
            .nodes
            .iter()
            .filter(|(_, sighting)| now.since(sighting.at) <= EVIDENCE_AGE_MAX)
            .map(|(node, sighting)| {
                let services = sighting
                    .seen
                    .observed
                    .iter()
                    .map(|(service, seen)| (service.clone(), (seen.state, seen.running)))
                    .collect();
                let evidence = NodeEvidence {
                    age: now.since(sighting.at),
                    generation: sighting.seen.generation,
                    services,
                };
                (node.clone(), evidence)
            })
            .collect();
        Evidence { nodes }
    }

    /// Returns whether a heartbeat of `node` is within the window.
    pub fn in_sight(&self, node: &NodeId, now: FleetTime) -> bool {
        self.nodes.get(node).is_some_and(|sighting| now.since(sighting.at) <= WINDOW)
    }

    /// Returns whether `node` has said lately that `service` serves, having done all it was told.
    pub fn serves(
        &self,
        fleet: &Fleet,
        node: &NodeId,
        service: &ServiceId,
        now: FleetTime,
    ) -> Health {
        let Some(sighting) = self.nodes.get(node).filter(|_| self.in_sight(node, now)) else {
            return Health::Unknown;
        };
        let record = fleet.nodes.get(node);
        if !record.is_some_and(|record| record.acknowledges(sighting.seen.generation)) {
            return Health::Unknown;
        }
        match sighting.seen.observed.get(service) {
            Some(seen) if seen.state == ServiceState::Serving => Health::Serving,
            Some(seen) => {
                let failing: Vec<String> = seen
                    .failing
                    .iter()
                    .map(|(check, message)| format!("{check}: {message}"))
                    .collect();
                Health::NotServing(failing.join("; "))
            }
            None => Health::Unknown,
        }
    }
}

/// What is known of a service on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It does not, with the failing checks.
    NotServing(String),
    /// Nothing recent is known.
    Unknown,
}
