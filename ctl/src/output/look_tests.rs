//! What a person sees of a service: who is fine, who is not, who does not answer.

use std::collections::BTreeMap;

use trireme_proto::action::Observed;
use trireme_proto::query::{InstanceUse, Totals};
use trireme_proto::time::{Span, WallTime};
use trireme_proto::view::look::Desired;

use super::*;

fn running(restarts: u64) -> ServiceStatus {
    ServiceStatus {
        driver: "compose".to_owned(),
        state: "unwell".to_owned(),
        why: Some("relay calls itself unhealthy".to_owned()),
        observed: Observed {
            state: ServiceState::NotServing,
            running: None,
            version: Some("1.4.1".to_owned()),
            failing: BTreeMap::new(),
        },
        action: None,
        restarts,
        instances: vec![Instance {
            name: "dvn_relay_1".to_owned(),
            id: "0123456789abcdef".to_owned(),
            state: "running".to_owned(),
            health: Some("unhealthy".to_owned()),
            image: Some("registry.example/dvn@sha256:ab".to_owned()),
            since: Some(WallTime(1000)),
            restarts,
        }],
        checks: vec![CheckStatus {
            name: "height".to_owned(),
            health: "failing".to_owned(),
            status: "critical".to_owned(),
            message: "behind by 70\u{202e}".to_owned(),
            since: WallTime(2000),
            took: Span(3),
        }],
    }
}

fn node(name: &str, status: Option<ServiceStatus>) -> NodeStatus {
    NodeStatus {
        node: name.parse().unwrap(),
        region: "aws".parse().unwrap(),
        desired: Desired { version: Some("1.4.2".parse().unwrap()), stopped: false },
        in_traffic: true,
        aside: None,
        action: None,
        silent: status.is_none().then(|| "it is not connected to any controller".to_owned()),
        status,
    }
}

/// DVN-04: state, version beside the desired one, containers with image, checks with what they
/// said, and who did not answer.
#[test]
fn a_service_is_shown_with_all_that_its_nodes_said() {
    let items = vec![node("aws-1", Some(running(2))), node("aws-2", None)];
    let view = StatusView {
        service: "dvn".parse().unwrap(),
        serving: vec!["gcp".parse().unwrap()],
        at_least: 2,
        items,
        totals: Totals::default(),
    };
    let expected = "\
dvn: gcp serves, 2 must

NODE   REGION  SERVES     STATE      VERSION    DESIRED  TRAFFIC  RESTARTS   REMARK
aws-1  aws     no         unwell     1.4.1      1.4.2    yes      2          relay calls itself unhealthy
aws-2  aws     <unknown>  <unknown>  <unknown>  1.4.2    yes      <unknown>  no answer: it is not connected to any controller

NODE   NAME         ID            STATE    HEALTH     SINCE                     RESTARTS  IMAGE
aws-1  dvn_relay_1  0123456789ab  running  unhealthy  1970-01-01T00:00:01.000Z  2         registry.example/dvn@sha256:ab

NODE   CHECK   HEALTH   STATUS    SINCE                     SAID
aws-1  height  failing  critical  1970-01-01T00:00:02.000Z  behind by 70\\u{202e}";
    assert_eq!(status(&view).to_string(), expected);
}

/// DVN-06: processor, memory with its share, network where it can be told.
#[test]
fn dvn_06_what_a_service_uses_is_shown_in_units_that_people_read() {
    let item = |name: &str, own_network: bool| NodeInstanceUse {
        node: "aws-1".parse().unwrap(),
        region: "aws".parse().unwrap(),
        used: InstanceUse {
            name: name.to_owned(),
            id: "0123456789abcdef".to_owned(),
            cpu_millicores: 1234,
            memory_bytes: 300 << 20,
            memory_limit_bytes: own_network.then_some(1 << 30),
            received_bytes: own_network.then_some(1500),
            sent_bytes: own_network.then_some(0),
            processes: 3,
        },
    };
    let view = UseView {
        service: "dvn".parse().unwrap(),
        items: vec![item("dvn_api_1", true), item("web", false)],
        totals: Totals::default(),
    };
    let expected = "\
NODE   REGION  NAME       ID            CPU     MEMORY    SHARE   RECEIVED  SENT    PROCESSES
aws-1  aws     dvn_api_1  0123456789ab  123.4%  300.0MiB  29.2%   1.4KiB    0B      3
aws-1  aws     web        0123456789ab  123.4%  300.0MiB  <none>  <none>    <none>  3";
    assert_eq!(top(&view).to_string(), expected);
    assert_eq!(
        [bytes(1023), bytes(1 << 10), bytes(u64::MAX)],
        ["1023B", "1.0KiB", "16777215.9TiB"]
    );
    assert_eq!((percent(5), share(1, 0)), ("0.5%".to_owned(), "100.0%".to_owned()));
}
