//! Tests of the Raft module: the library's own suite on the real store, faulty disks, and groups of
//! real members over gRPC on the loopback.

mod cluster;
mod faulty;
mod group;
mod members;
mod storage;
mod strangers;
mod suite;
