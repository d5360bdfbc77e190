//! What operators have put aside, and what they allow.

use serde::{Deserialize, Serialize};

use crate::id::{GrantId, OverrideId, Place, ServiceId};
use crate::time::{Span, WallTime};

/// Who did something by hand, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemarkView {
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: WallTime,
}

/// A place that clients are kept away from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// The place.
    pub place: Place,
    /// settling, draining or drained.
    pub state: String,
    /// Time after which nobody comes any more; none before every controller has confirmed it.
    pub remaining: Option<Span>,
    /// Grant that counts it as down.
    pub grant: GrantId,
    /// What it takes, as node/service.
    pub takes: Vec<String>,
    /// Who wanted it.
    #[serde(flatten)]
    pub remark: RemarkView,
}

/// An exception to rules of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideView {
    /// Its id.
    pub id: OverrideId,
    /// Rules that do not apply.
    pub rules: Vec<String>,
    /// Service it is for; every service if none.
    pub service: Option<ServiceId>,
    /// Time until it ends by itself.
    pub remaining: Span,
    /// Who allowed it.
    #[serde(flatten)]
    pub remark: RemarkView,
}

/// Whether anything new may be taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeView {
    /// Whether nothing may.
    pub frozen: bool,
    /// Who wanted it.
    #[serde(flatten)]
    pub remark: Option<RemarkView>,
}
