//! What operators copy from `deploy/`, read by the types that read it in earnest.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use trireme_proto::manifest;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// Returns the settings of a unit; what is set several times is joined with commas.
fn unit(name: &str) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    for line in text(name).lines().filter(|line| !line.starts_with(['#', '['])) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let set = settings.entry(key.to_owned()).or_default();
        if !set.is_empty() {
            set.push(',');
        }
        set.push_str(value);
    }
    settings
}

#[test]
fn a_controller_starts_from_the_sample() {
    let config = trireme_controller::config::Config::load(&deploy("controller.yaml")).unwrap();
    assert_eq!(config.others().len(), 2);
    let regions: Vec<_> = config.controllers.iter().map(|one| one.region.to_string()).collect();
    assert_eq!(regions, ["aws", "aliyun", "gcp"]);
    let own = config.controllers.iter().find(|one| one.name == config.name).unwrap();
    let listened = [config.listen.peer, config.listen.api, config.listen.enrol, config.listen.dns];
    assert_eq!(listened.map(|at| at.to_string()), [&*own.peer, &own.api, &own.enrol, &own.dns]);
}

#[test]
fn an_agent_starts_from_the_sample_and_finds_the_controllers_of_the_other_one() {
    let agent = trireme_agent::config::Config::load(&deploy("agent.yaml")).unwrap();
    let fleet = trireme_controller::config::Config::load(&deploy("controller.yaml")).unwrap();
    let known = agent
        .controllers
        .iter()
        .map(|one| (one.address.to_string(), one.region.as_ref().map(ToString::to_string)));
    let there = fleet.controllers.iter().map(|one| (one.api.clone(), Some(one.region.to_string())));
    assert_eq!(known.collect::<Vec<_>>(), there.collect::<Vec<_>>());
    let join = agent.join.unwrap();
    assert!(fleet.controllers.iter().any(|one| one.enrol == join.address.as_str()));
}

#[test]
fn the_sample_manifest_is_one() {
    let objects = manifest::parse("manifest.yaml", &text("manifest.yaml")).unwrap();
    let kinds: Vec<_> = objects.iter().map(|one| one.value.kind()).collect();
    assert_eq!(kinds, ["Region", "Region", "Region", "Service", "Release"]);
}

#[test]
fn the_units_start_what_they_ship_with_and_run_it_confined() {
    for (daemon, config) in [("controller", "controller.yaml"), ("agent", "agent.yaml")] {
        let unit = unit(&format!("systemd/trireme-{daemon}.service"));
        let start = format!("/usr/local/bin/trireme-{daemon} run --config /etc/trireme/{config}");
        let data = format!("/var/lib/trireme-{daemon}");
        assert!(text(config).lines().any(|line| line == format!("data: {data}")));
        for (key, value) in [
            ("ExecStart", start.as_str()),
            ("ReadWritePaths", &data),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("Restart", "on-failure"),
        ] {
            assert_eq!(unit.get(key).map(String::as_str), Some(value), "{daemon}: {key}");
        }
        assert!(unit["LimitNOFILE"].parse::<u32>().unwrap() >= 65536);
    }
}

#[test]
fn a_restart_of_the_agents_unit_leaves_its_services_alone() {
    let unit = unit("systemd/trireme-agent.service");
    assert_eq!(unit["KillMode"], "process");
    assert_eq!(unit["OOMPolicy"], "continue");
    assert_eq!(unit.get("PrivateTmp"), None);
}
