//! Upgrades as they are recorded: the plan, how far each wave has come, where each node stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::action::RunSpec;
use trireme_proto::id::{ActionId, GrantId, NodeId};
use trireme_proto::plan::Plan;
use trireme_proto::time::{FleetTime, WallTime};
use trireme_proto::view::UpgradePhase;

use super::fleet::Class;
use super::hints::Hints;

/// One upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The plan it follows, and its target.
    pub plan: Plan,
    /// What will run; none where every node keeps what is recorded of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RunSpec>,
    /// What ran on each node before; where a rollback returns to.
    pub previous: BTreeMap<NodeId, Option<RunSpec>>,
    /// Nodes on which an operator had stopped that; a rollback leaves it down there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<NodeId>,
    /// Where it stands.
    pub phase: UpgradePhase,
    /// Since when it is paused, if it is.
    pub paused: Option<FleetTime>,
    /// Why it goes back, was stopped or failed.
    pub reason: Option<String>,
    /// Who started it.
    pub actor: String,
    /// When, for people.
    pub started_at: WallTime,
    /// When, for counting.
    pub started: FleetTime,
    /// When it must have ended.
    pub due: FleetTime,
    /// When it ended.
    pub ended: Option<FleetTime>,
    /// Waves, in the plan's order.
    pub waves: Vec<WaveRecord>,
}

impl Upgrade {
    /// Returns what a node runs afterwards; none where nothing was ever installed.
    pub fn target_of(&self, node: &NodeId) -> Option<&RunSpec> {
        self.target.as_ref().or_else(|| self.previous.get(node)?.as_ref())
    }

    /// Returns the precedence of its work: what an operator asks of a service goes before releases.
    pub fn class(&self) -> Class {
        if self.plan.operation.is_upgrade() { Class::Upgrade } else { Class::Manual }
    }

    /// Returns the first wave that has not passed.
    pub fn current_wave(&self) -> Option<usize> {
        self.waves.iter().position(|wave| !wave.has_passed())
    }
}

/// A wave and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveRecord {
    /// Grant under which its nodes are touched.
    pub grant: Option<GrantId>,
    /// Log index from which its nodes are out of traffic.
    pub drained_at: Option<u64>,
    /// When every controller had confirmed that, or 5 s had passed.
    pub settled: Option<FleetTime>,
    /// When its last node was back in traffic.
    pub baking: Option<FleetTime>,
    /// Last time anything moved; deadlines of steps count from here.
    pub moved: FleetTime,
    /// Its nodes.
    pub nodes: BTreeMap<NodeId, Stage>,
    /// Where to look first.
    #[serde(skip)]
    pub hints: Hints,
}

impl WaveRecord {
    /// Returns whether every node has come through.
    pub fn has_passed(&self) -> bool {
        self.nodes.values().all(Stage::has_passed)
    }
}

/// Where a node stands in an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was asked of it yet.
    Waiting,
    /// It fetches the artifact.
    Staging {
        /// Action that does it.
        action: ActionId,
    },
    /// The artifact is there, its digest checked.
    Staged,
    /// It stops the old and starts the new.
    Switching {
        /// Action that does it.
        switch: ActionId,
    },
    /// The new release runs, is healthy and in traffic; the revert is armed.
    Up {
        /// Action that did it.
        switch: ActionId,
    },
    /// The revert is being disarmed.
    Confirming {
        /// Action that is confirmed.
        switch: ActionId,
        /// Action that confirms.
        confirm: ActionId,
    },
    /// The new release stays.
    Confirmed {
        /// Action that did it.
        switch: ActionId,
    },
    /// It is stopped, and stays so until it is started; its grant is held.
    Stopped {
        /// Action that did it.
        switch: ActionId,
    },
    /// The new release did not come up there; the node has put the old one back by itself.
    Failed {
        /// Action that failed.
        switch: ActionId,
        /// Why.
        reason: String,
    },
    /// The old release is being put back.
    Reverting {
        /// Action that does it.
        revert: ActionId,
        /// Switch that it ends.
        switch: ActionId,
    },
    /// What ran before runs again.
    Reverted,
    /// It can neither go on nor back by itself.
    Dirty {
        /// Action that touched it.
        switch: ActionId,
        /// Why.
        reason: String,
    },
    /// It was left out, with the reason.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl Stage {
    /// Returns whether the upgrade has nothing more to do there.
    pub fn has_passed(&self) -> bool {
        matches!(self, Self::Confirmed { .. } | Self::Stopped { .. } | Self::Skipped { .. })
    }

    /// Returns the stage in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Staging { .. } => "staging",
            Self::Staged => "staged",
            Self::Switching { .. } => "switching",
            Self::Up { .. } => "up",
            Self::Confirming { .. } => "confirming",
            Self::Confirmed { .. } => "confirmed",
            Self::Stopped { .. } => "stopped",
            Self::Failed { .. } => "failed",
            Self::Reverting { .. } => "reverting",
            Self::Reverted => "reverted",
            Self::Dirty { .. } => "needs a person",
            Self::Skipped { .. } => "skipped",
        }
    }

    /// Returns the switch that touched the node and that a rollback has to end.
    pub fn touched_by(&self) -> Option<ActionId> {
        match self {
            Self::Switching { switch }
            | Self::Up { switch }
            | Self::Confirming { switch, .. }
            | Self::Confirmed { switch }
            | Self::Stopped { switch }
            | Self::Failed { switch, .. } => Some(*switch),
            Self::Waiting
            | Self::Staging { .. }
            | Self::Staged
            | Self::Reverting { .. }
            | Self::Reverted
            | Self::Dirty { .. }
            | Self::Skipped { .. } => None,
        }
    }
}
