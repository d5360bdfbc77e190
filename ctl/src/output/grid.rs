//! Tables as kubectl draws them: no borders, the name first, one row a line whatever the width.
//!
//! Into a pipe or a file nothing is cut, so that `grep` and `awk` see what was said. On a terminal
//! columns of free text give way, the widest first, and end in `…`; names never do. `-o wide` has
//! more columns and cuts none. Widths are those on the screen: Chinese takes two columns.

use std::fmt;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::lines::visible;
use super::page::Look;
use super::style::Color;

/// Columns of the screen between two of a table.
const GAP: usize = 2;
/// Narrowest that free text becomes.
const CUT_MIN: usize = 8;

/// Rows under headings; without rows one line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// Colours of rows; those without have none.
    colors: Vec<Option<Color>>,
    empty: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column {
    heading: &'static str,
    /// Whether it gives way where the screen is too narrow.
    cut: bool,
    /// Whether it is for `-o wide` alone.
    wide: bool,
}

/// Returns a table; `empty` is what it says without rows.
pub fn table<const N: usize>(
    header: [&'static str; N],
    rows: Vec<[String; N]>,
    empty: &'static str,
) -> Table {
    let column = |heading| Column { heading, cut: false, wide: false };
    let columns = header.into_iter().map(column).collect();
    let rows = rows.into_iter().map(Vec::from).collect();
    Table { columns, rows, colors: Vec::new(), empty }
}

impl Table {
    /// Lets columns of free text be cut where the screen is too narrow.
    #[must_use]
    pub fn cut(self, headings: &[&str]) -> Self {
        self.mark(headings, |column| column.cut = true)
    }

    /// Shows columns with `-o wide` alone.
    #[must_use]
    pub fn wide(self, headings: &[&str]) -> Self {
        self.mark(headings, |column| column.wide = true)
    }

    /// Gives rows a colour by what they say.
    #[must_use]
    pub fn colored(mut self, color: impl Fn(&[String]) -> Option<Color>) -> Self {
        self.colors = self.rows.iter().map(|row| color(row)).collect();
        self
    }

    fn mark(mut self, headings: &[&str], mark: impl Fn(&mut Column)) -> Self {
        for heading in headings {
            let found = self.columns.iter_mut().find(|column| column.heading == *heading);
            debug_assert!(found.is_some(), "no column {heading}");
            if let Some(column) = found {
                mark(column);
            }
        }
        self
    }

    /// Returns it as text.
    pub fn render(&self, look: Look) -> String {
        if self.rows.is_empty() {
            return look.lang.say(self.empty);
        }
        let shown = |column: &Column| look.wide || !column.wide;
        let columns: Vec<_> =
            (0..self.columns.len()).filter(|&n| shown(&self.columns[n])).collect();
        let head = columns.iter().map(|&n| look.lang.say(self.columns[n].heading)).collect();
        let cells = |row: &Vec<String>| columns.iter().map(|&n| one_line(&row[n])).collect();
        let lines: Vec<Vec<String>> =
            std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let cut: Vec<bool> = columns.iter().map(|&n| self.columns[n].cut).collect();
        let limit = look.style.width.filter(|_| !look.wide);
        let widths = widths(&lines, &cut, limit);
        let drawn = lines.iter().map(|line| {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| padded(cell, width));
            cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        });
        // The first line is that of the headings.
        let colors = std::iter::once(None).chain(self.colors.iter().copied());
        let painted = drawn.zip(colors.chain(std::iter::repeat(None))).map(|(line, color)| {
            color.map_or_else(|| line.clone(), |color| look.style.paint(color, &line))
        });
        painted.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::PLAIN))
    }
}

/// Returns how wide each column becomes; the first line is of headings, which are never cut.
fn widths(lines: &[Vec<String>], cut: &[bool], limit: Option<usize>) -> Vec<usize> {
    let widest = |n: usize| lines.iter().map(|line| line[n].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..cut.len()).map(widest).collect();
    let Some(limit) = limit else { return widths };
    let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    for _ in limit..total {
        let may = |&n: &usize| cut[n] && widths[n] > CUT_MIN.max(lines[0][n].width());
        let Some(widest) = (0..widths.len()).filter(may).max_by_key(|&n| widths[n]) else { break };
        widths[widest] -= 1;
    }
    widths
}

/// Returns text as a cell of this width: cut or filled up.
fn padded(text: &str, width: usize) -> String {
    let mut cell = fitting(text, width);
    cell.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
    cell
}

/// Returns text that takes no more than this width, with `…` where something is missing.
pub fn fitting(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or(0)) else { break };
        left = rest;
        kept.push(c);
    }
    kept + "…"
}

/// Returns text in which nothing ends the row or moves the cursor.
fn one_line(text: &str) -> String {
    visible(&text.replace('\t', " "))
}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;
