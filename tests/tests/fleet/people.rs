//! Certificates of every kind for one fleet, made with its root as only its operator can.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use trireme_ctl::context::Context;
use trireme_proto::identity::Role;
use trireme_proto::key::{SecretKey, certificates_from_pem, certificates_to_pem};
use trireme_proto::keyfile::{write_private, write_public};
use trireme_proto::pki::{Issued, PkiError, Root};
use trireme_proto::time::WallTime;
use trireme_proto::tls::Credentials;

use super::rig::{Rig, Run};

/// Returns the wall time.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

/// Returns the root of a fleet.
pub(crate) fn root(rig: &Rig) -> Root {
    let ca = rig.fleet.dir().join("ca");
    let certificate = std::fs::read(ca.join("root.pem")).unwrap();
    let certificate = certificates_from_pem(&certificate).unwrap().remove(0);
    let key = SecretKey::from_pem(&std::fs::read(ca.join("root.key")).unwrap()).unwrap();
    Root::load(rig.fleet.shape().fleet.clone(), certificate, key).unwrap()
}

/// Returns what a request of a new key is answered with, ready for TLS.
pub(crate) fn credentials(
    root: &Root,
    issue: impl FnOnce(&[u8]) -> Result<Issued, PkiError>,
) -> Credentials {
    let key = SecretKey::generate().unwrap();
    let issued = issue(&key.request().unwrap()).unwrap();
    Credentials::new(vec![root.certificate().clone()], issued.chain, &key).unwrap()
}

/// Returns the context file of a person with a certificate of the role.
pub(crate) fn context(rig: &Rig, name: &str, role: Role) -> PathBuf {
    let (root, dir) = (root(rig), rig.files().join(name));
    std::fs::create_dir_all(&dir).unwrap();
    let key = SecretKey::generate().unwrap();
    let request = key.request().unwrap();
    let issued = root.issuer().issue_user(&request, &name.parse().unwrap(), role, now()).unwrap();
    let controllers = rig.fleet.controllers().iter().map(|one| one.api.to_string());
    let context = Context {
        name: name.to_owned(),
        controllers: controllers.collect(),
        ca: dir.join("ca.pem"),
        certificate: dir.join("user.pem"),
        key: dir.join("user.key"),
        ..Context::default()
    };
    let pem = |path: &Path, text: &str| write_public(path, text.as_bytes()).unwrap();
    pem(&context.ca, &certificates_to_pem(std::slice::from_ref(root.certificate())));
    pem(&context.certificate, &certificates_to_pem(&issued.chain));
    write_private(&context.key, key.to_pem().as_bytes()).unwrap();
    let path = dir.join("config.yaml");
    write_private(&path, context.to_yaml(root.issuer().fleet()).as_bytes()).unwrap();
    path
}

/// Returns where a fleet's first controller lets people and nodes in.
pub(crate) fn enrol(rig: &Rig) -> String {
    let api = rig.fleet.controllers()[0].api;
    // A controller's listener for those who join is one port above the other.
    format!("{}:{}", api.ip(), api.port() + 1)
}

/// Makes a one-time token for a person.
pub(crate) async fn token(rig: &Rig, name: &str) -> String {
    let run = rig.trictl(&["user", "token", name]).await.exits(0);
    run.json()["token"].as_str().unwrap().to_owned()
}

/// Has `trictl` log in with a token, into a context file in a directory of the name given.
pub(crate) async fn log_in(rig: &Rig, dir: &str, token: &str) -> (PathBuf, Run) {
    let dir = rig.files().join(dir);
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("token");
    write_private(&file, token.as_bytes()).unwrap();
    let config = dir.join("config.yaml");
    let mut command = super::rig::trictl(&config, &["login", "--enrol", &enrol(rig)]);
    command.arg("--token-file").arg(&file);
    let run = super::rig::run(command).await;
    (config, run)
}

/// Lets a person in with roles and logs them in, as people do; returns their context file.
pub(crate) async fn let_in(rig: &Rig, name: &str, roles: &[&str]) -> PathBuf {
    rig.trictl(&[&["user", "add", name][..], roles].concat()).await.exits(0);
    let token = token(rig, name).await;
    let (config, run) = log_in(rig, name, &token).await;
    run.exits(0);
    config
}

/// Returns who a context file makes us.
pub(crate) fn credentials_of(config: &Path) -> Credentials {
    let global = trireme_ctl::cli::Global {
        config: Some(config.to_owned()),
        ..trireme_ctl::cli::Global::default()
    };
    Context::resolve(&global).unwrap().credentials().unwrap()
}
