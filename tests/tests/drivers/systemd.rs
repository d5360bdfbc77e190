//! The systemd driver on a real systemd, in a container: each test starts a host and is performed
//! there once more, as root, where an agent would be.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use trireme_agent::host::{
    Drivers, Fetched, Host as _, Machine, NodeFacts, Probed, RunState, Started, SystemdHost,
};
use trireme_agent::http::Client;
use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, ServiceId};
use trireme_proto::model::{Artifact, Driver, Release, SystemdDriver};
use trireme_proto::query::{Cursor, Grep, LogLine, LogsQuestion};
use trireme_proto::time::{Span, WallTime};
use trireme_tests::docker::Engine;
use trireme_tests::systemd::{Host, is_within};

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);
/// The unit that is driven, and where its files lie.
const UNIT: &str = "web.service";
const UNIT_FILE: &str = "/etc/systemd/system/web.service";
const DROP_INS: &str = "/etc/systemd/system/web.service.d";
/// What the operator's unit runs by itself, and what everything else adds to.
const PLAIN: &str = "\
[Service]
ExecStart=/bin/sleep infinity
Restart=no
[Install]
WantedBy=trireme-test.target
";
/// What a good release does: it says its version, arguments and node, and waits to be ended.
const RUNS: &str = "\
echo \"$VERSION $*\" >> /var/lib/said
trap 'exit 0' TERM
while :; do sleep 0.05; done
";

fn web() -> ServiceId {
    "web".parse().unwrap()
}

/// Performs `test` on a host of its own and tells what it left there; `None` on such a host.
fn elsewhere(test: &str, then: impl FnOnce(&Host)) -> bool {
    if is_within() {
        return false;
    }
    let engine = Engine::start();
    let host = Host::start(&engine, &[]);
    host.perform(test);
    then(&host);
    true
}

/// Installs the unit; `more` are lines of its `[Service]`.
fn install(more: &str) {
    fs::write(UNIT_FILE, PLAIN.replace("Restart=no\n", &format!("Restart=no\n{more}"))).unwrap();
    systemctl(&["daemon-reload"]);
}

/// An agent's directory on a host with systemd.
struct Place {
    root: PathBuf,
}

impl Place {
    /// Installs the unit; `more` are lines of its `[Service]`.
    fn new(more: &str) -> Self {
        let root = PathBuf::from("/var/lib/place");
        fs::create_dir_all(&root).unwrap();
        // As the agent's own directory is: nobody else looks into it.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        install(more);
        Self { root }
    }

    fn drivers() -> Drivers {
        let systemd = SystemdHost { units: vec![UNIT.parse().unwrap()], ..SystemdHost::default() };
        Drivers { systemd, ..Drivers::default() }
    }

    async fn open(&self) -> Machine {
        self.open_with(Self::drivers()).await
    }

    async fn open_with(&self, drivers: Drivers) -> Machine {
        let node = NodeFacts {
            node: "aws-1".parse().unwrap(),
            region: "aws".parse().unwrap(),
            address: "127.1.0.1".to_owned(),
        };
        Machine::open(&self.root, node, Arc::new(Client::new()), drivers).await.unwrap()
    }

    /// Makes a release whose file is a shell script.
    fn release(&self, version: &str, script: &str) -> RunSpec {
        let text = format!("#!/bin/sh\nVERSION={version}\n{script}");
        self.release_of(version, text.as_bytes())
    }

    fn release_of(&self, version: &str, content: &[u8]) -> RunSpec {
        let file = self.root.join(version);
        fs::write(&file, content).unwrap();
        let artifact =
            Artifact { url: format!("file://{}", file.display()), sha256: Digest::of(content) };
        let argv = ["{artifact}", "--node", "{node}", "100%", "$HOME", "a  b"];
        RunSpec {
            release: Release {
                service: web(),
                version: version.parse().unwrap(),
                artifact: Some(artifact),
                images: BTreeMap::new(),
                argv: argv.map(str::to_owned).into(),
                env: [("WHERE".to_owned(), "{region} $HOME 5%".to_owned())].into(),
            },
            driver: Driver::Systemd(SystemdDriver {
                unit: UNIT.to_owned(),
                stop_timeout: Span::secs(5),
            }),
        }
    }

