//! Every RPC demands its own kind of identity, and a role allows no more than it says.
//!
//! The list of RPCs is read from the `.proto` files: a service without a row here fails the test.

use std::path::Path;

use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use trireme_proto::channel::{ChannelOptions, channel, joining_channel};
use trireme_proto::identity::Role;
use trireme_proto::tls::{Credentials, Server};

use super::people::{self, credentials, now};
use super::rig::{Rig, bounded};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Agent,
    Controller,
    User,
}

/// Which door of a controller a service is behind, and who may pass.
fn door(service: &str) -> Option<(Door, Kind)> {
    match service {
        "Agent" => Some((Door::Api, Kind::Agent)),
        "Operator" => Some((Door::Api, Kind::User)),
        "Peer" | "Raft" => Some((Door::Peer, Kind::Controller)),
        // For those who have no certificate yet; its door is the token.
        "Enrol" => None,
        other => panic!("service {other} has no row in this test"),
    }
}

#[derive(Debug, Clone, Copy)]
enum Door {
    Api,
    Peer,
}

/// Returns every `Service/Method` of the contract.
fn methods() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto/fleet/v1");
    let mut methods = Vec::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut service = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                rest.trim_end_matches('{').trim().clone_into(&mut service);
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                let method = rest.split('(').next().unwrap().trim();
                methods.push((service.clone(), method.to_owned()));
            }
        }
    }
    methods
}

/// Sends an empty request and returns how it was refused.
async fn refusal(channel: Channel, service: &str, method: &str) -> tonic::Status {
    let mut grpc = Grpc::new(channel);
    let path: PathAndQuery = format!("/fleet.v1.{service}/{method}").parse().unwrap();
    if let Err(error) = grpc.ready().await {
        return tonic::Status::from_error(error.into());
    }
    let codec = ProstCodec::<(), ()>::default();
    match grpc.unary(tonic::Request::new(()), path, codec).await {
        Ok(_) => panic!("{service}/{method} was answered"),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_refuses_every_other_kind_of_identity() {
    bounded(async {
        let rig = Rig::start(1).await;
        let root = people::root(&rig);
        let issuer = root.issuer();
        let (region, name) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
        let callers: [(Kind, Credentials); 3] = [
            (Kind::Agent, credentials(&root, |csr| issuer.issue_agent(csr, &region, &name, now()))),
            (
                Kind::Controller,
                credentials(&root, |csr| {
                    issuer.issue_controller(csr, &region, &"c-aws".parse().unwrap(), now())
                }),
            ),
            (
                Kind::User,
                credentials(&root, |csr| {
                    issuer.issue_user(csr, &"eve".parse().unwrap(), Role::Admin, now())
                }),
            ),
        ];
        let api = rig.fleet.controllers()[0].api;
        // A controller's listener for its peers is one port below the one for everybody else.
        let peer = std::net::SocketAddr::new(api.ip(), api.port() - 1);
        let options = ChannelOptions::default();
        let mut refused = 0;
        for (service, method) in methods() {
            let Some((at, allowed)) = door(&service) else { continue };
            let address = match at {
                Door::Api => api.to_string(),
                Door::Peer => peer.to_string(),
            };
            for (kind, credentials) in callers.iter().filter(|(kind, _)| *kind != allowed) {
                let channel =
                    channel(&address, &Server::AnyController, credentials, &options).unwrap();
                let status = refusal(channel, &service, &method).await;
                let told = format!("{service}/{method} to {kind:?}: {status:?}");
                assert_eq!(status.code(), Code::PermissionDenied, "{told}");
                refused += 1;
            }
            // Without a certificate there is not even a connection.
            let nobody = joining_channel(&address, root.pin(), &options).unwrap();
            let status = refusal(nobody, &service, &method).await;
            assert!(status.metadata().is_empty(), "{service}/{method} answered nobody: {status:?}");
            assert!(
                matches!(status.code(), Code::Unknown | Code::Unavailable | Code::Cancelled),
                "{service}/{method} to nobody: {status:?}"
            );
        }
        assert!(refused >= 50, "only {refused} refusals: the contract was not read");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_everything_and_changes_nothing_and_each_try_is_recorded() {
    bounded(async {
        let rig = Rig::start(1).await;
        let auditor = people::context(&rig, "eve", Role::Auditor);
        for args in [&["get", "node"][..], &["audit", "list"], &["controller", "status"]] {
            rig.trictl_as(&auditor, args).await.exits(0);
        }
        let node = ["--reason", "x", "--confirm", "aws-1"];
        let changes: [(&[&str], &str); 4] = [
            (&["controller", "transfer"], "controller.transfer"),
            (&[&["node", "remove", "aws-1"][..], &node].concat(), "node.remove"),
            (&["grants", "release", "grant-1", "--reason", "x"], "grant.release"),
            (&["upgrade", "start", "web@1.1.0:0123456789ab", "--yes"], "upgrade.start"),
        ];
        for (args, action) in changes {
            let problem = rig.trictl_as(&auditor, args).await.exits(4).problem();
            assert_eq!(problem["code"], "denied");
            assert_eq!(problem["message"], format!("user eve as auditor may not {action}"));
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
        // Roles that this release gives nothing to may not even look.
        for (name, role) in [("oda", Role::Operator), ("dev2", Role::Developer)] {
            let context = people::context(&rig, name, role);
            rig.trictl_as(&context, &["get", "node"]).await.exits(4);
        }
        assert_eq!(rig.node("aws-1").await.unwrap().state, "ready");
    })
    .await;
}
