//! The compose driver on a real engine, with the real command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trireme_agent::host::{
    ComposeHost, Drivers, Fetched, Host, Machine, NodeFacts, Probed, RunState, Started,
};
use trireme_agent::http::Client;
use trireme_proto::action::RunSpec;
use trireme_proto::id::{ActionId, ServiceId};
use trireme_proto::model::{ComposeDriver, Driver, Release};
use trireme_proto::time::Span;
use trireme_tests::docker::Engine;

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);
/// Services of the project that the fleet runs; there is one more that it does not.
const SERVICES: [&str; 2] = ["api", "worker"];
/// What all containers do: they say their version into the volume and wait to be ended.
const RUNS: &str = "\
echo $VERSION >> /data/$NAME
trap 'exit 0' TERM
while :; do /bin/busybox sleep 0.05; done
";

fn dvn() -> ServiceId {
    "dvn".parse().unwrap()
}

/// An engine, a project on it, and an agent's directory.
struct Place {
    engine: Engine,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { engine: Engine::start(), dir: tempfile::tempdir().unwrap() };
        fs::write(
            place.file(),
            "\
services:
  api:
    image: none
    restart: always
    environment: {NAME: api, WHERE: $TRIREME_NODE}
    volumes: [\"data:/data\"]
    healthcheck: {test: [CMD, /bin/busybox, test, -e, /data/healthy], interval: 1s, retries: 1}
  worker:
    image: none
    environment: {NAME: worker}
    volumes: [\"data:/data\"]
    depends_on: [cache]
  cache:
    image: none
volumes: {data: {}}
",
        )
        .unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("docker-compose.yml")
    }

    fn project(&self) -> String {
        format!("{}-dvn", self.engine.name())
    }

    fn drivers(&self) -> Drivers {
        Drivers {
            compose: ComposeHost {
                projects: vec![self.project().parse().unwrap()],
                files: vec![self.dir.path().to_owned()],
                socket: self.engine.socket().to_owned(),
                ..ComposeHost::default()
            },
            ..Drivers::default()
        }
    }

    async fn open(&self) -> Machine {
        self.open_with(self.drivers()).await
    }

    async fn open_with(&self, drivers: Drivers) -> Machine {
        let node = NodeFacts {
            node: "aws-1".parse().unwrap(),
            region: "aws".parse().unwrap(),
            address: "127.1.0.1".to_owned(),
        };
        let root = self.dir.path().join("agent");
        Machine::open(&root, node, Arc::new(Client::new()), drivers).await.unwrap()
    }

    /// Makes an image that says `version`, and a release of it for both services.
    fn release(&self, version: &str, healthy: bool) -> RunSpec {
        let touch =
            if healthy { "echo > /data/healthy\n" } else { "/bin/busybox rm -f /data/healthy\n" };
        let script = format!("{touch}{RUNS}");
        let env = format!("ENV VERSION={version}");
        let run = "ENTRYPOINT [\"/bin/busybox\", \"sh\", \"/run.sh\"]";
        let image = self.engine.image("dvn", &[("run.sh", &script)], &[&env, run]);
        self.of_images(version, &SERVICES.map(|service| (service, image.as_str())))
    }

    fn of_images(&self, version: &str, images: &[(&str, &str)]) -> RunSpec {
        let image = |&(name, image): &(&str, &str)| (name.to_owned(), image.parse().unwrap());
        RunSpec {
            release: Release {
                service: dvn(),
                version: version.parse().unwrap(),
                artifact: None,
                images: images.iter().map(image).collect(),
                argv: Vec::new(),
                env: BTreeMap::new(),
            },
            driver: Driver::Compose(ComposeDriver {
                project: self.project(),
                file: self.file().display().to_string(),
                stop_timeout: Span::secs(5),
            }),
        }
    }

    /// Returns the ids and starts of the project's containers.
    fn containers(&self) -> Vec<(String, String)> {
        let filter = format!("label=com.docker.compose.project={}", self.project());
        let ids =
            self.engine.docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        let started = |id: &str| {
            let format = "{{.State.StartedAt}}";
            (id.to_owned(), self.engine.docker(&["inspect", "--format", format, id]))
        };
        let mut found: Vec<_> = ids.lines().map(started).collect();
        found.sort();
        found
    }

    /// Returns what the containers of a service said into the project's volume.
    fn said(&self, service: &str) -> Vec<String> {
        let volume = format!("{}_data", self.project());
        let format = "{{.Mountpoint}}";
        let dir = self.engine.docker(&["volume", "inspect", "--format", format, &volume]);
        let text = fs::read_to_string(Path::new(&dir).join(service)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Runs compose as an operator does, without the agent.
    fn compose(&self, args: &[&str]) {
        let host = format!("unix://{}", self.engine.socket().display());
        let pins = self.dir.path().join("agent/services/dvn/pins.yaml");
        let output = Command::new("docker-compose")
            .env("DOCKER_HOST", host)
            .args(["-p", &self.project(), "-f"])
            .arg(self.file())
            .arg("-f")
            .arg(pins)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn state(machine: &Machine) -> RunState {
    machine.observe(&dvn()).state
}

async fn runs(machine: &Machine, spec: &RunSpec, action: u64) {
    machine.point(&dvn(), Some(spec)).await.unwrap();
    let started = machine.start(&dvn(), ActionId(action), false).await.unwrap();
    assert!(matches!(started, Started::Now { .. }), "{started:?}");
    until("it runs", || matches!(state(machine), RunState::Running { .. })).await;
}

/// DVN-04, DVN-06: each container with its image by digest, its health, and what it uses.
async fn is_looked_at(place: &Place, machine: &Machine, spec: &RunSpec) {
    let looked = machine.look(&dvn()).await.unwrap().unwrap();
    assert_eq!(looked.driver, "compose");
    let services = looked.instances.iter().map(|one| {
        assert_eq!((one.state.as_str(), one.restarts), ("running", 0), "{one:?}");
        assert!(one.since.is_some(), "{one:?}");
        let images = spec.release.images.iter();
        let mut own = images.filter(|(name, _)| one.name.contains(name.as_str()));
        let (service, image) = own.next_back().unwrap();
        assert_eq!(one.image, Some(image.to_string()));
        (service.as_str(), one.health.clone())
    });
    let services: Vec<_> = services.collect();
    // The worker has no health check, so it says nothing of its health.
    assert!(services[0].0 == "api" && services[0].1.is_some(), "{services:?}");
    assert_eq!(services[1], ("worker", None));
    let mut ids: Vec<_> = looked.instances.iter().map(|one| one.id.clone()).collect();
    let used = machine.used(&[dvn()]).await;
    assert!(used.failed.is_empty(), "{used:?}");
    let used = &used.services[&dvn()];
    assert_eq!(used.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), ids);
    for one in used {
        assert!(one.memory_bytes > 0 && one.processes > 0, "{one:?}");
        assert!(one.memory_limit_bytes.unwrap() > one.memory_bytes, "{one:?}");
        assert!(one.received_bytes.is_some() && one.sent_bytes.is_some(), "{one:?}");
    }
    ids.sort();
    let known: Vec<String> = place.containers().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, known);
}

/// DVN-40, DVN-41, DVN-43: pulled by digest before anything stops; back to the exact digest.
#[tokio::test]
async fn dvn_04_40_41_43_a_project_is_upgraded_by_digest_and_goes_back_to_the_one_recorded() {
    let place = Place::new();
    let machine = place.open().await;
    let (old, new) = (place.release("1.0.0", true), place.release("1.1.0", true));
    assert_eq!(machine.staged(&old).await, Probed::NotDone);
    assert_eq!(machine.fetch(&old).await.unwrap(), Fetched::Images);
    assert_eq!(machine.staged(&old).await, Probed::Done);
    assert_eq!(machine.fetch(&old).await.unwrap(), Fetched::Already);
    assert_eq!(state(&machine), RunState::NeverStarted);
    runs(&machine, &old, 1).await;
    let first = place.containers();
    assert_eq!(first.len(), 2, "only what the release pins was started: {first:?}");
    is_looked_at(&place, &machine, &old).await;

    // The next release is fetched while this one runs, untouched.
    machine.fetch(&new).await.unwrap();
    assert_eq!(place.containers(), first);
    assert_eq!(machine.start(&dvn(), ActionId(1), false).await.unwrap(), Started::Already);
    let stopped = machine.stop(&dvn()).await.unwrap();
    assert!(stopped.was_running && !stopped.killed, "{stopped:?}");
    assert_eq!(state(&machine), RunState::Stopped);
    assert_eq!(machine.probe_stop(&dvn()), Probed::Done);
    runs(&machine, &new, 2).await;
    assert_eq!(machine.probe_start(&dvn(), &new.digest(), ActionId(2)), Probed::Done);
    assert_eq!(machine.probe_start(&dvn(), &old.digest(), ActionId(2)), Probed::NotDone);
    assert_eq!(machine.observe(&dvn()).spec, Some(new.digest()));

    machine.stop(&dvn()).await.unwrap();
    runs(&machine, &old, 2).await;
    // One volume through all of it, and each release was started once.
    for service in SERVICES {
        assert_eq!(place.said(service), ["1.0.0", "1.1.0", "1.0.0"], "{service}");
    }
    let pins = |name: &str| {
        let dir = place.dir.path().join("agent/services/dvn");
        fs::read_to_string(dir.join(name)).unwrap()
    };
    let digest = |spec: &RunSpec| spec.release.images["api"].to_string();
    assert!(pins("pins.yaml").contains(&digest(&old)));
    assert!(pins("pins.previous.yaml").contains(&digest(&new)));

    // A restart keeps the containers, unless new ones are asked for.
    let kept = place.containers();
    machine.stop(&dvn()).await.unwrap();
    machine.start(&dvn(), ActionId(3), false).await.unwrap();
    let ids =
        |found: &[(String, String)]| found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&place.containers()), ids(&kept));
    machine.stop(&dvn()).await.unwrap();
    machine.start(&dvn(), ActionId(4), true).await.unwrap();
    assert!(ids(&place.containers()).iter().all(|id| !ids(&kept).contains(id)));
    machine.stop(&dvn()).await.unwrap();
}

#[tokio::test]
async fn a_project_outlives_the_agent_and_what_it_was_killed_in_is_found_out() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.release("1.0.0", true);
    machine.fetch(&spec).await.unwrap();
    runs(&machine, &spec, 7).await;
    let containers = place.containers();
    drop(machine);
    let record = place.dir.path().join("agent/services/dvn/project.json");
    let text = fs::read_to_string(&record).unwrap();