    fn record(&self) -> PathBuf {
        self.root.join("services/web/unit.json")
    }
}

fn systemctl(args: &[&str]) -> String {
    let output = Command::new("systemctl").args(args).output().unwrap();
    assert!(output.status.success(), "systemctl {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn shown(property: &str) -> String {
    systemctl(&["show", "--value", "--property", property, UNIT])
}

/// Returns what good releases said, a line for each start.
fn said() -> Vec<String> {
    let text = fs::read_to_string("/var/lib/said").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn state(machine: &Machine) -> RunState {
    machine.observe(&web()).state
}

fn runs(machine: &Machine) -> bool {
    matches!(state(machine), RunState::Running { .. })
}

async fn start(machine: &Machine, spec: &RunSpec, action: u64) {
    machine.fetch(spec).await.unwrap();
    machine.point(&web(), Some(spec)).await.unwrap();
    let started = machine.start(&web(), ActionId(action), false).await.unwrap();
    assert!(matches!(started, Started::Now { .. }), "{started:?}");
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(action)), Probed::Done);
}

async fn broken(machine: &Machine, why: &str) {
    until(why, || state(machine) == RunState::Broken { why: format!("web.service {why}") }).await;
}

/// DVN-40, DVN-41, DVN-43: fetched by digest before anything stops; back to the exact digest.
#[tokio::test]
async fn dvn_11_40_41_43_a_unit_is_upgraded_by_digest_and_goes_back_to_the_one_recorded() {
    let name = "systemd::\
        dvn_11_40_41_43_a_unit_is_upgraded_by_digest_and_goes_back_to_the_one_recorded";
    if elsewhere(name, |_| ()) {
        return;
    }
    let place = Place::new("");
    let machine = place.open().await;
    let (old, new) = (place.release("1.0.0", RUNS), place.release("1.1.0", RUNS));
    assert_eq!(machine.staged(&old).await, Probed::NotDone);
    assert!(matches!(machine.fetch(&old).await.unwrap(), Fetched::Now { .. }));
    assert_eq!(machine.staged(&old).await, Probed::Done);
    assert_eq!(machine.fetch(&old).await.unwrap(), Fetched::Already);
    assert_eq!(state(&machine), RunState::NeverStarted);
    start(&machine, &old, 1).await;
    until("it runs", || runs(&machine)).await;
    assert_eq!(state(&machine).pid().unwrap().to_string(), shown("MainPID"));

    // The next release is fetched while this one runs, untouched.
    let invocation = shown("InvocationID");
    machine.fetch(&new).await.unwrap();
    assert_eq!(machine.start(&web(), ActionId(1), false).await.unwrap(), Started::Already);
    assert_eq!(shown("InvocationID"), invocation);
    let stopped = machine.stop(&web()).await.unwrap();
    assert!(stopped.was_running && !stopped.killed, "{stopped:?}");
    assert_eq!((state(&machine), machine.probe_stop(&web())), (RunState::Stopped, Probed::Done));
    start(&machine, &new, 2).await;
    assert_eq!(machine.probe_start(&web(), &old.digest(), ActionId(2)), Probed::NotDone);
    assert_eq!(machine.observe(&web()).spec, Some(new.digest()));
    machine.stop(&web()).await.unwrap();
    start(&machine, &old, 2).await;
    // Each release was started once, with its own words.
    until("it has said so", || said().len() == 3).await;
    let words = "--node aws-1 100% $HOME a  b";
    assert_eq!(said(), ["1.0.0", "1.1.0", "1.0.0"].map(|version| format!("{version} {words}")));
    let environ = fs::read_to_string(format!("/proc/{}/environ", shown("MainPID"))).unwrap();
    for expected in ["WHERE=aws $HOME 5%", "TRIREME_VERSION=1.0.0", "TRIREME_NODE=aws-1"] {
        assert!(environ.split('\0').any(|one| one == expected), "{expected}: {environ}");
    }
    // The operator's file is as it was; what was pinned before lies beside what is.
    assert_eq!(fs::read_to_string(UNIT_FILE).unwrap(), PLAIN);
    let drop_in = |name: &str| fs::read_to_string(Path::new(DROP_INS).join(name)).unwrap();
    assert!(drop_in("50-trireme.conf").contains(&old.digest().to_string()));
    assert!(drop_in("50-trireme.conf.previous").contains(&new.digest().to_string()));
    assert_eq!(shown("TimeoutStopUSec"), "5s");
    machine.stop(&web()).await.unwrap();
}

