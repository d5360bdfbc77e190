//! `trictl completion`: what a shell needs to know of us.

use clap_complete::Shell;
use clap_complete::env::Shells;
use serde::Serialize;
use trireme_proto::problem::{Code, Problem};

use crate::App;
use crate::complete::VARIABLE;
use crate::error::{Failure, Outcome, failed};

/// Print what makes a shell complete commands and names
///
/// Have it read at each start, since it belongs to this version: `source <(trictl completion
/// bash)` in ~/.bashrc, the same with zsh in ~/.zshrc, `trictl completion fish | source` in
/// ~/.config/fish/config.fish. Names are asked of the fleet of the current context.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell that shall read it
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Serialize)]
struct Script {
    shell: String,
    script: String,
}

/// Prints the script.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let shell = args.shell.to_string();
    let shells = Shells::builtins();
    let known = shells.completer(&shell).ok_or_else(|| {
        Problem::new(Code::Usage, format!("nothing is known of how {shell} completes"))
    })?;
    let own =
        std::env::current_exe().map_err(|error| failed("cannot find this program", &error))?;
    let mut script = Vec::new();
    known
        .write_registration(VARIABLE, "trictl", "trictl", &own.to_string_lossy(), &mut script)
        .map_err(|error| failed("cannot write the script", &error))?;
    let script = Script { shell, script: String::from_utf8_lossy(&script).trim().to_owned() };
    app.out.value(&script, |script| script.script.clone())?;
    Ok(Outcome::Done)
}
