//! Checklists as tables: what there is, and how a run stands item by item.

use serde_json::Value;
use trireme_proto::view::checklist::{ChecklistView, ItemView, RunView};

use super::grid::{Table, table};
use super::page::Page;
use super::table::NONE;

/// Returns checklists.
pub fn lists(items: &[ChecklistView]) -> Table {
    let row = |item: &ChecklistView| {
        let list = &item.checklist;
        let schedule = list.schedule.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string);
        let last = item.runs.first();
        [
            list.name.to_string(),
            list.owner.clone(),
            schedule,
            list.items.len().to_string(),
            item.state.clone(),
            last.map_or_else(|| NONE.to_owned(), |run| run.period.clone()),
            item.revision.to_string(),
        ]
    };
    let header = ["NAME", "OWNER", "SCHEDULE", "ITEMS", "STATE", "LAST", "REVISION"];
    table(header, items.iter().map(row).collect(), "no checklists")
}

/// Returns one checklist: its newest run, and those before it in a line each.
pub fn show(view: &ChecklistView) -> Page {
    let Some((newest, older)) = view.runs.split_first() else {
        return format!("checklist {} was never run", view.checklist.name).into();
    };
    let newest = run(newest);
    if older.is_empty() {
        return newest;
    }
    let row = |run: &RunView| {
        [
            run.id.to_string(),
            run.period.clone(),
            run.state.clone(),
            format!("{} passed, {} failed, {} left", run.passed, run.failed, run.left),
            run.closed_by.clone().unwrap_or_else(|| NONE.to_owned()),
            run.closed_note.clone().unwrap_or_default(),
        ]
    };
    let header = ["RUN", "PERIOD", "STATE", "ITEMS", "CLOSED-BY", "NOTE"];
    newest.gap().table(table(header, older.iter().map(row).collect(), "").cut(&["NOTE"]))
}

/// Returns one run: a line of summary, and its items in order.
pub fn run(run: &RunView) -> Page {
    let by = run.ends.filter(|_| run.closed_at.is_none());
    let by = by.map(|ends| format!(", to be done by {ends}")).unwrap_or_default();
    let summary = format!(
        "{} {} ({}) {}: {} passed, {} failed, {} left{by}",
        run.checklist, run.id, run.period, run.state, run.passed, run.failed, run.left
    );
    let row = |item: &ItemView| {
        let who = item.actor.clone().unwrap_or_else(|| NONE.to_owned());
        let at = item.at.map_or_else(|| NONE.to_owned(), |at| at.to_string());
        let state = item.state.clone();
        [item.name.to_string(), state, at, who, found(item), item.title.clone()]
    };
    let header = ["ITEM", "STATE", "AT", "BY", "FOUND", "WHAT"];
    let items = table(header, run.items.iter().map(row).collect(), "no items");
    let page = Page::from(summary).table(items.cut(&["FOUND", "WHAT"]));
    match (&run.closed_by, &run.closed_note) {
        (Some(who), Some(note)) => page.line(format!("closed by {who}: {note}")),
        _ => page,
    }
}

/// Returns what was found on an item, or what is waited for.
fn found(item: &ItemView) -> String {
    if item.at.is_none() {
        let url = item.url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
        return match (item.by.as_str(), item.review) {
            ("ask", true) => format!("waits for a review{url}"),
            ("ask", false) => format!("waits for an answer{url}"),
            _ => "waits to be looked up".to_owned(),
        };
    }
    let mut words = Vec::new();
    if let (Some(count), Some(query)) = (item.count, &item.query) {
        words.push(format!("{count} by {query}"));
    }
    words.extend(item.link.clone());
    words.extend(item.note.clone().filter(|note| !note.is_empty()));
    if words.is_empty() { NONE.to_owned() } else { words.join("; ") }
}

/// Returns how a run would stand.
pub fn tally(value: &Value) -> String {
    let names = |field: &str| -> String {
        let items = value[field].as_array().into_iter().flatten();
        let names: Vec<_> = items.filter_map(Value::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let closed = if value["closed"] == true { "; it would be closed" } else { "" };
    format!("failed: {}; left: {}{closed}; nothing was changed", names("failed"), names("left"))
}
