//! The only door to stdout and stderr: documents, events, notes, problems.
//!
//! With `--json` stdout carries one JSON document (or one per line while watching) and stderr one
//! JSON object per line; without it, text for people. Commands hand over both forms and do not
//! know which one is printed.

pub mod alert;
pub mod approval;
pub mod describe;
#[cfg(test)]
pub(crate) mod fixture;
pub mod lines;
pub mod look;
pub mod people;
pub mod plan;
mod problem;
pub mod progress;
pub mod raw;
pub mod status;
pub mod style;
pub mod table;
pub mod upgrade;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use clap::builder::StyledStr;
use serde::Serialize;
use serde_json::{Value, json};
use trireme_proto::problem::Problem;

pub use self::style::{Color, Style};

use crate::client::Reply;
use crate::error::{Ending, Failure};

type Sink = Mutex<Box<dyn Write + Send>>;

/// Prints what commands have to say.
pub struct Out {
    json: bool,
    style: Style,
    error_style: Style,
    stdout: Sink,
    stderr: Sink,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("json", &self.json).finish_non_exhaustive()
    }
}

impl Out {
    /// Prints to the process's own stdout and stderr.
    pub fn process(json: bool) -> Self {
        let (style, error_style) = (Style::of(&io::stdout()), Style::of(&io::stderr()));
        let stdout = Mutex::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
        let stderr = Mutex::new(Box::new(io::stderr()) as Box<dyn Write + Send>);
        Self { json, style, error_style, stdout, stderr }
    }

    /// Prints to given places without colour or width, for tests and logs.
    pub fn plain(
        json: bool,
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
    ) -> Self {
        let (stdout, stderr): (Sink, Sink) = (Mutex::new(Box::new(out)), Mutex::new(Box::new(err)));
        Self { json, style: Style::PLAIN, error_style: Style::PLAIN, stdout, stderr }
    }

    /// Returns whether JSON is printed.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Returns how text for stdout may look.
    pub const fn style(&self) -> Style {
        self.style
    }

    /// Prints a controller's document, and on stderr how old it is if it is stale.
    pub fn reply<T>(
        &self,
        reply: &Reply<T>,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if reply.stale {
            let (index, age, from) = (reply.index, reply.age, &reply.controller);
            self.note(&format!("as of index {index}, {age} ago from controller {from}"))?;
        }
        if self.json { self.document(&reply.json) } else { self.text(&human(&reply.value)) }
    }

    /// Prints a document of our own.
    pub fn value<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.document(&serde_json::to_value(value).map_err(io::Error::from)?)
        } else {
            self.text(&human(value))
        }
    }

    /// Prints what happened while watching: one line of JSON, or lines of text.
    pub fn event(&self, json: &Value, human: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { self.text(&json.to_string()) } else { self.text(&human()) }
    }

    /// Prints how things are now, in place of how they were: over what is on a terminal, below it
    /// elsewhere.
    pub fn screen(&self, json: &Value, human: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            return self.text(&json.to_string());
        }
        let clear = if self.style.live { "\x1b[H\x1b[2J" } else { "" };
        self.text(&format!("{clear}{}\n", human()))
    }

    /// Prints what a program wrote, to the stream that it wrote it to.
    pub fn bytes(&self, is_error: bool, data: &[u8]) -> Result<(), Failure> {
        let sink = if is_error { &self.stderr } else { &self.stdout };
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.write_all(data)?;
        Ok(sink.flush()?)
    }

    /// Prints one quiet line on stderr that is no part of the result.
    pub fn note(&self, text: &str) -> Result<(), Failure> {
        let line = if self.json {
            json!({ "note": text }).to_string()
        } else {
            self.error_style.paint(Color::Dim, text)
        };
        put(&self.stderr, &line, true)
    }

    /// Prints a question on stderr, without a line end.
    pub fn ask(&self, question: &str) -> Result<(), Failure> {
        put(&self.stderr, question, false)
    }

    /// Prints a problem; a stderr that is gone cannot be told so.
    pub fn problem(&self, problem: &Problem) {
        let text = if self.json {
            serde_json::to_string(problem).unwrap_or_else(|_| problem.to_string())
        } else {
            problem::render(problem, self.error_style)
        };
        let _ = put(&self.stderr, &text, true);
    }

    /// Prints why the exit code is not 0 although nothing failed.
    pub fn ending(&self, ending: &Ending) {
        let text = if self.json {
            serde_json::to_string(ending).unwrap_or_else(|_| ending.message.clone())
        } else {
            problem::render_ending(ending, self.error_style)
        };
        let _ = put(&self.stderr, &text, true);
    }

    /// Prints help on stdout.
    pub(crate) fn help(&self, text: &StyledStr) -> Result<(), Failure> {
        put(&self.stdout, &styled(text, self.style), false)
    }

    /// Prints what was wrong with the command line on stderr.
    pub(crate) fn usage(&self, text: &StyledStr) {
        let _ = put(&self.stderr, &styled(text, self.error_style), false);
    }

    fn document(&self, json: &Value) -> Result<(), Failure> {
        put(&self.stdout, &format!("{json:#}"), true)
    }

    /// Prints lines for people, as they are.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() { Ok(()) } else { put(&self.stdout, text, true) }
    }
}

fn styled(text: &StyledStr, style: Style) -> String {
    if style.color { text.ansi().to_string() } else { text.to_string() }
}

fn put(sink: &Sink, text: &str, line: bool) -> Result<(), Failure> {
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    let end = if line && !text.ends_with('\n') { "\n" } else { "" };
    write!(sink, "{text}{end}")?;
    Ok(sink.flush()?)
}
