//! Every metric of a controller: rules and dashboards ask for these names.
//!
//! Labels take few values: regions, services, methods, states. The one that names nodes has a
//! limit (`view::NODES_MAX`). None names people.

use trireme_telemetry::{COMMON, Metric};

pub const TERM: Metric =
    Metric::gauge("fleet_raft_term", &[], "Term of the Raft group, as this controller knows it");
pub const COMMIT: Metric =
    Metric::gauge("fleet_raft_commit_index", &[], "Highest index known to be committed");
pub const APPLIED: Metric =
    Metric::gauge("fleet_raft_applied_index", &[], "Highest index applied to the fleet's state");
pub const LAG: Metric = Metric::gauge(
    "fleet_raft_apply_lag",
    &[],
    "Entries that are known to be committed and not yet applied",
);
pub const SNAPSHOT: Metric =
    Metric::gauge("fleet_raft_snapshot_index", &[], "Index that the newest snapshot covers");
pub const LEADS: Metric = Metric::gauge("fleet_raft_is_leader", &[], "Whether this one leads");
pub const HAS_LEADER: Metric =
    Metric::gauge("fleet_raft_has_leader", &[], "Whether this controller hears from a leader");
pub const CHANGES: Metric = Metric::counter(
    "fleet_raft_leader_changes_total",
    &[],
    "Times that this controller has learned of another leader or term",
);
pub const VOTERS: Metric =
    Metric::gauge("fleet_raft_voters", &[], "Controllers with a vote, this one included");
pub const HEARD: Metric = Metric::gauge(
    "fleet_raft_voters_heard",
    &[],
    "Controllers that have answered the leader lately, itself included; told by the leader",
);
pub const QUORUM_AGE: Metric = Metric::gauge(
    "fleet_raft_quorum_age_seconds",
    &[],
    "Time since a majority last acknowledged the leader; told by the leader",
);
pub const AGENTS: Metric =
    Metric::gauge("fleet_agents_connected", &[], "Agents connected to this controller");
pub const CONNECTIONS: Metric =
    Metric::gauge("fleet_connections_open", &[], "Connections of agents, people and controllers");
pub const NODES: Metric =
    Metric::gauge("fleet_nodes", &["region", "state"], "Nodes that are joined, ready or lost");
pub const SEEN: Metric = Metric::gauge(
    "fleet_agent_last_seen_timestamp_seconds",
    &["region", "node"],
    "When an agent was last heard from; of those silent for longest, told by the leader",
);
pub const SERVING: Metric = Metric::gauge(
    "fleet_serving_regions",
    &["service"],
    "Regions that serve a service, by what their nodes last said",
);
pub const REQUIRED: Metric = Metric::gauge(
    "fleet_serving_regions_required",
    &["service"],
    "Regions that must serve it, whatever is done",
);
pub const REGION_SERVING: Metric =
    Metric::gauge("fleet_region_serving", &["service", "region"], "Whether a region serves it");
pub const SERVICE_NODES: Metric = Metric::gauge(
    "fleet_service_nodes",
    &["service", "region", "state"],
    "Nodes that are to run it, by whether it serves there",
);
pub const GRANTS: Metric = Metric::gauge(
    "fleet_grants_held",
    &[],
    "Grants that count as down: capacity that is being taken away",
);
pub const OVERDUE: Metric = Metric::gauge(
    "fleet_grant_overdue",
    &[],
    "Grants that are held for longer than they should; they still count",
);
pub const UPGRADE: Metric = Metric::gauge(
    "fleet_upgrade_state",
    &["service", "state"],
    "State of a service's newest upgrade: 1 for the one that it is in",
);
pub const WAITING: Metric = Metric::gauge(
    "fleet_upgrade_waiting",
    &["service"],
    "Things that an upgrade under way waits for, as `trictl why ID` tells",
);
pub const REVISION: Metric =
    Metric::gauge("fleet_manifest_revision", &[], "Revision of what is declared");
pub const AUDITED: Metric = Metric::counter(
    "fleet_audit_entries_total",
    &[],
    "Entries of the audit, since the fleet began",
);
pub const AUDIT_FAILED: Metric = Metric::counter(
    "fleet_audit_append_failures_total",
    &[],
    "Times that the audit could not be written; the controller ends then",
);
pub const OFFSET: Metric = Metric::gauge(
    "fleet_clock_offset_seconds",
    &["controller"],
    "How far another controller's wall clock is ahead of this one's; told by the leader",
);
pub const REQUESTS: Metric = Metric::counter(
    "fleet_rpc_requests_total",
    &["method", "code"],
    "Requests that were answered, or begun where they are streams without end",
);
pub const TOOK: Metric = Metric::histogram(
    "fleet_rpc_duration_seconds",
    &["method"],
    "Time from a request to the end of its answer",
);
pub const DENIED: Metric = Metric::counter(
    "fleet_authz_denied_total",
    &["role", "method"],
    "Requests that were refused because the caller may not",
);
pub const HANDSHAKES: Metric = Metric::counter(
    "fleet_tls_handshake_failures_total",
    &["listener", "reason"],
    "Connections that did not come to a request",
);

/// Everything that a controller may show.
pub const ALL: &[&[Metric]] = &[
    &[TERM, COMMIT, APPLIED, LAG, SNAPSHOT, LEADS, HAS_LEADER, CHANGES, VOTERS, HEARD],
    &[QUORUM_AGE, AGENTS, CONNECTIONS, NODES, SEEN, SERVING, REQUIRED, REGION_SERVING],
    &[SERVICE_NODES, GRANTS, OVERDUE, UPGRADE, WAITING, REVISION, AUDITED, AUDIT_FAILED],
    &[OFFSET, REQUESTS, TOOK, DENIED, HANDSHAKES],
    &COMMON,
];

/// Returns every metric of a controller.
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

    #[test]
    fn names_follow_the_conventions() {
        for metric in all() {
            let name = metric.name;
            assert!(name.starts_with("fleet_") || name.starts_with("process_"), "{name}");
            let total = matches!(metric.kind, trireme_telemetry::Kind::Counter);
            assert_eq!(name.ends_with("_total"), total, "{name}");
            assert!(!metric.help.ends_with('.') && !metric.help.is_empty(), "{name}");
            let of_people = ["user", "subject", "id", "source"];
            assert!(metric.labels.iter().all(|label| !of_people.contains(label)), "{name}");
        }
    }
}
