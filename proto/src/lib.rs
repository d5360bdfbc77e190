//! The contract between Trireme's programs: what is said, by whom, and what the words mean.

pub mod wire;
