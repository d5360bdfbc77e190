//! What must hold of a Raft group at every moment: one property, one file.
//!
//! [`table`] is the list. A rule sees what members say, what their logs hold and what clients were
//! told ([`Scene`]); what it demands it computes itself.

mod applied;
mod committed;
mod complete;
mod durable;
mod election;
mod ended;
mod matching;
mod once;
mod order;
mod overlap;
mod phantom;
mod purged;
mod quorum;
mod reads;
mod restored;
mod rising;
mod running;
mod survives;
mod voted;

use super::scene::{Moment, Scene};

/// Looks at moments, one after another.
pub trait Look {
    /// Says what is wrong, if anything is.
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String>;
}

/// A property that must hold.
pub type Rule = crate::rule::Rule<dyn Look>;

fn rule(name: &'static str, sentence: &'static str, check: impl Look + 'static) -> Rule {
    Rule { name, sentence, check: Box::new(check) }
}

/// Returns all properties, fresh for one history.
pub fn table() -> Vec<Rule> {
    vec![
        rule(
            "election",
            "who leads has its own granted vote, and no two lead under one vote",
            election::Election::default(),
        ),
        rule(
            "matching",
            "entries of one identity are the same and follow the same entry, in every log",
            matching::Matching::default(),
        ),
        rule(
            "complete",
            "who begins to lead holds everything committed before",
            complete::Complete::default(),
        ),
        rule(
            "applied",
            "every machine applies what is committed, in order, to the same state",
            applied::Applied::default(),
        ),
        rule(
            "restored",
            "a snapshot holds exactly the state that the log up to it gives",
            restored::Restored::default(),
        ),
        rule("quorum", "what is committed lies on a quorum of the voters", quorum::Quorum),
        rule(
            "committed",
            "what one member calls committed no member ever calls otherwise",
            committed::Committed::default(),
        ),
        rule("order", "purged <= snapshot <= applied <= committed <= last", order::Order),
        rule("rising", "no term, vote or mark of a running member ever falls", rising::Rising),
        rule("voted", "a vote that was told outlives every crash", voted::Voted),
        rule(
            "durable",
            "entries that a member told it holds outlive every crash",
            durable::Durable,
        ),
        rule("purged", "only what a snapshot on the disk covers is purged", purged::Purged),
        rule(
            "overlap",
            "one set of voters follows another only if they share a quorum",
            overlap::Overlap::default(),
        ),
        rule("running", "nothing but a fault of its disk ends a member", running::Running),
        rule("phantom", "nobody reads what nobody wrote", phantom::Phantom),
        rule(
            "once",
            "a write that is acknowledged stands at one place of the log and has one effect",
            once::Once::default(),
        ),
        rule(
            "reads",
            "an answer sees everything that anybody was told before it was asked for",
            reads::Reads,
        ),
        rule("survives", "every acknowledged write is there in the end", survives::Survives),
        rule("ended", "in the end all voters agree on log and state", ended::Ended),
    ]
}
