//! The controllers as a group: replaced one by one under load, repaired, and who is refused.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use trireme_ctl::client::Client;
use trireme_proto::id::ControllerId;
use trireme_proto::time::Span;
use trireme_proto::view::ControllersView;
use trireme_proto::wire::{Consistency, ControllersRequest, NoteRequest};

use super::rig::{Rig, Run, bounded_by, detail, until};
use super::web::{self, Spec, WEB};

/// Several controllers come up, copy everything, and take over, one after the other.
const TEST_MAX: Duration = Duration::from_mins(3);

/// Operators at work.
const OPERATORS: usize = 4;

/// Operators who ask for changes and look at the fleet, again and again.
struct Load {
    stop: DropGuard,
    operators: JoinHandle<Vec<(u64, Vec<String>)>>,
}

impl Load {
    fn start(rig: &Rig) -> Self {
        let stop = CancellationToken::new();
        // Each knows the three controllers of the beginning, and no more.
        let client = |_| Client::new(&rig.fleet.context().unwrap(), Span::secs(15)).unwrap();
        let clients: Vec<_> = (0..OPERATORS).map(client).collect();
        let told = stop.clone();
        let operators = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let all = clients.iter().map(|client| operate(client, &told));
            runtime.unwrap().block_on(join_all(all))
        });
        Self { stop: stop.drop_guard(), operators }
    }

    /// Stops it; fails unless every request was answered.
    async fn end(self) -> u64 {
        drop(self.stop);
        let mut all = 0;
        for (asked, failed) in self.operators.await.unwrap() {
            assert_eq!(failed, Vec::<String>::new(), "of {asked} requests");
            all += asked;
        }
        all
    }
}

async fn operate(client: &Client, stop: &CancellationToken) -> (u64, Vec<String>) {
    let (mut asked, mut failed) = (0, Vec::new());
    while !stop.is_cancelled() {
        asked += 1;
        let (object, text) = ("region/aws".to_owned(), format!("note {asked}"));
        let origin = Some(client.origin());
        let changed = client.note(NoteRequest { origin, object, text, dry_run: false }).await;
        failed.extend(changed.err().map(detail));
        let consistency = Consistency::Linearizable.into();
        let seen = client.controllers(ControllersRequest { consistency }).await;
        failed.extend(seen.err().map(detail));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (asked, failed)
}

/// Prepares one controller more and starts it.
async fn newcomer(rig: &mut Rig) -> ControllerId {
    let name = rig.fleet.prepare_controller().await.unwrap();
    rig.fleet.controller_mut(&name).unwrap().process.start().unwrap();
    name
}

/// Returns where other controllers reach one.
fn peer(rig: &Rig, name: &ControllerId) -> String {
    let found = rig.fleet.controllers().iter().find(|one| one.name == *name).unwrap();
    found.doors.peer_behind.to_string()
}

/// Changes controllers; one that has just been started may not answer at once.
async fn change(rig: &Rig, args: &[&str]) -> Run {
    until("a newcomer that answers", async || {
        let all = [&["controller"][..], args, &["--reason", "a new host"]].concat();
        let run = rig.trictl(&all).await;
        let unmet = run.code == Some(6) && run.stderr.contains("does not say what it is");
        (!unmet).then_some(run)
    })
    .await
}

/// Returns the controllers as `trictl` finds them: what it learns it keeps with its context.
async fn listed(rig: &Rig) -> ControllersView {
    let list = rig.trictl(&["controller", "list"]).await.exits(0);
    serde_json::from_value(list.json()).unwrap()
}

fn names(view: &ControllersView) -> Vec<String> {
    view.items.iter().map(|one| one.name.to_string()).collect()
}

/// Waits until a controller has ended by itself.
async fn ended(rig: &mut Rig, name: &ControllerId) {
    until("its end", async || {
        let process = &mut rig.fleet.controller_mut(name).unwrap().process;
        (!process.is_running()).then_some(())
    })
    .await;
}

/// Issue 4: no operator's request fails and no agent's action is repeated while every controller is
/// replaced, one of them after it has died; who was replaced is refused for ever.
#[tokio::test(flavor = "multi_thread")]
async fn replacing_all_three_controllers_under_load_fails_nothing_and_repeats_nothing() {
    bounded_by(TEST_MAX, async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let old: Vec<ControllerId> =
            rig.fleet.controllers().iter().map(|one| one.name.clone()).collect();
        let load = Load::start(&rig);
        let upgrade = rig.begin(WEB, "1.1.0").await;
        for (turn, gone) in old.iter().enumerate() {
            let new = newcomer(&mut rig).await;
            if turn == 2 {
                // It never hears of its removal.
                rig.kill_controller(gone).await;
            }
            let at = peer(&rig, &new);
            let args = ["replace", gone.as_str(), new.as_str(), "--peer", &at];
            // Who is asked knows of the death once a few heartbeats are missing.
            change(&rig, &args).await.exits(0);
            if turn < 2 {
                ended(&mut rig, gone).await;
            }
        }
        rig.watch(&upgrade).await.exits(0);
        assert!(load.end().await > 0);
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);

        // The context that `trictl` was given named nobody who is left.
        let list = listed(&rig).await;
        assert_eq!(names(&list), ["c-aliyun-2", "c-aws-2", "c-gcp-2"]);
        assert!(list.items.iter().all(|one| one.votes), "{list:#?}");
        let leader = list.leader.clone().unwrap();
        until("agents connected to the new ones", async || {
            let nodes = rig.nodes_told_by(&leader).await?;
            let is_new = |to: &ControllerId| names(&list).contains(&to.to_string());
            nodes.iter().all(|node| node.connected_to.as_ref().is_some_and(is_new)).then_some(())
        })
        .await;

        // One that did not hear of it stands for election, is denied by everybody, and ends.
        let term = list.term;
        rig.fleet.controller_mut(&old[2]).unwrap().process.start().unwrap();
        ended(&mut rig, &old[2]).await;
        let log = std::fs::read(rig.fleet.controller_mut(&old[2]).unwrap().process.log()).unwrap();
        let log = String::from_utf8_lossy(&log);
        assert!(log.contains("was removed from the fleet"), "{log}");
        let now = listed(&rig).await;
        assert_eq!((now.term, now.leader), (term, Some(leader)), "nobody voted");
        // One that did hear ends at once, whoever starts it; its name is spent.
        rig.fleet.controller_mut(&old[0]).unwrap().process.start().unwrap();
        ended(&mut rig, &old[0]).await;
        let audit = rig.trictl(&["audit", "list", "--action", "controller.replace"]).await;
        let audit = audit.exits(0).json();
        let done = audit["items"].as_array().unwrap().iter().filter(|one| one["result"] == "done");
        assert_eq!(done.count(), 3, "{audit:#}");
    })
    .await;
}

