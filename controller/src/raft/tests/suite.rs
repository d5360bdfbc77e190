//! The library's conformance suites, on the store, the state machine and the runtime as they run.

use std::sync::{Arc, RwLock};

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::watch;

use super::group::Notes;
use crate::raft::config::{Config, Profile};
use crate::raft::disk::Disk;
use crate::raft::failure::Failure;
use crate::raft::log_store::{self, Closer, LogStore};
use crate::raft::runtime::Runtime;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::StateMachine;
use crate::raft::store::System;
use crate::raft::types::Types;

struct Stores;

impl StoreBuilder<Types, LogStore, StateMachine<Notes>, (TempDir, Closer)> for Stores {
    async fn build(
        &self,
    ) -> Result<((TempDir, Closer), LogStore, StateMachine<Notes>), StorageError<Types>> {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config {
            fleet: "test".to_owned(),
            id: 1,
            name: "c1".to_owned(),
            dir: dir.path().to_owned(),
            profile: Profile::Lan,
            snapshot_every: 100,
        };
        let failure = Failure::new();
        let disk = Disk::open(&config, &System).expect("a data directory");
        let snapshots = Arc::new(Snapshots::open(&disk.snapshots).expect("a folder"));
        let (log, closer) = log_store::open(disk.store, &failure).expect("an empty log");
        let machine = Arc::new(RwLock::new(Notes::default()));
        let state = StateMachine::new(machine, snapshots, watch::Sender::new(0), failure);
        Ok(((dir, closer), log, state))
    }
}

#[tokio::test]
async fn the_store_passes_the_librarys_whole_suite() {
    Suite::test_all(Stores).await.expect("conforms");
}

#[test]
fn the_runtime_passes_the_librarys_whole_suite() {
    openraft_rt::testing::Suite::<Runtime>::test_all();
}
