//! The root's life as an operator sees it, in files.

use std::os::unix::fs::MetadataExt as _;

use trireme_proto::identity::{Identity, Role};
use trireme_proto::pki::Issuer;

use super::*;
use crate::cli::{Cli, Global};
use crate::output::{Form, Out};

fn trictl(args: &[&str]) -> Result<Outcome, Failure> {
    use clap::Parser as _;
    let cli = Cli::try_parse_from(std::iter::once(&"trictl").chain(args)).unwrap();
    let out = Out::plain(Form::Table, std::io::sink(), std::io::sink());
    let app = App::new(cli.global, out, Vec::new());
    match cli.command {
        crate::commands::Command::Ca(command) => run(&app, command),
        other => panic!("{other:?} is no command of the root"),
    }
}

fn fleet() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca").display().to_string();
    trictl(&["ca", "init", "--fleet", "prod", "--dir", &ca]).unwrap();
    (dir, ca)
}

#[test]
fn an_issued_user_can_use_the_context_that_is_written() {
    let (_dir, ca) = fleet();
    let issue = ["ca", "issue-user", "--dir", &ca, "--name", "jane.doe", "--role", "auditor"];
    trictl(&[&issue[..], &["--controller", "127.0.0.1:7443,127.0.0.1:7444"]].concat()).unwrap();
    let config = Path::new(&ca).join("users/jane.doe/config.yaml");
    let global = Global { config: Some(config), ..Global::default() };
    let context = crate::context::Context::resolve(&global).unwrap();
    assert_eq!(context.controllers, ["127.0.0.1:7443", "127.0.0.1:7444"]);
    let verified = context.credentials().unwrap().verified();
    assert_eq!(verified.identity.to_string(), "spiffe://prod/user/jane.doe");
    assert_eq!(verified.role, Some(Role::Auditor));
}

#[test]
fn a_root_is_never_replaced_and_its_key_is_private() {
    let (_dir, ca) = fleet();
    let key = Path::new(&ca).join("root.key");
    assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).unwrap();
    let again = trictl(&["ca", "init", "--fleet", "prod", "--dir", &ca]).unwrap_err();
    assert_eq!(again.exit_code(), 5);
    assert!(again.to_string().ends_with("already: it is not replaced"), "{again}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[test]
fn a_signed_controller_issues_what_the_fleet_trusts() {
    let (dir, ca) = fleet();
    let key = SecretKey::generate().unwrap();
    let request = dir.path().join("c1.csr");
    std::fs::write(&request, key.request().unwrap()).unwrap();
    let shown = request.display().to_string();
    trictl(&["ca", "sign-controller", "--dir", &ca, "--name", "c1", "--request", &shown]).unwrap();
    let pem = std::fs::read(dir.path().join("issuing.pem")).unwrap();
    let certificate = certificates_from_pem(&pem).unwrap().remove(0);
    let issuer = Issuer::new("prod".parse().unwrap(), certificate, &key).unwrap();
    let leaf = SecretKey::generate().unwrap().request().unwrap();
    let (region, name) = ("aws".parse().unwrap(), "c1".parse().unwrap());
    let issued = issuer.issue_controller(&leaf, &region, &name, crate::context::now()).unwrap();
    assert!(matches!(issued.verified.identity, Identity::Controller { .. }));
}

#[test]
fn refuses_a_request_that_is_none_and_a_directory_without_a_root() {
    let (dir, ca) = fleet();
    let request = dir.path().join("c1.csr");
    let shown = request.display().to_string();
    let sign = ["ca", "sign-controller", "--dir", &ca, "--name", "c1", "--request", &shown];
    std::fs::write(&request, "-----BEGIN JUNK-----\n").unwrap();
    assert_eq!(trictl(&sign).unwrap_err().exit_code(), 2);
    std::fs::write(&request, "junk").unwrap();
    assert_eq!(trictl(&sign).unwrap_err().to_string(), "cannot issue the certificate");
    let nowhere = dir.path().join("nowhere").display().to_string();
    let issue = ["ca", "issue-user", "--dir", &nowhere, "--name", "ann", "--role", "admin"];
    let error = trictl(&issue).unwrap_err();
    assert!(error.to_string().ends_with("holds no root of a fleet"), "{error}");
}

#[test]
fn refuses_a_root_key_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, ca) = fleet();
    let key = Path::new(&ca).join("root.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let issue = ["ca", "issue-user", "--dir", &ca, "--name", "ann", "--role", "admin"];
    let Failure::Problem(problem) = trictl(&issue).unwrap_err() else { panic!() };
    assert!(problem.why.iter().any(|why| why.contains("chmod 600")), "{problem:?}");
}
