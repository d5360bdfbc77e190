//! Raft under a simulated disk, network and clock: the real library, store, state machine wrapper,
//! clients and services, on one thread and paused time. One seed decides everything.
//!
//! ```text
//!  clients ─▶ Raft ─▶ openraft ─▶ log_store ─▶ log_writer ─▶ redb ─▶ disk: loses, tears, refuses
//!              │                └▶ state_machine ─▶ registers
//!              └▶ network.rs ─▶ line, net: delays, loses, doubles, cuts ─▶ service.rs of another
//!  faults ─▶ all of these          watch ─▶ scene ─▶ invariants, after every few milliseconds
//! ```
//!
//! First faults, then none: the group has to elect, serve every client and agree within a bound.
//! What is not here: TLS, HTTP/2 and sockets (a line carries gRPC bodies from client to service),
//! threads (writing and blocking work happen inline), clocks that differ, and crashes inside the
//! writing of a snapshot, which is one step here. End-to-end tests meet those.

pub mod client;
pub mod config;
pub mod coverage;
pub mod disk;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod line;
pub mod member;
pub mod net;
pub mod registers;
pub mod scene;
pub mod sweep;
pub mod watch;
pub mod world;

pub use config::Config;
pub use history::{History, tell};
