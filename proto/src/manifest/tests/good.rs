//! Manifests that are read as they are meant, and how what is wrong with others is shown.

use super::super::{TEXT_LEN_MAX, explain, parse, parse_bytes};
use super::{RELEASE, SERVICE, assert_says, object, objects, release, service};
use crate::model::{Driver, Object, Probe, Service, StopSignal};
use crate::problem::{Code, Problem};
use crate::time::Span;

const WHOLE: &str = r#"# everything this version knows
kind: Region
name: aliyun
cloud: aliyun
---
kind: Service
name: dvn
nodes: {labels: {role: dvn}}
driver: {process: {stop_signal: QUIT, stop_timeout: 3s, restart: on-failure}}
serving: {at_least: 2, nodes: 1}
checks:
  - name: health
    http: {url: "http://{address}:8080/health"}
    every: 2s
    timeout: 1s
    rise: 2
    fall: 2
  - {name: port, tcp: {address: "{address}:8080"}}
  - {name: disk, command: {argv: [/usr/lib/nagios/plugins/check_disk, -w, 10%], env: {LANG: C}}}
logs: {stratum: /var/log/dvn/stratum.log, access: "{data}/access.log"}
traffic: {dns: {port: 8080, ttl: 2s}, drain: 5s, in_flight: "http://{address}:8080/in-flight"}
upgrade:
  order: [aws, aliyun, gcp]
  bake: {region: 5m}
  deadline: {step: 5m, fleet: 4h}
---
kind: Release
service: dvn
version: 1.10
artifact:
  url: https://artifacts.example/dvn-1.10
  sha256: sha256:AAAAAAAAAAAAAAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: ["{artifact}", --listen, "{address}:8080"]
env: {PORT: 8080, DEBUG: true, EMPTY: ""}
"#;

fn only_service(yaml: &str) -> Service {
    match object(yaml) {
        Object::Service(service) => service,
        other => panic!("not a service: {other:?}"),
    }
}

#[test]
fn reads_everything_the_model_knows() {
    let objects = objects(WHOLE);
    let names: Vec<_> =
        objects.iter().map(|one| format!("{} {}", one.kind(), one.name())).collect();
    assert_eq!(names, ["Region aliyun", "Service dvn", "Release dvn@1.10"]);
    let Object::Service(service) = &objects[1] else { panic!("not a service") };
    let Driver::Process(process) = &service.driver else { panic!("not a process") };
    assert_eq!((process.stop_signal, process.stop_timeout), (StopSignal::Quit, Span::secs(3)));
    let probes: Vec<_> = service.checks.iter().map(|check| &check.probe).collect();
    assert!(matches!(probes[..], [Probe::Http(_), Probe::Tcp(_), Probe::Command(_)]));
    let logs: Vec<_> = service.logs.iter().map(|(name, path)| format!("{name}={path}")).collect();
    assert_eq!(logs, ["access={data}/access.log", "stratum=/var/log/dvn/stratum.log"]);
    let Object::Release(release) = &objects[2] else { panic!("not a release") };
    // Plain scalars are what is written: 1.10 is no number and `true` no flag where texts belong.
    assert_eq!(release.version.as_str(), "1.10");
    let env: Vec<_> = release.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["DEBUG=true", "EMPTY=", "PORT=8080"]);
}

#[test]
fn dvn_39_the_order_of_regions_is_the_one_written() {
    let written = only_service(&service("upgrade: {order: [aws, aliyun, gcp]}\n"));
    let order: Vec<_> = written.upgrade.order.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["aws", "aliyun", "gcp"]);
    assert_eq!(only_service(SERVICE).upgrade.order, []);
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let written = only_service(&service(
        "checks: [{name: up, tcp: {address: \"{address}:80\"}}]\ntraffic: {dns: {port: 80}}\n",
    ));
    let check = &written.checks[0];
    assert_eq!((check.every, check.timeout), (Span::secs(2), Span::secs(1)));
    assert_eq!((check.rise, check.fall, written.serving.nodes), (2, 2, 1));
    for (path, default) in [("rise", "2"), ("every", "\"2s\""), ("timeout", "\"1s\"")] {
        let explained = explain("service.checks").unwrap();
        let field = explained.fields.iter().find(|field| field.name == path).unwrap();
        assert_eq!(field.default.as_ref().unwrap().to_string(), default);
    }
}

#[test]
fn aliases_stand_for_what_they_name() {
    let written = only_service(&service(
        "checks:\n  - {name: a, http: &web {url: \"http://h/\"}}\n  - {name: b, http: *web}\n",
    ));
    assert_eq!(written.checks[0].probe, written.checks[1].probe);
}

#[test]
fn what_is_wrong_with_an_aliased_value_is_told_once() {
    let yaml = service(
        "checks:\n  - {name: a, http: &web {ulr: \"http://h/\"}}\n  - {name: b, http: *web}\n",
    );
    let error = parse("m.yaml", &yaml).unwrap_err();
    assert_says(&yaml, &error, &["6:27: http check has no field `ulr`: did you mean `url`?"]);
}