#[tokio::test]
async fn a_unit_outlives_the_agent_and_what_it_was_killed_in_is_found_out() {
    let name = "systemd::a_unit_outlives_the_agent_and_what_it_was_killed_in_is_found_out";
    if elsewhere(name, |_| ()) {
        return;
    }
    let place = Place::new("");
    let machine = place.open().await;
    let spec = place.release("1.0.0", RUNS);
    start(&machine, &spec, 7).await;
    let invocation = shown("InvocationID");
    drop(machine);
    let text = fs::read_to_string(place.record()).unwrap();

    // Killed right after systemd was called: another invocation proves the start.
    fs::write(place.record(), text.replace("\"running\"", "\"starting\"")).unwrap();
    let machine = place.open().await;
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(7)), Probed::Done);
    assert_eq!(machine.start(&web(), ActionId(7), false).await.unwrap(), Started::Already);
    assert_eq!(shown("InvocationID"), invocation);
    drop(machine);

    // Killed before it was called: this run was there before, so nothing was done.
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["stage"] = "starting".into();
    json["before"] = invocation.clone().into();
    fs::write(place.record(), json.to_string()).unwrap();
    let machine = place.open().await;
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(7)), Probed::NotDone);
    // Then it is started in earnest, and the run that was there gives way to it.
    let started = machine.start(&web(), ActionId(7), false).await.unwrap();
    assert!(matches!(started, Started::Now { .. }), "{started:?}");
    assert_ne!(shown("InvocationID"), invocation);
    drop(machine);

    // Killed in the middle of a stop: it is finished.
    fs::write(place.record(), text.replace("\"running\"", "\"stopping\"")).unwrap();
    let machine = place.open().await;
    until("the stop is finished", || state(&machine) == RunState::Stopped).await;
    assert_eq!(shown("ActiveState"), "inactive");
    drop(machine);

    // A reboot: what was stopped stays so, what ran is started.
    let stopped = fs::read_to_string(place.record()).unwrap();
    fs::write(place.record(), stopped.replace("\"boot\": \"", "\"boot\": \"another-")).unwrap();
    let machine = place.open().await;
    assert_eq!(state(&machine), RunState::Stopped);
    machine.start(&web(), ActionId(8), false).await.unwrap();
    drop(machine);
    let running = fs::read_to_string(place.record()).unwrap();
    systemctl(&["stop", UNIT]);
    fs::write(place.record(), running.replace("\"boot\": \"", "\"boot\": \"another-")).unwrap();
    let machine = place.open().await;
    until("it runs again", || runs(&machine)).await;
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(8)), Probed::Done);
    machine.stop(&web()).await.unwrap();
}

#[tokio::test]
async fn a_unit_that_is_enabled_stays_down_over_a_reboot_while_it_is_stopped() {
    let name = "systemd::a_unit_that_is_enabled_stays_down_over_a_reboot_while_it_is_stopped";
    let then = |host: &Host| {
        host.reboot();
        host.run(&["systemctl", "start", "trireme-test.target"]);
        assert!(!host.passes(&["systemctl", "is-active", UNIT]));
        // Nor does anybody start it by hand: what keeps it down is told.
        host.run(&["systemctl", "start", UNIT]);
        assert!(!host.passes(&["systemctl", "is-active", UNIT]));
        let shown = ["systemctl", "show", "--value", "--property", "ConditionResult", UNIT];
        assert_eq!(host.run(&shown), "no");
    };
    if elsewhere(name, then) {
        return;
    }
    let place = Place::new("");
    systemctl(&["enable", UNIT]);
    let machine = place.open().await;
    start(&machine, &place.release("1.0.0", RUNS), 1).await;
    machine.stop(&web()).await.unwrap();
}

