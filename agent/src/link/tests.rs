//! The link against controllers that say what a test tells them to, over real mutual TLS.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use trireme_proto::action::{Fence, Progress, ServiceState};
use trireme_proto::id::{ActionId, UpgradeId};
use trireme_proto::time::Span;
use trireme_proto::token::Token;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::{Ack, Assignments, Leave, Offer};

use super::testing::{Fleet, serve, token_of, welcome};
use super::*;

/// A link that runs, and all that a test needs around it.
struct Rig {
    heard: mpsc::Receiver<Heard>,
    outlook: watch::Sender<Outlook>,
    unacked: watch::Sender<Unacked>,
    data: TempDir,
}

fn start(tasks: &mut JoinSet<()>, fleet: &Fleet, hours: u64, known: &[(SocketAddr, &str)]) -> Rig {
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    let credentials = fleet.agent(&store, hours);
    let (heard_by, heard) = mpsc::channel(8);
    let (outlook, outlook_seen) = watch::channel(Outlook::default());
    let (unacked, unacked_seen) = watch::channel(Unacked::default());
    let configured = known.iter().map(|(address, region)| Known {
        address: address.to_string(),
        region: Some((*region).to_owned()),
    });
    let link = Link {
        store,
        credentials,
        configured: configured.collect(),
        hello: Hello { incarnation: "inc-1".to_owned(), boot_id: "boot-1".to_owned() },
        heard: heard_by,
        outlook: outlook_seen,
        samples: watch::channel(Samples::default()).1,
        unacked: unacked_seen,
        draw: 0,
        respond: Arc::new(crate::query::testing::Nothing),
    };
    tasks.spawn(link.run());
    Rig { heard, outlook, unacked, data }
}

impl Rig {
    async fn heard(&mut self) -> Heard {
        self.heard.recv().await.expect("the link ended")
    }

    fn queue(&self, seqs: std::ops::RangeInclusive<u64>) {
        let report = |seq| Report { seq, action: ActionId(1), progress: Progress::Accepted };
        self.unacked.send_replace(Unacked { reports: seqs.map(report).collect(), again: 0 });
    }
}

fn some_action() -> Action {
    Action {
        id: ActionId(1),
        node: "n1".parse().unwrap(),
        service: "web".parse().unwrap(),
        upgrade: UpgradeId(1),
        fence: Fence { epoch: 1, term: 1, generation: 1 },
        deadline: Span(1000),
        kind: trireme_proto::action::ActionKind::Confirm { of: ActionId(9) },
    }
}

#[tokio::test]
async fn says_hello_and_hears_what_the_controller_says() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let mut rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    let mut call = calls.recv().await.unwrap();
    let hello = call.hello().await;
    assert_eq!((hello.incarnation.as_str(), hello.boot_id.as_str()), ("inc-1", "boot-1"));
    let nonce = hello.first.unwrap().nonce;
    assert_eq!(nonce.len(), 16);
    call.welcome().await;
    let (controller, address) = ("c1".to_owned(), "127.1.0.1".to_owned());
    assert_eq!(rig.heard().await, Heard::Welcome { controller, address });

    let action = serde_json::to_vec(&some_action()).unwrap();
    call.tell(Told::Offer(Offer { action: action.clone().into(), nonce })).await;
    let heard = rig.heard().await;
    assert!(
        matches!(&heard, Heard::Offer { action, nonce_age: Some(age) }
            if **action == some_action() && *age < 5000),
        "{heard:?}"
    );
    call.tell(Told::Offer(Offer { action: action.into(), nonce: vec![0; 16].into() })).await;
    assert!(matches!(rig.heard().await, Heard::Offer { nonce_age: None, .. }));
    call.tell(Told::Ack(Ack { seq: 7, index: 70 })).await;
    assert_eq!(rig.heard().await, Heard::Acked(7));
    let assigned = vec![Assignment {
        service: "web".parse().unwrap(),
        checks: vec![],
        wanted: BTreeMap::new(),
        logs: [].into(),
    }];
    let assignments = serde_json::to_vec(&assigned).unwrap().into();
    call.tell(Told::Assignments(Assignments { assignments })).await;
    assert_eq!(rig.heard().await, Heard::Assigned(assigned));
}

#[tokio::test]
async fn a_change_is_said_at_once_and_every_nonce_is_fresh() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let mut rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    let mut call = calls.recv().await.unwrap();
    let mut nonces = std::collections::BTreeSet::from([call.hello().await.first.unwrap().nonce]);
    // The next regular heartbeat is half a minute away.
    call.welcome().await;
    rig.heard().await;
    for generation in 1..4 {
        let observed = Observed {
            state: ServiceState::Serving,
            running: None,
            version: Some(format!("1.{generation}")),
            failing: BTreeMap::new(),
        };
        let observed = BTreeMap::from([("web".parse().unwrap(), observed)]);
        rig.outlook.send_replace(Outlook { epoch: 1, generation, observed: observed.clone() });
        let heartbeat = call.heartbeat().await;
        assert_eq!((heartbeat.epoch, heartbeat.generation), (1, generation));
        let said: BTreeMap<ServiceId, Observed> =
            serde_json::from_slice(&heartbeat.observed).unwrap();
        assert_eq!(said, observed);
        assert!(nonces.insert(heartbeat.nonce), "a nonce was used twice");
    }
}

