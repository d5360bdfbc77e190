//! `trictl context add`: a fleet by its controllers and our files.

use std::path::absolute;

use trireme_proto::problem::{Code, Problem};

use super::super::{login::check_name, usage};
use super::change;
use crate::App;
use crate::context::Entry;
use crate::error::{Failure, Outcome, failed};

/// Add a context of --controller, --ca, --cert and --key
///
/// `trictl login` adds one by itself. A name that is taken is not replaced.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the context
    name: String,

    /// Have the fleet's name typed for each change through it
    #[arg(long)]
    protected: bool,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Adds a context.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    check_name(&args.name)?;
    let global = &app.global;
    let (Some(ca), Some(certificate), Some(key)) = (&global.ca, &global.cert, &global.key) else {
        return Err(usage("a context needs --controller, --ca, --cert and --key").into());
    };
    if global.controllers.is_empty() {
        return Err(usage("a context needs at least one --controller").into());
    }
    // Relative paths would be taken from where the context file is.
    let path =
        |path| absolute(path).map_err(|error| failed("the current directory is not known", &error));
    let entry = Entry {
        controllers: global.controllers.clone(),
        ca: path(ca)?,
        certificate: path(certificate)?,
        key: path(key)?,
        protected: args.protected,
        login: None,
    };
    change(app, (&args.name, args.dry_run), |file| {
        if file.contexts.contains_key(&args.name) {
            let message = format!("there is a context {} already", args.name);
            return Err(Problem::new(Code::Conflict, message)
                .hint(app.command(&["context", "remove", &args.name])));
        }
        file.contexts.insert(args.name.clone(), entry);
        file.current.get_or_insert_with(|| args.name.clone());
        Ok(())
    })
}
