//! `trictl ca sign-controller`: lets a controller issue certificates.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use trireme_proto::id::ControllerId;
use trireme_proto::key::certificates_to_pem;
use trireme_proto::keyfile::{read_public, write_public};

use super::{CaError, Dir, ROOT_FILE, shown};
use crate::App;
use crate::context::now;
use crate::error::{Failure, Outcome};

/// The issuing certificate, by the name under which its controller looks for it.
const ISSUING_FILE: &str = "issuing.pem";

/// Sign the key with which a controller issues certificates
///
/// The controller makes the key and a request on its own disk; only the request travels. Of the
/// request only the public key is used.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the controller
    #[arg(long)]
    name: ControllerId,

    /// Signing request that the controller wrote
    #[arg(long, value_name = "FILE")]
    request: PathBuf,

    /// Directory for root.pem and issuing.pem; by default that of the request
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    dir: Dir,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Signs a controller's issuing key.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let beside = || args.request.parent().unwrap_or(Path::new("")).to_owned();
    let out = args.out.clone().unwrap_or_else(beside);
    sign(args, &out)?;
    let (root, issuing) = (out.join(ROOT_FILE), out.join(ISSUING_FILE));
    if args.dry_run {
        let would = json!({ "controller": args.name });
        let text = format!("the key of controller {} would be signed", args.name);
        app.out.value(&would, |_| text)?;
        return Ok(Outcome::Done);
    }
    let value =
        json!({ "controller": args.name, "root": shown(&root), "issuing": shown(&issuing) });
    app.out.value(&value, |_| {
        format!(
            "controller {} may issue certificates: copy {} and {} beside its issuing.key",
            args.name,
            shown(&root),
            shown(&issuing)
        )
    })?;
    Ok(Outcome::Done)
}

fn sign(args: &Args, out: &Path) -> Result<(), CaError> {
    let root = args.dir.load()?;
    let request = request(&args.request)?;
    let issued = root.issue_intermediate(&request, &args.name, now())?;
    if args.dry_run {
        return Ok(());
    }
    let trusted = certificates_to_pem(std::slice::from_ref(root.certificate()));
    write_public(&out.join(ROOT_FILE), trusted.as_bytes())?;
    Ok(write_public(&out.join(ISSUING_FILE), certificates_to_pem(&[issued]).as_bytes())?)
}

/// Reads a request in PEM or DER.
fn request(path: &Path) -> Result<Vec<u8>, CaError> {
    let bytes = read_public(path)?;
    if !bytes.starts_with(b"-----") {
        return Ok(bytes);
    }
    match CertificateSigningRequestDer::from_pem_slice(&bytes) {
        Ok(request) => Ok(request.as_ref().to_vec()),
        Err(_) => Err(CaError::Request(path.to_owned())),
    }
}
