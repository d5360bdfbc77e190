//! Objects together and against the fleet; what applying them would change; help.

use serde_json::json;

use super::super::{
    Change, Known, check_set, diff, diff_set, explain, immutable_conflict, parse, schema,
    validate_object, validate_set,
};
use super::{RELEASE, SERVICE, assert_says, object, objects, release, service};
use crate::model::{Driver, Object, ProcessDriver, Release};

fn only_release(yaml: &str) -> Release {
    match object(yaml) {
        Object::Release(release) => release,
        other => panic!("not a release: {other:?}"),
    }
}

/// A fleet of three regions with the service web and its release 1.0.0.
fn fleet() -> Known {
    let old = only_release(RELEASE);
    Known {
        regions: ["aws", "aliyun", "gcp"].map(|name| name.parse().unwrap()).into(),
        services: [("web".parse().unwrap(), Driver::Process(ProcessDriver::default()))].into(),
        channels: ["ops".parse().unwrap()].into(),
        releases: [((old.service.clone(), old.version.clone()), old)].into(),
    }
}

#[test]
fn what_the_fleet_does_not_have_is_refused_at_its_place() {
    let yaml = format!(
        "{SERVICE}serving: {{at_least: 5}}\nupgrade:\n  order: [aws, gpc, moon]\n---\n{}---\n\
         kind: Region\nname: azure\n",
        RELEASE.replace("service: web", "service: wed"),
    );
    let parsed = parse("m.yaml", &yaml).unwrap();
    let error = check_set(&parsed, &fleet()).unwrap_err();
    assert_says(
        &yaml,
        &error,
        &[
            "5:21: 5 regions can never serve: the fleet has 4: write at most 4, or add regions",
            "7:16: there is no region `gpc`: did you mean `gcp`?",
            "7:21: there is no region `moon`: regions are aliyun, aws, azure, gcp",
            "10:10: there is no service `wed`: did you mean `web`?",
        ],
    );
    // The controller finds the same without positions.
    let values: Vec<_> = parsed.iter().map(|located| located.value.clone()).collect();
    let told: Vec<_> = error.findings().iter().map(|finding| finding.fault.clone()).collect();
    assert_eq!(validate_set(&values, &fleet()), told);
}

#[test]
fn an_empty_fleet_asks_for_what_is_missing() {
    let yaml = format!("{SERVICE}upgrade: {{order: [aws]}}\n");
    let error = check_set(&parse("m.yaml", &yaml).unwrap(), &Known::default()).unwrap_err();
    assert_says(
        &yaml,
        &error,
        &["5:19: there is no region `aws`: the fleet has no region yet: apply one"],
    );
    let error = check_set(&parse("m.yaml", RELEASE).unwrap(), &Known::default()).unwrap_err();
    assert_says(
        RELEASE,
        &error,
        &["2:10: there is no service `web`: apply the service first, or in the same manifest"],
    );
}

#[test]
fn findings_of_several_files_keep_the_order_of_the_files() {
    let mut all = parse("b.yaml", &format!("\n\n{SERVICE}serving: {{at_least: 9}}\n")).unwrap();
    all.extend(parse("a.yaml", &RELEASE.replace("web", "x")).unwrap());
    let error = check_set(&all, &fleet()).unwrap_err();
    let places: Vec<_> =
        error.findings().iter().map(|one| format!("{}:{}", one.source_name(), one.line)).collect();
    assert_eq!(places, ["b.yaml:7", "a.yaml:2"]);
}

#[test]
fn what_comes_in_the_same_set_counts_as_known() {
    let yaml = format!(
        "{RELEASE}---\n{SERVICE}upgrade: {{order: [aws]}}\nserving: {{at_least: 1}}\n---\n\
         kind: Region\nname: aws\n"
    );
    assert_eq!(validate_set(&objects(&yaml), &Known::default()), []);
}