#[tokio::test]
async fn what_systemd_says_of_ends_and_starts_is_seen() {
    let name = "systemd::what_systemd_says_of_ends_and_starts_is_seen";
    if elsewhere(name, |_| ()) {
        return;
    }
    let place = Place::new("");
    let machine = place.open().await;
    let good = place.release("1.0.0", RUNS);
    start(&machine, &good, 1).await;
    // Under the driver's feet.
    systemctl(&["kill", "--signal=KILL", UNIT]);
    broken(&machine, "ended by signal 9").await;
    systemctl(&["restart", UNIT]);
    until("it runs", || runs(&machine)).await;
    machine.stop(&web()).await.unwrap();

    start(&machine, &place.release("1.1.0", "exit 3\n"), 2).await;
    broken(&machine, "exited with code 3").await;
    machine.stop(&web()).await.unwrap();
    assert_eq!(state(&machine), RunState::Stopped);
    start(&machine, &place.release_of("1.2.0", b"no program"), 3).await;
    broken(&machine, "exited with code 203: systemd could not run its program").await;
    machine.stop(&web()).await.unwrap();

    // One that systemd starts over and over until it has enough; then a good one starts at once.
    install("Restart=always\nRestartSec=10ms\n");
    start(&machine, &place.release("1.3.0", "exit 4\n"), 4).await;
    broken(&machine, "exited with code 4").await;
    assert!(machine.observe(&web()).restart > 0);
    machine.stop(&web()).await.unwrap();
    start(&machine, &good, 4).await;
    until("it runs", || runs(&machine)).await;
    assert_eq!(machine.observe(&web()).restart, 0);
    machine.stop(&web()).await.unwrap();

    // One that says itself when it is ready, and one that has to be killed.
    install("Type=notify\nNotifyAccess=all\n");
    let waits = "while [ ! -e /run/ready ]; do sleep 0.05; done; systemd-notify --ready\n";
    start(&machine, &place.release("1.4.0", &format!("{waits}{RUNS}")), 5).await;
    let unwell = |machine: &Machine| match state(machine) {
        RunState::Unwell { why, .. } => why,
        other => format!("{other:?}"),
    };
    until("it is not ready", || unwell(&machine) == "web.service is still starting").await;
    fs::write("/run/ready", "").unwrap();
    until("it runs", || runs(&machine)).await;
    machine.stop(&web()).await.unwrap();
    install("");
    let deaf = "trap '' TERM\necho deaf >> /var/lib/said\nwhile :; do sleep 0.05; done\n";
    let mut deaf = place.release("1.5.0", deaf);
    let (unit, stop_timeout) = (UNIT.to_owned(), Span(200));
    deaf.driver = Driver::Systemd(SystemdDriver { unit, stop_timeout });
    start(&machine, &deaf, 6).await;
    until("it is deaf", || said().last().is_some_and(|last| last == "deaf")).await;
    assert!(machine.stop(&web()).await.unwrap().killed);
    assert_eq!(state(&machine), RunState::Stopped);
}

