//! The replicated brain of a Trireme fleet: the ledger, the planners, and who may do what.
//!
//! [`state`] is what the controllers agree on and the only way to change it; [`plan`] decides
//! what to propose next; [`view`] shows it to people. All three are pure. Everything else is a
//! thin shell around them: [`raft`] replicates, [`reconcile`] drives, `api` answers, [`server`]
//! is where the parts meet.

pub mod accept;
pub mod alerting;
pub mod api;
pub mod audit;
pub mod bootstrap;
pub mod brain;
pub mod checklists;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dns;
pub mod documents;
pub mod forward;
pub mod gather;
mod listen;
pub mod machine;
pub mod notify;
pub mod peers;
pub mod pki;
pub mod plan;
pub mod presence;
pub mod query;
pub mod raft;
pub mod reads;
pub mod reconcile;
pub mod refusals;
pub mod regroup;
pub mod server;
pub mod sessions;
pub mod state;
pub mod submit;
pub mod telemetry;
pub mod untrusted;
pub mod uses;
pub mod view;
pub mod zone;
