//! The replicated brain of a Trireme fleet: the ledger, the planners, and who may do what.
//!
//! [`state`] is what the controllers agree on and the only way to change it; [`plan`] decides what
//! to propose next. Both are pure. Everything else is a thin shell around them.

pub mod accept;
pub mod dns;
pub mod pki;
pub mod plan;
pub mod presence;
pub mod state;
