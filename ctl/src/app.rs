//! One run of `trictl`: parse, dispatch, print how it ended, return the exit code.
//!
//! Ctrl-C is heard here, whatever a command waits for: it ends the waiting, never the work that a
//! controller has taken on, and says how to come back.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches as _};
use trireme_proto::problem::{Code, Problem};

use crate::cli::{self, Cli, Global, quoted};
use crate::client::{Client, Guard};
use crate::context::Context;
use crate::error::{Ending, EndingCode, Failure, Outcome, failed};
use crate::lang::Lang;
use crate::output::{Form, Out};
use crate::terminal;

/// What every command is given.
#[derive(Debug)]
pub struct App {
    /// Options that every command takes.
    pub global: Global,
    /// The only door to stdout and stderr.
    pub out: Out,
    /// Connection flags to repeat in commands that are printed for copying.
    repeat: Vec<String>,
    /// Whether the command only asks what would come of it.
    dry_run: bool,
    /// What to say when Ctrl-C ends the waiting.
    on_interrupt: Mutex<Ending>,
}

impl App {
    /// Makes what commands need from options and an output.
    pub fn new(global: Global, out: Out, repeat: Vec<String>) -> Self {
        let unknown = Ending::new(EndingCode::Interrupted, "interrupted")
            .hint("what was asked for may have been done all the same: look before repeating it");
        Self { global, out, repeat, dry_run: false, on_interrupt: Mutex::new(unknown) }
    }

    /// Returns it with whether the command only asks what would come of it.
    #[must_use]
    pub fn dry(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Returns where the fleet is and who we are.
    pub fn context(&self) -> Result<Context, Failure> {
        Ok(Context::resolve(&self.global).map_err(Problem::from)?)
    }

    /// Returns a client of the fleet's controllers.
    pub fn client(&self) -> Result<Client, Failure> {
        let context = self.context()?;
        let guard = Guard {
            given: self.global.confirm_fleet.clone(),
            may_ask: !self.out.is_json() && terminal::can_ask(),
        };
        Ok(Client::new(&context, self.global.timeout)?.guarded(guard))
    }

    /// Returns a command of ours that can be copied and run as it is.
    pub fn command(&self, words: &[&str]) -> String {
        let own = std::iter::once("trictl").chain(words.iter().copied());
        let all = own.chain(self.repeat.iter().map(String::as_str));
        all.map(quoted).collect::<Vec<_>>().join(" ")
    }

    /// Sets what is said when Ctrl-C ends the waiting from now on.
    pub fn on_interrupt(&self, ending: Ending) {
        *self.on_interrupt.lock().unwrap_or_else(PoisonError::into_inner) = ending;
    }

    fn interrupted(&self) -> Outcome {
        self.on_interrupt.lock().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

/// Runs `trictl` with these arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let lang = Lang::asked(&args, |name| std::env::var_os(name));
    let printer = |form| Out::process(form).speaking(lang);
    match crate::complete::answer(&args, lang) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return ExitCode::from(unparsed(&printer(Form::Table), &error)),
    }
    let asked = Form::asked(&args);
    let parsed = cli::tree(lang).try_get_matches_from(args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, given(&matches), is_dry(&matches)))
    });
    match parsed {
        Ok((cli, given, dry)) => {
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let repeat = cli.global.repeat(&given);
            let out = printer(cli.global.form());
            ExitCode::from(finish(&App::new(cli.global, out, repeat).dry(dry), cli.command))
        }
        Err(error) => ExitCode::from(unparsed(&printer(asked), &error)),
    }
}

fn finish(app: &App, command: crate::commands::Command) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(until_interrupted(app, command));
            // A prompt may still be reading the terminal, which nothing can call back.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(failed("cannot start the runtime", &error).into()),
    };
    match &result {
        Ok(outcome) => {
            if app.dry_run {
                // A stderr that is gone cannot be told so.
                let _ = app.out.note("dry run: nothing was changed");
            }
            if let Outcome::Ended(ending) = outcome {
                app.out.ending(ending);
            }
            outcome.exit_code()
        }
        Err(failure) => {
            if let Failure::Problem(problem) = failure {
                app.out.problem(problem);
            }
            failure.exit_code()
        }
    }
}

async fn until_interrupted(
    app: &App,
    command: crate::commands::Command,
) -> Result<Outcome, Failure> {
    tokio::select! {
        result = Box::pin(crate::commands::run(app, command)) => result,
        Ok(()) = tokio::signal::ctrl_c() => Ok(app.interrupted()),
    }
}

/// Returns the connection options that were given as flags, at whichever level of the tree.
fn given(matches: &ArgMatches) -> Vec<String> {
    let mut found = Vec::new();
    let mut level = Some(matches);
    while let Some(matches) = level {
        for id in Global::REPEATED {
            let known = matches.try_contains_id(id).unwrap_or(false);
            if known && matches.value_source(id) == Some(ValueSource::CommandLine) {
                found.push(id.to_owned());
            }
        }
        level = matches.subcommand().map(|(_, inner)| inner);
    }
    found
}

/// Returns whether the command is asked to change nothing.
fn is_dry(matches: &ArgMatches) -> bool {
    let mut leaf = matches;
    while let Some((_, inner)) = leaf.subcommand() {
        leaf = inner;
    }
    leaf.try_get_one::<bool>("dry_run").ok().flatten().copied().unwrap_or_default()
}

/// Prints help where it was asked for, and a usage problem otherwise.
fn unparsed(out: &Out, error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match out.help(&error.render()) {
            Ok(()) => 0,
            Err(failure) => failure.exit_code(),
        };
    }
    if out.is_json() {
        out.problem(&usage_problem(error));
    } else {
        out.usage(&error.render());
    }
    Code::Usage.exit_code()
}

/// Returns a clap error as a problem: its first paragraph, its tips, and where to read more.
fn usage_problem(error: &clap::Error) -> Problem {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing",
        _ => line.trim_start_matches("error: "),
    };
    let mut problem = Problem::new(Code::Usage, message);
    for tip in text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")) {
        problem = problem.because(tip);
    }
    problem.hint("run the same command with --help")
}
