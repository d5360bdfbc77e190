//! What people are shown: lines and tables, laid out once it is known where they go.

use std::fmt;

use super::grid::Table;
use super::style::Style;
use crate::lang::Lang;

/// How a page is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What the place it goes to can show.
    pub style: Style,
    /// Whether everything is wanted, however wide.
    pub wide: bool,
    /// Language of headings and lines.
    pub lang: Lang,
}

impl Look {
    /// As it goes into a pipe.
    pub const PLAIN: Self = Self { style: Style::PLAIN, wide: false, lang: Lang::En };
}

/// Lines and tables, one below the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Table(Table),
}

impl Page {
    /// Returns it with lines added.
    #[must_use]
    pub fn line(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    /// Returns it with a table added.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.0.push(Part::Table(table));
        self
    }

    /// Returns it with all of another one below.
    #[must_use]
    pub fn page(mut self, other: impl Into<Self>) -> Self {
        self.0.extend(other.into().0);
        self
    }

    /// Returns it with an empty line added.
    #[must_use]
    pub fn gap(self) -> Self {
        self.line("")
    }

    /// Returns it as text.
    pub fn render(&self, look: Look) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => look.lang.say(text),
            Part::Table(table) => table.render(look),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::PLAIN))
    }
}

impl From<String> for Page {
    fn from(text: String) -> Self {
        Self::default().line(text)
    }
}

impl From<Table> for Page {
    fn from(table: Table) -> Self {
        Self::default().table(table)
    }
}
