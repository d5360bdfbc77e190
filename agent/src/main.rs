//! Agent daemon.
fn main() {}
