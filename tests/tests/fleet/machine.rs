//! The machine under a controller fails it: no space, a clock that jumps, a port that is taken, a
//! disk that was wiped. It says so and ends; the others go on; nothing acknowledged is lost.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use trireme_ctl::local::{Programs, Shape};
use trireme_proto::id::ControllerId;
use trireme_proto::wire::NoteRequest;

use super::rig::{Rig, bounded, program, programs_dir, run, until};
use super::web::{self, Spec, WEB};

/// Longest a daemon may take to give up.
const END_WAIT: Duration = Duration::from_secs(20);
/// Debian's package `faketime`.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A small file system of its own, unmounted in the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    async fn mount(at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("/bin/mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs"]).arg(at);
        run(command).await.exits(0);
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: on the way out of a failed test its holder may still run for a moment.
        let _ = std::process::Command::new("/bin/umount").arg("-l").arg(&self.0).status();
    }
}

/// Waits until a controller has ended by itself; returns the end of its log.
async fn gives_up(rig: &mut Rig, name: &ControllerId) -> String {
    let process = &mut rig.fleet.controller_mut(name).unwrap().process;
    let status = process.ended(END_WAIT).await.unwrap().expect("a child's status is known");
    assert_eq!(status.code(), Some(1), "{status}: {}", process.tail());
    process.tail()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_disk_is_full_ends_and_loses_nothing_and_the_others_go_on() {
    bounded(async {
        let mut rig = Rig::prepare(1);
        let victim: ControllerId = "c-gcp".parse().unwrap();
        let data = rig.fleet.controller_mut(&victim).unwrap().data.clone();
        let _disk = Tmpfs::mount(&data, 24 << 20).await;
        rig.come_up().await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        // What is left is taken away by somebody else's file.
        let ballast = data.join("ballast");
        let filled = std::fs::write(&ballast, vec![7; 64 << 20]).unwrap_err();
        assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
        let mut number = 0;
        until("the end of the controller without space", async || {
            // Something to write: declarations of large regions.
            number += 1;
            let cloud = "x".repeat(2000);
            let region =
                |n| format!("---\nkind: Region\nname: more-{number}-{n}\ncloud: {cloud}\n");
            let text: String = (0..10).map(region).collect();
            rig.apply(&rig.file("more.yaml", text)).await.exits(0);
            (!rig.fleet.controller_mut(&victim).unwrap().process.is_running()).then_some(())
        })
        .await;
        let said = gives_up(&mut rig, &victim).await;
        assert!(said.contains("no space is left for "), "{said}");
        assert!(said.contains("free some, then start the controller again"), "{said}");

        // Two of three decide, and the region of the third goes on serving.
        let last = rig.file("last.yaml", "kind: Region\nname: last\ncloud: last\n");
        rig.apply(&last).await.exits(0);
        std::fs::remove_file(&ballast).unwrap();
        rig.fleet.controller_mut(&victim).unwrap().process.start().unwrap();
        let others: Vec<_> =
            rig.fleet.controllers().iter().map(|one| one.api.to_string()).collect();
        until("the controller's own view of what was declared without it", async || {
            let args = ["--controller", &others[2], "get", "region", "--consistency", "stale"];
            let run = rig.trictl(&args).await;
            (run.code == Some(0) && run.stdout.contains("\"last\"")).then_some(())
        })
        .await;
        rig.trictl(&["audit", "verify"]).await.exits(0);
        web::assert_started(&rig, &["1.0.0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_and_the_daemon_ends() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        let victim = rig.fleet.controllers()[2].name.clone();
        let api = rig.fleet.controllers()[2].api;
        let process = &mut rig.fleet.controller_mut(&victim).unwrap().process;
        process.stop(Duration::from_secs(10)).await.unwrap();
        let held = std::net::TcpListener::bind(api).unwrap();
        process.start().unwrap();
        let said = gives_up(&mut rig, &victim).await;
        assert!(said.contains(&format!("listen.api: {api} is in use")), "{said}");
        drop(held);
        rig.come_up().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_disk_under_an_old_name_is_refused_and_the_others_go_on() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let victim: ControllerId = "c-gcp".parse().unwrap();
        rig.kill_controller(&victim).await;
        let data = rig.fleet.controller_mut(&victim).unwrap().data.clone();
        let old = rig.files().join("old-raft");
        // Moved, not removed: putting it back is the way out that the message names.
        std::fs::rename(data.join("raft"), &old).unwrap();
        rig.fleet.controller_mut(&victim).unwrap().process.start().unwrap();
        let said = gives_up(&mut rig, &victim).await;
        assert!(said.contains("is new, but the fleet knows controller 3 on disk"), "{said}");
        assert!(said.contains("put the old directory back"), "{said}");
        rig.upgrade_to(WEB, "1.1.0").await;
        std::fs::remove_dir_all(data.join("raft")).unwrap();
        std::fs::rename(&old, data.join("raft")).unwrap();
        rig.come_up().await;
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_far_behind_is_sent_a_snapshot_and_with_it_the_audit() {
    bounded(async {
        let mut shape = Shape::new("e2e".parse().unwrap());
        shape.agents = 0;
        shape.snapshot_every = Some(20);
        let mut rig = Rig::shaped(shape, Programs::within(programs_dir()).unwrap());
        rig.come_up().await;
        let victim: ControllerId = "c-gcp".parse().unwrap();
        rig.kill_controller(&victim).await;
        let note = async |rig: &Rig, number: u32| {
            let origin = Some(rig.client().origin());
            let (object, text) = ("region/aws".to_owned(), number.to_string());
            let note = NoteRequest { origin, object, text, dry_run: false };
            rig.client().note(note).await.unwrap();
        };
        // More than the others keep of the log.
        for number in 0..300 {
            note(&rig, number).await;
        }
        rig.fleet.controller_mut(&victim).unwrap().process.start().unwrap();
        rig.come_up().await;
        let back = rig.fleet.controllers().iter().find(|one| one.name == victim).unwrap();
        let (address, snapshots) = (back.api.to_string(), back.data.join("raft").join("snapshots"));
        let verify = ["--controller", &address, "audit", "verify"];
        rig.trictl(&verify).await.exits(0);
        // From then on its own snapshots count on what it was sent.
        let newest = || {
            let names =
                std::fs::read_dir(&snapshots).unwrap().map(|file| file.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().ends_with(".snap")).max()
        };
        let sent = newest().expect("it was sent a snapshot");
        until("a snapshot of its own", async || {
            note(&rig, 0).await;
            (newest()? > sent).then_some(())
        })
        .await;
        rig.kill_controller(&victim).await;
        rig.fleet.controller_mut(&victim).unwrap().process.start().unwrap();
        rig.come_up().await;
        rig.trictl(&verify).await.exits(0);
    })
    .await;
}

/// Makes the program of controllers whose wall clock a file beside their configuration moves.
fn jumping_controller(dir: &Path) -> PathBuf {
    // Arguments are `run --config FILE`; the monotonic clock stays what it is.
    let script = format!(
        "#!/bin/sh\n\
         if [ -e \"$3.clock\" ]; then\n\
         export LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE=\"$3.clock\" FAKETIME_NO_CACHE=1\n\
         export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1\n\
         fi\n\
         exec {} \"$@\"\n",
        program("trireme-controller").display()
    );
    let path = dir.join("trireme-controller");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn jumps(offset: &str) {
    assert!(Path::new(FAKETIME).is_file(), "{FAKETIME} is missing: apt-get install faketime");
    let dir = tempfile::tempdir().unwrap();
    let controller = jumping_controller(dir.path());
    let programs = Programs { controller, ..Programs::within(programs_dir()).unwrap() };
    let mut rig = Rig::with_programs(1, programs);
    let clock = |rig: &Rig, offset: &str| {
        let victim = &rig.fleet.controllers()[0];
        let file = victim.data.parent().unwrap().join("controller.yaml.clock");
        // Replaced whole: it is read at any moment.
        std::fs::write(file.with_extension("new"), offset).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    };
    clock(&rig, "+0");
    rig.come_up().await;
    web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
    let victim = rig.fleet.controllers()[0].name.clone();
    if rig.leader(None).await != victim {
        rig.trictl(&["controller", "transfer", "--to", victim.as_str()]).await.exits(0);
        until("the lead of the one whose clock jumps", async || {
            (rig.controllers().await?.leader? == victim).then_some(())
        })
        .await;
    }
    clock(&rig, offset);
    let plan = rig.file("late.yaml", "kind: Region\nname: late\ncloud: late\n");
    until("the refusal of a leader whose clock is off", async || {
        // Until the others were asked for their time, the jump is not known.
        let dry = ["apply", "--dry-run", "-f", plan.to_str().unwrap()];
        let run = rig.trictl(&dry).await;
        (run.code == Some(10)).then(|| {
            let problem = run.problem();
            assert_eq!(problem["rule"], "clock.skew", "{problem}");
            let message = problem["message"].as_str().unwrap();
            assert!(message.starts_with("the leader's clock is "), "{message}");
        })
    })
    .await;
    rig.apply(&plan).await.exits(10);
    // What it hints at works, and from another leader everything does.
    let new = if rig.leader(None).await == victim {
        rig.trictl(&["controller", "transfer", "--to", "c-gcp"]).await.exits(0);
        rig.leader(Some(&victim)).await
    } else {
        rig.leader(Some(&victim)).await
    };
    assert_ne!(new, victim);
    rig.apply(&plan).await.exits(0);
    rig.upgrade_to(WEB, "1.1.0").await;
    web::assert_started(&rig, &["1.0.0", "1.1.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_jumps_ahead_is_refused_and_another_leads_on() {
    bounded(jumps("+1h")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_falls_behind_is_refused_and_another_leads_on() {
    bounded(jumps("-1h")).await;
}
