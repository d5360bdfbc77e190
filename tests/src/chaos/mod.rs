//! Real binaries under fire: whole fleets of processes, a hostile network, broken machines.
//!
//! ```text
//!  faults    what is done and when, by one seed          field     does it: signals, disks, links
//!  network   what each link does now                     proxy     does it to TCP connections
//!  origin    who is at the other end of a connection     disk      small file systems of our own
//!  upgrades  good and bad releases, and aborts           clients   write and read registers
//!  history   what clients were told                      register  what they may be told
//!  checker   whether there is an order of it all         effects   what was started on nodes
//!  run       one run, from start to verdict              report    figures, and what they lack
//! ```
//!
//! Everything that agents, controllers and operators say to a controller goes through the proxy;
//! what the run itself looks at goes around it. Faults hit controllers, agents and links as they
//! please, but never the services of two regions: that is what the promise is about.

pub mod checker;
pub mod clients;
pub mod disk;
pub mod effects;
pub mod faults;
pub mod field;
pub mod history;
pub mod network;
pub mod origin;
pub mod proxy;
pub mod register;
pub mod report;
pub mod run;
pub mod timeline;
pub mod upgrades;
pub mod verdict;

#[cfg(test)]
mod checker_tests;
#[cfg(test)]
mod proxy_tests;
