//! What the daemons show of themselves: metrics, health, and the small HTTP listener for both.
//!
//! ```text
//!  Prometheus, a probe ──GET──▶ door ──path──▶ site ──asks the daemon──▶ page or checks
//! ```
//!
//! Nothing is kept up to date for those who may never ask: a [`Page`] is filled when it is asked
//! for. Who listens is decided by the daemon, and what is listened on by its configuration
//! ([`Options`]): the loopback in plain text, anything else with certificates of the fleet.

mod door;
mod health;
mod metric;
mod options;
mod process;

pub use door::{Admit, Answer, Asked, Door, DoorError, Reply, Site};
pub use health::{Check, disk, live, ready};
pub use metric::{Format, Histogram, Kind, Metric, Page, Timing};
pub use options::{Listen, Options, OptionsError};
pub use process::{COMMON, common, seconds};
