//! Documents about checklists: what is declared, and how each run went.

use serde::{Deserialize, Serialize};

use crate::id::{ChecklistId, ItemId, RunId};
use crate::model::Checklist;
use crate::time::WallTime;

/// One checklist and its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecklistView {
    /// Its manifest.
    #[serde(flatten)]
    pub checklist: Checklist,
    /// Revision of its manifest.
    pub revision: u64,
    /// `never run`, or the state of the newest run; `overdue` if any open run is.
    pub state: String,
    /// Runs that are kept, newest first.
    pub runs: Vec<RunView>,
}

/// One time that a checklist was gone through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number.
    pub id: RunId,
    /// The checklist.
    pub checklist: ChecklistId,
    /// Day, week or month that it is for; the moment it was opened if a person did.
    pub period: String,
    /// open, overdue, failed while open, passed or closed.
    pub state: String,
    /// When it opened.
    pub opened: WallTime,
    /// Who opened it.
    pub by: String,
    /// By when every item must be done.
    pub ends: Option<WallTime>,
    /// Items that are well.
    pub passed: usize,
    /// Items that are not.
    pub failed: usize,
    /// Items that nobody has looked at yet.
    pub left: usize,
    /// The items, in order.
    pub items: Vec<ItemView>,
    /// When it was closed.
    pub closed_at: Option<WallTime>,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// What was said when it was closed.
    pub closed_note: Option<String>,
}

/// One item of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemView {
    /// Its name.
    pub name: ItemId,
    /// What is looked at.
    pub title: String,
    /// By what it is known: serving, alerts, check, nodes, fact or ask.
    pub by: String,
    /// Whether it is for those who review.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub review: bool,
    /// Where to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// passed, failed, open or overdue.
    pub state: String,
    /// When it was looked at.
    pub at: Option<WallTime>,
    /// Who looked.
    pub actor: Option<String>,
    /// What was seen.
    pub note: Option<String>,
    /// How many were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// By which query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What it is linked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}
