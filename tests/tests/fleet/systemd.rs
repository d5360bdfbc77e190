//! A unit of systemd in three regions: upgraded by digest, and back from a release that is no good.
//!
//! Each node is a host of its own, a container that systemd runs in, with the agent as a process
//! in there; addresses are those of this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use trireme_ctl::local::Programs;
use trireme_proto::digest::Digest;
use trireme_tests::docker::Engine;
use trireme_tests::systemd::Host;

use super::rig::{self, Rig, bounded_by, program, programs_dir, until};
use super::traffic::Traffic;
use super::web::PORT;

/// The unit as the fleet knows it, and by its name.
const SERVICE: &str = "gateway";
const UNIT: &str = "gateway.service";
/// Longest the whole test may take: three hosts are booted, each in some seconds.
const TEST_MAX: Duration = Duration::from_secs(150);
/// The operator's file; the same on every node. What it runs is said by releases alone.
const FILE: &str = "\
[Unit]
Description=Gateway
[Service]
User=nobody
RuntimeDirectory=gateway
WorkingDirectory=/run/gateway
Restart=on-failure
RestartSec=100ms
";

fn service() -> String {
    format!(
        "\
kind: Service
name: {SERVICE}
nodes: {{labels: {{role: web}}}}
driver: {{systemd: {{unit: {UNIT}, stop_timeout: 5s}}}}
serving: {{at_least: 2, nodes: 1}}
checks:
  - name: health
    http: {{url: \"http://{{address}}:{PORT}/health\"}}
    every: 150ms
    timeout: 150ms
    rise: 2
    fall: 5
traffic:
  dns: {{port: {PORT}, ttl: 1s}}
  drain: 1s
  in_flight: \"http://{{address}}:{PORT}/in-flight\"
upgrade:
  order: [aws, aliyun, gcp]
  bake: {{region: 300ms}}
  deadline: {{step: 20s, fleet: 5m}}
"
    )
}

/// Returns a release whose file is a script that says its version and does what `then` says.
fn release(rig: &Rig, version: &str, then: &str) -> String {
    let script = format!("#!/bin/sh\necho \"this is {version}\"\n{then}\n");
    let file = rig.file(&format!("{SERVICE}-{version}"), &script);
    format!(
        "---\nkind: Release\nservice: {SERVICE}\nversion: {version}\n\
         artifact: {{url: \"file://{}\", sha256: \"{}\"}}\n\
         argv: [\"{{artifact}}\", \"{{address}}:{PORT}\"]\n",
        file.display(),
        Digest::of(script.as_bytes())
    )
}

/// Returns what a good release does: it serves what a file of the machine says of it.
fn serves(rig: &Rig, version: &str) -> String {
    let work = json!({ "version": version, "health": 200, "work_ms": 5 }).to_string();
    let work = rig.file(&format!("{version}.json"), &work);
    let trictl = program("trictl");
    let (trictl, work) = (trictl.display(), work.display());
    format!("exec {trictl} demo-service --release {work} --listen \"$1\"")
}

/// Makes a program that stands for the agent's: it becomes the agent on the host of the node whose
/// configuration it is given.
fn agent_elsewhere(dir: &Path) -> PathBuf {
    let script = dir.join("trireme-agent");
    let text = format!(
        "#!/bin/bash\nfor word in \"$@\"; do case $word in *.yaml) config=$word;; esac; done\n\
         node=$(basename \"$(dirname \"$config\")\")\n\
         exec nsenter --target \"$(cat {}/\"$node\".host)\" --mount --pid -- \
         setpriv --pdeathsig KILL -- {} \"$@\"\n",
        dir.display(),
        program("trireme-agent").display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// One node's host.
struct Node<'e> {
    name: String,
    host: Host<'e>,
}

impl Node<'_> {
    fn shown(&self, property: &str) -> String {
        self.host.run(&["systemctl", "show", "--value", "--property", property, UNIT])
    }

    /// Returns the run of the unit, and the program that it is of.
    fn runs(&self) -> (String, String) {
        let program = self.shown("ExecStart");
        let path = program.split_whitespace().find_map(|word| word.strip_prefix("path="));
        (self.shown("InvocationID"), path.unwrap().to_owned())
    }
}

/// Boots a host for every node, all of which see the fleet's directory, and installs the unit.
fn boot<'e>(engine: &'e Engine, rig: &Rig, programs: &Path) -> Vec<Node<'e>> {
    let drivers = json!({ "systemd": { "units": [UNIT] } });
    let boot = |agent: &trireme_ctl::local::Agent| {
        let root = rig.files().parent().unwrap().to_owned();
        let host = Host::start(engine, &[&root]);
        let name = agent.node.to_string();
        fs::write(programs.join(format!("{name}.host")), host.pid()).unwrap();
        rig::allow(agent, &drivers);
        let file = rig.file(UNIT, FILE).display().to_string();
        host.run(&["cp", &file, "/etc/systemd/system/"]);
        host.run(&["systemctl", "daemon-reload"]);
        Node { name, host }
    };
    rig.fleet.agents().iter().map(boot).collect()
}

