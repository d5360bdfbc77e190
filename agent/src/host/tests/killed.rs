//! Agents that are killed at any moment: no start is repeated, and no two processes run.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trireme_proto::id::ActionId;

use super::TELLS;
use super::support::{Place, lines, open, run, until, web};
use crate::host::{Host as _, RunState, procfs};

/// Tells this very test that it is the agent, and where.
const ROLE: &str = "TRIREME_TEST_AGENT_IN";
const NAME: &str = "host::tests::killed::an_agent_killed_at_any_moment_repeats_nothing";
const ROUNDS: u64 = 12;

/// Stops and starts the service under one action after the other until it is killed.
async fn play_the_agent(dir: &Path) {
    let machine = open(dir).await;
    let mut action = machine.observe(&web()).action.expect("the service was started before");
    loop {
        machine.stop(&web()).await.unwrap();
        action = ActionId(action.0 + 1);
        machine.start(&web(), action, false).await.unwrap();
    }
}

/// Another process of this test; killed, if a failure did not let it come to that.
struct Agent(Child);

impl Agent {
    fn start(dir: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(ROLE, dir)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the living leaders of process groups that work in `dir`.
fn mains(dir: &Path) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = procfs::stat(*pid);
            stat.is_some_and(|stat| stat.group == *pid && !stat.is_zombie)
                && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir)
        })
        .collect()
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_repeats_nothing() {
    if let Some(dir) = std::env::var_os(ROLE) {
        return play_the_agent(Path::new::<OsStr>(&dir)).await;
    }
    let place = Place::new();
    let machine = place.open().await;
    run(&machine, &place.script("1.0.0", TELLS), 1).await;
    drop(machine);
    let (data, starts) = (place.data(""), place.data("starts.txt"));
    let data = data.canonicalize().unwrap();
    until("it told", || lines(&starts).len() == 1).await;
    for round in 0..ROUNDS {
        let agent = Agent::start(place.dir.path());
        let before = lines(&starts).len();
        until("the agent is at work", || lines(&starts).len() > before).await;
        // Not a wait for anything: it varies the moment of the kill within one stop and start.
        tokio::time::sleep(Duration::from_micros(round * 700)).await;
        drop(agent);
        assert!(mains(&data).len() <= 1, "round {round}");
    }

    let machine = place.open().await;
    // The last kill may have come between a stop and a start; then nothing is to run.
    let settled = || match machine.observe(&web()).state {
        RunState::Running { pid } => Some(vec![pid]),
        RunState::Stopped => Some(Vec::new()),
        _ => None,
    };
    until("what was begun is finished", || settled().is_some()).await;
    assert_eq!(mains(&data), settled().unwrap());
    machine.stop(&web()).await.unwrap();
    assert_eq!(mains(&data), Vec::<u32>::new());
    let told = lines(&starts);
    let different: BTreeSet<&String> = told.iter().collect();
    assert_eq!(different.len(), told.len(), "{told:?}");
}