/// DVN-11: the allow-list is enforced on the agent, whoever asks.
#[tokio::test]
async fn dvn_11_what_the_node_does_not_allow_is_refused_and_what_cannot_start_is_told() {
    let name = "systemd::\
        dvn_11_what_the_node_does_not_allow_is_refused_and_what_cannot_start_is_told";
    if elsewhere(name, |_| ()) {
        return;
    }
    let place = Place::new("");
    let spec = place.release("1.0.0", RUNS);
    let machine = place.open_with(Drivers::default()).await;
    let error = machine.fetch(&spec).await.unwrap_err().to_string();
    assert!(error.starts_with("unit web.service is not allowed on this node"), "{error}");
    let mut other = place.release("1.0.1", RUNS);
    other.release.argv.insert(0, "/usr/bin/env".to_owned());
    let machine = place.open().await;
    let error = machine.fetch(&other).await.unwrap_err().to_string();
    assert!(error.starts_with("program /usr/bin/env is not allowed on this node"), "{error}");
    // What was not fetched cannot be pointed at, so nothing that runs is ever stopped for it.
    for spec in [&spec, &other] {
        assert!(machine.point(&web(), Some(spec)).await.is_err());
    }
    assert!(!Path::new(DROP_INS).exists());

    let why = |error: &dyn std::error::Error| error.source().unwrap().to_string();
    systemctl(&["mask", "--runtime", UNIT]);
    fs::rename(UNIT_FILE, "/root/web.service").unwrap();
    systemctl(&["daemon-reload"]);
    let masked = why(&machine.fetch(&spec).await.unwrap_err());
    assert!(masked.starts_with("unit web.service is masked on this node"), "{masked}");
    systemctl(&["unmask", "--runtime", UNIT]);
    let absent = why(&machine.fetch(&spec).await.unwrap_err());
    assert!(absent.starts_with("unit web.service is not-found on this node"), "{absent}");

    // What somebody laid over the release, a condition, a part that is missing: nothing runs.
    for (unit, more, expected) in [
        (
            PLAIN.to_owned(),
            "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n",
            "unit web.service would not run the program of the release",
        ),
        (
            format!("[Unit]\nConditionPathExists=/no/such/file\n{PLAIN}"),
            "",
            "unit web.service was not started: a condition in its unit file does not hold",
        ),
        (
            format!("[Unit]\nRequires=no-such.service\nAfter=no-such.service\n{PLAIN}"),
            "",
            "systemd cannot start unit web.service",
        ),
    ] {
        fs::write(UNIT_FILE, unit).unwrap();
        fs::create_dir_all(DROP_INS).unwrap();
        fs::write(Path::new(DROP_INS).join("60-other.conf"), more).unwrap();
        systemctl(&["daemon-reload"]);
        machine.fetch(&spec).await.unwrap();
        machine.point(&web(), Some(&spec)).await.unwrap();
        let error = machine.start(&web(), ActionId(1), false).await.unwrap_err();
        assert!(why(&error).starts_with(expected), "{}", why(&error));
        assert_eq!(state(&machine), RunState::Stopped);
        assert_eq!(shown("ActiveState"), "inactive");
    }
    assert_eq!(said(), Vec::<String>::new());
}

/// A unit's own user cannot look into the agent's directory, and need not.
#[tokio::test]
async fn a_unit_of_another_user_runs_its_release_and_one_that_ran_before_is_taken_over() {
    let name = "systemd::\
        a_unit_of_another_user_runs_its_release_and_one_that_ran_before_is_taken_over";
    if elsewhere(name, |_| ()) {
        return;
    }
    let place = Place::new("User=nobody\n");
    systemctl(&["start", UNIT]);
    fs::write("/var/lib/said", "").unwrap();
    fs::set_permissions("/var/lib/said", fs::Permissions::from_mode(0o666)).unwrap();
    let machine = place.open().await;
    let spec = place.release("1.0.0", RUNS);
    machine.fetch(&spec).await.unwrap();
    // It runs, though nobody here has started it.
    let seen = machine.observe(&web());
    assert_eq!(seen.state.pid().unwrap().to_string(), shown("MainPID"));
    assert_eq!((seen.spec, seen.action), (None, None));
    assert!(machine.stop(&web()).await.unwrap().was_running);
    start(&machine, &spec, 1).await;
    until("it has said so", || !said().is_empty()).await;
    let owner = |pid: String| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned()
    };
    assert!(owner(shown("MainPID")).contains("65534"));
    machine.stop(&web()).await.unwrap();
}

