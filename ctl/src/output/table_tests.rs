//! Tables by value.

use insta::assert_snapshot;
use serde_json::json;

use super::super::fixture;
use super::*;

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn nodes_show_placeholders_for_what_nobody_knows() {
    let node = json!({
        "name": "aws-1", "region": "aws", "state": "joined", "address": "127.1.0.1",
        "labels": {}, "generation": 0, "connected_to": "c1", "last_seen": "1s500ms",
        "agent_version": null, "services": {}, "action": null,
    });
    let serving = json!({
        "name": "gcp-1", "region": "gcp", "state": "ready", "address": "127.3.0.1",
        "labels": {}, "generation": 0, "connected_to": null, "last_seen": null,
        "agent_version": "0.1.0", "action": null,
        "services": {"web": {"observed": {"state": "serving", "running": null, "version": "1.0.0"},
                             "in_traffic": false}},
    });
    assert_snapshot!(nodes(&[read(node), read(serving)]), @r"
    NAME   REGION  STATE   ADDRESS    CONTROLLER  LAST-SEEN  AGENT      SERVICES
    aws-1  aws     joined  127.1.0.1  c1          1s500ms    <unknown>  <none>
    gcp-1  gcp     ready   127.3.0.1  <unknown>   <unknown>  0.1.0      web:1.0.0 serving (no traffic)
    ");
}

#[test]
fn tokens_show_what_became_of_them() {
    let token = json!({
        "id": "abcdefgh", "node": "aws-1", "region": "aws", "expires_at": 0, "state": "used",
    });
    assert_snapshot!(tokens(&[read(token)]), @r"
    NAME      NODE   REGION  STATE  EXPIRES
    abcdefgh  aws-1  aws     used   1970-01-01T00:00:00.000Z
    ");
}

#[test]
fn regions_and_services_show_who_serves() {
    let region = json!({
        "name": "aws", "cloud": null, "nodes": ["aws-1"], "serving": {"web": true, "db": false},
    });
    assert_snapshot!(regions(&[read(region)]), @r"
    NAME  CLOUD   NODES  SERVES  DOES-NOT-SERVE
    aws   <none>  1      web     db
    ");
    let service = json!({
        "name": "web", "nodes": {"labels": {"role": "web"}}, "driver": {"process": {}},
        "revision": 4, "versions": ["1.0.0", "1.1.0"], "at_least": 2, "upgrade": null,
        "regions": {"aws": {"serving": true, "nodes": {}}, "gcp": {"serving": false, "nodes": {}}},
    });
    assert_snapshot!(services(&[read(service)]), @r"
    NAME  REGIONS-SERVING  AT-LEAST  RUNNING  RELEASES     UPGRADE  REVISION
    web   1/2              2         <none>   1.0.0,1.1.0  <none>   4
    ");
}

#[test]
fn upgrades_grants_and_controllers_are_one_line_each() {
    assert_snapshot!(upgrades(&[fixture::rolled_back()]), @r"
    NAME       SERVICE  TO     PHASE        WAVES  BY        STARTED
    upgrade-7  web      1.1.0  rolled back  0/3    user/ann  2023-11-14T22:13:20.000Z
    ");
    let grant = json!({
        "id": "grant-3", "holder": "upgrade-7", "takes": ["aws-1/web", "aws-2/web"],
        "state": "held", "age": "12s", "released_by": "bake of wave 1", "actor": "user/ann",
    });
    assert_snapshot!(grants(&[read(grant)]), @r"
    NAME     HOLDER     STATE  TAKES                ACTOR     RELEASED-BY     AGE
    grant-3  upgrade-7  held   aws-1/web,aws-2/web  user/ann  bake of wave 1  12s
    ");
    let group = json!({
        "fleet": "prod", "term": 3, "leader": "c1", "items": [
            {"name": "c1", "raft_id": 1, "region": "aws", "role": "leader",
             "address": "127.1.0.1:7443", "applied": 12, "agents": 2},
            {"name": "c2", "raft_id": 2, "region": "gcp", "role": "unreachable",
             "address": "127.2.0.1:7443", "applied": null, "agents": null},
        ],
    });
    assert_snapshot!(controllers(&read(group)), @r"
    fleet prod, term 3, leader c1
    NAME  REGION  ROLE         ADDRESS         ID  APPLIED    LAG        AGENTS     VERSION
    c1    aws     leader       127.1.0.1:7443  1   12         <unknown>  2          <none>
    c2    gcp     unreachable  127.2.0.1:7443  2   <unknown>  <unknown>  <unknown>  <none>
    ");
}

#[test]
fn an_empty_list_says_so() {
    assert_eq!(nodes(&[]).to_string(), "no nodes: see `trictl token create --help`");
    assert_eq!(grants(&[]).to_string(), "no grants: nothing takes capacity away");
}
