//! Approvals, starts without them and reviews as tables.

use trireme_proto::view::approval::{ApprovalsView, BreakView, ReviewView, ReviewsView};

use super::page::Page;
use super::table::{NONE, Table, list, table};

/// Returns what is said to plans.
pub fn plans(items: &[ApprovalsView]) -> Table {
    let row = |item: &ApprovalsView| {
        let proposer = item.proposer.clone().unwrap_or_else(|| NONE.to_owned());
        [item.plan.clone(), proposer, list(&item.approved_by)]
    };
    let header = ["PLAN", "PROPOSED-BY", "APPROVED-BY"];
    table(header, items.iter().map(row).collect(), "no plan waits for approval")
        .cut(&["APPROVED-BY"])
}

/// Returns all of it, what is to be reviewed first.
pub fn reviews(view: &ReviewsView) -> Page {
    let broken = |item: &BreakView| {
        [
            item.id.clone(),
            item.plan.to_string(),
            item.actor.clone(),
            item.at.to_string(),
            item.state.clone(),
            item.reason.clone(),
        ]
    };
    let review = |item: &ReviewView| {
        [
            item.id.clone(),
            item.of.clone(),
            item.count.map_or_else(|| NONE.to_owned(), |count| count.to_string()),
            item.reviewer.clone(),
            item.at.to_string(),
            item.note.clone(),
        ]
    };
    let breaks = table(
        ["NAME", "PLAN", "BY", "AT", "STATE", "REASON"],
        view.breaks.iter().map(broken).collect(),
        "nothing was started without approval",
    )
    .cut(&["REASON"]);
    let reviews = table(
        ["NAME", "OF", "COUNT", "BY", "AT", "NOTE"],
        view.items.iter().map(review).collect(),
        "no reviews",
    )
    .cut(&["NOTE"]);
    Page::from(breaks).gap().table(plans(&view.plans)).gap().table(reviews)
}
