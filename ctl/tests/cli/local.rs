//! What `trictl` says before it asks anybody.

use std::process::Stdio;

use serde_json::Value;
use trireme_proto::identity::Role;
use trireme_proto::key::{SecretKey, certificates_from_pem, certificates_to_pem};
use trireme_proto::pki::Root;
use trireme_proto::time::WallTime;

use crate::fleet::{Fleet, Run, closed, command, finish, now};

async fn trictl(args: &[&str]) -> Run {
    let mut command = command();
    command.args(args);
    finish(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_is_a_usage_problem_in_either_form() {
    let run = trictl(&["upgrade", "plan", "web"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.starts_with("error: "), "{run:?}");
    assert!(run.stderr.contains("--to <VERSION>"), "{run:?}");
    for args in [&["--json", "upgrade", "plan", "web"][..], &["upgrde", "--json"], &["--json"]] {
        let run = trictl(args).await;
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
        assert_eq!(run.problem()["code"], "usage", "{run:?}");
        assert!(!run.problem()["message"].as_str().unwrap().is_empty());
    }
    let run = trictl(&["--json", "upgrade", "plan", "web"]).await;
    let message = "the following required arguments were not provided: --to <VERSION>";
    assert_eq!(run.problem()["message"], message);
    assert_eq!(
        trictl(&["upgrde", "--json"]).await.problem()["message"],
        "unrecognized subcommand 'upgrde'"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_version_are_answers() {
    let run = trictl(&["--help"]).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(run.stdout.contains("Usage: trictl"), "{run:?}");
    assert_eq!(trictl(&["--version"]).await.code, Some(0));
    let run = trictl(&["version", "--json"]).await;
    assert_eq!(run.json()["protocol"], "fleet.v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_context_it_says_where_one_comes_from() {
    let run = trictl(&["get", "--config", "/nonexistent/config.yaml"]).await;
    assert_eq!(run.code, Some(2));
    insta::assert_snapshot!(run.stderr, @r"
    error: no fleet to talk to: there is no context file /nonexistent/config.yaml
    hint: log in (`trictl login --enrol HOST:PORT`), name one with --config, or give --controller, --ca, --cert and --key
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_dangerous_is_done_unasked() {
    let fleet = Fleet::new().await;
    let nobody = closed();
    let start = ["upgrade", "start", "web@1.1.0:0123456789ab"];
    let run = fleet.run(&[&nobody], &start).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("hint: add --yes"), "{run:?}");
    let remove = ["node", "remove", "aws-1", "--reason", "gone", "--confirm", "aws-2"];
    let run = fleet.run(&[&nobody], &remove).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr.starts_with("error: --confirm says `aws-2`, the node is `aws-1`"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_before_anybody_is_asked() {
    let fleet = Fleet::new().await;
    let mut command = fleet.admin(&[&closed()]).await;
    let ca = fleet.dir.path().join("ca");
    let read = |name: &str| std::fs::read(ca.join(name)).unwrap();
    let certificate = certificates_from_pem(&read("root.pem")).unwrap().remove(0);
    let key = SecretKey::from_pem(&read("root.key")).unwrap();
    let root = Root::load("prod".parse().unwrap(), certificate, key).unwrap();
    let key = SecretKey::from_pem(&read("users/ann/user.key")).unwrap();
    let yesterday = WallTime(now().0 - 24 * 3600 * 1000);
    let issued = root
        .issuer()
        .issue_user(&key.request().unwrap(), &"ann".parse().unwrap(), Role::Admin, yesterday)
        .unwrap();
    std::fs::write(ca.join("users/ann/user.pem"), certificates_to_pem(&issued.chain)).unwrap();
    command.args(["get", "--json"]);
    let run = finish(command).await;
    assert_eq!(run.code, Some(4), "{run:?}");
    let message = run.problem()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("certificate of spiffe://prod/user/ann expired at "), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_wrong_is_told_with_line_and_column_before_anybody_is_asked() {
    let fleet = Fleet::new().await;
    let file = fleet.dir.path().join("web.yaml");
    std::fs::write(&file, "kind: Region\nname: aws\ncolour: red\n").unwrap();
    let file = file.display().to_string();
    let run = fleet.run(&[&closed()], &["apply", "-f", &file]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("web.yaml:3:1: "), "{run:?}");
    assert!(run.stderr.contains("colour"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_explained_without_a_fleet() {
    let run = trictl(&["explain", "service.serving"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("at_least"), "{run:?}");
    let run = trictl(&["explain", "service.serving", "--json"]).await;
    assert!(matches!(run.json()["fields"], Value::Array(_)), "{run:?}");
    let run = trictl(&["explain", "service.srving"]).await;
    assert_eq!(run.code, Some(9), "{run:?}");
    assert!(run.stderr.contains("hint: did you mean `Service.serving`?"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command();
    command.args(["explain", "service"]).stdout(Stdio::from(writer));
    let child = command.spawn().unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
