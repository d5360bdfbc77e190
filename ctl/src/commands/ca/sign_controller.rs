//! `trictl ca sign-controller`: lets a controller issue certificates.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use trireme_proto::id::ControllerId;
use trireme_proto::key::certificates_to_pem;
use trireme_proto::keyfile::{read_public, write_public};

use super::{CaError, Dir, shown};
use crate::App;
use crate::context::now;
use crate::error::{Failure, Outcome};

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

    /// Where the certificate goes; by default beside the request, ending in .crt
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    dir: Dir,
}

/// Signs a controller's issuing key.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let out = args.out.clone().unwrap_or_else(|| args.request.with_extension("crt"));
    sign(args, &out)?;
    let value = json!({ "controller": args.name, "certificate": shown(&out) });
    app.out.value(&value, |_| {
        format!("controller {} may issue certificates: give it {}", args.name, shown(&out))
    })?;
    Ok(Outcome::Done)
}

fn sign(args: &Args, out: &Path) -> Result<(), CaError> {
    let root = args.dir.load()?;
    let request = request(&args.request)?;
    let issued = root.issue_intermediate(&request, &args.name, now())?;
    Ok(write_public(out, certificates_to_pem(&[issued]).as_bytes())?)
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