    // Killed right after compose had ended: the engine proves the start.
    fs::write(&record, text.replace("\"running\"", "\"starting\"")).unwrap();
    let machine = place.open().await;
    assert_eq!(machine.probe_start(&dvn(), &spec.digest(), ActionId(7)), Probed::Done);
    assert_eq!(machine.start(&dvn(), ActionId(7), false).await.unwrap(), Started::Already);
    assert_eq!(place.containers(), containers);
    drop(machine);

    // Killed before compose was called: these containers were there before, so nothing was done.
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["stage"] = "starting".into();
    for (id, started) in &containers {
        json["before"][id] = serde_json::json!({ "started": started, "restarts": 0 });
    }
    fs::write(&record, json.to_string()).unwrap();
    let machine = place.open().await;
    assert_eq!(machine.probe_start(&dvn(), &spec.digest(), ActionId(7)), Probed::NotDone);
    drop(machine);

    // Killed in the middle of a stop: it is finished, and a reboot would not undo it.
    fs::write(&record, text.replace("\"running\"", "\"stopping\"")).unwrap();
    let machine = place.open().await;
    until("the stop is finished", || state(&machine) == RunState::Stopped).await;
    let format = "{{.HostConfig.RestartPolicy.Name}}";
    let policy = |id: &str| place.engine.docker(&["inspect", "--format", format, id]);
    let policies = || -> Vec<String> { containers.iter().map(|(id, _)| policy(id)).collect() };
    assert!(!policies().contains(&"always".to_owned()), "{:?}", policies());
    drop(machine);

