//! An upgrade while it runs: a tree that is drawn over on a terminal, plain lines elsewhere.
//!
//! What is said comes from [`super::upgrade`]; this module owns only the lines on the screen.

use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use trireme_proto::time::Span;
use trireme_proto::view::UpgradeView;

use super::Out;
use super::style::Style;
use super::upgrade::{changes, tree};
use crate::client::Reply;
use crate::error::Failure;

/// Shows an upgrade's progress.
#[derive(Debug)]
pub struct Progress<'a> {
    out: &'a Out,
    tree: Option<Tree>,
    last: Option<UpgradeView>,
}

impl<'a> Progress<'a> {
    /// Returns progress that suits the output.
    pub fn new(out: &'a Out) -> Self {
        let live = out.style().live && out.form().is_text();
        let tree = live.then(|| Tree::new(ProgressDrawTarget::stdout(), out.style()));
        Self { out, tree, last: None }
    }

    /// Shows a new view.
    pub fn view(&mut self, reply: &Reply<UpgradeView>) -> Result<(), Failure> {
        match &mut self.tree {
            Some(tree) => tree.show(&reply.value),
            None => self.out.event(&reply.json, || {
                let lines = changes(self.last.as_ref(), &reply.value);
                stamped(&lines, &jiff::Timestamp::now())
            })?,
        }
        self.last = Some(reply.value.clone());
        Ok(())
    }

    /// Says one quiet line beside the progress.
    pub fn note(&self, text: &str) -> Result<(), Failure> {
        match &self.tree {
            Some(tree) => tree.note(text),
            None => self.out.note(text),
        }
    }

    /// Counts remaining times down between views.
    pub fn tick(&mut self) {
        if let Some(tree) = &mut self.tree {
            tree.tick();
        }
    }

    /// Returns the last view that was shown.
    pub const fn last(&self) -> Option<&UpgradeView> {
        self.last.as_ref()
    }

    /// Leaves the screen as it is, for what is printed afterwards.
    pub fn finish(self) {
        if let Some(tree) = self.tree {
            tree.finish();
        }
    }
}

/// Returns lines with the time before each.
fn stamped(lines: &[String], now: &jiff::Timestamp) -> String {
    let stamp = |line: &String| format!("{now:.0} {line}");
    lines.iter().map(stamp).collect::<Vec<_>>().join("\n")
}

/// Lines on a terminal that are drawn over; cut at its width.
#[derive(Debug)]
struct Tree {
    multi: MultiProgress,
    bars: Vec<ProgressBar>,
    style: Style,
    shown: Option<(UpgradeView, Instant)>,
}

impl Tree {
    fn new(target: ProgressDrawTarget, style: Style) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        Self { multi, bars: Vec::new(), style, shown: None }
    }

    fn show(&mut self, view: &UpgradeView) {
        self.shown = Some((view.clone(), Instant::now()));
        self.tick();
    }

    fn tick(&mut self) {
        let Some((view, at)) = &self.shown else { return };
        let since = Span(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        let lines = tree(view, since, self.style);
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                self.multi.remove(&bar);
            }
        }
        while self.bars.len() < lines.len() {
            // A template without a number cannot be wrong; without it the line would still show.
            let style = ProgressStyle::with_template("{wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.bars.push(self.multi.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            // Each message set is a redraw of everything.
            if bar.message() != line {
                bar.set_message(line);
            }
        }
    }

    fn note(&self, text: &str) -> Result<(), Failure> {
        Ok(self.multi.println(self.style.paint(super::Color::Dim, text))?)
    }

    fn finish(self) {
        for bar in self.bars {
            bar.abandon();
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