#[test]
fn a_version_means_one_thing_for_ever() {
    let changed =
        RELEASE.replace("argv: [", "argv: [/usr/bin/env, ").replace("0.0\n  s", "0.1\n  s");
    let error = check_set(&parse("m.yaml", &changed).unwrap(), &fleet()).unwrap_err();
    assert_says(
        &changed,
        &error,
        &[
            "3:10: version 1.0.0 exists with other content: argv, artifact.url: give what changed a \
           new version: rolling back needs the old one as it was",
        ],
    );
    assert_eq!(check_set(&parse("m.yaml", RELEASE).unwrap(), &fleet()), Ok(()));
    let (old, next) = (only_release(RELEASE), only_release(&changed.replace("1.0.0", "1.1.0")));
    assert_eq!(immutable_conflict(&old, &next), None);
    assert_eq!(immutable_conflict(&old, &old), None);
}

#[test]
fn the_controller_refuses_what_no_manifest_could_have_said() {
    let Object::Service(mut service) = object(SERVICE) else { panic!("not a service") };
    service.serving.nodes = 0;
    let object = Object::Service(service);
    let faults = validate_object(&object);
    assert_eq!(
        json!(faults),
        json!([{
            "object": "Service web",
            "path": "serving.nodes",
            "message": "a region with no ready node would count as serving",
            "help": "write at least 1",
        }])
    );
    assert_eq!(validate_set(&[object], &Known::default()), faults);
}

#[test]
fn dmp_15_a_diff_tells_each_field_by_its_name() {
    let old = object(&service(
        "checks:\n  - {name: a, tcp: {address: \"h:1\"}}\n  - {name: b, tcp: {address: \"h:2\"}}\n\
         traffic: {dns: {port: 80}}\n",
    ));
    let new = object(&service(
        "checks:\n  - {name: c, tcp: {address: \"h:3\"}}\n  - {name: b, tcp: {address: \"h:2\"}, \
         rise: 3}\nserving: {at_least: 2}\nupgrade: {order: [aws, gcp]}\n",
    ));
    let lines: Vec<_> = diff(&old, &new).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    - checks[a].every: 2s
    - checks[a].fall: 2
    - checks[a].name: a
    - checks[a].rise: 2
    - checks[a].tcp.address: h:1
    - checks[a].timeout: 1s
    ~ checks[b].rise: 2 -> 3
    + checks[c].every: 2s
    + checks[c].fall: 2
    + checks[c].name: c
    + checks[c].rise: 2
    + checks[c].tcp.address: h:3
    + checks[c].timeout: 1s
    + serving.at_least: 2
    - traffic.dns.port: 80
    - traffic.dns.ttl: 2s
    - traffic.drain: 0s
    + upgrade.order: ["aws","gcp"]
    "#);
    assert_eq!(diff(&old, &old), []);
    let change = Change { path: "serving.nodes".into(), old: Some(json!(1)), new: Some(json!(2)) };
    let text = r#"{"path":"serving.nodes","old":1,"new":2}"#;
    assert_eq!(serde_json::to_string(&change).unwrap(), text);
    assert_eq!(serde_json::from_str::<Change>(text).unwrap(), change);
}

