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

use super::rig::Rig;

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
    };
    let pem = |path: &Path, text: &str| write_public(path, text.as_bytes()).unwrap();
    pem(&context.ca, &certificates_to_pem(std::slice::from_ref(root.certificate())));
    pem(&context.certificate, &certificates_to_pem(&issued.chain));
    write_private(&context.key, key.to_pem().as_bytes()).unwrap();
    let path = dir.join("config.yaml");
    write_private(&path, context.to_yaml(root.issuer().fleet()).as_bytes()).unwrap();
    path
}
