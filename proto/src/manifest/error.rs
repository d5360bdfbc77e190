//! What is wrong with a manifest, as people and programs read it.
//!
//! One error holds every finding, in the order of the text. Rendering never passes control
//! characters of a manifest on to a terminal.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use serde::{Serialize, Serializer};

use super::tree::{Flaw, Mark};
use super::validate::Fault;
use crate::problem::{Code, Problem};

/// Most findings told at once: nobody reads more, and each carries a piece of the text.
const FINDINGS_MAX: usize = 100;
/// Findings after which reading stops: enough to tell how bad it is, little to keep.
pub(super) const FINDINGS_KEPT_MAX: usize = 1000;
/// Width of the rendering in columns, that of the narrowest usual terminal.
const WIDTH: usize = 100;

/// A text that was read, by the name people know it by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    name: String,
    text: String,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Arc<Self> {
        // One byte for one byte, so that every mark still points at its place.
        let shown = |c: char| if c.is_ascii_control() && !"\n\r\t".contains(c) { '?' } else { c };
        Arc::new(Self { name: visible(name), text: text.chars().map(shown).collect() })
    }
}

/// One thing that is wrong, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, where in the object, and what to write instead.
    pub fault: Fault,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    mark: Mark,
    source: Arc<Source>,
}

impl Finding {
    pub(super) fn new(source: &Arc<Source>, mark: Mark, fault: &Fault) -> Self {
        let fault = Fault {
            object: visible(&fault.object),
            path: visible(&fault.path),
            message: visible(&fault.message),
            help: visible(&fault.help),
        };
        let source = Arc::clone(source);
        Self { fault, line: mark.line, column: mark.column, mark, source }
    }

    pub(super) fn of_flaw(source: &Arc<Source>, object: &str, flaw: Flaw) -> Self {
        let Flaw { mark, path, message, help } = flaw;
        Self::new(source, mark, &Fault { object: object.to_owned(), path, message, help })
    }

    /// Returns the name of the text it stands in.
    pub fn source_name(&self) -> &str {
        &self.source.name
    }

    /// Returns the bytes to underline: never past the line, never nothing but at the text's end.
    fn label(&self) -> LabeledSpan {
        let start = self.mark.offset.min(self.source.text.len());
        let rest = self.source.text.get(start..).unwrap_or_default();
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let len = self.mark.len.min(line).max(first.min(line));
        LabeledSpan::new_primary_with_span(None, (start, len))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, line, column, .. } = self;
        write!(f, "{}:{line}:{column}: {}", self.source.name, fault.message)
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            source: &'a str,
            line: usize,
            column: usize,
            #[serde(flatten)]
            fault: &'a Fault,
        }
        let Self { fault, line, column, source, .. } = self;
        Shown { source: &source.name, line: *line, column: *column, fault }.serialize(serializer)
    }
}

/// Tells everything that is wrong with manifests; nothing of them may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ManifestError {
    findings: Vec<Finding>,
    /// How many findings more there were than are told.
    left_off: usize,
}

impl ManifestError {
    /// Returns `Ok` if there is nothing to tell.
    pub(super) fn check(mut findings: Vec<Finding>) -> Result<(), Self> {
        // An alias repeats what is wrong with the value it names; once is enough.
        let mut seen = std::collections::BTreeSet::new();
        let mut sources: Vec<Arc<Source>> = Vec::new();
        findings.retain(|one| {
            if !sources.contains(&one.source) {
                sources.push(Arc::clone(&one.source));
            }
            seen.insert((one.source.name.clone(), one.mark, one.fault.message.clone()))
        });
        findings.sort_by_key(|one| {
            let source = sources.iter().position(|source| *source == one.source);
            (source, one.line, one.column)
        });
        if findings.is_empty() {
            return Ok(());
        }
        let left_off = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        Err(Self { findings, left_off })
    }

    /// Returns what was found, in the order of the text.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the findings of both, for manifests that come in several files.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        self.left_off += other.left_off;
        self
    }

    /// Returns every finding with the lines it is about, for a terminal; coloured if asked.
    pub fn render(&self, colour: bool) -> String {
        let theme =
            if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false);
        let mut text = String::new();
        for finding in &self.findings {
            if !text.is_empty() {
                text.push('\n');
            }
            let source = &finding.source;
            let shown = Shown {
                finding,
                source: NamedSource::new(source.name.clone(), source.text.clone()),
            };
            handler
                .render_report(&mut text, &shown)
                .expect("writing to a string does not fail, and labels lie within the text");
        }
        if self.left_off > 0 {
            text.push_str("  and at least ");
            text.push_str(&self.left_off.to_string());
            text.push_str(" more\n");
        }
        text
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{finding}: {}", finding.fault.help)?;
        }
        if self.left_off > 0 {
            write!(f, "\nand at least {} more", self.left_off)?;
        }
        Ok(())
    }
}

impl From<&ManifestError> for Problem {
    fn from(error: &ManifestError) -> Self {
        let count = error.findings.len() + error.left_off;
        let noun = if count == 1 { "problem" } else { "problems" };
        let names: std::collections::BTreeSet<_> =
            error.findings.iter().map(Finding::source_name).collect();
        let names: Vec<_> = names.into_iter().collect();
        let mut problem = Self::new(Code::Usage, format!("{count} {noun} in {}", names.join(", ")));
        for finding in &error.findings {
            problem = problem.because(format!("{finding}: {}", finding.fault.help));
        }
        problem.hint("correct the manifest; `trictl explain KIND.FIELD` tells what a field takes")
    }
}

/// A finding together with its text, as miette asks for it.
#[derive(Debug)]
struct Shown<'a> {
    finding: &'a Finding,
    source: NamedSource<String>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { object, message, .. } = &self.finding.fault;
        if object.is_empty() { f.write_str(message) } else { write!(f, "{object}: {message}") }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.finding.fault.help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.finding.label())))
    }
}

/// Returns the text with control characters written out.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let (shown, hidden) =
                if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
            shown.into_iter().chain(hidden.into_iter().flatten())
        })
        .collect()
}
