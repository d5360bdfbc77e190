//! The agent's brain: which step comes next, decided from the journaled state and one input.
//!
//! Values in, values out: no clock, no disk, no socket. Times are arguments, in milliseconds of a
//! clock that goes on while the machine sleeps. Whoever holds a [`Core`] performs its [`Effect`]s
//! in order, and hands back what came of them.
//!
//! ```text
//! state            input                          effects                        next state
//! idle             offer, newer                   persist accepted, report       looking / step
//! idle             armed revert is due            persist alone, look            looking
//! looking          looked: as expected            persist plan                   step
//! looking          looked: drift / nothing to do  persist ended, report          idle
//! step             step done                      persist done, persist intent   next step
//! step             step failed, nothing stopped   persist ended, report          idle
//! step             step failed, switch            persist undoing                undo step
//! step             deadline / revert offered      interrupt a waiting step       step
//! step             done, revert is pending        persist accepted (takes over)  looking
//! undo step        last done / failed             persist ended (undone / dirty) idle
//! any              offer older / same / conflict  ignored / report again / ignored
//! restarted        intent without done            probe, or run what only waits  probing / step
//! probing          done / not done / unknown      record / run / undo            step / undo step
//! ```
//!
//! Invariants: a step whose end is journaled is never run again; one action runs at a time (I6);
//! the fence never falls (I7); every accepted action gets exactly one final report, and a switch
//! that was done at most one more about its armed revert.

#![warn(clippy::wildcard_enum_match_arm)]

mod accept;
mod core;
mod effect;
mod state;
mod upgrade;

#[cfg(test)]
mod tests;

pub use accept::{NONCE_AGE_MAX, Refusal};
pub use core::Core;
pub use effect::{Effect, Key, Look, Outcome, Probed, Seen, Task, Work};
pub use state::{
    Armed, Change, Current, Direction, Failure, Last, Memory, REPORTS_MAX, Record, Settled, State,
    Status, Superseded,
};

/// A point on the clock that counts from boot, in milliseconds.
pub type Millis = u64;
