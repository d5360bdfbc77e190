//! Objects at length and reasons, by value.

use insta::assert_snapshot;
use serde_json::json;

use super::*;

#[test]
fn why_names_predicate_evidence_and_who_can_unblock_it() {
    let view = serde_json::from_value(json!({
        "object": "upgrade/upgrade-7", "state": "running", "reasons": [
            {"predicate": "serving.at_least", "evidence": "gcp does not serve web",
             "unblock": "bring node gcp-1 back"},
        ],
    }));
    assert_snapshot!(why(&view.unwrap(), Style::PLAIN), @r"
    upgrade/upgrade-7: running
    waits for  serving.at_least
      seen     gcp does not serve web
      unblock  bring node gcp-1 back
    ");
    let idle = json!({"object": "service/web", "state": "serving", "reasons": []});
    let idle = serde_json::from_value(idle).unwrap();
    assert_eq!(why(&idle, Style::PLAIN), "service/web: serving\nwaits for nothing");
}

#[test]
fn a_node_is_shown_with_what_runs_on_it() {
    let view = serde_json::from_value(json!({
        "name": "aws-1", "region": "aws", "state": "ready", "address": "127.1.0.1",
        "labels": {"role": "web"}, "generation": 4, "connected_to": null, "last_seen": null,
        "agent_version": "0.1.0",
        "services": {"web": {
            "observed": {"state": "not_serving", "running": null, "version": "1.0.0",
                         "failing": {"health": "status 500"}},
            "in_traffic": false,
        }},
        "action": {"id": "action-9", "kind": "switch", "state": "running gate",
                   "upgrade": "upgrade-7"},
    }));
    assert_snapshot!(node(&view.unwrap()), @r"
    node aws-1
      state       ready
      region      aws
      address     127.1.0.1
      labels      role=web
      controller  <unknown>
      last seen   <unknown>
      agent       0.1.0
      generation  4
      action      action-9 switch (running gate) of upgrade-7

    SERVICE  STATE              TRAFFIC  FAILING
    web      1.0.0 not serving  off      health: status 500
    ");
}

#[test]
fn a_service_is_shown_region_by_region() {
    let node = |state: &str, traffic: bool| {
        let observed = json!({"state": state, "running": null, "version": "1.0.0"});
        json!({"observed": observed, "in_traffic": traffic})
    };
    let view = serde_json::from_value(json!({
        "name": "web", "nodes": {"labels": {"role": "web"}}, "driver": {"process": {}},
        "revision": 4, "versions": ["1.0.0"], "at_least": 1, "upgrade": "upgrade-7",
        "regions": {
            "aws": {"serving": true, "nodes": {"aws-1": node("serving", true)}},
            "gcp": {"serving": false, "nodes": {"gcp-1": node("not_serving", false)}},
        },
    }));
    assert_snapshot!(service(&view.unwrap()), @r"
    service web, revision 4
    1 regions must serve; upgrade under way: upgrade-7

    NODE   REGION  REGION-IS    STATE              TRAFFIC  FAILING
    aws-1  aws     serving      1.0.0 serving      on       <none>
    gcp-1  gcp     not serving  1.0.0 not serving  off      <none>
    ");
}

#[test]
fn any_object_can_be_shown_as_fields() {
    let value = json!({
        "service": "web", "argv": ["/bin/web", "--port"], "artifact": {"url": "file:///w"},
        "steps": [{"name": "a", "took": 3}, {"name": "b", "took": null}], "env": {},
    });
    assert_snapshot!(fields(&value), @r"
    argv: /bin/web,--port
    artifact:
      url: file:///w
    env: <none>
    service: web
    steps:
      - name: a
        took: 3
      - name: b
        took: <none>
    ");
}
