//! What the controllers agree on about checklists: what is declared, and how each run went.
//!
//! ```text
//!  due, by the leader ──▶ open ── looked up, answered ──▶ every item done and well ──▶ closed
//!  trictl checklist run ─┘  ▲                    │
//!                           └── looked up again ─┴─ some failed ──▶ trictl checklist close
//! ```
//!
//! When something is due is found out by the leader, from wall time and time zones, and committed
//! with the run. What an automatic item was found to be comes with the command as well. A run keeps
//! the items as they were when it opened: who changes a checklist changes no past.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::id::{ChecklistId, ItemId, RunId};
use trireme_proto::model::{Checklist, Item};
use trireme_proto::time::WallTime;

/// A checklist, and how it went lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRecord {
    /// Its manifest.
    pub manifest: Checklist,
    /// Manifest revision of its last change.
    pub revision: u64,
    /// Since when its schedule holds: what was over by then is not made up for.
    pub since: WallTime,
    /// When the last run that opened by itself was due.
    pub last_due: WallTime,
    /// Runs, oldest first.
    pub runs: Vec<Run>,
}

impl ListRecord {
    /// Returns the newest run that is not closed: the one that people mean.
    pub fn open_run(&self) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.closed.is_none())
    }
}

/// One time that a checklist is gone through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Day, week or month that it is for; the moment it was opened if a person did.
    pub period: String,
    /// When it opened.
    pub opened: WallTime,
    /// Who opened it.
    pub by: String,
    /// By when every item must be done; none if a person opened it.
    pub ends: Option<WallTime>,
    /// Its items, in order.
    pub items: Vec<ItemRecord>,
    /// How it ended.
    pub closed: Option<Closed>,
}

impl Run {
    /// Returns the items that nobody has looked at yet.
    pub fn left(&self) -> impl Iterator<Item = &ItemRecord> {
        self.items.iter().filter(|record| record.found.is_none())
    }

    /// Returns the items that were not well.
    pub fn failed(&self) -> impl Iterator<Item = &ItemRecord> {
        self.items.iter().filter(|record| record.found.as_ref().is_some_and(|one| !one.passed))
    }

    /// Returns whether its time is over, at `wall`, and it is not.
    pub fn is_late(&self, wall: WallTime) -> bool {
        self.closed.is_none() && self.ends.is_some_and(|ends| wall >= ends)
    }
}

/// An item, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The item as it was when the run opened.
    pub item: Item,
    /// What was found last.
    pub found: Option<Found>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Whether it is well.
    pub passed: bool,
    /// When, for people.
    pub at: WallTime,
    /// Who says so.
    pub actor: String,
    /// What was seen.
    pub note: String,
    /// How many were found, by which query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<(u64, String)>,
    /// What it is linked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    pub at: WallTime,
    /// Who.
    pub actor: String,
    /// What was said.
    pub note: String,
}

/// What the leader found of automatic items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Run whose items were looked up; none for those of the manifest.
    pub run: Option<RunId>,
    /// Revision of the checklist that was looked at.
    pub revision: u64,
    /// Of each item, in order.
    pub items: Vec<Finding>,
}

/// What the leader found of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The item.
    pub item: ItemId,
    /// Whether it is well.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

/// What a person answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Whether it is well.
    pub passed: bool,
    /// What was found, in words.
    pub note: String,
    /// How many were found.
    pub count: Option<u64>,
    /// By which query.
    pub query: String,
    /// What it is linked to.
    pub link: Option<String>,
}

/// One change of what is known about checklists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ChecklistStep {
    /// It is due: a run opens, and what the controllers can look up is looked up.
    Open {
        /// The checklist.
        checklist: ChecklistId,
        /// Day, week or month that it is for.
        period: String,
        /// When it was due.
        due: WallTime,
        /// By when every item must be done.
        ends: WallTime,
        /// What the leader found.
        findings: Findings,
    },
    /// Looks up what the controllers can, in the open run or a new one; the leader fills in what it
    /// finds.
    Run {
        /// The checklist.
        checklist: ChecklistId,
        /// What the leader found.
        findings: Findings,
    },
    /// Says what a person found.
    Answer {
        /// The checklist.
        checklist: ChecklistId,
        /// Run that is meant; the newest open one by default.
        run: Option<RunId>,
        /// The item.
        item: ItemId,
        /// What was found.
        answer: Answer,
        /// Whether somebody answers who reviews.
        review: bool,
    },
    /// Ends a run in which something was not well.
    Close {
        /// The checklist.
        checklist: ChecklistId,
        /// Run that is meant; the newest open one by default.
        run: Option<RunId>,
        /// What is done about what was not well.
        note: String,
    },
}

impl ChecklistStep {
    /// Returns the verb and the object for the audit.
    pub fn describe(&self) -> (&'static str, String) {
        let named = |list: &ChecklistId| format!("checklist/{list}");
        match self {
            Self::Open { checklist, period, .. } => {
                ("checklist.open", format!("{}/{period}", named(checklist)))
            }
            Self::Run { checklist, .. } => ("checklist.run", named(checklist)),
            Self::Answer { checklist, item, review, .. } => {
                let verb = if *review { "checklist.review" } else { "checklist.answer" };
                (verb, format!("{}/{item}", named(checklist)))
            }
            Self::Close { checklist, .. } => ("checklist.close", named(checklist)),
        }
    }
}

/// How a run stands, as commands are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The run.
    pub run: Option<RunId>,
    /// Items that were not well, in order.
    pub failed: Vec<ItemId>,
    /// Items that nobody has looked at yet.
    pub left: Vec<ItemId>,
    /// Whether the run is closed.
    pub closed: bool,
}

impl Tally {
    /// Returns how a run stands.
    pub fn of(run: &Run) -> Self {
        let name = |record: &ItemRecord| record.item.name.clone();
        Self {
            run: Some(run.id),
            failed: run.failed().map(name).collect(),
            left: run.left().map(name).collect(),
            closed: run.closed.is_some(),
        }
    }
}

/// Everything about checklists.
pub type Checklists = BTreeMap<ChecklistId, ListRecord>;

/// Returns the items that nobody has looked at in time: checklist, item, and period.
pub fn overdue(lists: &Checklists, wall: WallTime) -> BTreeSet<(&ChecklistId, &ItemId, &str)> {
    lists
        .iter()
        .flat_map(|(name, record)| record.runs.iter().map(move |run| (name, run)))
        .filter(|(_, run)| run.is_late(wall))
        .flat_map(|(name, run)| {
            run.left().map(move |record| (name, &record.item.name, run.period.as_str()))
        })
        .collect()
}
