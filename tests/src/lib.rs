//! Harness of the tests of the whole fleet.
//!
//! [`sim`] is the model simulation and [`invariants`] what must hold in it at every moment.

pub mod invariants;
pub mod sim;
