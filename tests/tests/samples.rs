//! What operators copy from `deploy/`, read by the types that read it in earnest.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use trireme_proto::manifest;
use trireme_proto::model::{Driver, Object, ProcessDriver};
use trireme_telemetry::{Kind, Metric};

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
    assert_eq!(agent.drivers.compose.files, [Path::new("/opt/dvn")]);
    let join = agent.join.unwrap();
    assert!(fleet.controllers.iter().any(|one| one.enrol == join.address.as_str()));
}

#[test]
fn the_sample_manifest_is_one() {
    let objects = manifest::parse("manifest.yaml", &text("manifest.yaml")).unwrap();
    let kinds: Vec<_> = objects.iter().map(|one| one.value.kind()).collect();
    assert_eq!(kinds, ["Region", "Region", "Region", "Service", "Release"]);
}

/// DMP-30: rules and channels are declared like everything else.
#[test]
fn the_sample_alerts_are_about_the_sample_manifest() {
    let objects = manifest::parse("alerts.yaml", &text("alerts.yaml")).unwrap();
    let web = ("web".parse().unwrap(), Driver::Process(ProcessDriver::default()));
    let known = manifest::Known { services: [web].into(), ..Default::default() };
    manifest::check_set(&objects, &known).unwrap();
    let kinds: Vec<_> = objects.iter().map(|one| one.value.kind()).collect();
    assert_eq!(kinds[..3], ["Channel"; 3]);
    assert_eq!(kinds[3..], ["AlertRule"; 4]);
}

/// DVN-01, DVN-02, DVN-03: what the runbooks look at every day, week and month, in their order.
#[test]
fn the_sample_checklists_are_about_the_sample_project() {
    let project = manifest::parse("compose.yaml", &text("compose.yaml")).unwrap();
    let lists = manifest::parse("checklists.yaml", &text("checklists.yaml")).unwrap();
    let Object::Service(service) = &project[0].value else { panic!("not a service") };
    let dvn = (service.name.clone(), service.driver.clone());
    let known = manifest::Known { services: [dvn].into(), ..Default::default() };
    manifest::check_set(&lists, &known).unwrap();
    let items = |index: usize| -> Vec<String> {
        let Object::Checklist(list) = &lists[index].value else { panic!("not a checklist") };
        list.items.iter().map(|item| item.name.to_string()).collect()
    };
    assert_eq!(items(0), ["services", "dashboard", "alerts", "cross-chain"]);
    assert_eq!(items(1), ["disk", "security-log", "audit", "glass", "patches", "backup"]);
    assert_eq!(items(2), ["performance", "cost", "drill", "keys"]);
    let Object::Checklist(monthly) = &lists[2].value else { panic!("not a checklist") };
    assert_eq!(monthly.items[2].by.asked().unwrap().link, Some(trireme_proto::model::Link::Drill));
}

#[test]
fn the_sample_project_is_one_and_the_sample_agent_may_drive_it() {
    let regions = manifest::parse("manifest.yaml", &text("manifest.yaml")).unwrap();
    let objects = manifest::parse("compose.yaml", &text("compose.yaml")).unwrap();
    let all: Vec<_> = regions.iter().chain(&objects).map(|one| one.value.clone()).collect();
    assert_eq!(manifest::validate_set(&all, &manifest::Known::default()), []);
    let Object::Service(service) = &objects[0].value else { panic!("not a service") };
    let Driver::Compose(compose) = &service.driver else { panic!("not a project") };
    let agent = trireme_agent::config::Config::load(&deploy("agent.yaml")).unwrap();
    let allowed = agent.drivers.compose;
    assert_eq!(allowed.projects, [compose.project.parse().unwrap()]);
    assert!(allowed.files.iter().any(|dir| Path::new(&compose.file).starts_with(dir)));
}

