//! Checklists as people see them: how each run stands, item by item.

use trireme_proto::id::{ChecklistId, RunId};
use trireme_proto::time::WallTime;
use trireme_proto::view::checklist::{ChecklistView, ItemView, RunView};

use super::Lens;
use crate::state::checklist::{ItemRecord, ListRecord, Run};

/// Returns the checklists by name.
pub fn checklists(lens: Lens<'_>) -> Vec<ChecklistView> {
    let wall = lens.fleet.wall;
    lens.fleet.checklists.values().map(|record| checklist(record, wall)).collect()
}

fn checklist(record: &ListRecord, wall: WallTime) -> ChecklistView {
    let name = &record.manifest.name;
    let runs: Vec<_> = record.runs.iter().rev().map(|one| run(name, one, wall)).collect();
    let late = runs.iter().find(|run| run.state == "overdue");
    let state = late.or(runs.first()).map_or("never run", |run| run.state.as_str()).to_owned();
    ChecklistView { checklist: record.manifest.clone(), revision: record.revision, state, runs }
}

/// Returns one run of a checklist.
pub fn checklist_run(lens: Lens<'_>, name: &ChecklistId, id: RunId) -> Option<RunView> {
    let record = lens.fleet.checklists.get(name)?;
    let found = record.runs.iter().find(|run| run.id == id)?;
    Some(run(name, found, lens.fleet.wall))
}

fn run(name: &ChecklistId, run: &Run, wall: WallTime) -> RunView {
    let (failed, left) = (run.failed().count(), run.left().count());
    let state = match &run.closed {
        Some(_) if failed == 0 => "passed",
        Some(_) => "closed",
        None if run.is_late(wall) && left > 0 => "overdue",
        None if failed > 0 => "failed",
        None => "open",
    };
    let late = run.is_late(wall);
    RunView {
        id: run.id,
        checklist: name.clone(),
        period: run.period.clone(),
        state: state.to_owned(),
        opened: run.opened,
        by: run.by.clone(),
        ends: run.ends,
        passed: run.items.len() - failed - left,
        failed,
        left,
        items: run.items.iter().map(|record| item(record, late)).collect(),
        closed_at: run.closed.as_ref().map(|closed| closed.at),
        closed_by: run.closed.as_ref().map(|closed| closed.actor.clone()),
        closed_note: run.closed.as_ref().map(|closed| closed.note.clone()),
    }
}

fn item(record: &ItemRecord, late: bool) -> ItemView {
    let found = record.found.as_ref();
    let state = match found {
        Some(found) if found.passed => "passed",
        Some(_) => "failed",
        None if late => "overdue",
        None => "open",
    };
    let ask = record.item.by.asked();
    ItemView {
        name: record.item.name.clone(),
        title: record.item.title.clone(),
        by: record.item.by.word().to_owned(),
        review: ask.is_some_and(|ask| ask.review),
        url: ask.and_then(|ask| ask.url.clone()),
        state: state.to_owned(),
        at: found.map(|found| found.at),
        actor: found.map(|found| found.actor.clone()),
        note: found.map(|found| found.note.clone()),
        count: found.and_then(|found| found.count.as_ref()).map(|(count, _)| *count),
        query: found.and_then(|found| found.count.as_ref()).map(|(_, query)| query.clone()),
        link: found.and_then(|found| found.link.clone()),
    }
}
