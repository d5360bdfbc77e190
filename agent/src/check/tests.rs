//! Checks against real servers and real programs, and what their findings add up to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use trireme_proto::id::ServiceId;
use trireme_proto::model::{Check, CommandCheck, HttpCheck, Probe, TcpCheck};
use trireme_proto::time::{Span, WallTime};

use super::{
    Assigned, Board, CheckState, Finding, Health, Outcome, Runner, Schedule, Scheduler, Status,
    Transition,
};
use crate::host::Facts;
use crate::host::tests::fetch::Server;
use crate::host::tests::support::{lines, lives, until, web};
use crate::http::Client;

const PATIENT: Duration = Duration::from_secs(20);

fn check(name: &str, probe: Probe) -> Check {
    let (every, timeout) = (Span::secs(600), Span::secs(20));
    Check { name: name.to_owned(), probe, every, timeout, rise: 2, fall: 3 }
}

fn command(argv: &[&str]) -> Probe {
    let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
    Probe::Command(CommandCheck { argv, env: BTreeMap::new() })
}

/// Returns a probe that runs a shell script from a file.
fn script(dir: &Path, name: &str, text: &str) -> Probe {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    command(&["/bin/sh", path.to_str().unwrap()])
}

async fn ask(probe: &Probe) -> Outcome {
    Runner::new(Arc::new(Client::new())).run(probe, PATIENT).await
}

#[tokio::test]
async fn exit_codes_mean_what_nagios_plugins_mean() {
    let dir = tempfile::tempdir().unwrap();
    for (code, status, message) in [
        (0, Status::Ok, "all is said"),
        (1, Status::Warn, "all is said"),
        (2, Status::Crit, "all is said"),
        (3, Status::Unknown, "all is said"),
        (4, Status::Crit, "exited with code 4: all is said"),
        (126, Status::Unknown, "exited with code 126: all is said"),
        (127, Status::Unknown, "exited with code 127: all is said"),
    ] {
        let text = format!("echo 'all is said | load=0.5;1;2'\necho more\nexit {code}\n");
        let outcome = ask(&script(dir.path(), "plugin", &text)).await;
        assert_eq!((outcome.status, outcome.message.as_str()), (status, message));
        assert_eq!((outcome.perfdata.len(), outcome.perfdata[0].value), (1, Some(0.5)));
    }
    let outcome = ask(&script(dir.path(), "plugin", "kill -9 $$\n")).await;
    assert_eq!((outcome.status, outcome.message.as_str()), (Status::Crit, "ended by signal 9"));
    let outcome = ask(&script(dir.path(), "plugin", "echo why >&2\nexit 2\n")).await;
    assert_eq!((outcome.status, outcome.message.as_str()), (Status::Crit, "why"));
    let outcome = ask(&command(&["/no/such/plugin"])).await;
    assert_eq!(outcome.status, Status::Unknown);
    assert!(outcome.message.starts_with("/no/such/plugin cannot be run"), "{}", outcome.message);
    assert_eq!(ask(&command(&[])).await.status, Status::Unknown);
}

#[tokio::test]
async fn a_plugin_sees_its_own_environment_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Probe::Command(mut plugin) = script(dir.path(), "plugin", "env > $OUT\npwd >> $OUT\n")
    else {
        panic!("not a command")
    };
    let out = dir.path().join("out");
    plugin.env.insert("OUT".to_owned(), out.display().to_string());
    assert_eq!(ask(&Probe::Command(plugin)).await.status, Status::Ok);
    let mut names: Vec<String> =
        lines(&out).iter().map(|line| line.split('=').next().unwrap().to_owned()).collect();
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(&name.as_str()));
    names.sort();
    assert_eq!(names, ["/", "OUT", "PATH"]);
}

