//! trictl.
fn main() {}
