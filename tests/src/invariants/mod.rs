//! What must hold in every simulated history, after every event: one property, one file.
//!
//! [`table`] is the list. Names are those of `ARCHITECTURE.md`; each sentence is the claim. A rule
//! looks at the world from outside: at the truth of the hosts, at what is durable on the agents'
//! disks, and at the committed log before any controller has applied it. It computes what it
//! demands itself and never asks the code that it judges.

mod agreement;
mod answer;
mod audit;
mod baked;
mod capacity;
mod contact;
mod covered;
mod deduplicated;
mod excluded;
mod fence;
mod fresh;
mod intended;
mod liveness;
mod once;
mod one_action;
mod one_region;
mod order;
mod probed;
mod proof;
mod reasons;
mod refusal;
mod restoring;
mod returned;
mod rollback_target;
mod settled;
mod unsaid;
mod vouched;

use std::rc::Rc;

use trireme_agent::plan::{Key, Probed, Task};
use trireme_controller::plan::Decision;
use trireme_controller::state::{Body, Evidence, Fleet, Outcome};
use trireme_proto::action::{Action, Fence, ServiceState};
use trireme_proto::id::{NodeId, ServiceId};
use trireme_proto::time::FleetTime;

use crate::sim::World;
use crate::sim::raft::Committed;

/// A node of a service.
type Pair = (NodeId, ServiceId);

/// Something that has just happened.
#[derive(Debug, Clone)]
pub enum Moment {
    /// An entry was committed and applied to the log's own copy of the fleet.
    Committed(Rc<Committed>),
    /// A leader has decided; `in_flight` tells that it waits for proposals of its own.
    Decided {
        /// The leader.
        controller: usize,
        /// What it decided.
        decision: Rc<Decision>,
        /// Fleet time by its clock.
        now: FleetTime,
        /// Whether earlier proposals have not ended.
        in_flight: bool,
    },
    /// A controller offers an action to an agent that is connected to it.
    Offered {
        /// The controller.
        controller: usize,
        /// The action.
        action: Rc<Action>,
    },
    /// An agent hears an offer.
    Heard {
        /// Its node.
        node: usize,
        /// What is offered.
        action: Rc<Action>,
        /// Age of the view of this node that the offer rests on, by the agent's clock, in
        /// milliseconds; none if the agent never gave such a view.
        age: Option<u64>,
    },
    /// An agent has durably accepted an action.
    Accepted {
        /// Its node.
        node: usize,
        /// The action.
        action: Rc<Action>,
    },
    /// A step begins on a host.
    Begins {
        /// The node.
        node: usize,
        /// The step.
        task: Rc<Task>,
    },
    /// An agent has found out whether a step was done before it crashed.
    Probed {
        /// The node.
        node: usize,
        /// Which step.
        key: Key,
        /// What it found.
        found: Probed,
    },
    /// The effect of a step has happened.
    Performed {
        /// The node.
        node: usize,
        /// The step.
        task: Rc<Task>,
    },
    /// An agent says which fence it holds.
    Announced {
        /// The node.
        node: usize,
        /// The fence.
        fence: Fence,
    },
    /// An agent has read its disk again.
    Restarted {
        /// The node.
        node: usize,
    },
    /// An operator gets an answer.
    Answered {
        /// Who.
        operator: usize,
        /// Number of the request.
        sequence: u64,
        /// What came of it, as the operator is told.
        outcome: Rc<Outcome>,
    },
    /// Faults have stopped long ago and nothing moves any more.
    Ended,
}

/// Looks at moments, one after another.
pub trait Look {
    /// Says what is wrong, if anything is.
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String>;
}

/// A property that must hold.
pub type Rule = crate::rule::Rule<dyn Look>;

/// The table of all properties, fresh for one history: name, claim, and who looks after it.
macro_rules! table {
    ($($name:literal, $sentence:literal, $look:ty;)*) => {
        /// Returns all properties, fresh for one history.
        pub fn table() -> Vec<Rule> {
            vec![$(Rule {
                name: $name,
                sentence: $sentence,
                check: Box::new(<$look>::default()),
            },)*]
        }
    };
}

