//! `trictl ca issue-user`: a certificate for a person, with all it takes to use it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use trireme_proto::identity::{Role, UserName};
use trireme_proto::key::{SecretKey, certificates_to_pem};
use trireme_proto::keyfile::{create_private_dir, write_private, write_public};
use trireme_proto::time::WallTime;

use super::{CaError, Dir, ROOT_FILE, shown};
use crate::App;
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};

/// Issue a certificate for a person, with all it takes to use it
///
/// Writes a directory with the root certificate, the certificate, its key and, if --controller
/// names some, a context file. Lasts 8 hours; run it again for a new one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person, such as jane.doe
    #[arg(long)]
    name: UserName,

    /// What they may do: admin, operator, developer or auditor
    #[arg(long)]
    role: Role,

    /// Where the files go; by default users/NAME in the root's directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    dir: Dir,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Issues a certificate.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let default = || args.dir.dir.join("users").join(args.name.as_str());
    let out = args.out.clone().unwrap_or_else(default);
    let not_after = issue(args, &out, &app.global.controllers)?;
    if args.dry_run {
        let would = json!({ "name": args.name, "role": args.role, "expires_at": not_after });
        app.out
            .value(&would, |_| format!("{} would be {} until {not_after}", args.name, args.role))?;
        return Ok(Outcome::Done);
    }
    let config = out.join("config.yaml");
    let usable = !app.global.controllers.is_empty();
    let value = json!({
        "name": args.name,
        "role": args.role,
        "expires_at": not_after,
        "root": shown(&out.join(ROOT_FILE)),
        "certificate": shown(&out.join("user.pem")),
        "key": shown(&out.join("user.key")),
        "config": usable.then(|| shown(&config)),
    });
    app.out.value(&value, |_| {
        let mut text = format!(
            "{} is {} until {not_after}; the files are in {}",
            args.name,
            args.role,
            shown(&out)
        );
        if usable {
            let config = crate::cli::quoted(&shown(&config));
            let _ = write!(text, "\n\nto use it:\n  export TRICTL_CONFIG={config}");
        }
        text
    })?;
    Ok(Outcome::Done)
}

fn issue(args: &Args, out: &Path, controllers: &[String]) -> Result<WallTime, CaError> {
    let root = args.dir.load()?;
    let key = SecretKey::generate()?;
    let issued = root.issuer().issue_user(&key.request()?, &args.name, args.role, now())?;
    if args.dry_run {
        return Ok(issued.verified.not_after);
    }
    create_private_dir(out)?;
    let ca = certificates_to_pem(std::slice::from_ref(root.certificate()));
    write_public(&out.join(ROOT_FILE), ca.as_bytes())?;
    write_public(&out.join("user.pem"), certificates_to_pem(&issued.chain).as_bytes())?;
    write_private(&out.join("user.key"), key.to_pem().as_bytes())?;
    if !controllers.is_empty() {
        let context = Context {
            name: args.name.to_string(),
            controllers: controllers.to_vec(),
            ca: ROOT_FILE.into(),
            certificate: "user.pem".into(),
            key: "user.key".into(),
            ..Context::default()
        };
        let text = context.to_yaml(root.issuer().fleet());
        write_private(&out.join("config.yaml"), text.as_bytes())?;
    }
    Ok(issued.verified.not_after)
}
