//! The audit on real files: exported, signed, and every way of changing it found.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use trireme_proto::channel::{ChannelOptions, channel, joining_channel};
use trireme_proto::tls::Server;
use trireme_proto::wire::ControllersRequest;

use super::people::{self, let_in};
use super::rig::{Rig, Run, bounded, trictl, until};

/// Exports the audit and what was signed of it.
async fn export(rig: &Rig, name: &str) -> (PathBuf, PathBuf) {
    let (log, signed) =
        (rig.files().join(format!("{name}.ndjson")), rig.files().join(format!("{name}.signed")));
    let (out, checkpoints) = (log.to_str().unwrap(), signed.to_str().unwrap());
    let args = ["audit", "export", "--out", out, "--checkpoints", checkpoints];
    rig.trictl(&args).await.exits(0);
    (log, signed)
}

/// Verifies an exported audit without asking any controller.
async fn verify(rig: &Rig, log: &Path, signed: &Path) -> Run {
    let root = rig.fleet.dir().join("ca/root.pem");
    let nobody = rig.files().join("no-such-config.yaml");
    let mut command = trictl(&nobody, &["audit", "verify"]);
    command.arg("--ca").arg(root).arg("--file").arg(log).arg("--checkpoints").arg(signed);
    super::rig::run(command).await
}

/// Writes a copy of a file with other lines.
fn altered(rig: &Rig, name: &str, lines: &[String]) -> PathBuf {
    rig.file(name, format!("{}\n", lines.join("\n")))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_audit_is_verified_without_any_controller_and_every_change_is_found() {
    bounded(async {
        let rig = Rig::start(1).await;
        for text in ["one", "two", "three"] {
            rig.trictl(&["note", "node/aws-1", text]).await.exits(0);
        }
        let (log, signed) = export(&rig, "audit").await;
        verify(&rig, &log, &signed).await.exits(0);
        let lines: Vec<String> =
            std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
        let note = lines.iter().position(|line| line.contains("note.set")).unwrap();

        let mut edited = lines.clone();
        edited[note] = edited[note].replace("user/dev", "user/eve");
        let file = altered(&rig, "edited.ndjson", &edited);
        verify(&rig, &file, &signed).await.exits(1).says("was edited");
        let mut deleted = lines.clone();
        deleted.remove(note);
        let file = altered(&rig, "deleted.ndjson", &deleted);
        verify(&rig, &file, &signed).await.exits(1).says("was deleted");
        let mut reordered = lines.clone();
        reordered.swap(note, note + 1);
        let file = altered(&rig, "reordered.ndjson", &reordered);
        verify(&rig, &file, &signed).await.exits(1).says("was reordered");
        // Cut off at the end it is whole in itself: what was signed tells.
        let file = altered(&rig, "cut.ndjson", &lines[..note]);
        verify(&rig, &file, &signed).await.exits(1).says("was cut off");
        // And so is one written anew from the first entry on.
        let mut anew = Vec::new();
        let mut previous = "0".repeat(64);
        for line in &lines {
            let mut entry: trireme_proto::view::AuditEntry = serde_json::from_str(line).unwrap();
            entry.actor = entry.actor.replace("user/dev", "user/eve");
            entry.previous.clone_from(&previous);
            let entry = entry.sealed();
            previous.clone_from(&entry.hash);
            anew.push(serde_json::to_string(&entry).unwrap());
        }
        let file = altered(&rig, "anew.ndjson", &anew);
        verify(&rig, &file, &signed).await.exits(1).says("was written anew");
        // What was signed cannot be made to fit: the signature covers it.
        let forged = std::fs::read_to_string(&signed).unwrap();
        let newest: Value = serde_json::from_str(forged.lines().last().unwrap()).unwrap();
        let root = newest["root"].as_str().unwrap();
        let file_signed = rig.file("forged.signed", forged.replace(root, &previous));
        verify(&rig, &file, &file_signed).await.exits(1).says("does not fit its text");
        // The fleet's own is held against what was signed before as well.
        let signed = signed.to_str().unwrap();
        rig.trictl(&["audit", "verify", "--checkpoints", signed]).await.exits(0);
    })
    .await;
}

/// DVN-46: six fields on every record, none of them empty, refusals included. DVN-47: each deed is
/// one record of its class. B13: words of the caller make no second record out of one.
#[tokio::test(flavor = "multi_thread")]
async fn every_deed_and_every_refusal_is_one_record_with_all_its_fields() {
    bounded(async {
        let rig = Rig::start(1).await;
        let ann = let_in(&rig, "ann", &["operator"]).await;
        let before = entries(&rig).await.len();
        rig.trictl(&["user", "grant", "ann", "auditor"]).await.exits(0);
        let token = ["token", "create", "--node", "aws-9", "--region", "aws"];
        rig.trictl(&[&token[..], &["--address", "127.9.9.9"]].concat()).await.exits(0);
        let odd = "x\u{1b}[2J\nforged done";
        let remove = ["node", "remove", odd, "--reason", "x", "--confirm", odd];
        rig.trictl_as(&ann, &remove).await.exits(4);
        let long = "n".repeat(100_000);
        let remove = ["node", "remove", &long, "--reason", "x", "--confirm", &long];
        rig.trictl_as(&ann, &remove).await.exits(4);
        let after = entries(&rig).await;
        let people = |entry: &&Value| entry["actor"].as_str().unwrap().starts_with("user/");
        let new: Vec<&Value> = after[before..].iter().filter(people).collect();
        let told: Vec<(&str, &str)> = new
            .iter()
            .map(|entry| (entry["action"].as_str().unwrap(), entry["actor"].as_str().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                ("user.grant", "user/dev"),
                ("token.create", "user/dev"),
                ("node.remove", "user/ann"),
                ("node.remove", "user/ann"),
            ]
        );
        for entry in &after {
            assert!(entry["time"].as_u64().unwrap() > 0, "{entry}");
            for field in ["actor", "role", "action", "target", "result", "source"] {
                let text = entry[field].as_str().unwrap();
                assert!(!text.trim().is_empty(), "{field} of {entry}");
                assert!(!text.chars().any(char::is_control), "{field} of {entry}");
                assert!(text.len() < 3000, "{field} of {entry}");
            }
        }
        for (class, action, target) in
            [("config", "user.grant", "user/ann"), ("key", "token.create", "node/aws-9")]
        {
            let args = ["audit", "list", "--class", class, "--action", action, "--target", target];
            let found = rig.trictl(&args).await.exits(0).json();
            let count = found["items"].as_array().unwrap().len();
            assert_eq!(count, 1, "{class}: {found}");
        }
        let args = ["audit", "list", "--class", "login", "--actor", "user/ann"];
        let found = rig.trictl(&args).await.exits(0).json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
        let refused = ["audit", "list", "--result", "refused", "--actor", "user/ann"];
        let found = rig.trictl(&refused).await.exits(0).json();
        assert_eq!(found["items"].as_array().unwrap().len(), 2, "{found}");
    })
    .await;
}

/// B13, B3: what cannot be read, is for nobody or comes without a certificate leaves a record.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_reaches_a_decision_is_recorded_as_well() {
    bounded(async {
        let rig = Rig::start(1).await;
        let ann = people::credentials_of(&let_in(&rig, "ann", &["admin"]).await);
        let root = people::root(&rig);
        let (region, node) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
        let agent = people::credentials(&root, |csr| {
            root.issuer().issue_agent(csr, &region, &node, people::now())
        });
        let api = rig.fleet.controllers()[0].api.to_string();
        let options = ChannelOptions::default();
        let dial = |who| channel(&api, &Server::AnyController, who, &options).unwrap();
        // A message of another kind, a method that there is not, a service that there is not.
        let odd = ControllersRequest { consistency: 7 };
        for path in ["/fleet.v1.Operator/Apply", "/fleet.v1.Operator/Nope", "/x.Y/Z"] {
            assert!(call(dial(&ann), path, odd).await.is_err(), "{path}");
        }
        // Machines that knock again and again are one record a minute.
        for _ in 0..3 {
            assert!(call(dial(&agent), "/fleet.v1.Nobody/Home", odd).await.is_err());
        }
        for _ in 0..3 {
            let nobody = joining_channel(&api, root.pin(), &options).unwrap();
            assert!(call(nobody, "/fleet.v1.Operator/Get", odd).await.is_err());
        }
        let found = until("the records", async || {
            let all = entries(&rig).await;
            all.iter().any(|entry| entry["action"] == "connection.open").then_some(all)
        })
        .await;
        let targets = |actor: &str| -> Vec<String> {
            let of = found.iter().filter(|entry| entry["actor"] == actor);
            let turned = of.filter(|entry| entry["result"].as_str().unwrap().contains("turned"));
            turned.map(|entry| entry["target"].as_str().unwrap().to_owned()).collect()
        };
        let paths = ["/fleet.v1.Operator/Apply", "/fleet.v1.Operator/Nope", "/x.Y/Z"];
        assert_eq!(targets("user/ann"), paths);
        assert_eq!(targets("agent/aws-1"), ["/fleet.v1.Nobody/Home"]);
        let nobody: Vec<_> =
            found.iter().filter(|entry| entry["action"] == "connection.open").collect();
        assert_eq!(nobody.len(), 1, "{nobody:#?}");
        assert_eq!(
            (&nobody[0]["actor"], &nobody[0]["source"]),
            (&"nobody".into(), &"127.0.0.1".into())
        );
    })
    .await;
}

