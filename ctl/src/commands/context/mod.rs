//! Contexts: fleets that are known here, and which of them is meant.

mod add;
mod list;
mod protect;
mod remove;
mod show;
mod switch;

use serde::Serialize;
use trireme_proto::problem::Problem;

use crate::App;
use crate::context::{Context, Entry, File};
use crate::error::{Failure, Outcome};
use crate::output::Page;
use crate::output::table::{NONE, Table, UNKNOWN, table};

/// What to do with contexts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Show(show::Args),
    Use(switch::Args),
    Add(add::Args),
    Protect(protect::Args),
    Remove(remove::Args),
}

/// Runs one of them.
pub(super) fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, &args),
        Command::Show(args) => show::run(app, args),
        Command::Use(args) => switch::run(app, &args),
        Command::Add(args) => add::run(app, &args),
        Command::Protect(args) => protect::run(app, &args),
        Command::Remove(args) => remove::run(app, &args),
    }
}

/// A context as it is shown; what its certificate says, where that can be read.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    current: bool,
    fleet: Option<String>,
    user: Option<String>,
    expires_at: Option<trireme_proto::time::WallTime>,
    protected: bool,
    controllers: Vec<String>,
}

impl Shown {
    fn new(app: &App, file: &File, name: &str, entry: &Entry) -> Self {
        let mut global = app.global.clone();
        global.context = Some(name.to_owned());
        let own = Context::resolve(&global).and_then(|context| context.credentials());
        let own = own.ok().map(|credentials| credentials.verified());
        let user = |identity: &trireme_proto::identity::Identity| match identity {
            trireme_proto::identity::Identity::User { name, .. } => Some(name.to_string()),
            _ => None,
        };
        Self {
            name: name.to_owned(),
            current: file.current.as_deref() == Some(name),
            fleet: own.as_ref().map(|own| own.identity.fleet().to_string()),
            user: own.as_ref().and_then(|own| user(&own.identity)),
            expires_at: own.map(|own| own.not_after),
            protected: entry.protected,
            controllers: entry.controllers.clone(),
        }
    }
}

/// Returns contexts as a table.
fn render(items: &[Shown]) -> Table {
    let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    let row = |item: &Shown| {
        [
            item.name.clone(),
            if item.current { "current" } else { NONE }.to_owned(),
            known(item.fleet.clone()),
            known(item.user.clone()),
            known(item.expires_at.map(|at| at.to_string())),
            if item.protected { "yes" } else { "no" }.to_owned(),
            item.controllers.join(","),
        ]
    };
    let header = ["NAME", "CURRENT", "FLEET", "USER", "EXPIRES", "PROTECTED", "CONTROLLERS"];
    table(
        header,
        items.iter().map(row).collect(),
        "no contexts: log in with `trictl login --enrol HOST:PORT`",
    )
    .cut(&["CONTROLLERS"])
}

/// Changes one context of the file, or the file itself, and prints what came of it; a dry run
/// leaves the file as it is.
fn change(
    app: &App,
    (name, dry_run): (&str, bool),
    work: impl FnOnce(&mut File) -> Result<(), Problem>,
) -> Result<Outcome, Failure> {
    let path = File::path(&app.global).map_err(Problem::from)?;
    let mut file = File::read_or_empty(&path).map_err(Problem::from)?;
    work(&mut file)?;
    if !dry_run {
        file.write(&path).map_err(Problem::from)?;
    }
    let shown: Vec<_> = file
        .contexts
        .iter()
        .filter(|(other, _)| *other == name)
        .map(|(name, entry)| Shown::new(app, &file, name, entry))
        .collect();
    app.out.value(&serde_json::json!({ "items": shown }), |_| match shown.as_slice() {
        [] if dry_run => Page::from(format!("context {name} would be forgotten")),
        [] => Page::from(format!("context {name} is forgotten; its files are left where they are")),
        some => render(some).into(),
    })?;
    Ok(Outcome::Done)
}

/// Finds a context of the file by name.
fn known<'f>(app: &App, file: &'f mut File, name: &str) -> Result<&'f mut Entry, Problem> {
    let path = File::path(&app.global).map_err(Problem::from)?;
    file.chosen(&path, Some(name)).map_err(Problem::from)?;
    Ok(file.contexts.get_mut(name).expect("it was just found there"))
}
