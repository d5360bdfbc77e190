//! What operators have put aside, and what they allow: drains, cordons, the freeze, exceptions.
//!
//! A *drain* keeps clients away from a place and holds a grant until the place is returned. A
//! *cordon* takes nothing away; new work passes the node by. The *freeze* lets nobody take anything
//! new. An *override* names the rules of the ledger that it sets aside, for whom, and until when.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::id::{GrantId, NodeId, OverrideId, Place, ServiceId};
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::time::{FleetTime, WallTime};

use super::fleet::{Fleet, Node};
use super::ledger::Pair;

/// Who did something by hand, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When, for people.
    pub at: WallTime,
}

/// A place that clients are kept away from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Who wanted it, and why.
    pub remark: Remark,
    /// Grant that counts it as down.
    pub grant: GrantId,
    /// Log index from which its nodes are out of traffic.
    pub drained_at: u64,
    /// When it was asked for.
    pub since: FleetTime,
    /// When every controller had confirmed that, or 5 s had passed.
    pub settled: Option<FleetTime>,
}

/// An exception to rules of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Who allowed it, and why.
    pub remark: Remark,
    /// Names of the rules that do not apply.
    pub rules: BTreeSet<String>,
    /// Service it is for; every service if none.
    pub service: Option<ServiceId>,
    /// When it ends by itself.
    pub until: FleetTime,
}

impl Override {
    /// Returns whether it sets `rule` aside at `now` for all of `services`.
    fn covers(&self, rule: &str, services: &BTreeSet<&ServiceId>, now: FleetTime) -> bool {
        let meant = self.service.as_ref().is_none_or(|one| services.iter().all(|s| *s == one));
        now < self.until && meant && self.rules.contains(rule)
    }
}

impl Fleet {
    /// Returns the exception that sets `rule` aside for all of `services`, if there is one.
    pub(super) fn waived(&self, rule: &str, services: &BTreeSet<&ServiceId>) -> Option<OverrideId> {
        self.overrides
            .iter()
            .find(|(_, exception)| exception.covers(rule, services, self.now))
            .map(|(id, _)| *id)
    }

    /// Returns the drain that keeps clients away from `node`, if any.
    pub fn drain_of(&self, id: &NodeId, node: &Node) -> Option<(Place, &Drain)> {
        [Place::Node(id.clone()), Place::Region(node.region.clone())]
            .into_iter()
            .find_map(|place| Some((place.clone(), self.drains.get(&place)?)))
    }

    /// Returns the nodes and services at a place, which a drain of it takes.
    pub fn pairs_at(&self, place: &Place) -> BTreeSet<Pair> {
        let here = |(id, node): &(&NodeId, &Node)| match place {
            Place::Region(region) => node.region == *region,
            Place::Node(name) => *id == name,
        };
        let live = self.nodes.iter().filter(|(_, node)| !node.removed).filter(here);
        live.flat_map(|(id, _)| {
            let services = self.services_on(id);
            services.into_iter().map(|record| (id.clone(), record.manifest.name.clone()))
        })
        .collect()
    }

    /// Returns those of `nodes` that work on `service` passes by, and why.
    ///
    /// Whoever names a node means it: only the rest of a region or a fleet is passed by.
    pub(super) fn aside<'a>(
        &self,
        service: &ServiceId,
        operation: Operation,
        scope: &Scope,
        nodes: impl Iterator<Item = &'a NodeId>,
    ) -> BTreeMap<NodeId, String> {
        if matches!(operation, Operation::Stop | Operation::Start) {
            return BTreeMap::new();
        }
        nodes
            .filter(|node| !scope.nodes.contains(node))
            .filter_map(|node| Some((node.clone(), self.why_aside(service, node)?)))
            .collect()
    }

    fn why_aside(&self, service: &ServiceId, id: &NodeId) -> Option<String> {
        let node = self.nodes.get(id)?;
        if let Some((place, drain)) = self.drain_of(id, node) {
            return Some(format!("{place} was drained by {}", drain.remark.actor));
        }
        if let Some(remark) = self.cordons.get(id) {
            return Some(format!("cordoned by {}", remark.actor));
        }
        node.stopped.contains(service).then(|| "stopped by an operator".to_owned())
    }
}
