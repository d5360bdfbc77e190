//! The person at the terminal: whether there is one, and what they answer.

use std::io::{self, IsTerminal as _};

use trireme_proto::problem::{Code, Problem};

use crate::error::Failure;
use crate::output::Out;

/// Returns whether a person can be asked: questions go to stderr, answers come from stdin.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question that only a written `yes` agrees to.
pub(crate) async fn confirm(out: &Out, question: &str) -> Result<(), Failure> {
    let answer = line(out, &format!("{question} Type yes to go on: ")).await?;
    if answer.trim() == "yes" { Ok(()) } else { Err(not_confirmed().into()) }
}

/// Returns the problem of a question that was answered with something else.
pub(crate) fn not_confirmed() -> Problem {
    Problem::new(Code::Failed, "not confirmed, nothing was changed")
}

/// Asks for one line of text.
pub(crate) async fn line(out: &Out, question: &str) -> Result<String, Failure> {
    out.ask(question)?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    Ok(answer.await.map_err(io::Error::other)??)
}