/// A controller whose disk was emptied comes back under a new id, and not while it is alive; what
/// would lose the quorum is refused, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_controller_is_repaired_and_what_loses_the_quorum_is_refused() {
    bounded_by(TEST_MAX, async {
        let mut rig = Rig::start(1).await;
        let view = rig.controllers().await.unwrap();
        let leader = view.leader.unwrap();
        let victim = rig.fleet.controllers().iter().map(|one| one.name.clone());
        let victim = victim.into_iter().find(|name| *name != leader).unwrap();
        let alive = change(&rig, &["repair", victim.as_str()]).await.exits(10);
        assert_eq!(alive.problem()["rule"], "controllers.alive");
        let unmet = ["add", "c-new", "--peer", "127.0.0.1:9", "--reason", "more"];
        rig.trictl(&[&["controller"][..], &unmet].concat()).await.exits(6);

        rig.kill_controller(&victim).await;
        let third = rig.fleet.controllers().iter().map(|one| one.name.clone());
        let third = third.into_iter().find(|name| *name != leader && *name != victim).unwrap();
        // With one gone, another must not go.
        let remove = ["remove", third.as_str(), "--confirm", third.as_str()];
        let refused = until("a leader that misses it", async || {
            let run = change(&rig, &[&remove[..], &["--dry-run"]].concat()).await;
            (run.code == Some(10)).then_some(run)
        })
        .await;
        assert_eq!(refused.problem()["rule"], "controllers.quorum");
        change(&rig, &remove).await.exits(10).says("does not answer");

        rig.fleet.prepare_again(&victim, 9).await.unwrap();
        rig.fleet.controller_mut(&victim).unwrap().process.start().unwrap();
        change(&rig, &["repair", victim.as_str()]).await.exits(0);
        let now = rig.trictl(&["controller", "list"]).await.exits(0).json();
        let now: ControllersView = serde_json::from_value(now).unwrap();
        let back = now.items.iter().find(|one| one.name == victim).unwrap();
        assert_eq!((back.raft_id, back.votes, back.role.as_str()), (9, true, "follower"));
        assert_eq!(now.items.len(), 3);
        // It is as good as any: with another one gone there is still a quorum.
        rig.kill_controller(&third).await;
        let note = ["note", "region/aws", "still here"];
        rig.trictl(&note).await.exits(0);
    })
    .await;
}
