//! What a simulated node shows: its clock, its checks, and what it says of its services.

use std::collections::BTreeMap;

use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::id::ServiceId;

use super::Node;

/// Passes before a check has risen, and failures before it has fallen.
const RISE: u32 = 2;

impl Node {
    /// Returns what the machine's clock shows.
    pub(in crate::sim) fn local(&self, now: u64) -> u64 {
        self.clock.read(now)
    }

    /// Returns what the agent says of every service.
    pub(super) fn observed(&self) -> BTreeMap<ServiceId, Observed> {
        let mut observed = BTreeMap::new();
        for (service, unit) in &self.host.units {
            let check = self.agent.checks.get(service).copied().unwrap_or_default();
            let started = self.agent.disk.services.get(service).is_some_and(|m| m.started);
            let state = match &unit.pointed {
                None if !started => ServiceState::NeverStarted,
                // Right after its start the agent has not seen enough to say anything.
                _ if !check.known => continue,
                _ if check.serving => ServiceState::Serving,
                _ => ServiceState::NotServing,
            };
            let seen = Observed {
                state,
                running: unit.digest(),
                version: unit.pointed.as_ref().map(|s| s.spec.release.version.to_string()),
                failing: BTreeMap::new(),
            };
            observed.insert(service.clone(), seen);
        }
        observed
    }

    /// Looks at every service once.
    pub(super) fn check(&mut self, now: u64) {
        for (service, unit) in &self.host.units {
            let check = self.agent.checks.entry(service.clone()).or_default();
            if unit.serves(now) {
                check.good += 1;
                check.bad = 0;
            } else {
                check.bad += 1;
                check.good = 0;
            }
            if check.good >= RISE || check.bad >= RISE {
                check.known = true;
                check.serving = check.good >= RISE;
            }
        }
    }
}
