//! Who may pass to each RPC: one row for every method of the descriptor set.
//!
//! A test reads the descriptor set and fails for a method without a row, and another knocks at
//! every door of a running fleet with every kind of certificate and every role.

use trireme_proto::access::Verb;

/// Who may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Whoever brings a one-time token; the only doors without a certificate.
    Token,
    /// The agent of a node of this fleet.
    Agent,
    /// A controller of this fleet.
    Controller,
    /// A person who may do this.
    Person(Verb),
}

/// Returns who may call a method; nobody may call one without a row.
pub fn door(service: &str, method: &str) -> Option<Door> {
    match service {
        "Enrol" | "Login" => Some(Door::Token),
        "Agent" => Some(Door::Agent),
        "Peer" | "Raft" | "Relay" => Some(Door::Controller),
        "Operator" => operator(method).map(Door::Person),
        "Controllers" => controllers(method).map(Door::Person),
        "Operations" => operations(method).map(Door::Person),
        "Alerts" => alerts(method).map(Door::Person),
        "Checklists" => checklists(method).map(Door::Person),
        "People" => people(method).map(Door::Person),
        "Approval" => approval(method).map(Door::Person),
        "Audit" => audit(method).map(Door::Person),
        "Queries" => queries(method).map(Door::Person),
        _ => None,
    }
}

fn operator(method: &str) -> Option<Verb> {
    Some(match method {
        "Apply" => Verb::ManifestApply,
        "Get" => Verb::Get,
        "PlanUpgrade" => Verb::UpgradePlan,
        "StartUpgrade" => Verb::UpgradeStart,
        "PauseUpgrade" => Verb::UpgradePause,
        "ResumeUpgrade" => Verb::UpgradeResume,
        "AbortUpgrade" => Verb::UpgradeAbort,
        "RollbackUpgrade" => Verb::UpgradeRollback,
        "WatchUpgrade" => Verb::UpgradeWatch,
        "Why" => Verb::Why,
        "ReleaseGrant" => Verb::GrantRelease,
        "RemoveNode" => Verb::NodeRemove,
        "Note" => Verb::NoteSet,
        "CreateToken" => Verb::TokenCreate,
        "Controllers" => Verb::ControllerStatus,
        "TransferLeader" => Verb::ControllerTransfer,
        "ListAudit" => Verb::AuditList,
        _ => return None,
    })
}

fn controllers(method: &str) -> Option<Verb> {
    Some(match method {
        "AddController" => Verb::ControllerAdd,
        "RemoveController" => Verb::ControllerRemove,
        "ReplaceController" => Verb::ControllerReplace,
        "RepairController" => Verb::ControllerRepair,
        _ => return None,
    })
}

fn operations(method: &str) -> Option<Verb> {
    Some(match method {
        "Operate" => Verb::ServiceOperate,
        "Drain" => Verb::PlaceDrain,
        "Return" => Verb::PlaceReturn,
        "Cordon" => Verb::NodeCordon,
        "Freeze" => Verb::FleetFreeze,
        "Thaw" => Verb::FleetThaw,
        "Override" => Verb::OverrideAdd,
        "EndOverride" => Verb::OverrideEnd,
        _ => return None,
    })
}

fn alerts(method: &str) -> Option<Verb> {
    Some(match method {
        "Delete" => Verb::ManifestDelete,
        "Acknowledge" => Verb::AlertAcknowledge,
        "Silence" => Verb::AlertSilence,
        "Unsilence" => Verb::AlertUnsilence,
        "TestChannel" => Verb::AlertTest,
        _ => return None,
    })
}

fn checklists(method: &str) -> Option<Verb> {
    Some(match method {
        "Run" => Verb::ChecklistRun,
        "Answer" => Verb::ChecklistAnswer,
        "AnswerReview" => Verb::ChecklistReview,
        "Close" => Verb::ChecklistClose,
        _ => return None,
    })
}

fn people(method: &str) -> Option<Verb> {
    Some(match method {
        "ListUsers" => Verb::UserList,
        "AddUser" => Verb::UserAdd,
        "GrantUser" => Verb::UserGrant,
        "RevokeUser" => Verb::UserRevoke,
        "DisableUser" => Verb::UserDisable,
        "EnableUser" => Verb::UserEnable,
        "RemoveUser" => Verb::UserRemove,
        "LimitUser" => Verb::UserLimit,
        "CreateUserToken" => Verb::UserToken,
        _ => return None,
    })
}

fn approval(method: &str) -> Option<Verb> {
    Some(match method {
        "ApprovePlan" => Verb::PlanApprove,
        "ListReviews" => Verb::ReviewList,
        "Review" => Verb::ReviewRecord,
        _ => return None,
    })
}

fn audit(method: &str) -> Option<Verb> {
    Some(match method {
        "Search" => Verb::AuditList,
        "Checkpoints" => Verb::AuditCheckpoint,
        _ => return None,
    })
}

fn queries(method: &str) -> Option<Verb> {
    Some(match method {
        "ServiceLogs" => Verb::ServiceLogs,
        "ServiceStatus" => Verb::ServiceStatus,
        "ServiceTop" => Verb::ServiceTop,
        "ServiceExec" => Verb::ServiceExec,
        "FleetStatus" => Verb::FleetStatus,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use trireme_proto::access::Access;
    use trireme_proto::wire::{DRY_RUNS, RPCS};

    use super::*;

    /// B1: a new RPC cannot be served before it has been decided who may call it.
    #[test]
    fn every_rpc_of_the_descriptor_set_has_a_row() {
        assert!(RPCS.len() >= 29, "the descriptor set was not read: {RPCS:?}");
        for (service, method) in RPCS {
            assert!(door(service, method).is_some(), "{service}/{method} has no row");
        }
        assert_eq!(door("Operator", "Format"), None);
        assert_eq!(door("Other", "Get"), None);
    }

    /// Changes whose request has its dry run elsewhere: of this one it is in the JSON that it carries.
    const ELSEWHERE: [(&str, &str); 1] = [("Queries", "ServiceExec")];

    /// What people may change can be asked about first; looking needs no such thing.
    #[test]
    fn every_change_by_people_can_be_judged_without_being_done() {
        for rpc @ (service, method) in RPCS {
            if let Some(Door::Person(verb)) = door(service, method) {
                let changes = verb.needs().1 == Access::Change && !ELSEWHERE.contains(rpc);
                assert_eq!(DRY_RUNS.contains(rpc), changes, "{service}/{method} and `dry_run`");
            }
        }
    }
}
