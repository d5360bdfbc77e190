//! Programs run beside a service: only where the node allows it, once, and nothing of them stays.

use bytes::Bytes;
use futures_util::StreamExt as _;
use trireme_proto::query::{EXEC_LIMIT_USUAL, ExecQuestion};

use super::support::{Place, lines, lives, open_with, run, until, web};
use crate::host::{Drivers, ExecError, Exit, Host as _, Machine, Run};

const SLEEPS: &str = "exec sleep 600\n";

fn question(id: &str, argv: &[&str]) -> ExecQuestion {
    ExecQuestion {
        id: id.to_owned(),
        service: web(),
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        limit: EXEC_LIMIT_USUAL,
        container: None,
        debug: false,
    }
}

async fn allowing(place: &Place) -> Machine {
    let drivers = Drivers { exec: vec!["we*".parse().unwrap()], ..Drivers::default() };
    open_with(place.dir.path(), drivers).await
}

/// Reads all output and returns it with the exit.
async fn finish(mut run: Run) -> (String, Exit) {
    let pieces: Vec<(u32, Bytes)> = run.output.by_ref().collect().await;
    let exit = (&mut run.exit).await;
    assert!(run.clear().await);
    let text = pieces.iter().map(|(_, data)| String::from_utf8_lossy(data).into_owned());
    (text.collect(), exit)
}

/// DVN-05: nothing is run that the node's own configuration does not allow, and nothing twice.
#[tokio::test]
async fn dvn_05_a_node_runs_what_it_allows_and_each_run_once() {
    let place = Place::new();
    let machine = place.open().await;
    run(&machine, &place.script("1.0.0", SLEEPS), 7).await;
    let echo = question("a", &["echo", "$HOME", "{data}"]);
    assert!(matches!(machine.exec(&echo).await, Err(ExecError::NotAllowed(_))));
    drop(machine);

    let machine = allowing(&place).await;
    let ran = machine.exec(&echo).await.unwrap();
    assert_eq!(finish(ran).await, ("$HOME {data}\n".to_owned(), Exit::Code(0)));
    assert!(matches!(machine.exec(&echo).await, Err(ExecError::Again(_))));
    for id in ["", "../a", "a b", &"x".repeat(65)] {
        let named = question(id, &["echo"]);
        assert!(matches!(machine.exec(&named).await, Err(ExecError::Nameless)), "{id:?}");
    }
    let missing = question("b", &["/no/such/program"]);
    assert!(matches!(machine.exec(&missing).await, Err(ExecError::Spawn { .. })));
    let other = ExecQuestion { service: "wem".parse().unwrap(), ..question("c", &["echo"]) };
    assert!(matches!(machine.exec(&other).await, Err(ExecError::Unknown(_))));
    drop(machine);

    // Not even another agent on the same disk.
    let machine = allowing(&place).await;
    assert!(matches!(machine.exec(&echo).await, Err(ExecError::Again(_))));
    machine.stop(&web()).await.unwrap();
}

/// DVN-05: what has left its group and its parents is found by its mark.
#[tokio::test]
async fn dvn_05_a_run_goes_with_all_that_it_has_started() {
    let place = Place::new();
    let machine = allowing(&place).await;
    run(&machine, &place.script("1.0.0", SLEEPS), 7).await;
    let starts = place.dir.path().join("starts.sh");
    let text = "echo $$ >> pids\nsetsid sleep 60 &\necho $! >> pids\nexec sleep 60\n";
    std::fs::write(&starts, text).unwrap();
    let argv = ["/bin/sh", starts.to_str().unwrap()];
    let pids = || -> Vec<u32> {
        lines(&place.data("pids")).iter().map(|line| line.parse().unwrap()).collect()
    };

    // Dropped, as when the operator leaves.
    let ran = machine.exec(&question("a", &argv)).await.unwrap();
    until("both run", || pids().len() == 2).await;
    assert!(pids().iter().all(|pid| lives(*pid)));
    drop(ran);
    until("both are gone", || !pids().iter().any(|pid| lives(*pid))).await;

    // Left behind, as by an agent that is killed; the next one ends them.
    let ran = machine.exec(&question("b", &argv)).await.unwrap();
    until("both run", || pids().len() == 4).await;
    std::mem::forget(ran);
    drop(machine);
    let left = pids();
    assert!(left[2..].iter().all(|pid| lives(*pid)));
    let machine = allowing(&place).await;
    assert!(!left.iter().any(|pid| lives(*pid)));
    machine.stop(&web()).await.unwrap();
}
