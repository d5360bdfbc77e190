//! What a member takes from the place it runs in besides files and network: threads for work that
//! blocks, and chance.
//!
//! In a process these are the system's. On a thread that [`simulate`]s there are none of the
//! system's: work that would block runs where it is asked for, the log is written by a task, and
//! chance comes from a seed. A paused clock and one seed then tell one history.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Tells how long the next fsync of a file takes.
pub type Syncing = dyn Fn(&Path) -> Duration + Send + Sync;

thread_local! {
    static SYNCING: RefCell<Option<Arc<Syncing>>> = const { RefCell::new(None) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// Makes every member that this thread starts from now on a simulated one.
pub fn simulate(seed: u64, syncing: Arc<Syncing>) {
    CHANCE.set(seed);
    SYNCING.set(Some(syncing));
}

/// Returns the simulated disk's temper, on a thread that simulates.
pub(super) fn simulated() -> Option<Arc<Syncing>> {
    SYNCING.with_borrow(Clone::clone)
}

/// Returns a random number.
pub(super) fn random() -> u64 {
    if simulated().is_none() {
        return getrandom::u64().expect("the system has randomness");
    }
    // SplitMix64: each call its own stream, none of which meets another.
    let state = CHANCE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(state);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Does what blocks where nobody else has to wait for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if simulated().is_some() {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
