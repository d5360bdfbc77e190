//! An upgrade in words, by value.

use insta::assert_snapshot;

use super::super::fixture::{baking, first_wave, rolled_back, upgrade, waiting};
use super::*;

fn drawn(view: &UpgradeView, since: Span) -> String {
    tree(view, since, Style::PLAIN).join("\n")
}

#[test]
fn the_tree_shows_every_wave_and_node_with_state_and_rest() {
    let mut view = baking(Span(41_500));
    view.waves[1].nodes.values_mut().next().unwrap().step = Some("fetch".to_owned());
    view.paused = true;
    assert_snapshot!(drawn(&view, Span(0)), @r"
    upgrade-7 web → 1.1.0: running, paused
    ├─ aws     baking, 42s left  grant-3
    │   ├─ aws-1  done
    │   └─ aws-2  done
    ├─ aliyun  waiting
    │   ├─ aliyun-1  waiting, fetch
    │   └─ aliyun-2  waiting
    └─ gcp     waiting
        ├─ gcp-1  waiting
        └─ gcp-2  waiting
    ");
}

#[test]
fn remaining_times_count_down_between_views_and_stop_at_zero() {
    let view = baking(Span(41_500));
    assert!(drawn(&view, Span(10_000)).contains("baking, 32s left"));
    assert!(drawn(&view, Span(90_000)).contains("baking, 0s left"));
}

#[test]
fn the_tree_says_what_is_waited_for() {
    let text = drawn(&waiting("gcp does not serve"), Span(0));
    let last = text.lines().last().unwrap();
    assert_eq!(
        last,
        "waits for serving.at_least: gcp does not serve; unblock: bring node gcp-1 back"
    );
}

#[test]
fn plain_lines_tell_each_change_once() {
    let sequence = [
        upgrade(),
        first_wave("draining", "draining", None),
        first_wave("draining", "draining", None),
        first_wave("switching", "switching", Some("stop")),
        first_wave("switching", "switching", Some("start")),
        baking(Span::secs(12)),
        baking(Span::secs(4)),
        waiting("gcp is silent for 3s"),
        waiting("gcp is silent for 4s"),
        rolled_back(),
    ];
    let mut lines = Vec::new();
    let mut before = None;
    for view in &sequence {
        lines.extend(changes(before, view));
        before = Some(view);
    }
    assert_snapshot!(lines.join("\n"), @r"
    upgrade-7 web → 1.1.0: running
    upgrade-7 wave 1/3 aws: draining
    upgrade-7 wave 1/3 aws aws-1: draining
    upgrade-7 wave 1/3 aws aws-2: draining
    upgrade-7 wave 1/3 aws: switching
    upgrade-7 wave 1/3 aws aws-1: switching, stop
    upgrade-7 wave 1/3 aws aws-2: switching, stop
    upgrade-7 wave 1/3 aws aws-1: switching, start
    upgrade-7 wave 1/3 aws aws-2: switching, start
    upgrade-7 wave 1/3 aws: baking, 12s left
    upgrade-7 wave 1/3 aws aws-1: done
    upgrade-7 wave 1/3 aws aws-2: done
    upgrade-7 wave 1/3 aws: passed
    upgrade-7 waits for serving.at_least: gcp is silent for 3s; unblock: bring node gcp-1 back
    upgrade-7 web → 1.1.0: rolled back: aws-2: check health failed: status 500
    upgrade-7 wave 1/3 aws: rolled back
    upgrade-7 wave 1/3 aws aws-1: reverted
    upgrade-7 wave 1/3 aws aws-2: reverted (check health failed: status 500)
    ");
    let distinct: BTreeSet<_> = lines.iter().collect();
    assert_eq!(distinct.len(), lines.len());
}

#[test]
fn the_status_names_every_node_and_its_totals_sum_up() {
    assert_snapshot!(status(&rolled_back(), Style::PLAIN), @r"
    upgrade-7 web → 1.1.0: rolled back: aws-2: check health failed: status 500
    plan web@1.1.0:0123456789ab, started 2023-11-14T22:13:20.000Z by user/ann
    took 21s, of which the manifest demands 36s
    nodes: 2 reverted,4 waiting

    NODE      REGION  WAVE  WAVE-STATE   STAGE     STEP    REASON
    aws-1     aws     1     rolled back  reverted  <none>  <none>
    aws-2     aws     1     rolled back  reverted  <none>  check health failed: status 500
    aliyun-1  aliyun  2     waiting      waiting   <none>  <none>
    aliyun-2  aliyun  2     waiting      waiting   <none>  <none>
    gcp-1     gcp     3     waiting      waiting   <none>  <none>
    gcp-2     gcp     3     waiting      waiting   <none>  <none>
    ");
}
