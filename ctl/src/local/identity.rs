//! Who is who in a local fleet: its root, its controllers' issuing certificates, its admin.
//!
//! The same as an operator does with `trictl ca`, and kept in the same files, so that
//! `trictl ca issue-user --dir DIR/ca` goes on from here.

use std::path::Path;

use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use trireme_proto::id::ControllerId;
use trireme_proto::identity::{FleetName, Role, UserName};
use trireme_proto::key::{SecretKey, certificates_from_pem, certificates_to_pem};
use trireme_proto::keyfile::{
    create_private_dir, read_private, read_public, write_private, write_public,
};
use trireme_proto::pki::Root;

use super::error::LocalError;
use super::layout::Files;
use crate::context::{Context, now};

/// Name of the person who started the fleet, in its audit log.
const ADMIN: &str = "dev";

/// Makes the root of a new fleet and keeps it.
pub(super) fn make_root(files: &Files, fleet: &FleetName) -> Result<Root, LocalError> {
    let ca = files.ca();
    create_private_dir(&ca)?;
    let root = Root::generate(fleet, now())?;
    write_private(&ca.join("root.key"), root.key().to_pem().as_bytes())?;
    write_public(&ca.join("fleet"), format!("{fleet}\n").as_bytes())?;
    let certificate = certificates_to_pem(std::slice::from_ref(root.certificate()));
    write_public(&ca.join("root.pem"), certificate.as_bytes())?;
    Ok(root)
}

/// Takes up the root of a fleet made before.
pub(super) fn load_root(files: &Files, fleet: &FleetName) -> Result<Root, LocalError> {
    let ca = files.ca();
    let chain = certificates_from_pem(&read_public(&ca.join("root.pem"))?)?;
    let key = SecretKey::from_pem(&read_private(&ca.join("root.key"))?)?;
    let certificate =
        chain.into_iter().next().ok_or(trireme_proto::key::KeyError::NoCertificate)?;
    Ok(Root::load(fleet.clone(), certificate, key)?)
}

/// Signs the request that a controller printed; the certificate is written to `issued`.
pub(super) fn sign(
    root: &Root,
    controller: &ControllerId,
    request: &[u8],
    issued: &Path,
) -> Result<(), LocalError> {
    let request = CertificateSigningRequestDer::from_pem_slice(request).map_err(|error| {
        LocalError::Command {
            what: format!("reading the signing request of {controller}"),
            said: error.to_string(),
        }
    })?;
    let certificate = root.issue_intermediate(request.as_ref(), controller, now())?;
    Ok(write_public(issued, certificates_to_pem(&[certificate]).as_bytes())?)
}

/// Gives the person at the keyboard an admin's certificate, good for 8 hours, and a context.
pub(super) fn admit(
    files: &Files,
    root: &Root,
    controllers: Vec<String>,
) -> Result<Context, LocalError> {
    let name: UserName = ADMIN.parse().expect("it is one lower-case word");
    let key = SecretKey::generate()?;
    let issued = root.issuer().issue_user(&key.request()?, &name, Role::Admin, now())?;
    let ca = certificates_to_pem(std::slice::from_ref(root.certificate()));
    let context = context(files, root.issuer().fleet(), controllers);
    write_public(&context.ca, ca.as_bytes())?;
    write_public(&context.certificate, certificates_to_pem(&issued.chain).as_bytes())?;
    write_private(&context.key, key.to_pem().as_bytes())?;
    let text = context.to_yaml(root.issuer().fleet());
    write_private(&files.context(), text.as_bytes())?;
    Ok(context)
}

/// Returns the context of the person at the keyboard, who was admitted before.
pub(super) fn context(files: &Files, fleet: &FleetName, controllers: Vec<String>) -> Context {
    Context {
        name: fleet.to_string(),
        controllers,
        ca: files.root.join("ca.crt"),
        certificate: files.root.join("user.crt"),
        key: files.root.join("user.key"),
        ..Context::default()
    }
}