#[tokio::test]
async fn a_plugin_that_takes_too_long_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let text = format!(
        "sleep 600 &\n(sleep 600 & echo $! >> {0}; wait) &\necho $$ >> {0}\nwait\n",
        pids.display()
    );
    let probe = script(dir.path(), "plugin", &text);
    let runner = Arc::new(Runner::new(Arc::new(Client::new())));
    let outcome = runner.run(&probe, Duration::from_secs(1)).await;
    assert_eq!(outcome.status, Status::Crit);
    assert_eq!(outcome.message, "/bin/sh did not end within 1s");
    let started = lines(&pids);
    assert_eq!(started.len(), 2, "the plugin and its grandchild had begun");
    for pid in started {
        let pid = pid.parse().unwrap();
        until("it is gone", || !lives(pid)).await;
    }

    // A run that is given up half way leaves nothing either.
    fs::remove_file(&pids).unwrap();
    let mut runs = JoinSet::new();
    let running = Arc::clone(&runner);
    runs.spawn(async move { running.run(&probe, PATIENT).await });
    until("both have begun", || lines(&pids).len() == 2).await;
    runs.shutdown().await;
    for pid in lines(&pids) {
        let pid = pid.parse().unwrap();
        until("it is gone", || !lives(pid)).await;
    }
    // The next run reaps it: then not even a zombie has its number.
    let plugin: u32 = lines(&pids).iter().map(|pid| pid.parse().unwrap()).min().unwrap();
    runner.run(&command(&["true"]), PATIENT).await;
    assert!(!Path::new(&format!("/proc/{plugin}")).exists());
}

#[tokio::test]
async fn a_child_that_holds_the_output_does_not_hold_up_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = ask(&script(dir.path(), "plugin", "sleep 600 &\necho done\n")).await;
    assert_eq!((outcome.status, outcome.message.as_str()), (Status::Ok, "done"));
}

#[tokio::test]
async fn output_is_capped_and_a_chatty_plugin_ends() {
    let dir = tempfile::tempdir().unwrap();
    let text = "head -c 1000000 /dev/zero | tr '\\0' x\necho\nexit 1\n";
    let outcome = ask(&script(dir.path(), "plugin", text)).await;
    assert_eq!(outcome.status, Status::Warn);
    assert_eq!(outcome.message, "x".repeat(super::MESSAGE_BYTES_MAX));
}

