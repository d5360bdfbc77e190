//! Harness of the tests of the whole fleet.
//!
//! [`sim`] is the model simulation and [`invariants`] what must hold in it at every moment;
//! [`raft_sim`] is Raft as it is, on a simulated disk, network and clock. [`mutants`] are the faults
//! that both must notice. [`bench`] measures, [`chaos`] does to real programs what the simulations
//! do to models. [`docker`] is the engine that drivers are tried on, [`systemd`] hosts with units.

pub mod bench;
pub mod chaos;
mod counters;
pub mod decoders;
pub mod docker;
pub mod figures;
pub mod invariants;
pub mod mutants;
pub mod raft_sim;
pub mod rule;
pub mod sim;
pub mod systemd;
