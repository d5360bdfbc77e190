//! A whole fleet on the loopback of one machine: real processes, real mTLS, real disks.
//!
//! ```text
//!  Fleet::create ─▶ start ─▶ ready ─▶ …kill, freeze, restart single processes… ─▶ down
//!        └─ dropped at any moment: everything it started ends, services of agents included
//!        └─ detach: it stays, and Fleet::open takes it up again
//! ```
//!
//! Used by `trictl dev`, `trictl demo` and the end-to-end tests. It configures and supervises
//! nothing beyond what an operator would: programs are started by their command lines, nodes join
//! with tokens from the operator's API.

mod error;
mod fleet;
mod identity;
mod layout;
mod process;
mod procfs;
mod programs;
mod ready;
mod slot;
mod sweep;

use std::path::PathBuf;
use std::time::Duration;

pub use self::error::LocalError;
pub use self::fleet::{Agent, Controller, Fleet, Standing};
pub use self::layout::{AGENTS_MAX, Doors, REGIONS, Shape};
pub use self::process::{Process, Stopped};
pub use self::programs::Programs;

/// Returns where fleets of this person are kept unless they say otherwise.
pub fn state_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("trireme")
}

/// Waits without a runtime: when a fleet is dropped there may be none any more.
#[expect(clippy::disallowed_methods, reason = "teardown runs where nothing can be awaited")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
