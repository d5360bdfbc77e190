//! The only door to stdout and stderr: documents, events, notes, problems.
//!
//! What is printed is a matter of [`Form`]: text for people, or one document on stdout (one after
//! the other while watching) and one JSON object a line on stderr, or names. Commands hand over
//! document and text, and do not know which one is printed.

pub mod alert;
pub mod approval;
pub mod checklist;
pub mod describe;
#[cfg(test)]
pub(crate) mod fixture;
pub mod form;
pub mod grid;
pub mod lines;
pub mod look;
pub mod page;
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
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::builder::StyledStr;
use serde::Serialize;
use serde_json::{Value, json};
use trireme_proto::problem::Problem;

pub use self::form::Form;
pub use self::page::{Look, Page};
pub use self::style::{Color, Style};

use crate::client::Reply;
use crate::error::{Ending, Failure};
use crate::lang::Lang;

/// Empties the screen and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Fields that say how long ago something was, or how long it goes on: they change all the time.
const RUNNING: [&str; 7] =
    ["age", "applied", "failing_for", "last_seen", "lasted", "left", "remaining"];

type Sink = Mutex<Box<dyn Write + Send>>;

/// Prints what commands have to say.
pub struct Out {
    form: Form,
    lang: Lang,
    style: Style,
    error_style: Style,
    stdout: Sink,
    stderr: Sink,
    /// What was printed last, once something is watched.
    watched: Mutex<Option<Value>>,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Out {
    /// Prints to the process's own stdout and stderr.
    pub fn process(form: Form) -> Self {
        let (style, error_style) = (Style::of(&io::stdout()), Style::of(&io::stderr()));
        let stdout = Mutex::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
        let stderr = Mutex::new(Box::new(io::stderr()) as Box<dyn Write + Send>);
        let (lang, watched) = (Lang::default(), Mutex::default());
        Self { form, lang, style, error_style, stdout, stderr, watched }
    }

    /// Prints to given places without colour or width, for tests and logs.
    pub fn plain(
        form: Form,
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
    ) -> Self {
        let (stdout, stderr): (Sink, Sink) = (Mutex::new(Box::new(out)), Mutex::new(Box::new(err)));
        let (lang, style, watched) = (Lang::default(), Style::PLAIN, Mutex::default());
        Self { form, lang, style, error_style: style, stdout, stderr, watched }
    }

    /// Returns it with a language for people.
    #[must_use]
    pub fn speaking(mut self, lang: Lang) -> Self {
        self.lang = lang;
        self
    }

    /// Returns the language of what people read.
    pub const fn lang(&self) -> Lang {
        self.lang
    }

    /// Returns the form of what is printed.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Returns whether documents are printed, and problems and notes as JSON.
    pub const fn is_json(&self) -> bool {
        self.form.is_document()
    }

    /// Returns how text for stdout may look.
    pub const fn style(&self) -> Style {
        self.style
    }

    /// Prints a controller's document, and on stderr how old it is if it is stale.
    pub fn reply<T, P: Into<Page>>(
        &self,
        reply: &Reply<T>,
        human: impl FnOnce(&T) -> P,
    ) -> Result<(), Failure> {
        if reply.stale && self.is_news(&reply.json) {
            let (index, age, from) = (reply.index, reply.age, &reply.controller);
            self.note(&format!("as of index {index}, {age} ago from controller {from}"))?;
        }
        self.shown(&reply.json, || human(&reply.value))
    }

    /// Prints a document of our own.
    pub fn value<T: Serialize, P: Into<Page>>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> P,
    ) -> Result<(), Failure> {
        let json = serde_json::to_value(value).map_err(io::Error::from)?;
        self.shown(&json, || human(value))
    }

    /// From now on a document is printed when it says something new, one below the other; on a
    /// terminal it takes the place of the one before.
    pub fn watch(&self) {
        *self.last() = Some(Value::Null);
    }

    fn last(&self) -> MutexGuard<'_, Option<Value>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a document says something that the one before did not.
    fn is_news(&self, json: &Value) -> bool {
        self.last().as_ref().is_none_or(|last| *last != settled(json))
    }

