//! What keeps an incident from being told: its cause is told already, or somebody silenced it.
//!
//! A region that is down silences its nodes and their checks; a node that is silent silences what
//! runs on it; a service below its number silences that it is at risk.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{IncidentId, NodeId, RegionId, ServiceId};
use trireme_proto::model::State;
use trireme_proto::time::FleetTime;

use super::{Incident, Silence};
use crate::state::fleet::Fleet;

/// What is open that silences other things.
#[derive(Debug)]
pub struct Suppression<'a> {
    regions: BTreeMap<&'a RegionId, IncidentId>,
    nodes: BTreeMap<&'a NodeId, IncidentId>,
    services: BTreeMap<&'a ServiceId, IncidentId>,
    /// Services that a region which is down has nodes of.
    placed: BTreeMap<&'a ServiceId, IncidentId>,
    silences: Vec<(String, &'a Silence)>,
}

impl<'a> Suppression<'a> {
    /// Gathers it from what is open at `now`.
    pub fn of(fleet: &'a Fleet, now: FleetTime) -> Self {
        let mut found = Self {
            regions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            placed: BTreeMap::new(),
            silences: Vec::new(),
        };
        for (id, incident) in fleet.alerts.incidents.iter().filter(|(_, one)| one.is_open()) {
            let subject = &incident.subject;
            if incident.what == State::RegionNotServing.word() {
                found.regions.extend(subject.region.as_ref().map(|region| (region, *id)));
            } else if incident.what == State::NodeSilent.word() {
                found.nodes.extend(subject.node.as_ref().map(|node| (node, *id)));
            } else if incident.what == State::ServiceBelow.word() {
                found.services.extend(subject.service.as_ref().map(|service| (service, *id)));
            }
        }
        if !found.regions.is_empty() {
            for record in fleet.services.values() {
                let regions: BTreeSet<_> =
                    fleet.placed(&record.manifest).map(|(_, node)| &node.region).collect();
                let down = regions.iter().find_map(|region| found.regions.get(*region));
                found.placed.extend(down.map(|id| (&record.manifest.name, *id)));
            }
        }
        let silences = fleet.alerts.silences.iter().filter(|(_, silence)| now < silence.until);
        found.silences.extend(silences.map(|(id, silence)| (id.to_string(), silence)));
        found
    }

    /// Returns what silences an incident, if anything does.
    pub fn by(&self, incident: &Incident) -> Option<String> {
        self.cause(incident).map(|id| id.to_string()).or_else(|| {
            let labels = incident.all_labels();
            let silence = self.silences.iter().find(|(_, silence)| silence.covers(&labels));
            silence.map(|(id, _)| id.clone())
        })
    }

    fn cause(&self, incident: &Incident) -> Option<IncidentId> {
        let subject = &incident.subject;
        if incident.what == State::ServiceAtRisk.word() {
            let service = subject.service.as_ref()?;
            return self.services.get(service).or_else(|| self.placed.get(service)).copied();
        }
        // What is about a whole region is no consequence of it.
        let node = subject.node.as_ref()?;
        let region = subject.region.as_ref().and_then(|region| self.regions.get(region));
        let silent = self.nodes.get(node).filter(|_| incident.what != State::NodeSilent.word());
        region.or(silent).copied()
    }
}
