//! `trictl ca init`: makes the root of a new fleet.

use serde_json::json;
use trireme_proto::identity::FleetName;
use trireme_proto::key::certificates_to_pem;
use trireme_proto::keyfile::{create_private_dir, write_private, write_public};
use trireme_proto::pki::Root;

use super::{CaError, Dir, shown};
use crate::App;
use crate::context::now;
use crate::error::{Failure, Outcome};

/// Make the root of a new fleet
///
/// The key stays in the directory: keep it where no controller is, and keep a copy. It is needed
/// to add a controller or to issue a certificate for a person, not while the fleet runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the fleet, in every certificate and at the end of DNS names
    #[arg(long)]
    fleet: FleetName,

    #[command(flatten)]
    dir: Dir,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes a root.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let root = make(args)?;
    if args.dry_run {
        let would = json!({ "fleet": args.fleet, "root": shown(&args.dir.certificate()) });
        app.out.value(&would, |_| format!("root of fleet {} would be made", args.fleet))?;
        return Ok(Outcome::Done);
    }
    let value = json!({
        "fleet": args.fleet,
        "root": shown(&args.dir.certificate()),
        "key": shown(&args.dir.key()),
        "pin": root.pin(),
    });
    let dir = shown(&args.dir.dir);
    app.out.value(&value, |_| {
        format!(
            "root of fleet {} is in {dir}; copy {} to every controller\npin {}\n\n\
             next, for each controller and then for yourself:\n  {}\n  {}",
            args.fleet,
            shown(&args.dir.certificate()),
            root.pin(),
            app.command(&[
                "ca",
                "sign-controller",
                "--dir",
                &dir,
                "--name",
                "c1",
                "--request",
                "c1.csr"
            ]),
            app.command(&[
                "ca",
                "issue-user",
                "--dir",
                &dir,
                "--name",
                "ann",
                "--role",
                "admin",
                "--controller",
                "c1.example:7443"
            ]),
        )
    })?;
    Ok(Outcome::Done)
}

fn make(args: &Args) -> Result<Root, CaError> {
    let dir = &args.dir;
    if dir.key().exists() || dir.certificate().exists() {
        return Err(CaError::Exists(dir.dir.clone()));
    }
    let root = Root::generate(&args.fleet, now())?;
    if args.dry_run {
        return Ok(root);
    }
    create_private_dir(&dir.dir)?;
    // The certificate last: a directory without it holds no root.
    write_private(&dir.key(), root.key().to_pem().as_bytes())?;
    write_public(&dir.fleet(), format!("{}\n", args.fleet).as_bytes())?;
    let certificate = certificates_to_pem(std::slice::from_ref(root.certificate()));
    write_public(&dir.certificate(), certificate.as_bytes())?;
    Ok(root)
}