    fn shown<P: Into<Page>>(&self, json: &Value, human: impl FnOnce() -> P) -> Result<(), Failure> {
        if self.last().is_none() {
            return self.print(json, human);
        }
        // On a terminal times run on; elsewhere they are no news.
        let over = self.form.is_text() && self.style.live;
        if !over && !self.is_news(json) {
            return Ok(());
        }
        let first = self.last().replace(settled(json)) == Some(Value::Null);
        if over {
            put(&self.stdout, CLEAR, false)?;
        } else if !first && self.form.is_text() {
            put(&self.stdout, "", true)?;
        }
        self.event(json, human)
    }

    fn print<P: Into<Page>>(&self, json: &Value, human: impl FnOnce() -> P) -> Result<(), Failure> {
        match self.form {
            Form::Table | Form::Wide => self.page(human()),
            Form::Json => put(&self.stdout, &format!("{json:#}"), true),
            Form::Yaml => put(&self.stdout, &yaml(json)?, true),
            Form::Name => self.text(&form::names(json).join("\n")),
        }
    }

    /// Prints what happened while watching: one more document, or lines of text.
    pub fn event<P: Into<Page>>(
        &self,
        json: &Value,
        human: impl FnOnce() -> P,
    ) -> Result<(), Failure> {
        match self.form {
            Form::Json => self.text(&json.to_string()),
            Form::Yaml => self.text(&format!("---\n{}", yaml(json)?)),
            Form::Table | Form::Wide | Form::Name => self.print(json, human),
        }
    }

    /// Prints a page where people read; nothing of it belongs to a document.
    pub fn page(&self, page: impl Into<Page>) -> Result<(), Failure> {
        if !self.form.is_text() {
            return Ok(());
        }
        let look = Look { style: self.style, wide: self.form == Form::Wide, lang: self.lang };
        self.text(&page.into().render(look))
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
        let line = if self.is_json() {
            json!({ "note": text }).to_string()
        } else {
            self.error_style.paint(Color::Dim, &self.lang.say(text))
        };
        put(&self.stderr, &line, true)
    }

    /// Prints a question on stderr, without a line end.
    pub fn ask(&self, question: &str) -> Result<(), Failure> {
        put(&self.stderr, question, false)
    }

    /// Prints a problem; a stderr that is gone cannot be told so.
    pub fn problem(&self, problem: &Problem) {
        let text = if self.is_json() {
            serde_json::to_string(problem).unwrap_or_else(|_| problem.to_string())
        } else {
            problem::render(problem, self.error_style, self.lang)
        };
        let _ = put(&self.stderr, &text, true);
    }

    /// Prints why the exit code is not 0 although nothing failed.
    pub fn ending(&self, ending: &Ending) {
        let text = if self.is_json() {
            serde_json::to_string(ending).unwrap_or_else(|_| ending.message.clone())
        } else {
            problem::render_ending(ending, self.error_style, self.lang)
        };
        let _ = put(&self.stderr, &text, true);
    }

    /// Prints help on stdout.
    pub(crate) fn help(&self, text: &StyledStr) -> Result<(), Failure> {
        put(&self.stdout, &styled(text, self.style, self.lang), false)
    }

    /// Prints what was wrong with the command line on stderr.
    pub(crate) fn usage(&self, text: &StyledStr) {
        let _ = put(&self.stderr, &styled(text, self.error_style, self.lang), false);
    }

    /// Prints lines for people, as they are.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() { Ok(()) } else { put(&self.stdout, text, true) }
    }
}

/// Returns a document without the times that merely run on.
fn settled(json: &Value) -> Value {
    match json {
        Value::Object(fields) => {
            let lasting = fields.iter().filter(|(name, _)| !RUNNING.contains(&name.as_str()));
            lasting.map(|(name, value)| (name.clone(), settled(value))).collect()
        }
        Value::Array(items) => items.iter().map(settled).collect(),
        other => other.clone(),
    }
}

fn yaml(json: &Value) -> Result<String, Failure> {
    Ok(serde_saphyr::to_string(json).map_err(io::Error::other)?)
}

fn styled(text: &StyledStr, style: Style, lang: Lang) -> String {
    match (lang, style.color) {
        (Lang::En, true) => text.ansi().to_string(),
        // clap has no other words; they are found where nothing is painted.
        _ => lang.say(&text.to_string()),
    }
}

fn put(sink: &Sink, text: &str, line: bool) -> Result<(), Failure> {
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    let end = if line && !text.ends_with('\n') { "\n" } else { "" };
    write!(sink, "{text}{end}")?;
    Ok(sink.flush()?)
}
