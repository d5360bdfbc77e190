//! The verbs of `trictl`: one file each, with its arguments (whose doc comments are the help) and
//! one `run` that builds the request, asks, and prints.

mod alert;
mod apply;
mod approve;
mod audit;
mod ca;
mod checklist;
mod completion;
mod context;
mod controller;
mod delete;
mod demo;
mod describe;
mod dev;
mod diff;
mod explain;
mod freeze;
mod get;
mod grants;
mod login;
mod look;
mod man;
mod node;
mod note;
mod r#override;
mod place;
mod region;
mod review;
mod service;
mod status;
mod token;
mod upgrade;
mod user;
mod version;
mod why;

use clap::Subcommand;
use trireme_proto::problem::{Code, Problem};

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do; a verb's help is the doc comment of its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    Status(status::Args),
    Apply(apply::Args),
    Diff(diff::Args),
    Delete(delete::Args),
    Get(get::Args),
    Describe(describe::Args),
    Explain(explain::Args),
    /// Plan, start, watch and steer upgrades
    #[command(subcommand)]
    Upgrade(upgrade::Command),
    Approve(approve::Args),
    /// Record that somebody has looked at what was done
    #[command(subcommand)]
    Review(review::Command),
    /// Look at services, read what they write, start, stop and restart them
    #[command(subcommand)]
    Service(service::Command),
    /// List, drain and return regions
    #[command(subcommand)]
    Region(region::Command),
    /// Stop everything that would take something away, and go on again
    #[command(subcommand)]
    Freeze(freeze::Command),
    /// Set rules of the ledger aside for a time
    #[command(subcommand)]
    Override(r#override::Command),
    Why(why::Args),
    Note(note::Args),
    /// See alerts, look after them, silence them, test where they go
    #[command(subcommand)]
    Alert(alert::Command),
    /// Go through checklists: what is looked at again and again
    #[command(subcommand)]
    Checklist(checklist::Command),
    /// List and release grants: everything that takes capacity away
    #[command(subcommand)]
    Grants(grants::Command),
    /// List, drain, cordon, return and remove nodes
    #[command(subcommand)]
    Node(node::Command),
    /// Let new nodes in
    #[command(subcommand)]
    Token(token::Command),
    /// Say who may do what, and let people in
    #[command(subcommand)]
    User(user::Command),
    Login(login::Args),
    /// Say which fleet is meant
    #[command(subcommand)]
    Context(context::Command),
    /// Show the controllers and move the lead
    #[command(subcommand)]
    Controller(controller::Command),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Keep the fleet's root: make it, sign controllers, issue certificates for people
    #[command(subcommand)]
    Ca(ca::Command),
    /// Run a whole fleet on this machine
    #[command(subcommand)]
    Dev(dev::Command),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
    Completion(completion::Args),
    Man(man::Args),
    Version(version::Args),
}

/// Runs a command.
pub async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Status(args) => status::run(app, args).await,
        Command::Apply(args) => apply::run(app, args).await,
        Command::Diff(args) => diff::run(app, args).await,
        Command::Delete(args) => delete::run(app, args).await,
        Command::Get(args) => get::run(app, args).await,
        Command::Describe(args) => describe::run(app, args).await,
        Command::Explain(args) => explain::run(app, &args),
        Command::Upgrade(command) => upgrade::run(app, command).await,
        Command::Approve(args) => approve::run(app, args).await,
        Command::Review(command) => review::run(app, command).await,
        Command::Service(command) => service::run(app, command).await,
        Command::Region(command) => region::run(app, command).await,
        Command::Freeze(command) => freeze::run(app, command).await,
        Command::Override(command) => r#override::run(app, command).await,
        Command::Why(args) => why::run(app, args).await,
        Command::Note(args) => note::run(app, args).await,
        Command::Alert(command) => alert::run(app, command).await,
        Command::Checklist(command) => checklist::run(app, command).await,
        Command::Grants(command) => grants::run(app, command).await,
        Command::Node(command) => node::run(app, command).await,
        Command::Token(command) => token::run(app, command).await,
        Command::User(command) => user::run(app, command).await,
        Command::Login(args) => login::run(app, args).await,
        Command::Context(command) => context::run(app, command),
        Command::Controller(command) => controller::run(app, command).await,
        Command::Audit(command) => audit::run(app, command).await,
        Command::Ca(command) => ca::run(app, command),
        Command::Dev(command) => dev::run(app, command).await,
        Command::Demo(args) => Box::pin(demo::run(app, args)).await,
        Command::DemoService(args) => demo::serve(args).await,
        Command::Completion(args) => completion::run(app, &args),
        Command::Man(args) => man::run(app, &args),
        Command::Version(args) => version::run(app, &args),
    }
}

/// Returns a problem with the command line that clap cannot see.
fn usage(message: impl Into<String>) -> Problem {
    Problem::new(Code::Usage, message)
}