/// DVN-11: what an agent may drive is said on its node.
#[test]
fn dvn_11_the_sample_unit_is_one_and_the_sample_agent_may_drive_it() {
    let regions = manifest::parse("manifest.yaml", &text("manifest.yaml")).unwrap();
    let objects = manifest::parse("systemd.yaml", &text("systemd.yaml")).unwrap();
    let all: Vec<_> = regions.iter().chain(&objects).map(|one| one.value.clone()).collect();
    assert_eq!(manifest::validate_set(&all, &manifest::Known::default()), []);
    let Object::Service(service) = &objects[0].value else { panic!("not a service") };
    let Driver::Systemd(systemd) = &service.driver else { panic!("not a unit") };
    let allowed = trireme_agent::config::Config::load(&deploy("agent.yaml")).unwrap();
    let allowed = allowed.drivers.systemd;
    assert_eq!(allowed.units, [systemd.unit.parse().unwrap()]);
    // What the agent's own unit forbids it, the drop-in beside it allows.
    let rights = unit("systemd/trireme-agent.service.d/units.conf");
    assert_eq!(rights["User"], "root");
    let written = format!("/etc/systemd/system {}", allowed.store.display());
    assert_eq!(rights["ReadWritePaths"], written);
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

/// Runs `promtool` where the rules are.
fn promtool(args: &[&str]) {
    let output =
        Command::new("promtool").current_dir(deploy("prometheus")).args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_for_what_it_is_meant_for() {
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"]);
    promtool(&["check", "rules", "rules.yml"]);
    promtool(&["test", "rules", "rules.test.yml"]);
    let (rules, tests) = (text("prometheus/rules.yml"), text("prometheus/rules.test.yml"));
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    // A test case begins with its alert's name, and expects it to fire at least once.
    let cases = tests.split("  - name: ").skip(1).filter(|case| case.contains("exp_labels: {"));
    let tried: BTreeSet<_> = cases.filter_map(|case| case.lines().next()).collect();
    assert_eq!(alerts, tried);
    assert!(alerts.len() >= 20, "{alerts:?}");
}

/// Returns every metric that any daemon shows, by name.
fn shown() -> BTreeMap<&'static str, &'static Metric> {
    let controllers = trireme_controller::telemetry::names::all();
    let all = controllers.chain(trireme_agent::telemetry::names::all());
    all.map(|metric| (metric.name, metric)).collect()
}

/// Returns what a query asks for that nobody shows: metrics, or labels of theirs.
fn unknown(query: &str) -> Vec<String> {
    let shown = shown();
    let mut unknown = Vec::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = ["fleet_", "process_"];
    let found = ours.iter().flat_map(|prefix| query.match_indices(prefix)).map(|(at, _)| at);
    for start in found.filter(|at| !query[..*at].ends_with(is_name)) {
        let name = query[start..].split(|c| !is_name(c)).next().unwrap_or_default();
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let histogram = bare.and_then(|bare| shown.get(bare)).filter(|m| m.kind == Kind::Histogram);
        let Some(metric) = shown.get(name).or(histogram) else {
            unknown.push(name.to_owned());
            continue;
        };
        let Some(rest) = query[start + name.len()..].strip_prefix('{') else { continue };
        let inside = rest.split('}').next().unwrap_or_default();
        for label in inside.split("\",").filter_map(|one| one.split(['=', '!']).next()) {
            let of_scrape = ["job", "instance", "le"].contains(&label);
            if !of_scrape && !metric.labels.contains(&label) {
                unknown.push(format!("{name}{{{label}}}"));
            }
        }
    }
    unknown
}

#[test]
fn rules_and_dashboards_ask_only_for_what_is_shown() {
    assert_eq!(unknown("sum(fleet_none) / process_none{x=\"y\"}"), ["fleet_none", "process_none"]);
    assert_eq!(unknown("fleet_nodes{region=\"a\",stat!=\"b\"}"), ["fleet_nodes{stat}"]);
    assert_eq!(unknown("rate(fleet_rpc_duration_seconds_bucket{le=\"1\"}[5m])"), [""; 0]);
    let rules = text("prometheus/rules.yml");
    assert_eq!(unknown(&rules), [""; 0]);
    for name in ["grafana/fleet.json", "grafana/controllers.json"] {
        let board: serde_json::Value = serde_json::from_str(&text(name)).unwrap();
        let panels = board["panels"].as_array().unwrap();
        assert!(panels.len() >= 10, "{name}");
        for panel in panels {
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                assert_eq!(unknown(query), [""; 0], "{name}: {query}");
                assert!(query.contains("fleet_") || query.contains("process_"), "{name}: {query}");
            }
        }
    }
}