/// DVN-36, DVN-37: two regions serve throughout. DVN-11: a unit is driven that the node allows, and
/// its journal is followed. DVN-41, DVN-43: back to the exact digest; other regions untouched.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_11_36_37_41_43_a_unit_is_upgraded_by_digest_and_a_bad_release_goes_back() {
    bounded_by(TEST_MAX, async {
        let engine = Engine::start();
        let dir = tempfile::tempdir().unwrap();
        let own = Programs::within(programs_dir()).unwrap();
        let programs = Programs { agent: agent_elsewhere(dir.path()), ..own };
        let mut shape = trireme_ctl::local::Shape::new("e2e".parse().unwrap());
        (shape.agents, shape.service_ports) = (1, vec![PORT]);
        let mut rig = Rig::shaped(shape, programs);
        // Others than root pass through the rig's directory, to their programs' files.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(rig.files().parent().unwrap(), open.clone()).unwrap();
        fs::set_permissions(rig.files(), open).unwrap();
        let nodes = boot(&engine, &rig, dir.path());
        rig.come_up().await;
        let (old, new) = (serves(&rig, "1.0.0"), serves(&rig, "1.1.0"));
        let manifest = [
            service(),
            release(&rig, "1.0.0", &old),
            release(&rig, "1.1.0", &new),
            release(&rig, "6.6.6", "echo 'no such chain' >&2\nexit 3"),
        ];
        let manifest = rig.file("gateway.yaml", manifest.concat());
        rig.apply(&manifest).await.exits(0);
        rig.upgrade_to(SERVICE, "1.0.0").await;
        let running = || nodes.iter().map(Node::runs).collect::<Vec<_>>();
        let first = running();

        let traffic = Traffic::start(&rig, SERVICE, "/health").await;
        rig.upgrade_to(SERVICE, "1.1.0").await;
        traffic.end().await.assert_unharmed();
        let second = running();
        for (before, after) in first.iter().zip(&second) {
            assert!(before.0 != after.0 && before.1 != after.1, "{before:?} {after:?}");
        }

        let traffic = Traffic::start(&rig, SERVICE, "/health").await;
        let upgrade = rig.begin(SERVICE, "6.6.6").await;
        let ending = rig.watch(&upgrade).await.exits(7).problem();
        traffic.end().await.assert_unharmed();
        let message = ending["message"].as_str().unwrap();
        assert!(message.contains("exited with code 3"), "{message}");
        assert_eq!(rig.held_grants().await.unwrap(), []);
        let third = running();
        // The first region was touched and runs the recorded program; the others not at all.
        assert_eq!(third[0].1, second[0].1);
        assert_ne!(third[0].0, second[0].0);
        assert_eq!(third[1..], second[1..]);
        reads_the_journal(&rig, &nodes[0].name).await;
    })
    .await;
}

/// DVN-11, TSP-09: the newest lines, and those that match, found on the node.
async fn reads_the_journal(rig: &Rig, node: &str) {
    let logs = |more: &[&str]| {
        let args = [&["service", "logs", SERVICE, "--node", node], more].concat();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let run = rig.trictl(&args).await.exits(0);
            let lines = run.stdout.lines().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["text"].as_str().map(str::to_owned)
            });
            lines.flatten().collect::<Vec<_>>()
        }
    };
    let versions = ["this is 1.0.0", "this is 1.1.0", "this is 6.6.6", "this is 1.1.0"];
    until("the journal of every release", async || {
        let mut said = logs(&["--tail", "all", "--grep", "^this is"]).await;
        // A release that fails is started again by systemd until the agent ends that.
        said.dedup();
        (said == versions).then_some(())
    })
    .await;
    assert_eq!(logs(&["--tail", "1", "--grep", "THIS", "-i"]).await, ["this is 1.1.0"]);
    let all = logs(&["--tail", "all"]).await;
    assert_eq!(logs(&["--tail", "3"]).await, all[all.len() - 3..]);
    assert!(all.iter().any(|line| line == "no such chain"), "{all:?}");
}
