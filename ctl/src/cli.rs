//! The command line: options that every command takes, and the tree of commands.
//!
//! Doc comments are the help text. The verbs are in [`crate::commands`], one file each.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser};
use trireme_proto::time::Span;

use crate::commands::Command;
use crate::lang::{self, Lang};
use crate::output::Form;

/// Runs a fleet's services over several regions, and keeps enough of them serving
///
/// Exit codes: 0 done or no change, 1 failed, 2 usage, 3 plan has changes, 4 denied,
/// 5 conflict or stale plan, 6 unreachable, 7 rolled back, 8 waiting for approval, 9 not found,
/// 10 refused by a safety rule, 130 interrupted; any other code is a failure.
#[derive(Debug, Parser)]
#[command(name = "trictl", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Returns the tree of commands as people see it.
pub fn tree(lang: Lang) -> clap::Command {
    lang::translated(crate::examples::added(Cli::command()), lang)
}

/// Options that every command takes; a flag wins over the environment, that over the file.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Form of what is printed
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        help_heading = "Output",
        default_value_t
    )]
    pub output: Form,

    /// Print JSON, problems and notes too: short for -o json
    #[arg(long, global = true, help_heading = "Output", conflicts_with = "output")]
    pub json: bool,

    /// Language of help, tables and messages; by default that of TRIREME_LANG or of the locale
    #[arg(long, global = true, value_enum, help_heading = "Output")]
    pub lang: Option<Lang>,

    /// Context file; by default ~/.config/trireme/config.yaml
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection",
        env = "TRICTL_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// Context of the file to use; by default its `current`
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Connection",
        env = "TRICTL_CONTEXT",
        hide_env_values = true
    )]
    pub context: Option<String>,

    /// Controller to ask; repeat it or separate with commas, the first that answers is used
    #[arg(
        long = "controller",
        global = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        help_heading = "Connection",
        env = "TRICTL_CONTROLLERS",
        hide_env_values = true
    )]
    pub controllers: Vec<String>,

    /// Root certificate of the fleet
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection",
        env = "TRICTL_CA",
        hide_env_values = true
    )]
    pub ca: Option<PathBuf>,

    /// Your certificate chain
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection",
        env = "TRICTL_CERT",
        hide_env_values = true
    )]
    pub cert: Option<PathBuf>,

    /// Your private key
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection",
        env = "TRICTL_KEY",
        hide_env_values = true
    )]
    pub key: Option<PathBuf>,

    /// Name of the fleet, for changes through a protected context; asked for on a terminal
    #[arg(long, global = true, value_name = "FLEET", help_heading = "Connection")]
    pub confirm_fleet: Option<String>,

    /// Longest time to try for an answer, over all controllers
    #[arg(
        long,
        global = true,
        value_name = "SPAN",
        help_heading = "Connection",
        default_value = "15s",
        env = "TRICTL_TIMEOUT",
        hide_env_values = true
    )]
    pub timeout: Span,
}

impl Global {
    /// Returns the form of what is printed.
    pub const fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output }
    }

    /// Returns the connection options as they must be repeated in a command that is printed for
    /// copying; what the environment or the file holds is there the next time as well.
    pub fn repeat(&self, given: &[&str]) -> Vec<String> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let all = [
            ("config", path(&self.config)),
            ("context", self.context.clone()),
            ("controllers", Some(self.controllers.join(","))),
            ("ca", path(&self.ca)),
            ("cert", path(&self.cert)),
            ("key", path(&self.key)),
            ("timeout", Some(self.timeout.to_string())),
        ];
        let flag = |id: &str| format!("--{}", id.strip_suffix('s').unwrap_or(id));
        all.into_iter()
            .filter(|(id, _)| given.contains(id))
            .filter_map(|(id, value)| Some([flag(id), value?]))
            .flatten()
            .collect()
    }

    /// Names of the options that [`repeat`](Self::repeat) knows, as clap knows them.
    pub const REPEATED: [&str; 7] =
        ["config", "context", "controllers", "ca", "cert", "key", "timeout"];
}

/// Returns text as one word of a shell's command line.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