/// What a release does that has something to say: fifty lines, one that is no UTF-8, and one more
/// when it is told to.
const TELLS: &str = "\
i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo \"line $i\"; done
printf 'caf\\351\\n'
while [ ! -e /run/more ]; do sleep 0.05; done
echo more
";

fn question() -> LogsQuestion {
    LogsQuestion {
        service: web(),
        file: None,
        tail: None,
        since: None,
        grep: None,
        follow: false,
        from: None,
    }
}

fn grep(pattern: &str) -> Grep {
    Grep { pattern: pattern.to_owned(), ignore_case: true }
}

async fn lines(machine: &Machine, question: LogsQuestion) -> Vec<LogLine> {
    let mut lines = machine.lines(&question).await.unwrap();
    let mut found = Vec::new();
    while let Some(piece) = lines.next().await.unwrap() {
        found.extend(piece.lines);
    }
    found
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// DVN-11, DMP-03, TSP-09: the journal of a unit, its newest lines, those that match and those to
/// come, found on the node.
#[tokio::test]
async fn dvn_11_dmp_03_tsp_09_the_journal_of_a_unit_is_read_searched_and_followed() {
    let name = "systemd::\
        dvn_11_dmp_03_tsp_09_the_journal_of_a_unit_is_read_searched_and_followed";
    if elsewhere(name, |_| ()) {
        return;
    }
    let place = Place::new("");
    let machine = place.open().await;
    start(&machine, &place.release("1.0.0", &format!("{TELLS}{RUNS}")), 1).await;
    let end = Instant::now() + PATIENCE;
    let all = loop {
        let all = lines(&machine, question()).await;
        if texts(&all).contains(&"caf\u{fffd}") {
            break all;
        }
        assert!(Instant::now() < end, "it says nothing: {all:?}");
    };
    // What systemd says of the unit stands among what the unit says.
    assert!(texts(&all)[0].starts_with("Started web.service"), "{all:?}");
    assert!(all.iter().all(|line| line.time.is_some()));
    let found = lines(&machine, LogsQuestion { grep: Some(grep("^LINE 1")), ..question() }).await;
    assert_eq!((found.len(), found[10].text.as_str()), (11, "line 19"));
    let found = LogsQuestion { tail: Some(3), grep: Some(grep("line")), ..question() };
    let found = lines(&machine, found).await;
    assert_eq!(texts(&found), ["line 48", "line 49", "line 50"]);
    let newest = LogsQuestion { tail: Some(2), ..question() };
    assert_eq!(texts(&lines(&machine, newest).await), ["line 50", "caf\u{fffd}"]);
    let later = WallTime(all[50].time.unwrap().0 + 60_000);
    assert_eq!(lines(&machine, LogsQuestion { since: Some(later), ..question() }).await, []);
    // From where an answer was left off, nothing twice and nothing left out.
    let from = Some(found[0].cursor.clone());
    let rest = lines(&machine, LogsQuestion { from, ..question() }).await;
    assert_eq!(texts(&rest), ["line 49", "line 50", "caf\u{fffd}"]);
    for cursor in ["", "0=--file=/etc/shadow", "1=/x"] {
        let from = Some(Cursor(cursor.to_owned()));
        assert!(machine.lines(&LogsQuestion { from, ..question() }).await.is_err());
    }

    let follow = LogsQuestion { tail: Some(1), follow: true, ..question() };
    let mut following = machine.lines(&follow).await.unwrap();
    let first = following.next().await.unwrap().unwrap();
    assert_eq!((texts(&first.lines), first.caught_up), (vec!["caf\u{fffd}"], true));
    fs::write("/run/more", "").unwrap();
    let more = loop {
        let piece = following.next().await.unwrap().unwrap();
        if !piece.lines.is_empty() {
            break piece;
        }
    };
    assert_eq!(texts(&more.lines), ["more"]);
    machine.stop(&web()).await.unwrap();
}
