//! What daemons show of themselves, read as Prometheus, probes and gRPC clients read it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::tls::Server;
use trireme_telemetry::{Format, Metric};

use super::rig::{Rig, bounded, until};
use super::web::{self, Spec};

/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Asks a daemon over HTTP; returns status and body.
async fn get(at: SocketAddr, path: &str, accept: &str) -> Option<(u16, String)> {
    let asked = async {
        let mut tcp = TcpStream::connect(at).await.ok()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {at}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    timeout(ANSWER_WAIT, asked).await.ok()?
}

/// Returns the names that a page describes, as queries use them.
fn described(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

fn names(all: impl Iterator<Item = &'static Metric>) -> BTreeSet<String> {
    all.map(|metric| metric.name.to_owned()).collect()
}

/// Has `promtool` read a page in the format that it reads.
async fn promtool(page: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).await.unwrap();
    let output = timeout(ANSWER_WAIT, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

/// TSP-05.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_every_daemon_and_finds_what_is_declared() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        rig.upgrade_to(web::WEB, "1.1.0").await;
        let controllers: Vec<_> = rig.fleet.controllers().iter().map(|c| c.telemetry).collect();
        let agents: Vec<_> = rig.fleet.agents().iter().map(|agent| agent.telemetry).collect();

        let open = Format::OpenMetrics.media_type();
        let mut seen = [BTreeSet::new(), BTreeSet::new()];
        for (kind, at) in [(0, &controllers), (1, &agents)] {
            for at in at {
                let (status, classic) = get(*at, "/metrics", "*/*").await.unwrap();
                assert_eq!(status, 200);
                promtool(&classic).await;
                seen[kind].extend(described(&classic));
                let (status, page) = get(*at, "/metrics", open).await.unwrap();
                assert!(status == 200 && page.ends_with("# EOF\n"), "{page}");
            }
        }
        let mut declared = names(trireme_controller::telemetry::names::all());
        // Nobody was refused anything.
        declared.remove("fleet_authz_denied_total");
        assert_eq!(seen[0], declared, "what controllers show is what is declared");
        assert_eq!(seen[1], names(trireme_agent::telemetry::names::all()), "and agents");

        let prometheus = Prometheus::start(&rig, &controllers, &agents).await;
        prometheus.reads(controllers.len() + agents.len()).await;
        for (query, expected) in [
            ("count(fleet_raft_has_leader == 1)", "3"),
            ("sum(fleet_raft_is_leader)", "1"),
            ("sum(fleet_agents_connected)", "3"),
            ("max(fleet_serving_regions{service=\"web\"})", "3"),
            ("count(fleet_check_passing == 1)", "3"),
            ("max(fleet_upgrade_state{service=\"web\",state=\"succeeded\"})", "1"),
            ("count(fleet_build_info)", "6"),
            ("max(fleet_grants_held)", "0"),
        ] {
            prometheus.answers(query, expected).await;
        }
    })
    .await;
}

/// A Prometheus that reads the daemons, with the parser of its own for OpenMetrics.
struct Prometheus {
    at: SocketAddr,
    _process: tokio::process::Child,
}

impl Prometheus {
    async fn start(rig: &Rig, controllers: &[SocketAddr], agents: &[SocketAddr]) -> Self {
        let mut config = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
        for (job, at) in [("trireme-controller", controllers), ("trireme-agent", agents)] {
            let at: Vec<_> = at.iter().map(|at| format!("\"{at}\"")).collect();
            let targets = at.join(", ");
            let _ = writeln!(
                config,
                "  - {{job_name: {job}, static_configs: [{{targets: [{targets}]}}]}}"
            );
        }
        let config = rig.file("prometheus.yml", config);
        // Free a moment ago; nobody else on this machine takes ports at random.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", rig.files().join("tsdb").display()))
            .arg(format!("--web.listen-address={at}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { at, _process: process }
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let (_, body) = get(self.at, path, "*/*").await?;
        // It may come in chunks; JSON begins and ends with braces.
        let text = &body[body.find('{')?..=body.rfind('}')?];
        serde_json::from_str(text).ok()
    }

    /// Waits until every daemon was read without a fault.
    async fn reads(&self, count: usize) {
        until("all targets up", async || {
            let answer = self.ask("/api/v1/query?query=up").await?;
            let found = answer["data"]["result"].as_array()?;
            (found.len() == count && found.iter().all(|one| one["value"][1] == "1")).then_some(())
        })
        .await;
    }

    async fn answers(&self, query: &str, expected: &str) {
        let path: String = query.bytes().fold("/api/v1/query?query=".to_owned(), |mut path, b| {
            let _ = write!(path, "%{b:02x}");
            path
        });
        until(&format!("{query} = {expected}"), async || {
            let answer = self.ask(&path).await?;
            (answer["data"]["result"][0]["value"][1] == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_a_controller_lives_and_is_not_ready() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        let own = rig.fleet.controllers()[0].telemetry;
        let agent = rig.fleet.agents()[0].telemetry;
        let (status, text) = get(own, "/readyz?verbose", "*/*").await.unwrap();
        assert_eq!(status, 200, "{text}");
        for check in ["running", "leader", "applied", "disk", "certificates"] {
            assert!(text.contains(&format!("[+]{check} ok: ")), "{text}");
        }
        until("an agent that is ready", async || {
            let (status, text) = get(agent, "/readyz", "*/*").await?;
            (status == 200 && text == "ready\n").then_some(())
        })
        .await;

        let others: Vec<_> = rig.fleet.controllers()[1..].iter().map(|c| c.name.clone()).collect();
        for name in &others {
            rig.kill_controller(name).await;
        }
        let text = until("a controller that is not ready", async || {
            let (status, text) = get(own, "/readyz?verbose", "*/*").await?;
            (status == 503).then_some(text)
        })
        .await;
        assert!(text.contains("[-]leader failed: no leader is heard from"), "{text}");
        assert!(text.contains("[+]disk ok: "), "{text}");
        for at in [own, agent] {
            assert_eq!(get(at, "/livez", "*/*").await.unwrap(), (200, "ok\n".to_owned()));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_tells_of_each_service_and_says_farewell_before_the_connection_ends() {
    bounded(async {
        let mut rig = Rig::start(0).await;
        let controller = &rig.fleet.controllers()[0];
        let (name, api) = (controller.name.clone(), controller.api.to_string());
        let credentials = rig.fleet.context().unwrap().credentials().unwrap();
        let options = ChannelOptions::default();
        let channel = channel(&api, &Server::AnyController, &credentials, &options).unwrap();
        let mut client = HealthClient::new(channel);
        let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
        for service in ["", "fleet.v1.Operator", "fleet.v1.Agent", "fleet.v1.Enrol"] {
            until(service, async || {
                let answer = client.clone().check(of(service)).await.ok()?;
                (answer.into_inner().status() == ServingStatus::Serving).then_some(())
            })
            .await;
        }
        let unknown = client.check(of("fleet.v1.Other")).await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);

        let mut watch = client.watch(of("fleet.v1.Agent")).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        let process = &mut rig.fleet.controller_mut(&name).unwrap().process;
        let (stopped, last) = tokio::join!(
            process.stop(Duration::from_secs(10)),
            timeout(ANSWER_WAIT, watch.message())
        );
        stopped.unwrap();
        let last = last.unwrap().unwrap().expect("a word before the end");
        assert_eq!(last.status(), ServingStatus::NotServing);
    })
    .await;
}
