//! What the leader does next to bring Raft's members to what the fleet's record says.
//!
//! ```text
//!  change under way   admit ─▶ wait until it has caught up ─▶ hand over, if the leader leaves
//!                           ─▶ one joint change of voters ─▶ finish
//!  none               send away whoever votes no more, once it has heard of that
//! ```
//!
//! It remembers nothing, so that a new leader goes on from wherever its predecessor was: also from
//! between the two halves of a joint change.

use std::collections::BTreeSet;

use trireme_proto::time::{FleetTime, Span};

use crate::state::Fleet;
use crate::state::controllers::{Group, LAG_MAX, Newcomer, Regroup, carries};

/// Time for a newcomer to catch up, after which the change is given up: nothing has depended on it
/// so far, and nothing else can be changed meanwhile.
pub const CATCH_UP_MAX: Span = Span::secs(600);

/// Time for one that has left to hear of it.
const FAREWELL: Span = Span::secs(2);

/// Time after which one that has left and does not answer is sent away all the same.
const FAREWELL_MAX: Span = Span::secs(10);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// All is as it should be.
    Nothing,
    /// Something has to happen elsewhere first.
    Wait(String),
    /// Let it copy the log.
    Admit(Newcomer),
    /// Hand the lead over: this leader is to leave.
    HandOver(u64),
    /// Make these the voters.
    VoteIn(BTreeSet<u64>),
    /// Record that the change is finished.
    Finish(u64),
    /// Record that it is given up.
    GiveUp(u64, String),
    /// Send away a member that does not vote.
    Dismiss(u64),
}

/// Returns what to do next with the controllers.
pub fn next(fleet: &Fleet, group: &Group, now: FleetTime) -> Next {
    match &fleet.regroup {
        Some(change) => change_on(fleet, change, group, now),
        None => tidy(fleet, group, now),
    }
}

fn change_on(fleet: &Fleet, change: &Regroup, group: &Group, now: FleetTime) -> Next {
    let wanted = change.voters(fleet);
    let will_vote: BTreeSet<u64> =
        group.seats.iter().filter(|seat| seat.will_vote).map(|seat| seat.id).collect();
    let votes = group.seats.iter().any(|seat| seat.votes && !seat.will_vote);
    if will_vote == wanted {
        return match (group.settled, votes) {
            (true, _) => Next::Finish(change.number),
            // The first half is there; whoever began it may be gone.
            (false, true) => Next::VoteIn(wanted),
            (false, false) => Next::Wait("the new voters to be agreed on".to_owned()),
        };
    }
    if !group.settled {
        return Next::Wait("the members to be agreed on".to_owned());
    }
    let late = now.since(change.at) > CATCH_UP_MAX;
    let wait = |why: String| {
        if late { Next::GiveUp(change.number, why) } else { Next::Wait(why) }
    };
    let newcomer = change.add.as_ref().map(|one| one.record.raft_id);
    if let Some(one) = &change.add {
        let (id, name) = (one.record.raft_id, &one.name);
        if group.seat(id).is_none() {
            return Next::Admit(one.clone());
        }
        match group.lag(id) {
            None => return wait(format!("{name} has not answered yet")),
            Some(lag) if lag > LAG_MAX => return wait(format!("{name} is {lag} entries behind")),
            Some(_) if !group.is_there(id) => return wait(format!("{name} does not answer")),
            Some(_) => {}
        }
    }
    if let Err(problem) = carries(&wanted, newcomer, group) {
        return wait(problem.message);
    }
    if !wanted.contains(&group.own) {
        return heir(&wanted, newcomer, group);
    }
    Next::VoteIn(wanted)
}

/// Has the most caught-up of those who vote now and stay take the lead.
fn heir(wanted: &BTreeSet<u64>, newcomer: Option<u64>, group: &Group) -> Next {
    let seats = group.seats.iter();
    let seats = seats.filter(|seat| seat.votes && wanted.contains(&seat.id));
    let seats = seats.filter(|seat| group.is_well(seat.id));
    match seats.max_by_key(|seat| (seat.matched, std::cmp::Reverse(seat.id))) {
        Some(heir) => Next::HandOver(heir.id),
        // Of one voter there is no other: it takes the newcomer in first and leaves then.
        None => match newcomer {
            Some(id) => Next::VoteIn([group.own, id].into()),
            None => Next::Wait("somebody who could lead".to_owned()),
        },
    }
}

/// Sends away who votes no more and is not on record, once it has heard of it.
fn tidy(fleet: &Fleet, group: &Group, now: FleetTime) -> Next {
    if !group.settled {
        return Next::Nothing;
    }
    let known: BTreeSet<u64> = fleet.controllers.values().map(|one| one.raft_id).collect();
    let ended = fleet.regrouped.as_ref().map_or(FleetTime(0), |ended| ended.at);
    let age = now.since(ended);
    let left = group.seats.iter().filter(|seat| !seat.votes && !known.contains(&seat.id));
    for seat in left {
        let heard = seat.matched.is_some_and(|at| at >= fleet.controllers_at);
        if !fleet.retired.contains_key(&seat.id) || age > FAREWELL_MAX || (heard && age > FAREWELL)
        {
            return Next::Dismiss(seat.id);
        }
    }
    Next::Nothing
}

#[cfg(test)]
mod tests;
