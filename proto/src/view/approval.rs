//! Documents about what people say to plans, and what was done without.

use serde::{Deserialize, Serialize};

use crate::plan::PlanId;
use crate::time::{FleetTime, Span, WallTime};

/// Plans that are approved or wait for it, starts without approval, and reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewsView {
    /// Starts without approval, those to be reviewed first.
    pub breaks: Vec<BreakView>,
    /// What is said to plans that have not started.
    pub plans: Vec<ApprovalsView>,
    /// Reviews, the newest first.
    pub items: Vec<ReviewView>,
}

/// What is said to one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalsView {
    /// Name of the plan; what is said to it counts for no other.
    pub plan: String,
    /// Who proposed it.
    pub proposer: Option<String>,
    /// Who has approved it.
    pub approved_by: Vec<String>,
}

/// A start without the approvals it needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakView {
    /// Its name: break-N.
    pub id: String,
    /// Plan that was let through.
    pub plan: PlanId,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: WallTime,
    /// Fleet time by which another person must have reviewed it.
    pub due: FleetTime,
    /// to be reviewed, overdue or reviewed.
    pub state: String,
    /// Rest of the time for a review.
    pub remaining: Span,
}

/// One review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewView {
    /// Its name: review-N.
    pub id: String,
    /// What was looked at: break-N, audit A-B or users.
    pub of: String,
    /// Query by which it was looked for, if it was the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How many were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What was found.
    pub note: String,
    /// Incident that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Who looked.
    pub reviewer: String,
    /// When.
    pub at: WallTime,
}