#[tokio::test]
async fn an_http_check_asks_for_a_status_and_follows_nobody() {
    let say = |text: &str| {
        let text = text.as_bytes().to_vec();
        move |_| text.clone()
    };
    let ok = Server::start(say("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let moved = "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n";
    let moved = Server::start(say(moved)).await;
    let sick = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\n\r\nno disk\n";
    let sick = Server::start(say(sick)).await;
    let short = Server::start(say("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nno")).await;
    let garbled = Server::start(say("SSH-2.0-OpenSSH\r\n\r\n")).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (address, wanted, status, message) in [
        (ok.address, None, Status::Ok, "204 No Content in "),
        (ok.address, Some(200), Status::Crit, "204 No Content in "),
        (moved.address, None, Status::Crit, "302 Found in "),
        (moved.address, Some(302), Status::Ok, "302 Found in "),
        (sick.address, None, Status::Crit, "503 Service Unavailable in "),
        (short.address, None, Status::Crit, "no whole answer: "),
        (garbled.address, None, Status::Crit, "no whole answer: "),
        (closed, None, Status::Crit, "cannot connect to "),
    ] {
        let url = format!("http://{address}/health");
        let outcome = ask(&Probe::Http(HttpCheck { url, status: wanted })).await;
        assert_eq!(outcome.status, status, "{}", outcome.message);
        assert!(outcome.message.starts_with(message), "{}", outcome.message);
    }
    assert_eq!(moved.requests().len(), 2);
    let url = format!("http://{}/health", sick.address);
    let said = ask(&Probe::Http(HttpCheck { url, status: None })).await.message;
    assert!(said.ends_with(": no disk"), "{said}");
    for url in ["127.0.0.1:1", "ftp://127.0.0.1/", "http:///x", "http://a:b@127.0.0.1/", "::"] {
        let outcome = ask(&Probe::Http(HttpCheck { url: url.to_owned(), status: None })).await;
        assert_eq!(outcome.status, Status::Unknown, "{url}: {}", outcome.message);
    }
}

#[tokio::test]
async fn a_tcp_check_wants_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Probe::Tcp(TcpCheck { address: address.clone() });
    assert_eq!(ask(&asked).await.status, Status::Ok);
    drop(listener);
    let outcome = ask(&asked).await;
    assert_eq!(outcome.status, Status::Crit);
    assert!(outcome.message.starts_with(&format!("{address} does not accept: ")));
    for bad in ["127.0.0.1", "127.0.0.1:0", ":80", "127.0.0.1:http"] {
        let outcome = ask(&Probe::Tcp(TcpCheck { address: bad.to_owned() })).await;
        assert_eq!(outcome.message, format!("address {bad} is not host:port"));
        assert_eq!(outcome.status, Status::Unknown);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_critical_not_unknown() {
    // Connections are taken into the backlog, and nobody ever reads them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let runner = Runner::new(Arc::new(Client::new()));
    let silent = Probe::Http(HttpCheck { url, status: None });
    let outcome = runner.run(&silent, Duration::from_millis(50)).await;
    assert_eq!(outcome.status, Status::Crit);
    assert_eq!(outcome.message, "no answer within 50ms");
}

fn facts() -> Facts {
    Facts {
        artifact: String::new(),
        address: "127.0.0.1".to_owned(),
        node: "aws-1".to_owned(),
        region: "aws".to_owned(),
        service: "web".to_owned(),
        version: "1.0.0".to_owned(),
        data: "/".to_owned(),
    }
}

fn assigned(checks: Vec<Check>) -> Vec<Assigned> {
    vec![Assigned { service: web(), checks, facts: facts() }]
}

/// A scheduler under way, with its findings.
struct Scheduled {
    schedule: Schedule,
    findings: mpsc::Receiver<Finding>,
    tasks: JoinSet<()>,
}

impl Scheduled {
    fn start(room: usize) -> Self {
        let (sender, findings) = mpsc::channel(room);
        let (scheduler, schedule) = Scheduler::new(Arc::new(Client::new()), sender);
        let mut tasks = JoinSet::new();
        tasks.spawn(scheduler.run());
        Self { schedule, findings, tasks }
    }

    async fn next(&mut self) -> Finding {
        let next = tokio::time::timeout(PATIENT, self.findings.recv());
        next.await.expect("a finding comes").expect("the scheduler goes on")
    }
}

#[tokio::test]
async fn a_kick_runs_all_checks_now_and_older_runs_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut scheduled = Scheduled::start(1);
    let begun = dir.path().join("begun");
    // The first run hangs; later ones do not.
    let text = format!("echo $$ >> {0}\n[ $(wc -l < {0}) = 1 ] && sleep 600\n:\n", begun.display());
    let slow = check("slow", script(dir.path(), "slow", &text));
    let broken = check("broken", command(&["{nonsense}"]));
    scheduled.schedule.set(assigned(vec![slow.clone(), broken.clone()])).await;
    let first = scheduled.next().await;
    assert_eq!((first.check.as_str(), first.outcome.status), ("broken", Status::Unknown));
    assert!(first.outcome.message.contains("nonsense"), "{}", first.outcome.message);
    until("the slow one has begun", || lines(&begun).len() == 1).await;

    let floor = scheduled.schedule.kick(&web()).await;
    let mut kicked = [scheduled.next().await, scheduled.next().await];
    kicked.sort_by_key(|finding| finding.check.clone());
    assert!(first.seq < floor && kicked.iter().all(|finding| finding.seq >= floor));
    assert_eq!(kicked.map(|finding| finding.check), ["broken", "slow"]);
    // The run that was given up has left nothing.
    let given_up = lines(&begun)[0].parse().unwrap();
    until("it is gone", || !lives(given_up)).await;
    // With ten minutes between runs, whatever came now would be a run too many.
    scheduled.schedule.set(assigned(vec![slow, broken])).await;
    assert!(scheduled.findings.try_recv().is_err());

    drop(scheduled.schedule);
    scheduled.tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_service_that_starts_is_tried_again_soon_until_it_passes() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // Ready at its fourth try; between ordinary runs lie ten minutes.
    let text = format!(
        "echo x >> {0}
[ $(wc -l < {0}) -ge 4 ] || exit 2
",
        log.display()
    );
    let late = check("late", script(dir.path(), "late", &text));
    let mut scheduled = Scheduled::start(8);
    scheduled.schedule.set(assigned(vec![late])).await;
    scheduled.schedule.kick(&web()).await;
    let mut found = Vec::new();
    while found.last() != Some(&Status::Ok) {
        found.push(scheduled.next().await.outcome.status);
    }
    // The run that the kick gave up, if it had begun, is the only one without a finding.
    assert!((lines(&log).len() - found.len()) < 2, "{found:?}");
    assert!(found.len() >= 3 && found[..found.len() - 1].iter().all(|f| *f == Status::Crit));
}

#[tokio::test]
async fn runs_repeat_never_overlap_and_wait_while_nobody_takes_findings() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let text = format!("echo begin >> {0}\nsleep 0.05\necho end >> {0}\n", log.display());
    let mut often = check("often", script(dir.path(), "often", &text));
    (often.every, often.timeout) = (Span(10), Span::secs(20));
    let mut scheduled = Scheduled::start(1);
    scheduled.schedule.set(assigned(vec![often])).await;
    // One in the channel, the rest in the outbox; then no more.
    let most = 2 * (super::schedule::RUNS_MAX + 1);
    until("the outbox is full", || lines(&log).len() == most).await;
    let mut last = 0;
    for _ in 0..most {
        let finding = scheduled.next().await;
        assert!(finding.seq > last);
        last = finding.seq;
    }
    let expected = ["begin", "end"];
    for (at, line) in lines(&log).iter().enumerate() {
        assert_eq!(line, expected[at % 2], "line {at}");
    }
}

const NOW: WallTime = WallTime(1);

fn outcome(status: Status) -> Outcome {
    Outcome::new(status, format!("it is {status}"))
}

#[test]
fn health_rises_and_falls_only_after_enough_in_a_row() {
    use Health::{Failing, Passing, Pending};
    use Status::{Crit, Ok, Unknown, Warn};
    let check = check("health", command(&["true"]));
    let mut state = CheckState::new(check, Pending, WallTime(0));
    let steps = [
        (Ok, Pending),
        (Crit, Pending),
        (Ok, Pending),
        (Warn, Passing),
        (Crit, Passing),
        (Unknown, Passing),
        (Ok, Passing),
        (Crit, Passing),
        (Crit, Passing),
        (Unknown, Failing),
        (Ok, Failing),
        (Crit, Failing),
        (Ok, Failing),
        (Ok, Passing),
    ];
    for (seq, (status, expected)) in (1..).zip(steps) {
        let from = state.health();
        let transition = state.record(seq, outcome(status), WallTime(seq));
        assert_eq!(state.health(), expected, "after step {seq}");
        let changed = (from != expected).then_some(Transition { from, to: expected });
        assert_eq!(transition, changed);
        if changed.is_some() {
            assert_eq!(state.since(), WallTime(seq));
        }
    }
}

#[test]
fn a_late_finding_never_overwrites_a_newer_one() {
    let mut state = CheckState::new(check("health", command(&["true"])), Health::Pending, NOW);
    state.record(5, outcome(Status::Ok), NOW);
    for late in [4, 5] {
        assert_eq!(state.record(late, outcome(Status::Crit), NOW), None);
        assert_eq!(state.last().unwrap().status, Status::Ok);
    }
    assert!(state.record(6, outcome(Status::Ok), NOW).is_some());
}

fn board(service: &ServiceId, checks: &[Check]) -> Board {
    let mut board = Board::default();
    board.set([(service, checks)], NOW);
    board
}

fn record(board: &mut Board, check: &str, seqs: std::ops::Range<u64>, status: Status) {
    for seq in seqs {
        let check = check.to_owned();
        board.record(Finding { service: web(), check, seq, outcome: outcome(status) }, NOW);
    }
}

#[test]
fn the_worst_check_decides_and_says_why() {
    let checks = ["a", "b"].map(|name| check(name, command(&["true"])));
    let mut board = board(&web(), &checks);
    assert_eq!(board.verdict(&web()).health, Health::Pending);
    assert_eq!(board.verdict(&web()).failing["a"], "not yet asked");
    record(&mut board, "a", 1..3, Status::Ok);
    record(&mut board, "b", 3..4, Status::Warn);
    let verdict = board.verdict(&web());
    assert_eq!((verdict.health, verdict.worst), (Health::Pending, Status::Warn));
    assert_eq!(verdict.failing["b"], "1 of 2 passes: it is warning");
    record(&mut board, "b", 4..5, Status::Ok);
    let verdict = board.verdict(&web());
    assert_eq!((verdict.health, verdict.failing.len()), (Health::Passing, 0));
    record(&mut board, "b", 5..8, Status::Crit);
    let verdict = board.verdict(&web());
    assert_eq!((verdict.health, verdict.worst), (Health::Failing, Status::Crit));
    assert_eq!(verdict.failing, BTreeMap::from([("b".to_owned(), "it is critical".to_owned())]));
    let unknown: ServiceId = "db".parse().unwrap();
    assert_eq!(board.verdict(&unknown).health, Health::Passing);
}

#[test]
fn a_start_forgets_findings_and_refuses_those_of_before() {
    let checks = [check("a", command(&["true"]))];
    let mut board = board(&web(), &checks);
    record(&mut board, "a", 1..3, Status::Ok);
    board.restart(&web(), 10, NOW);
    assert_eq!(board.verdict(&web()).health, Health::Pending);
    record(&mut board, "a", 3..10, Status::Ok);
    assert_eq!(board.verdict(&web()).health, Health::Pending);
    record(&mut board, "a", 10..12, Status::Ok);
    assert_eq!(board.verdict(&web()).health, Health::Passing);
}

#[test]
fn a_changed_set_of_checks_darkens_no_service_that_passes() {
    let mut checks = vec![check("a", command(&["true"])), check("b", command(&["true"]))];
    let mut board = board(&web(), &checks);
    for name in ["a", "b"] {
        record(&mut board, name, 1..3, Status::Ok);
    }
    record(&mut board, "a", 3..5, Status::Crit);
    checks[1].probe = command(&["false"]);
    checks.push(check("c", command(&["true"])));
    board.set([(&web(), checks.as_slice())], NOW);
    assert_eq!(board.verdict(&web()).health, Health::Passing);
    // The one that stayed the same goes on where it was, the others begin to count.
    record(&mut board, "b", 5..7, Status::Crit);
    record(&mut board, "c", 5..7, Status::Crit);
    assert_eq!(board.verdict(&web()).health, Health::Passing);
    record(&mut board, "a", 5..6, Status::Crit);
    assert_eq!(board.check(&web(), "a").unwrap().health(), Health::Failing);

    checks.push(check("d", command(&["true"])));
    board.set([(&web(), checks.as_slice())], NOW);
    assert_eq!(board.check(&web(), "d").unwrap().health(), Health::Pending);
    board.set([], NOW);
    assert!(board.check(&web(), "a").is_none());
}

#[test]
fn a_service_known_to_serve_is_presumed_to_until_findings_say_otherwise() {
    let mut board = board(&web(), &[check("a", command(&["true"]))]);
    board.presume_passing(&web());
    assert_eq!(board.verdict(&web()).health, Health::Passing);
    record(&mut board, "a", 1..4, Status::Crit);
    board.presume_passing(&web());
    assert_eq!(board.verdict(&web()).health, Health::Failing);
}

/// B14: whoever writes a manifest does not thereby read a cloud's metadata service through a node.
#[tokio::test]
async fn b14_checks_ask_no_metadata_service_and_follow_no_redirect_to_one() {
    let http = |url: &str| Probe::Http(HttpCheck { url: url.to_owned(), status: None });
    let tcp = |address: &str| Probe::Tcp(TcpCheck { address: address.to_owned() });
    for probe in [
        http("http://169.254.169.254/latest/meta-data/"),
        http("http://[::ffff:169.254.169.254]/"),
        http("http://[fe80::1]:80/"),
        http("http://100.100.100.200/"),
        tcp("169.254.169.254:80"),
        tcp("[fd00:ec2::254]:80"),
    ] {
        let outcome = ask(&probe).await;
        assert_eq!(outcome.status, Status::Unknown, "{probe:?}: {}", outcome.message);
        assert!(outcome.message.contains("is not asked"), "{}", outcome.message);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let redirect = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\
                        Content-Length: 0\r\n\r\n";
        stream.write_all(redirect.as_bytes()).await.unwrap();
        stream
    };
    let probe = http(&url);
    let (outcome, _stream) = tokio::join!(ask(&probe), answer);
    assert_eq!(outcome.status, Status::Crit);
    assert!(outcome.message.starts_with("302 Found"), "{}", outcome.message);
}
