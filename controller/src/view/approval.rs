//! Approvals, starts without them and reviews as operators see them.

use trireme_proto::time::FleetTime;
use trireme_proto::view::approval::{ApprovalsView, BreakView, ReviewView, ReviewsView};

use crate::state::Fleet;
use crate::state::approval::{Break, Review, Reviewed};

/// Returns all of them.
pub fn reviews(fleet: &Fleet, now: FleetTime) -> ReviewsView {
    let mut breaks: Vec<_> = fleet.breaks.iter().rev().collect();
    breaks.sort_by_key(|(_, record)| record.review.is_some());
    ReviewsView {
        breaks: breaks.into_iter().map(|(id, record)| broken(*id, record, now)).collect(),
        plans: fleet
            .approvals
            .iter()
            .map(|(plan, said)| ApprovalsView {
                plan: plan.clone(),
                proposer: said.proposer.clone(),
                approved_by: said
                    .given
                    .iter()
                    .filter(|(_, approval)| approval.until > now)
                    .map(|(who, _)| who.clone())
                    .collect(),
            })
            .collect(),
        items: fleet.reviews.iter().rev().map(|(id, record)| review(*id, record)).collect(),
    }
}

/// Returns what everybody should know of before anything else, in one line each.
pub fn attention(fleet: &Fleet, now: FleetTime) -> Vec<String> {
    let open = fleet.breaks.iter().filter(|(_, record)| record.review.is_none());
    open.map(|(id, record)| {
        let Break { actor, at, plan, reason, .. } = record;
        let overdue = if now > record.due { ", overdue" } else { "" };
        format!(
            "break-{id}: {actor} started {plan} without approval at {at} ({reason}); to be \
             reviewed by another person{overdue}: trictl review break break-{id} --note WHAT"
        )
    })
    .collect()
}

fn broken(id: u64, record: &Break, now: FleetTime) -> BreakView {
    let state = match record.review {
        Some(_) => "reviewed",
        None if now > record.due => "overdue",
        None => "to be reviewed",
    };
    BreakView {
        id: format!("break-{id}"),
        plan: record.plan.clone(),
        actor: record.actor.clone(),
        reason: record.reason.clone(),
        at: record.at,
        due: record.due,
        state: state.to_owned(),
        remaining: record.due.since(now),
    }
}

fn review(id: u64, record: &Review) -> ReviewView {
    let (of, query, count) = match &record.of {
        Reviewed::Break { id } => (format!("break-{id}"), None, None),
        Reviewed::Audit { from, to, query, count } => {
            (format!("audit {from}-{to}"), Some(query.clone()), Some(*count))
        }
        Reviewed::Access { count } => ("users".to_owned(), None, Some(*count)),
    };
    ReviewView {
        id: format!("review-{id}"),
        of,
        query,
        count,
        note: record.note.clone(),
        incident: record.incident.clone(),
        reviewer: record.reviewer.clone(),
        at: record.at,
    }
}
