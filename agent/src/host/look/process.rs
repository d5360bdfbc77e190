//! A look at a process of the agent's own, or at the main process of a unit.

use tokio::time::Instant;
use trireme_proto::id::ServiceId;
use trireme_proto::query::{Instance, InstanceUse};

use super::usage::Sample;
use crate::clock::wall;
use crate::host::{Observation, RunState, procfs};

/// Returns the process, if there is one.
pub(super) fn instances(service: &ServiceId, observation: &Observation) -> Vec<Instance> {
    let Some(stat) = observation.state.pid().and_then(procfs::stat) else { return Vec::new() };
    let state = match observation.state {
        RunState::Stopping { .. } => "stopping",
        _ => "running",
    };
    vec![Instance {
        name: service.to_string(),
        id: stat.id.pid.to_string(),
        state: state.to_owned(),
        health: None,
        image: None,
        since: Some(procfs::started_at(stat.id, wall())),
        restarts: observation.restart,
    }]
}

/// Returns what the process and all that it has started use, given all processes of the host.
pub(super) fn sample(
    service: &ServiceId,
    observation: &Observation,
    table: &[procfs::Row],
) -> Vec<Sample> {
    // A unit may run without a main process.
    let Some(leader) = observation.state.pid().filter(|pid| *pid != 0) else { return Vec::new() };
    let members = procfs::family(leader, table);
    if members.is_empty() {
        return Vec::new();
    }
    let at = Instant::now();
    let (mut own, mut shared) = (0, 0);
    for member in &members {
        let held = procfs::memory(member.stat.id.pid).unwrap_or_default();
        own += held.own;
        // What they share was most likely loaded from the same files.
        shared = held.shared.max(shared);
    }
    let cpu = members.iter().map(|row| ((row.stat.id.pid, row.stat.id.ticks), row.cpu));
    let used = InstanceUse {
        name: service.to_string(),
        id: leader.to_string(),
        cpu_millicores: 0,
        memory_bytes: own + shared,
        memory_limit_bytes: procfs::host_memory(),
        received_bytes: None,
        sent_bytes: None,
        processes: members.len() as u64,
    };
    vec![Sample { used, cpu: cpu.collect(), at }]
}
