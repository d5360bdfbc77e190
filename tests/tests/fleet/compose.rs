//! A docker-compose project of three services in three regions, each region's ports on an address
//! of its own: upgraded by digest from a registry, and back from an image that is no good.
//!
//! One engine carries the projects of all nodes; to the agents it is each node's own.

use std::time::Duration;

use serde_json::{Value, json};
use trireme_tests::docker::Engine;

use super::rig::{self, Rig, bounded_by};
use super::traffic::Traffic;
use super::web::PORT;

/// The project as the fleet knows it.
const SERVICE: &str = "dvn";
/// Longest the whole test may take: ten projects are started, each in some seconds.
const TEST_MAX: Duration = Duration::from_secs(150);

/// What the front does: it answers with the files of its image.
const SERVES: &str = "trap 'exit 0' TERM\n/bin/busybox httpd -f -p 8080 -h /www &\nwait\n";
/// What those behind it do.
const WAITS: &str = "trap 'exit 0' TERM\n/bin/busybox sleep 3600 &\nwait\n";
/// What an image does that is no good.
const FAILS: &str = "echo 'no such chain' >&2\nexit 3\n";

/// The operator's file; the same on every node.
const FILE: &str = "\
services:
  api:
    image: dvn/api
    restart: unless-stopped
    ports: [\"${TRIREME_ADDRESS}:8080:8080\"]
    volumes: [\"state:/state\"]
    depends_on: [relay, worker]
  relay:
    image: dvn/relay
    restart: unless-stopped
  worker:
    image: dvn/worker
    restart: unless-stopped
    volumes: [\"state:/state\"]
volumes: {state: {}}
";

fn service(engine: &Engine, file: &str) -> String {
    format!(
        "\
kind: Service
name: {SERVICE}
nodes: {{labels: {{role: web}}}}
driver:
  compose: {{project: \"{}-{{node}}\", file: {file}, stop_timeout: 5s}}
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
  drain: 300ms
upgrade:
  order: [aws, aliyun, gcp]
  bake: {{region: 300ms}}
  deadline: {{step: 40s, fleet: 5m}}
",
        engine.name()
    )
}

fn release(version: &str, images: [&str; 3]) -> String {
    let [api, relay, worker] = images;
    format!(
        "---\nkind: Release\nservice: {SERVICE}\nversion: {version}\n\
         images: {{api: \"{api}\", relay: \"{relay}\", worker: \"{worker}\"}}\n"
    )
}

fn image(engine: &Engine, name: &str, version: &str, script: &str) -> String {
    let (page, health) = (format!("{version}\n"), "ok\n");
    let files = [("run.sh", script), ("www/index.html", &page), ("www/health", health)];
    engine.image(name, &files, &["ENTRYPOINT [\"/bin/busybox\", \"sh\", \"/run.sh\"]"])
}

/// What the engine runs of one node's project: service, id, start and image of each container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Running(Vec<[String; 4]>);

impl Running {
    fn on(engine: &Engine, node: &str) -> Self {
        let filter = format!("label=com.docker.compose.project={}-{node}", engine.name());
        let ids = engine.docker(&["ps", "--quiet", "--no-trunc", "--filter", &filter]);
        let format = "{{index .Config.Labels \"com.docker.compose.service\"}} {{.Id}} \
                      {{.State.StartedAt}} {{.Config.Image}}";
        let mut found: Vec<[String; 4]> = ids
            .lines()
            .map(|id| {
                let line = engine.docker(&["inspect", "--format", format, id]);
                let mut words = line.split(' ').map(str::to_owned);
                std::array::from_fn(|_| words.next().unwrap())
            })
            .collect();
        found.sort();
        Self(found)
    }

    fn images(&self) -> Vec<&str> {
        self.0.iter().map(|[_, _, _, image]| image.as_str()).collect()
    }

    fn id(&self, service: &str) -> &str {
        let found = self.0.iter().find(|[name, ..]| name == service);
        found.map_or("none", |[_, id, ..]| id)
    }
}

/// Lets every agent drive the projects of this test, from its directory.
fn allow_projects(rig: &Rig, engine: &Engine) {
    let drivers = json!({ "compose": {
        "projects": [format!("{}-*", engine.name())],
        "files": [rig.files()],
        "socket": engine.socket(),
    }, "exec": [SERVICE]});
    for agent in rig.fleet.agents() {
        rig::allow(agent, &drivers);
    }
}

/// Upgrades to a version and returns how the upgrade ended, as it was told.
async fn upgrade(rig: &Rig, version: &str, exit: i32) -> Value {
    let upgrade = rig.begin(SERVICE, version).await;
    let run = rig.trictl(&["upgrade", "watch", &upgrade]).await.exits(exit);
    assert_eq!(rig.held_grants().await.unwrap(), []);
    if exit == 0 { Value::Null } else { run.problem() }
}

/// Makes a node's containers anew under traffic: the same images, and none of those before.
async fn recreate(rig: &Rig, engine: &Engine, node: &str) {
    let before = Running::on(engine, node);
    let traffic = Traffic::start(rig, SERVICE, "/health").await;
    rig.trictl(&["service", "recreate", SERVICE, "--node", node, "--watch"]).await.exits(0);
    traffic.end().await.assert_unharmed();
    let after = Running::on(engine, node);
    assert_eq!(after.images(), before.images());
    for service in ["api", "relay", "worker"] {
        assert_ne!(after.id(service), before.id(service), "{service} was only started again");
    }
}

/// DVN-04, DVN-05, DVN-06: containers looked at on their node, and a program run inside one.
async fn is_looked_into(rig: &Rig, engine: &Engine) {
    let running = Running::on(engine, "gcp-1");
    let look = |verb| ["service", verb, SERVICE, "--node", "gcp-1"];
    let view = rig.trictl(&look("status")).await.exits(0).json();
    let instances = view["items"][0]["status"]["instances"].as_array().unwrap().clone();
    let images: Vec<&str> = instances.iter().map(|one| one["image"].as_str().unwrap()).collect();
    assert_eq!(images, running.images(), "{instances:#?}");
    let view = rig.trictl(&look("top")).await.exits(0).json();
    let items = view["items"].as_array().unwrap();
    assert_eq!(items.len(), 3, "{view:#}");
    assert!(items.iter().all(|one| one["memory_bytes"].as_u64() > Some(0)), "{view:#}");

    let reason = ["--reason", "ticket 7"];
    let exec = [&look("exec")[..], &reason].concat();
    let cat = ["--", "/bin/busybox", "cat", "/www/index.html"];
    let run = rig.trictl(&[&exec[..], &["--container", "api"], &cat].concat()).await.exits(0);
    assert!(run.stdout.contains("\"text\":\"1.1.0\\n\""), "{run:?}");
    rig.trictl(&[&exec[..], &cat].concat()).await.exits(2).says("api, relay, worker");
    let bad = ["--", "/bin/busybox", "false"];
    let run = rig.trictl(&[&exec[..], &["--container", "relay"], &bad].concat()).await.exits(1);
    assert!(run.stdout.contains("\"exit_code\":1"), "{run:?}");
    // Its time is up: the engine knows nothing of it any more.
    let sleep = ["--limit", "1s", "--container", "relay", "--", "/bin/busybox", "sleep", "599"];
    let run = rig.trictl(&[&exec[..], &sleep].concat()).await.exits(1);
    assert!(run.stdout.contains("its time of 1s was up and it was killed"), "{run:?}");
    let top = engine.docker(&["top", running.id("relay")]);
    assert!(!top.contains("sleep 599"), "{top}");
    // DVN-59: in a container of its own, which is gone afterwards.
    let debug = [&look("debug")[..], &reason, &["--container", "api"], &cat].concat();
    let run = rig.trictl(&debug).await.exits(0);
    assert!(run.stdout.contains("\"text\":\"1.1.0\\n\""), "{run:?}");
    let left = ["ps", "--all", "--quiet", "--filter", "name=trireme-debug-"];
    assert_eq!(engine.docker(&left), "");
    assert_eq!(Running::on(engine, "gcp-1"), running, "the containers were not touched");
}

/// DVN-36, DVN-37: two regions serve throughout. DVN-40: images are there before anything stops.
/// DVN-41: pins replaced whole, the previous kept. DVN-43: back to the exact digest; other regions
/// untouched. DVN-04: containers made anew on one word.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_04_36_37_40_41_43_a_compose_project_is_upgraded_by_digest_and_a_bad_image_goes_back() {
    bounded_by(TEST_MAX, async {
        let engine = Engine::start();
        let api = ["1.0.0", "1.1.0"].map(|version| image(&engine, "api", version, SERVES));
        let bad = image(&engine, "api", "6.6.6", FAILS);
        let relay = ["1.0.0", "1.1.0"].map(|version| image(&engine, "relay", version, WAITS));
        let worker = image(&engine, "worker", "1.0.0", WAITS);

        let mut rig = Rig::prepare(1);
        allow_projects(&rig, &engine);
        rig.come_up().await;
        let file = rig.file("docker-compose.yml", FILE);
        let manifest = [
            service(&engine, &file.display().to_string()),
            release("1.0.0", [&api[0], &relay[0], &worker]),
            release("1.1.0", [&api[1], &relay[1], &worker]),
            release("6.6.6", [&bad, &relay[1], &worker]),
        ];
        let manifest = rig.file("dvn.yaml", manifest.concat());
        rig.apply(&manifest).await.exits(0);
        rig.upgrade_to(SERVICE, "1.0.0").await;
        let nodes: Vec<String> =
            rig.fleet.agents().iter().map(|one| one.node.to_string()).collect();
        let running = || nodes.iter().map(|node| Running::on(&engine, node)).collect::<Vec<_>>();
        let first = running();
        for found in &first {
            assert_eq!(found.images(), [&api[0], &relay[0], &worker], "{found:?}");
        }

        let traffic = Traffic::start(&rig, SERVICE, "/health").await;
        upgrade(&rig, "1.1.0", 0).await;
        traffic.end().await.assert_unharmed();
        let second = running();
        for (before, after) in first.iter().zip(&second) {
            assert_eq!(after.images(), [&api[1], &relay[1], &worker], "{after:?}");
            // What the release leaves as it was is started again, not made anew.
            assert_eq!(before.id("worker"), after.id("worker"));
            assert_ne!(before.id("api"), after.id("api"));
        }

        recreate(&rig, &engine, "gcp-1").await;
        is_looked_into(&rig, &engine).await;
        let second = running();

        let traffic = Traffic::start(&rig, SERVICE, "/health").await;
        let ending = upgrade(&rig, "6.6.6", 7).await;
        traffic.end().await.assert_unharmed();
        let message = ending["message"].as_str().unwrap();
        assert!(message.contains("api exited with code 3"), "{message}");
        let third = running();
        for found in &third {
            assert_eq!(found.images(), [&api[1], &relay[1], &worker], "{found:?}");
        }
        // The first region was touched; of the others not one container.
        assert_ne!(third[0], second[0]);
        assert_eq!(third[1..], second[1..]);
        let kept = rig.fleet.agents()[0].data.join("services/dvn/pins.previous.yaml");
        assert!(std::fs::read_to_string(kept).unwrap().contains(&bad));
    })
    .await;
}