#[test]
fn aliases_of_aliases_do_not_fill_the_memory() {
    let mut yaml = "kind: Region\nname: aws\na: &a0 [xxxxxxxxxxxxxxxx]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        let names = vec![format!("*a{before}"); 9].join(", ");
        yaml = format!("{yaml}a{level}: &a{level} [{names}]\n");
    }
    let error = parse("m.yaml", &yaml).unwrap_err();
    assert!(
        error.to_string().contains("the aliases here expand to more than a manifest may hold"),
        "{error}"
    );
    // Long keys are repeated in the paths of everything below them; the paths must not pile up.
    let key = "k".repeat(TEXT_LEN_MAX / 2);
    let items = "1,".repeat(TEXT_LEN_MAX / 8);
    assert!(parse("m.yaml", &format!("kind: Region\nname: a\n? {key}\n: [{items}]\n")).is_err());
}

#[test]
fn every_document_is_read_whatever_is_wrong_with_others() {
    let yaml = format!(
        "kind: Region\nname: [aws\n---\n{SERVICE}replicas: 1\n---\nkind: Region\n---\n{RELEASE}"
    );
    let error = parse("m.yaml", &yaml).unwrap_err();
    assert_says(
        &yaml,
        &error,
        &[
            "2:7: this is not YAML: unclosed bracket '[': close the bracket",
            "8:1: service has no field `replicas`: its fields are `by_hand`, `checks`, `driver`, `kind`, \
             `logs`, `name`, `nodes`, `serving`, `traffic`, `upgrade`",
            "10:1: region needs `name`: add `name`, a name of a-z, 0-9 and -: Name of the region.",
        ],
    );
}

#[test]
fn a_name_defined_twice_is_refused_where_it_is_repeated() {
    let yaml = format!("{SERVICE}---\n{RELEASE}---\n{SERVICE}---\n{RELEASE}");
    let error = parse("m.yaml", &yaml).unwrap_err();
    assert_says(
        &yaml,
        &error,
        &[
            "15:7: Service web is defined twice: keep one of the two documents",
            "21:10: Release web@1.0.0 is defined twice: keep one of the two documents",
        ],
    );
}

#[test]
fn long_texts_and_other_encodings_are_refused() {
    let long = format!("# {}", "x".repeat(TEXT_LEN_MAX));
    let error = parse("m.yaml", &long).unwrap_err();
    assert_says(
        "",
        &error,
        &["1:1: 1048578 bytes are more than a manifest may hold: split it into manifests of at \
           most 1048576 bytes"],
    );
    let error = parse_bytes("m.yaml", b"kind: Region\nname: \xff\xfe\n").unwrap_err();
    assert_says("", &error, &["2:7: this is not UTF-8: save the manifest as UTF-8"]);
    let marked = format!("\u{feff}{SERVICE}chekcs: []\n");
    let error = parse_bytes("m.yaml", marked.as_bytes()).unwrap_err();
    assert_says("", &error, &["5:1: service has no field `chekcs`: did you mean `checks`?"]);
}

#[test]
fn dmp_15_an_invalid_manifest_shows_the_line_and_the_way_out() {
    let error = parse("web.yaml", &service("chekcs: []\nserving: {nodes: 0}\n")).unwrap_err();
    insta::assert_snapshot!(error.render(false), @r"
     × Service web: service has no field `chekcs`
      ╭─[web.yaml:5:1]
    4 │ driver: {process: {}}
    5 │ chekcs: []
      · ──────
    6 │ serving: {nodes: 0}
      ╰────
     help: did you mean `checks`?

     × Service web: a region with no ready node would count as serving
      ╭─[web.yaml:6:18]
    5 │ chekcs: []
    6 │ serving: {nodes: 0}
      ·                  ─
      ╰────
     help: write at least 1
    ");
    assert!(error.render(true).contains("\u{1b}["));
}

#[test]
fn dvn_32_a_refused_manifest_is_a_usage_problem_with_every_finding() {
    let error = parse("web.yaml", &release("chekcs: []\nenv: {2: x}\n")).unwrap_err();
    let problem = Problem::from(&error);
    assert_eq!((problem.code, problem.code.exit_code()), (Code::Usage, 2));
    insta::assert_json_snapshot!((problem, &error), @r#"
    [
      {
        "code": "usage",
        "message": "2 problems in web.yaml",
        "why": [
          "web.yaml:8:1: release has no field `chekcs`: its fields are `argv`, `artifact`, `env`, `images`, `kind`, `service`, `version`",
          "web.yaml:9:10: `2` is not a name of the environment: use letters, digits and _, not a digit first"
        ],
        "hint": "correct the manifest; `trictl explain KIND.FIELD` tells what a field takes",
        "retryable": false
      },
      {
        "findings": [
          {
            "source": "web.yaml",
            "line": 8,
            "column": 1,
            "object": "Release web@1.0.0",
            "path": "chekcs",
            "message": "release has no field `chekcs`",
            "help": "its fields are `argv`, `artifact`, `env`, `images`, `kind`, `service`, `version`"
          },
          {
            "source": "web.yaml",
            "line": 9,
            "column": 10,
            "object": "Release web@1.0.0",
            "path": "env.2",
            "message": "`2` is not a name of the environment",
            "help": "use letters, digits and _, not a digit first"
          }
        ],
        "left_off": 0
      }
    ]
    "#);
}

#[test]
fn control_characters_never_reach_the_terminal() {
    for (yaml, says) in [
        ("kind: Region\nname: \"\\e[2J\"\n", "region `\\u{1b}[2J` is not a name"),
        ("kind: Region\nname: aws # \u{1b}[2J\n", "unexpected character: `\\u{1b}'"),
    ] {
        let error = parse("m\u{1b}[2J.yaml", yaml).unwrap_err();
        let shown = format!("{error}{}", error.render(false));
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.contains(says), "{shown}");
    }
}