async fn call(
    channel: Channel,
    path: &'static str,
    message: ControllersRequest,
) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
    let codec = ProstCodec::<ControllersRequest, ()>::default();
    let path = PathAndQuery::from_static(path);
    grpc.unary(tonic::Request::new(message), path, codec).await.map(drop)
}

async fn entries(rig: &Rig) -> Vec<Value> {
    let list = rig.trictl(&["audit", "list", "--limit", "900"]).await.exits(0).json();
    list["items"].as_array().unwrap().clone()
}

/// A change that cannot be recorded does not happen: the record is part of the commit.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_to_record_it_nothing_privileged_is_done() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        rig.trictl(&["user", "add", "ann", "operator"]).await.exits(0);
        let names: Vec<_> =
            rig.fleet.controllers().iter().skip(1).map(|one| one.name.clone()).collect();
        for name in &names {
            rig.kill_controller(name).await;
        }
        let grant = ["--timeout", "4s", "user", "grant", "ann", "admin"];
        rig.trictl(&grant).await.exits(6);
        let token = ["--timeout", "4s", "user", "token", "ann"];
        let run = rig.trictl(&token).await.exits(6);
        assert!(run.stdout.is_empty(), "no token is shown that was not recorded: {run:?}");
        let list = ["user", "list", "--consistency", "stale"];
        let users = rig.trictl(&list).await.exits(0).json();
        assert_eq!(users["items"][0]["roles"], serde_json::json!(["operator"]));
    })
    .await;
}
