//! Every metric of an agent: rules and dashboards ask for these names.
//!
//! Labels are services, checks and states of this node alone; which node it is says one info.

use trireme_telemetry::{COMMON, Metric};

pub const NODE: Metric =
    Metric::info("fleet_agent_info", &["node", "region"], "Node that this agent looks after");
pub const TURNS: Metric =
    Metric::gauge("fleet_agent_loop_answers", &[], "Whether the agent's loop answers in time");
pub const CONNECTED: Metric =
    Metric::gauge("fleet_agent_connected", &[], "Whether a controller holds this node's stream");
pub const GENERATION: Metric =
    Metric::gauge("fleet_agent_generation", &[], "Generation of the newest accepted action");
pub const UNACKED: Metric = Metric::gauge(
    "fleet_agent_reports_waiting",
    &[],
    "Reports that the controllers have not yet recorded",
);
pub const ACTING: Metric =
    Metric::gauge("fleet_agent_acting", &[], "Whether an action is under way");
pub const CHECK: Metric = Metric::gauge(
    "fleet_check_status",
    &["service", "check"],
    "What a check last found: 0 ok, 1 warning, 2 critical, 3 unknown",
);
pub const PASSING: Metric = Metric::gauge(
    "fleet_check_passing",
    &["service", "check"],
    "Whether a check passes, after rise and fall",
);
pub const TOOK: Metric = Metric::gauge(
    "fleet_check_duration_seconds",
    &["service", "check"],
    "How long the last run of a check took",
);
pub const SERVES: Metric =
    Metric::gauge("fleet_service_serving", &["service"], "Whether a service serves on this node");
pub const RUNS: Metric =
    Metric::gauge("fleet_service_running", &["service"], "Whether a service has a process here");
/// Everything that an agent may show.
pub const ALL: &[&[Metric]] = &[
    &[NODE, TURNS, CONNECTED, GENERATION, UNACKED, ACTING],
    &[CHECK, PASSING, TOOK, SERVES, RUNS],
    &COMMON,
];

/// Returns every metric of an agent.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    ALL.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TSP-05: names and types are part of what users rely on.
    #[test]
    fn names_types_and_labels_are_as_reviewed() {
        let mut lines: Vec<String> = all().map(ToString::to_string).collect();
        lines.sort();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