    // A reboot: what was stopped stays so, and a start brings back what the file says of it.
    let stopped = fs::read_to_string(&record).unwrap();
    fs::write(&record, stopped.replace("\"boot\": \"", "\"boot\": \"another-")).unwrap();
    let machine = place.open().await;
    assert_eq!(state(&machine), RunState::Stopped);
    machine.start(&dvn(), ActionId(8), false).await.unwrap();
    assert!(policies().contains(&"always".to_owned()), "{:?}", policies());
    drop(machine);

    // A reboot under a project that runs: what the engine did not start again, the agent does.
    let running = fs::read_to_string(&record).unwrap();
    place.compose(&["kill", "-s", "KILL", "worker"]);
    fs::write(&record, running.replace("\"boot\": \"", "\"boot\": \"another-")).unwrap();
    let machine = place.open().await;
    until("it runs again", || matches!(state(&machine), RunState::Running { .. })).await;
    assert_eq!(machine.probe_start(&dvn(), &spec.digest(), ActionId(8)), Probed::Done);
    machine.stop(&dvn()).await.unwrap();
}

#[tokio::test]
async fn what_the_engine_says_of_health_and_ends_is_seen() {
    let place = Place::new();
    let machine = place.open().await;
    let (good, ill) = (place.release("1.0.0", true), place.release("1.1.0", false));
    for spec in [&good, &ill] {
        machine.fetch(spec).await.unwrap();
    }
    runs(&machine, &good, 1).await;
    // Worker has no restart policy: it stays down, and that is told. The api comes back.
    place.compose(&["kill", "-s", "KILL", "worker"]);
    let why = "worker exited with code 137".to_owned();
    until("its end is seen", || state(&machine) == RunState::Broken { why: why.clone() }).await;
    machine.stop(&dvn()).await.unwrap();
    runs(&machine, &good, 2).await;
    // Under the driver's feet: what an operator starts is seen to run.
    place.compose(&["restart", "-t", "1", "api"]);
    until("it runs", || matches!(state(&machine), RunState::Running { .. })).await;
    machine.stop(&dvn()).await.unwrap();

    machine.point(&dvn(), Some(&ill)).await.unwrap();
    machine.start(&dvn(), ActionId(3), false).await.unwrap();
    let unwell = |machine: &Machine| match state(machine) {
        RunState::Unwell { why, .. } => why,
        other => format!("{other:?}"),
    };
    until("its illness is seen", || unwell(&machine) == "api calls itself unhealthy").await;
    machine.stop(&dvn()).await.unwrap();
}

