//! The model simulation: the real apply, the real planners, the real agent core and journal, in a
//! simulated world of clocks, links, hosts, crashes and operators.
//!
//! ```text
//!  operators ──▶ controllers ⇄ ideal Raft log          every event ──▶ crate::invariants
//!                    ⇅   lossy network                 then faults stop ──▶ all must come to rest
//!                  agents ──▶ hosts
//! ```
//! One seed is one history, to the byte: all chance comes from [`rng`], time is a number, and no
//! map is iterated that is not ordered. `make sim SEED=n` tells the story of a seed.

mod agent;
pub mod catalogue;
mod clock;
pub mod config;
mod controller;
pub mod coverage;
pub mod drive;
pub mod faults;
pub mod history;
pub mod host;
mod leader;
pub mod message;
pub mod net;
mod operator;
pub mod platter;
pub mod raft;
pub mod regression;
pub(crate) mod rng;
pub mod shrink;
pub mod story;
pub mod sweep;
pub mod world;

pub use agent::{Node, kind};
pub use config::Config;
pub use history::{Told, tell};
pub use operator::is_settled;
pub use world::World;
