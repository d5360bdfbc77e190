//! One screen of a fleet in which something is wrong.

use std::collections::BTreeMap;

use trireme_proto::query::Totals;
use trireme_proto::view::{ControllerView, ControllersView, FreezeView};

use super::super::page::Look;
use super::*;

fn here(region: &str, health: HealthHere, ready: usize, answered: usize) -> ServiceHere {
    ServiceHere {
        service: "web".parse().unwrap(),
        region: region.parse().unwrap(),
        health,
        ready,
        needed: 1,
        nodes: 2,
        stopped: 0,
        versions: BTreeMap::from([("1.0.0".to_owned(), 1), ("1.1.0".to_owned(), 1)]),
        upgrade: None,
        cpu_millicores: (answered > 0).then_some(125),
        memory_bytes: (answered > 0).then_some(5 << 20),
        answered,
    }
}

fn controller(name: &str, role: &str) -> ControllerView {
    ControllerView {
        name: name.parse().unwrap(),
        raft_id: 1,
        region: "aws".parse().unwrap(),
        role: role.to_owned(),
        address: String::new(),
        applied: None,
        agents: None,
        peer: String::new(),
        votes: true,
        lag: None,
        version: None,
    }
}

fn view() -> FleetStatusView {
    FleetStatusView {
        items: vec![
            here("gcp", HealthHere::Down, 0, 0),
            here("aws", HealthHere::Degraded, 1, 1),
            here("aliyun", HealthHere::Serving, 2, 2),
        ],
        attention: vec!["break-1: to be reviewed".to_owned()],
        controllers: ControllersView {
            fleet: "prod".to_owned(),
            term: 3,
            leader: Some("c-aws".parse().unwrap()),
            items: vec![controller("c-aws", "leader"), controller("c-gcp", "unreachable")],
            change: None,
            changed: None,
        },
        nodes: BTreeMap::from([("lost".to_owned(), 1), ("ready".to_owned(), 5)]),
        upgrades: Vec::new(),
        freeze: FreezeView { frozen: false, remark: None },
        drains: Vec::new(),
        cordons: BTreeMap::from([("aws-1".parse().unwrap(), "by user/ann: \u{1b}[2J".to_owned())]),
        overrides: Vec::new(),
        alerts: Vec::new(),
        totals: Totals::default(),
    }
}

/// TSP-06: service by region with state, version, processor and memory; who does not answer
/// leaves a question mark.
#[test]
fn tsp_06_one_screen_shows_the_worst_first() {
    let expected = "\
fleet prod: 1 of 2 controllers answer, c-aws leads; nodes: 1 lost, 5 ready
! break-1: to be reviewed

SERVICE  REGION  HEALTH    READY  VERSION          CPU     MEMORY   UPGRADE
web      gcp     down      0/2    1.0.0:1,1.1.0:1  ?       ?        <none>
web      aws     degraded  1/2    1.0.0:1,1.1.0:1  12.5%?  5.0MiB?  <none>
web      aliyun  serving   2/2    1.0.0:1,1.1.0:1  12.5%   5.0MiB   <none>

PUT ASIDE
  node/aws-1 cordoned by user/ann: \\u{1b}[2J";
    assert_eq!(fleet(&view(), Style::PLAIN).to_string(), expected);
}

#[test]
fn what_needs_a_look_is_in_colour() {
    let style = Style { color: true, live: true, width: None };
    let text = fleet(&view(), style).render(Look { style, ..Look::PLAIN });
    assert!(text.contains("\x1b[31mweb      gcp     down"), "{text}");
    assert!(text.contains("\nweb      aliyun  serving"), "{text}");
}