#[test]
fn an_order_alone_is_a_change() {
    let order = |text: &str| object(&service(&format!("upgrade: {{order: [{text}]}}\n")));
    let lines: Vec<_> =
        diff(&order("aws, gcp"), &order("gcp, aws")).iter().map(ToString::to_string).collect();
    assert_eq!(lines, [r#"~ upgrade.order: ["aws","gcp"] -> ["gcp","aws"]"#]);
    let checks = |a: &str, b: &str| {
        let check = |name| format!("{{name: {name}, tcp: {{address: \"h:1\"}}}}");
        object(&service(&format!("checks: [{}, {}]\n", check(a), check(b))))
    };
    let changes = diff(&checks("a", "b"), &checks("b", "a"));
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["checks"]);
}

#[test]
fn a_set_adds_and_changes_but_never_removes() {
    let old = objects(&format!("{SERVICE}---\n{RELEASE}---\nkind: Region\nname: aws\n"));
    let new = objects(&format!(
        "{SERVICE}serving: {{nodes: 2}}\n---\n{}---\nkind: Region\nname: aws\n",
        RELEASE.replace("1.0.0", "1.1.0"),
    ));
    let set = diff_set(&old, &new);
    assert!(!set.is_empty());
    assert!(diff_set(&old, &old).is_empty());
    insta::assert_snapshot!(set.to_string(), @r#"
    + Release web@1.1.0
        + argv: ["{artifact}"]
        + artifact.sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        + artifact.url: file:///srv/web-1.1.0
        + service: web
        + version: 1.1.0
    ~ Service web
        ~ serving.nodes: 1 -> 2
      Region aws (unchanged)
    "#);
    insta::assert_json_snapshot!(set.changed, @r#"
    [
      {
        "kind": "Service",
        "name": "web",
        "changes": [
          {
            "path": "serving.nodes",
            "old": 1,
            "new": 2
          }
        ]
      }
    ]
    "#);
}

#[test]
fn explains_kinds_fields_and_words_from_the_model() {
    for path in ["", "Service", "service.checks.http", "service.driver.process.stop_signal"] {
        assert!(explain(path).is_ok(), "{path}");
    }
    insta::assert_snapshot!(explain("").unwrap().to_string(), @r"
    One document of a manifest.

      Region     A place where nodes live.
      Service    Something the fleet runs.
      Release    One version of a service.
      AlertRule  Something that somebody is told of.
      Channel    A way by which they are told.
      Checklist  What is looked at again and again.
    ");
    insta::assert_snapshot!(explain("service.checks").unwrap().to_string(), @r"
    Service.checks: a list of fields, exactly one of `http`, `tcp`, `command`
    Health on each node; the service is ready where all of them pass.

      name     Name, unique within the service. (a text; required)
      command  A program with the exit codes of Nagios plugins: 0 ok, 1 warning, 2 critical, 3 unknown. (fields)
      every    Time from one run to the next. (a span of time, such as 500ms, 2s or 1m30s; default 2s)
      fall     Failures in a row that make it unhealthy. (a whole number, 0 or more; default 2)
      http     An HTTP GET that must answer with the status. (fields)
      rise     Passes in a row that make it healthy. (a whole number, 0 or more; default 2)
      tcp      A TCP connection that must open. (fields)
      timeout  A run that takes longer has failed; at most `every`. (a span of time, such as 500ms, 2s or 1m30s; default 1s)
    ");
    insta::assert_snapshot!(explain("service.driver.process.restart").unwrap().to_string(), @r"
    Service.driver.process.restart: one of `always`, `on-failure`, `never`
    What happens when it exits by itself.

      always      It is started again, with growing pauses.
      never       It stays down.
      on-failure  It is started again unless it exited with 0.
    ");
    insta::assert_json_snapshot!(explain("release.artifact").unwrap(), @r#"
    {
      "path": "Release.artifact",
      "type": "fields",
      "doc": "File that makes the release, known by its digest; for the drivers process and systemd.",
      "fields": [
        {
          "name": "sha256",
          "type": "a SHA-256 digest of 64 hexadecimal digits",
          "required": true,
          "doc": "SHA-256 digest of the file."
        },
        {
          "name": "url",
          "type": "a text",
          "required": true,
          "doc": "`file:///…`, `http://…` or `https://…`."
        }
      ]
    }
    "#);
}

#[test]
fn what_cannot_be_explained_has_a_way_on() {
    let told: Vec<_> =
        ["servce", "pod", "service.chekcs", "service.checks.htp.url", "region.name.x"]
            .map(|path| {
                let error = explain(path).unwrap_err();
                format!("{error}: {}", error.help)
            })
            .into();
    assert_eq!(
        told,
        [
            "there is no `servce` in manifests: did you mean `Service`?",
            "there is no `pod` in manifests: there are `Region`, `Service`, `Release`, `AlertRule`, `Channel`, `Checklist`",
            "there is no `chekcs` in Service: did you mean `Service.checks`?",
            "there is no `htp` in Service.checks: did you mean `Service.checks.http`?",
            "there is no `x` in Region.name: `Region.name` has no fields",
        ]
    );
}

#[test]
fn the_schema_is_one_for_all_kinds_and_refuses_unknown_fields() {
    let kinds = schema()["oneOf"].as_array().unwrap();
    assert_eq!(kinds.len(), 6);
    for kind in kinds {
        assert_eq!(kind["additionalProperties"], json!(false), "{kind}");
        assert!(kind["required"].as_array().unwrap().contains(&json!("kind")));
    }
}

#[test]
fn a_release_with_env_is_a_release() {
    assert_eq!(only_release(&release("env: {A: b}\n")).env["A"], "b");
}
