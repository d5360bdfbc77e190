//! Views for tests, as controllers would send them.

use serde_json::{Value, json};
use trireme_proto::time::Span;
use trireme_proto::view::{Reason, UpgradePhase, UpgradeView, WaveNode};

/// An upgrade of `web` over three regions of two nodes that has just begun.
pub(crate) fn upgrade() -> UpgradeView {
    let wave = |region: &str| {
        let node = json!({"stage": "waiting", "step": null, "reason": null});
        json!({
            "region": region, "state": "waiting", "grant": null, "remaining": null,
            "nodes": {format!("{region}-1"): node, format!("{region}-2"): node},
        })
    };
    let view = json!({
        "id": "upgrade-7", "plan": "web@1.1.0:0123456789ab", "service": "web", "to": "1.1.0",
        "phase": "running", "paused": false, "reason": null, "started_by": "user/ann",
        "started_at": 1_700_000_000_000_u64, "started": 5000, "ended": null,
        "waves": [wave("aws"), wave("aliyun"), wave("gcp")],
        "required_wait": "36s", "waiting": [],
    });
    serde_json::from_value(view).expect("it is the shape of an upgrade")
}

/// The same, whose first wave is in `state` with its nodes at `stage` and `step`.
pub(crate) fn first_wave(state: &str, stage: &str, step: Option<&str>) -> UpgradeView {
    let mut view = upgrade();
    view.waves[0].state = state.to_owned();
    let node = WaveNode { stage: stage.to_owned(), step: step.map(str::to_owned), reason: None };
    view.waves[0].nodes.values_mut().for_each(|old| *old = node.clone());
    view
}

/// The same, baking with `left` to go.
pub(crate) fn baking(left: Span) -> UpgradeView {
    let mut view = first_wave("baking", "done", None);
    view.waves[0].remaining = Some(left);
    view.waves[0].grant = Some("grant-3".parse().expect("it is a grant"));
    view
}

/// The same, waiting because of what `evidence` says.
pub(crate) fn waiting(evidence: &str) -> UpgradeView {
    let mut view = first_wave("passed", "done", None);
    view.waiting = vec![Reason {
        predicate: "serving.at_least".to_owned(),
        evidence: evidence.to_owned(),
        unblock: "bring node gcp-1 back".to_owned(),
    }];
    view
}

/// The same, gone back after aws-2 failed.
pub(crate) fn rolled_back() -> UpgradeView {
    let mut view = first_wave("rolled back", "reverted", None);
    view.phase = UpgradePhase::RolledBack;
    view.reason = Some("aws-2: check health failed: status 500".to_owned());
    let last = view.waves[0].nodes.values_mut().last().expect("there are two nodes");
    last.reason = Some("check health failed: status 500".to_owned());
    view.ended = Some(view.started.after(Span::secs(21)));
    view
}

/// A plan of the same upgrade, as a document.
pub(crate) fn plan() -> Value {
    let wave = |region: &str| json!({"region": region, "nodes": [format!("{region}-1")]});
    json!({
        "id": "web@1.1.0:0123456789ab",
        "plan": {
            "service": "web", "to": "1.1.0", "service_revision": 4,
            "target": "a".repeat(64), "previous": {},
            "waves": [wave("aws"), wave("aliyun")],
            "gates": {
                "ttl": "2s", "drain": "5s", "rise": "4s", "bake": "1m",
                "step_deadline": "5m", "fleet_deadline": "4h",
            },
        },
        "from": {"aws-1": "1.0.0", "aliyun-1": null, "gcp-1": "1.1.0"},
        "at_least": 2,
        "keeps_serving": [["aliyun", "gcp"], ["aws", "gcp"]],
        "required_wait": "2m22s",
        "unchanged": ["gcp-1"],
        "warnings": [],
        "blocked": [],
    })
}
