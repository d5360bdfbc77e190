//! The replicated state of a fleet and the only way to change it. Pure: no clocks, no I/O.
//!
//! ```text
//!   Command ──apply──▶ Fleet ──▶ Reply + Effects (audit entry, nodes to wake)
//!                        │
//!                        └──judge──▶ may this be taken away now?  (ledger)
//! ```
//!
//! `apply` is total: what it refuses is a reply, and a panic here would stop every controller at
//! the same log entry. Time, evidence and randomness come inside the command, because every
//! controller must compute the same result from it.

pub mod alert;
pub mod apply;
pub mod approval;
pub mod aside;
pub mod checklist;
pub mod command;
pub mod controllers;
mod evidence;
mod exec;
pub mod fleet;
pub mod hints;
pub mod ledger;
pub mod people;
#[cfg(test)]
pub(crate) mod testing;
pub mod traffic;
pub mod upgrade;
pub mod waves;

pub use apply::{Effects, Position, apply};
pub use command::{Actor, Body, Command, Evidence, NodeEvidence, Outcome, Reply, Sighted};
pub use exec::ExecStep;
pub use fleet::Fleet;
