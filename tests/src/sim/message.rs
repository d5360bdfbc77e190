//! What simulated peers say to each other: the sessions' messages, and what controllers exchange.

use std::collections::BTreeMap;
use std::rc::Rc;

use trireme_controller::presence::Seen;
use trireme_controller::state::{Body, Outcome};
use trireme_proto::action::{Action, Fence, Observed, Report};
use trireme_proto::id::{GrantId, NodeId, Place, ServiceId, UpgradeId};
use trireme_proto::model::Object;
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::time::FleetTime;

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Fresh with every heartbeat; rising, so that an overtaken one is known.
    pub nonce: u64,
    /// Fence of the newest action that is durably accepted.
    pub fence: Fence,
    /// What is seen of each service.
    pub observed: BTreeMap<ServiceId, Observed>,
}

/// A message.
#[derive(Debug, Clone)]
pub enum Message {
    /// An agent opens a session.
    Hello { session: u64, beat: Rc<Beat> },
    /// A heartbeat.
    Beat { session: u64, beat: Rc<Beat> },
    /// What became of actions: all that is not acknowledged.
    Reports { session: u64, reports: Rc<Vec<Report>> },
    /// A controller takes the session.
    Welcome { session: u64 },
    /// A controller is still there.
    Pong { session: u64 },
    /// An action is offered.
    Offer { session: u64, action: Rc<Action>, nonce: u64 },
    /// Reports up to this are committed.
    Ack { session: u64, seq: u64 },
    /// A controller ends the session.
    Leave { session: u64 },

    /// The leader asks for a digest, and tells how far the log is committed.
    Ask { term: u64, asked: FleetTime, commit: u64 },
    /// A controller's answer.
    Digest { term: u64, asked: FleetTime, applied: u64, nodes: Rc<BTreeMap<NodeId, Seen>> },
    /// A controller knows of a later term.
    Reject { term: u64 },
    /// The log is committed up to here.
    Commit { term: u64, commit: u64 },
    /// A controller passes something on to the leader.
    Forward { asked: Rc<Asked> },

    /// An operator asks for something.
    Request { operator: usize, sequence: u64, wish: Rc<Wish> },
    /// What came of it.
    Answer { sequence: u64, outcome: Rc<Outcome> },
}

impl Message {
    /// Returns the session it belongs to.
    pub fn session(&self) -> Option<u64> {
        match self {
            Self::Hello { session, .. }
            | Self::Beat { session, .. }
            | Self::Reports { session, .. }
            | Self::Welcome { session }
            | Self::Pong { session }
            | Self::Offer { session, .. }
            | Self::Ack { session, .. }
            | Self::Leave { session } => Some(*session),
            Self::Ask { .. }
            | Self::Digest { .. }
            | Self::Reject { .. }
            | Self::Commit { .. }
            | Self::Forward { .. }
            | Self::Request { .. }
            | Self::Answer { .. } => None,
        }
    }
}

/// What an operator asks for; evidence and time are the leader's to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Change manifests.
    Apply(Vec<Object>),
    /// Start an upgrade that was planned.
    Start(trireme_proto::plan::PlanId),
    /// Pause.
    Pause(UpgradeId),
    /// Resume.
    Resume(UpgradeId),
    /// Abort.
    Abort(UpgradeId),
    /// Roll back.
    Rollback(UpgradeId),
    /// Remove a node.
    Remove(NodeId),
    /// End a grant.
    Release(GrantId),
    /// Restart, stop or start a service on some of its nodes.
    Operate(ServiceId, Operation, Scope),
    /// Keep clients away from a place.
    Drain(Place),
    /// Let clients and work come to a place again.
    Return(Place),
    /// Have work pass a node by.
    Cordon(NodeId),
    /// Let nobody take anything new.
    Freeze,
    /// Let work go on again.
    Thaw,
}

/// Something a leader was asked to put into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who asks, such as `user/ann`.
    pub subject: String,
    /// Client and sequence, by which a repetition is known.
    pub origin: Option<(String, u64)>,
    /// What for.
    pub body: Body,
}
