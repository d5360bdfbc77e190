//! What one seed decides before a history begins.

use crate::sim::rng::Rng;

/// Members that there can be; ids count from one.
pub const MEMBERS: u64 = 5;

/// The parameters of one history. All times are in simulated milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The seed.
    pub seed: u64,
    /// Members that vote at first.
    pub voters: u64,
    /// Clients.
    pub clients: u64,
    /// Registers that they write and read.
    pub keys: u8,
    /// Longest pause of a client between two operations.
    pub pause: u64,
    /// How long faults last.
    pub faulty: u64,
    /// Longest pause between two faults.
    pub fault_pause: u64,
    /// Entries between snapshots.
    pub snapshot_every: u64,
    /// Largest time on the way between two members.
    pub delay: u64,
    /// Largest time that one message takes longer than another.
    pub jitter: u64,
    /// Messages of a thousand that are lost.
    pub loss: u64,
    /// Messages of a thousand that arrive twice.
    pub twice: u64,
    /// Largest time of an fsync on a healthy disk.
    pub sync: u64,
}

impl Config {
    /// Returns the parameters of `seed`.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            seed,
            voters: if rng.chance(650) { 3 } else { MEMBERS },
            clients: rng.between(2, 4),
            keys: u8::try_from(rng.between(1, 5)).unwrap_or(1),
            pause: rng.between(60, 240),
            faulty: rng.between(8_000, 16_000),
            fault_pause: rng.between(250, 1_200),
            snapshot_every: rng.between(8, 60),
            delay: rng.between(1, 12),
            jitter: rng.between(0, 20),
            loss: if rng.chance(500) { rng.between(0, 40) } else { 0 },
            twice: if rng.chance(500) { rng.between(0, 60) } else { 0 },
            sync: rng.between(0, 6),
        }
    }
}
