//! Looks at real processes: since when they run, and what they and their children use.

use super::support::{Place, lines, pid, run, until, web};
use crate::clock::wall;
use crate::host::Host as _;

/// Works in a child, in a group of its own, and waits.
const WORKS: &str = "setsid timeout 30 /bin/sh -c 'echo $$ > worker.txt; while :; do :; done' &\n\
                     trap 'kill $!; exit' TERM\nwait\n";

/// DVN-06, TSP-06: what a process uses is what it and all that it has started use.
#[tokio::test]
async fn dvn_06_what_children_use_counts_wherever_they_went() {
    let place = Place::new();
    let machine = place.open().await;
    assert!(machine.look(&web()).await.unwrap().is_none());
    assert!(machine.used(&[web()]).await.services.is_empty());
    let before = wall();
    let spec = place.script("1.0.0", WORKS);
    let leader = run(&machine, &spec, 7).await;
    until("the child works", || !lines(&place.data("worker.txt")).is_empty()).await;

    let looked = machine.look(&web()).await.unwrap().unwrap();
    assert_eq!((looked.driver, looked.instances.len()), ("process", 1));
    let one = &looked.instances[0];
    assert_eq!((one.id.as_str(), one.state.as_str()), (leader.to_string().as_str(), "running"));
    // Start times are counted in hundredths of a second.
    let since = one.since.unwrap();
    assert!(since.0 + 20 >= before.0 && since <= wall(), "{before} {since} {}", wall());

    let used = machine.used(&[web()]).await;
    let used = &used.services[&web()][0];
    assert_eq!(used.id, leader.to_string());
    assert!(used.cpu_millicores > 0, "the child does nothing else: {used:?}");
    assert!(used.processes >= 2 && used.memory_bytes > 0, "{used:?}");
    assert!(used.memory_limit_bytes.unwrap() > used.memory_bytes);
    assert_eq!((used.received_bytes, used.sent_bytes), (None, None));

    machine.stop(&web()).await.unwrap();
    assert_eq!(pid(&machine), None);
    assert!(machine.look(&web()).await.unwrap().unwrap().instances.is_empty());
    assert_eq!(machine.used(&[web()]).await.services[&web()], []);
}
