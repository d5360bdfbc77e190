//! Every RPC demands its own kind of identity and its own role, and gives no more than it says.
//!
//! The RPCs are those of the descriptor set, what each demands is its row in
//! `controller/src/api/door.rs`: an RPC without a row fails the test, and so does one that serves
//! anybody whom its row does not name.

use std::time::Duration;

use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use trireme_controller::api::{Door, door};
use trireme_proto::channel::{ChannelOptions, channel, joining_channel};
use trireme_proto::identity::Role;
use trireme_proto::tls::{Credentials, Server};
use trireme_proto::wire::RPCS;

use super::people::{self, credentials, now};
use super::rig::{Rig, bounded};

/// Longest wait for an answer; who is let in to a stream may be told nothing for a while.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Agent,
    Controller,
    /// A person with this role in the fleet.
    Person(Role),
    /// A person whom the root has signed, and whom the fleet does not know.
    Stranger,
}

/// Returns whether a door opens to a caller.
fn opens(door: Door, caller: Caller) -> bool {
    match (door, caller) {
        (Door::Agent, Caller::Agent) | (Door::Controller, Caller::Controller) => true,
        (Door::Person(verb), Caller::Person(role)) => role.may(verb),
        _ => false,
    }
}

/// Sends an empty request and returns how it was refused, if it was.
async fn knock(channel: Channel, service: &str, method: &str) -> Option<tonic::Status> {
    let mut grpc = Grpc::new(channel);
    let path: PathAndQuery = format!("/fleet.v1.{service}/{method}").parse().unwrap();
    if let Err(error) = grpc.ready().await {
        return Some(tonic::Status::from_error(error.into()));
    }
    let codec = ProstCodec::<(), ()>::default();
    let answer = grpc.unary(tonic::Request::new(()), path, codec);
    tokio::time::timeout(ANSWER_MAX, answer).await.ok()?.err()
}

/// B1, B3, DVN-45, TSP-47: every RPC of the descriptor set against every kind of caller.
#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_opens_to_whom_its_row_names_and_to_nobody_else() {
    bounded(async {
        let rig = Rig::start(1).await;
        let root = people::root(&rig);
        let mut callers = callers(&root);
        for (name, role) in
            [("oda", Role::Operator), ("dee", Role::Developer), ("una", Role::Auditor)]
        {
            let config = people::let_in(&rig, name, &[role.as_str()]).await;
            callers.push((Caller::Person(role), people::credentials_of(&config)));
        }
        let api = rig.fleet.controllers()[0].api;
        // A controller's listener for its peers is one port below the one for everybody else.
        let peer = std::net::SocketAddr::new(api.ip(), api.port() - 1);
        let options = ChannelOptions::default();
        let (mut refused, mut passed) = (0, 0);
        for (service, method) in RPCS {
            let row = door(service, method);
            let row = row.unwrap_or_else(|| panic!("{service}/{method} has no row"));
            let address = match row {
                // For those who have no certificate yet: tests/tests/fleet/join.rs knocks there.
                Door::Token => continue,
                Door::Controller if *service != "Relay" => peer.to_string(),
                Door::Agent | Door::Controller | Door::Person(_) => api.to_string(),
            };
            for (caller, credentials) in &callers {
                let ask = async || {
                    let door = channel(&address, &Server::AnyController, credentials, &options);
                    knock(door.unwrap(), service, method).await
                };
                let mut answer = ask().await;
                // Whoever may do nothing is cut off when people lose something, which an earlier
                // request here did; knocking again, they are told why.
                if answer.as_ref().is_some_and(|status| status.code() == Code::Unknown) {
                    answer = ask().await;
                }
                let code = answer.as_ref().map(tonic::Status::code);
                let told = format!("{service}/{method} to {caller:?}: {answer:?}");
                if opens(row, *caller) {
                    let shut = [Some(Code::PermissionDenied), Some(Code::Unauthenticated)];
                    assert!(!shut.contains(&code), "{told}");
                    passed += 1;
                } else {
                    assert_eq!(code, Some(Code::PermissionDenied), "{told}");
                    refused += 1;
                }
            }
            // Without a certificate there is not even a connection.
            let nobody = joining_channel(&address, root.pin(), &options).unwrap();
            let status = knock(nobody, service, method).await.expect("nobody is let in");
            assert!(status.metadata().is_empty(), "{service}/{method} answered nobody: {status:?}");
            assert!(
                matches!(status.code(), Code::Unknown | Code::Unavailable | Code::Cancelled),
                "{service}/{method} to nobody: {status:?}"
            );
        }
        assert!(refused >= 200 && passed >= 50, "{refused} refused, {passed} passed");
    })
    .await;
}

/// Returns one of every kind.
fn callers(root: &trireme_proto::pki::Root) -> Vec<(Caller, Credentials)> {
    let issuer = root.issuer();
    let (region, name) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
    let controller = "c-aws".parse().unwrap();
    let person = |name: &str, role| {
        let name = name.parse().unwrap();
        credentials(root, |csr| issuer.issue_user(csr, &name, role, now()))
    };
    vec![
        (Caller::Agent, credentials(root, |csr| issuer.issue_agent(csr, &region, &name, now()))),
        (
            Caller::Controller,
            credentials(root, |csr| issuer.issue_controller(csr, &region, &controller, now())),
        ),
        (Caller::Person(Role::Admin), person("ann", Role::Admin)),
        (Caller::Stranger, person("eve", Role::Auditor)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_changes_nothing_and_each_try_is_recorded() {
    bounded(async {
        let rig = Rig::start(1).await;
        let stranger = people::context(&rig, "eve", Role::Auditor);
        let node = ["--reason", "x", "--confirm", "aws-1"];
        let changes: [(&[&str], &str); 4] = [
            (&["controller", "transfer"], "controller.transfer"),
            (&[&["node", "remove", "aws-1"][..], &node].concat(), "node.remove"),
            (&["grants", "release", "grant-1", "--reason", "x"], "grant.release"),
            (&["upgrade", "start", "web@1.1.0:0123456789ab", "--yes"], "upgrade.start"),
        ];
        for (args, _) in changes {
            let problem = rig.trictl_as(&stranger, args).await.exits(4).problem();
            assert_eq!(problem["code"], "denied");
            assert_eq!(problem["message"], "user eve is not of this fleet");
        }
        let list = rig.trictl(&["audit", "list"]).await.exits(0).json();
        let entries = list["items"].as_array().unwrap();
        for (_, action) in changes {
            let tried = |entry: &&serde_json::Value| {
                entry["actor"] == "user/eve"
                    && entry["action"] == action
                    && entry["result"].as_str().unwrap().starts_with("refused: ")
            };
            assert_eq!(entries.iter().filter(tried).count(), 1, "{action} in {entries:#?}");
        }
        // A certificate alone gives nothing, not even a look.
        for (name, role) in [("oda", Role::Operator), ("dev2", Role::Developer)] {
            let context = people::context(&rig, name, role);
            rig.trictl_as(&context, &["get", "node"]).await.exits(4);
        }
        assert_eq!(rig.node("aws-1").await.unwrap().state, "ready");
    })
    .await;
}