#[tokio::test]
async fn heartbeats_come_as_often_as_the_controller_asks() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    let mut call = calls.recv().await.unwrap();
    call.hello().await;
    call.tell(Told::Welcome(welcome(50))).await;
    for _ in 0..3 {
        call.heartbeat().await;
    }
}

#[tokio::test]
async fn reports_are_said_in_order_and_again_after_a_reconnect() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let mut rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    rig.queue(1..=2);
    let mut call = calls.recv().await.unwrap();
    call.hello().await;
    call.welcome().await;
    assert_eq!(call.reports().await, [1, 2]);
    rig.queue(1..=3);
    assert_eq!(call.reports().await, [3]);
    rig.queue(3..=3);
    rig.queue(3..=4);
    assert_eq!(call.reports().await, [4]);
    let repeated = Unacked { again: 1, ..rig.unacked.borrow().clone() };
    rig.unacked.send_replace(repeated);
    assert_eq!(call.reports().await, [3, 4], "what was asked for again is said again");
    drop(call);
    let mut call = calls.recv().await.unwrap();
    call.hello().await;
    call.welcome().await;
    assert_eq!(call.reports().await, [3, 4]);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
    assert_eq!(rig.heard().await, Heard::Lost);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
}

#[tokio::test]
async fn goes_to_the_own_region_first_and_elsewhere_when_told_to_leave() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (near, mut near_calls) = serve(&mut tasks, &fleet, false).await;
    let (far, mut far_calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(far, "gcp"), (near, "aws")]);
    let mut call = near_calls.recv().await.unwrap();
    call.hello().await;
    call.welcome().await;
    call.tell(Told::Leave(Leave { reason: "going down".to_owned() })).await;
    far_calls.recv().await.unwrap().hello().await;
}

#[tokio::test]
async fn goes_on_elsewhere_when_a_controller_is_gone() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (far, mut far_calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(dead, "aws"), (far, "gcp")]);
    far_calls.recv().await.unwrap().hello().await;
}

#[tokio::test]
async fn a_controller_of_another_fleet_is_not_spoken_to() {
    let (mut tasks, fleet, stranger) = (JoinSet::new(), Fleet::new(), Fleet::new());
    let (wrong, mut wrong_calls) = serve(&mut tasks, &stranger, false).await;
    let (right, mut right_calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(wrong, "aws"), (right, "gcp")]);
    right_calls.recv().await.unwrap().hello().await;
    assert!(wrong_calls.try_recv().is_err());
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_used_at_once() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    // Of 24 hours 20 are gone.
    let mut rig = start(&mut tasks, &fleet, 20, &[(address, "aws")]);
    let store = Store::new(rig.data.path());
    let old = store.load().unwrap().unwrap().verified();
    let mut call = calls.recv().await.unwrap();
    assert_eq!(call.leaf, old.fingerprint);
    call.hello().await;
    call.welcome().await;
    let mut again = calls.recv().await.unwrap();
    again.hello().await;
    again.welcome().await;
    let new = store.load().unwrap().unwrap().verified();
    assert_eq!(again.leaf, new.fingerprint);
    assert_eq!(new.identity, old.identity);
    assert!(new.not_after > old.not_after);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
    assert_eq!(rig.heard().await, Heard::Lost);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
}

#[tokio::test]
async fn joining_stores_an_identity_that_only_its_owner_can_read() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, _calls) = serve(&mut tasks, &fleet, true).await;
    let address: crate::config::Address = address.to_string().parse().unwrap();
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    assert!(store.load().unwrap().is_none());
    let key = store.joining_key().unwrap();

    let used = Token::generate([7; 8], [2; 16], fleet.root.pin());
    let error = join(&store, &address, &used, "inc-1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "controller at {address} refused: token was used before; for a new token run \
             `trictl token create --node NAME --region REGION --address ADDRESS`"
        )
    );
    assert!(store.load().unwrap().is_none());
    assert!(store.joining_key().unwrap() == key, "a repeated request must show the same key");

    let token = token_of(&fleet.root);
    let credentials = join(&store, &address, &token, "inc-1").await.unwrap();
    let loaded = store.load().unwrap().unwrap();
    assert_eq!(loaded.verified(), credentials.verified());
    assert_eq!(loaded.identity().to_string(), "spiffe://test/region/aws/agent/n1");
    let pair = data.path().join("identity/node.pem");
    assert_eq!(pair.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!data.path().join("identity/joining.key").exists());
    assert_eq!(store.controllers().known[0].address, "127.0.0.1:1");
}

#[tokio::test]
async fn a_controller_whose_root_is_not_the_tokens_gets_no_token() {
    let (mut tasks, fleet, stranger) = (JoinSet::new(), Fleet::new(), Fleet::new());
    let (address, _calls) = serve(&mut tasks, &stranger, true).await;
    let address: crate::config::Address = address.to_string().parse().unwrap();
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    let error = join(&store, &address, &token_of(&fleet.root), "inc-1").await.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("root is not the one that the join token names"), "{error}");
    assert!(store.load().unwrap().is_none());
}