#[tokio::test]
async fn dvn_11_what_the_node_does_not_allow_is_refused_and_what_cannot_run_is_not_fetched() {
    let place = Place::new();
    let spec = place.release("1.0.0", true);
    let refused = async |drivers: Drivers| {
        let machine = place.open_with(drivers).await;
        let error = machine.fetch(&spec).await.unwrap_err();
        assert_eq!(machine.staged(&spec).await, Probed::NotDone);
        error.to_string()
    };
    let mut drivers = place.drivers();
    drivers.compose.projects.clear();
    assert!(refused(drivers).await.starts_with(&format!("project {} is not", place.project())));
    let mut drivers = place.drivers();
    drivers.compose.files = vec!["/opt".into()];
    assert!(refused(drivers).await.starts_with("compose file "));

    let machine = place.open().await;
    let image = spec.release.images["api"].to_string();
    let unknown = place.of_images("1.0.1", &[("relay", &image)]);
    let error = machine.fetch(&unknown).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.ends_with("docker-compose.yml has no service relay"), "{source}");
    let (repository, _) = image.split_once('@').unwrap();
    let gone = format!("{repository}@sha256:{}", "0".repeat(64));
    let gone = place.of_images("1.0.2", &[("api", &gone)]);
    assert!(machine.fetch(&gone).await.is_err());
    assert_eq!(machine.staged(&gone).await, Probed::NotDone);
    // What was not fetched cannot be pointed at, so nothing that runs is ever stopped for it.
    for spec in [&unknown, &gone] {
        assert!(machine.point(&dvn(), Some(spec)).await.is_err());
    }
    assert_eq!(machine.current(&dvn()).unwrap(), None);
}
