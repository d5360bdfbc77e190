//! Plans as people read them, by value.

use insta::assert_snapshot;
use serde_json::json;

use super::super::fixture;
use super::*;

fn shown(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut plan = fixture::plan();
    change(&mut plan);
    let view = serde_json::from_value(plan).unwrap();
    render(&view, "trictl upgrade start web@1.1.0:0123456789ab --watch", Style::PLAIN).to_string()
}

#[test]
fn a_plan_shows_changes_order_proof_waits_and_the_next_command() {
    assert_snapshot!(shown(|_| {}), @r"
    upgrade of web to 1.1.0, plan web@1.1.0:0123456789ab

    NODE      REGION  FROM    TO
    aliyun-1  aliyun  <none>  1.1.0
    aws-1     aws     1.0.0   1.1.0
    gcp-1     <none>  1.1.0   unchanged

    WAVE  REGION  TAKES     KEEPS-SERVING  SERVING/NEEDED
    1     aws     aws-1     aliyun,gcp     2 of 2
    2     aliyun  aliyun-1  aws,gcp        2 of 2
    at every wave at least 2 regions serve, 2 must

    takes at least 2m22s: 1m11s a wave (ttl 2s, drain 5s, checks 4s, bake 1m)
    goes back by itself on failure, after 5m in one step or 4h in all

    to start it:
      trictl upgrade start web@1.1.0:0123456789ab --watch
    ");
}

#[test]
fn a_plan_says_where_the_promise_would_not_hold_and_what_blocks_it() {
    let text = shown(|plan| {
        plan["keeps_serving"] = json!([["gcp"], ["aws", "gcp"]]);
        plan["warnings"] = json!(["web has no checks"]);
        plan["blocked"] = json!([{
            "predicate": "serving.at_least", "evidence": "aliyun does not serve web",
            "unblock": "bring aliyun-1 back",
        }]);
    });
    assert!(text.contains("1     aws     aws-1     gcp            1 of 2 TOO FEW"), "{text}");
    assert!(text.contains("at some wave only 1 regions would serve, 2 must"), "{text}");
    assert!(text.contains("warning: web has no checks"), "{text}");
    let blocked = "blocked now: serving.at_least: aliyun does not serve web; \
                   unblock: bring aliyun-1 back";
    assert!(text.contains(blocked), "{text}");
}

#[test]
fn a_plan_without_waves_has_nothing_to_start() {
    let text = shown(|plan| plan["plan"]["waves"] = json!([]));
    assert!(text.ends_with("nothing to do: every node runs 1.1.0"), "{text}");
}