table! {
    "I1", "nothing is taken while fewer regions than promised would then truly serve",
        capacity::Capacity;
    "I2", "grants that cost capacity touch one region of a service at a time",
        one_region::OneRegion;
    "I4", "a wave is switched only after every wave before it has passed", order::Order;
    "I5", "a wave is confirmed, and its grant given back, only after the whole of its bake",
        baked::Baked;
    "I6", "a node has one action that has not ended, and a host does one step at a time",
        one_action::OneAction;
    "I7", "an agent's fence never falls, and one fence means one action", fence::Fences;
    "I8", "a rollback returns to what truly ran before, never to a name",
        rollback_target::RollbackTarget;
    "I9", "after a rollback every touched node runs what it ran before, or a person is told",
        returned::Returned;
    "I13", "every applied command has one audit entry, and the chain verifies", audit::Audit;
    "I16", "what cannot advance says why", reasons::Reasons;
    "I17", "with a stable leader and healthy machines every upgrade ends within its deadlines",
        liveness::Liveness;
    "I18", "what only restores is never refused", restoring::Restoring;
    "I19", "a node that was gone before an upgrade began is left out and blocks nobody",
        excluded::Excluded;
    "once", "no action starts a process twice", once::Once;
    "covered", "a host is disturbed only under a grant that is held", covered::Covered;
    "proof", "a grant is released only when nothing can happen under it", proof::Proof;
    "answer", "clients always get an answer, without removed or drained nodes", answer::Answer;
    "refusal", "a refused command changes nothing", refusal::Refusal;
    "agreement", "a leader does not propose what apply keeps refusing", agreement::Agreement;
    "intended", "a step begins only when its intent is on disk", intended::Intended;
    "unsaid", "what a node has said is never unsaid", unsaid::Unsaid;
    "fresh", "an agent takes only what is offered on a fresh view of it", fresh::Fresh;
    "probed", "a step that may have been done before a crash is probed before it is done again",
        probed::ProbedFirst;
    "contact", "a controller that has lost its leader offers nothing", contact::Contact;
    "vouched", "nothing is taken on the word of a leader that was replaced long ago",
        vouched::Vouched;
    "deduplicated", "a command repeated under the same number has one effect and one answer",
        deduplicated::Deduplicated;
    "settled", "when all is over nothing is held, drained or armed", settled::Settled;
}

pub use capacity::has_region_to_spare;

/// Age of the oldest evidence that counts, in milliseconds.
const FRESH_MS: u64 = 3000;

/// Returns the evidence that a command carries.
fn evidence_of(body: &Body) -> Option<&Evidence> {
    match body {
        Body::Apply { evidence, .. }
        | Body::StartUpgrade { evidence, .. }
        | Body::Operate { evidence, .. }
        | Body::Drain { evidence, .. }
        | Body::Grant { evidence, .. }
        | Body::TakeBack { evidence, .. }
        | Body::Reoffer { evidence, .. } => Some(evidence),
        _ => None,
    }
}

/// Returns what a node has freshly said of a service.
fn fresh_state(evidence: &Evidence, (node, service): &Pair) -> Option<ServiceState> {
    let seen = evidence.nodes.get(node).filter(|seen| seen.age.0 <= FRESH_MS)?;
    seen.services.get(service).map(|(state, _)| *state)
}

/// Returns whether a node has freshly said that a service does not serve there.
fn is_proven_down(evidence: &Evidence, pair: &Pair) -> bool {
    fresh_state(evidence, pair).is_some_and(|state| state != ServiceState::Serving)
}

/// Returns all pairs that some held grant takes.
fn held_pairs(fleet: &Fleet) -> std::collections::BTreeSet<Pair> {
    let held = fleet.grants.values().filter(|grant| grant.is_held());
    held.flat_map(|grant| grant.takes.iter().cloned()).collect()
}
