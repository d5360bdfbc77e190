//! Controller daemon.
fn main() {}
