//! How text may look where it is going: colour, width, live or not.
//!
//! `NO_COLOR`, `CLICOLOR=0` and `CLICOLOR_FORCE` are honoured, in that order.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;

/// How text may look on one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are wanted.
    pub color: bool,
    /// Whether lines may be drawn over.
    pub live: bool,
    /// Columns of the screen; none where it goes into a file or a pipe.
    pub width: Option<usize>,
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// It went well.
    Good,
    /// It is under way, or needs a look.
    Busy,
    /// It went wrong.
    Bad,
    /// It matters less.
    Dim,
    /// It matters more.
    Strong,
}

impl Style {
    /// Text and nothing else.
    pub const PLAIN: Self = Self { color: false, live: false, width: None };

    /// Returns what suits a stream of this process.
    pub fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let live = stream.is_terminal() && set("TERM").is_none_or(|term| term != "dumb");
        let color = wants_color(live, set);
        // A terminal that does not know its width says 0.
        let size = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).ok());
        let width = size.flatten().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Self { color, live, width }
    }

    /// Returns the text in a colour, if colours are wanted.
    pub fn paint(self, color: Color, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match color {
            Color::Good => "32",
            Color::Busy => "33",
            Color::Bad => "31",
            Color::Dim => "2",
            Color::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn wants_color(live: bool, set: impl Fn(&str) -> Option<OsString>) -> bool {
    if set("NO_COLOR").is_some() {
        return false;
    }
    let forced = set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let off = set("CLICOLOR").is_some_and(|value| value == "0");
    forced || (live && !off)
}

/// Returns the colour of a state word, as controllers write them.
pub fn state_color(state: &str) -> Color {
    let good = ["passed", "succeeded", "done", "up", "ready", "confirmed", "leader", "released"];
    let bad = ["fail", "roll", "revert", "abort", "lost", "unreachable", "overdue", "needs"];
    let idle = ["waiting", "pending", "unchanged", "removed", "skipped"];
    let starts = |words: &[&str]| words.iter().any(|word| state.starts_with(word));
    if starts(&good) {
        Color::Good
    } else if starts(&bad) {
        Color::Bad
    } else if state.is_empty() || starts(&idle) {
        Color::Dim
    } else {
        Color::Busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_wins_and_pipes_are_plain() {
        let wants = |live, environment: &[(&str, &str)]| {
            let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
            wants_color(live, |name| find(name).map(|(_, value)| value.into()))
        };
        assert!(wants(true, &[]));
        assert!(!wants(false, &[]), "a pipe");
        assert!(!wants(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(!wants(true, &[("CLICOLOR", "0")]));
        assert!(wants(false, &[("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn colours_follow_the_meaning_of_a_state() {
        assert_eq!(state_color("rolling back"), Color::Bad);
        assert_eq!(state_color("passed"), Color::Good);
        assert_eq!(state_color("switching"), Color::Busy);
        assert_eq!(state_color("waiting"), Color::Dim);
    }

    #[test]
    fn plain_text_carries_no_escapes() {
        assert_eq!(Style::PLAIN.paint(Color::Bad, "x"), "x");
        let colored = Style { color: true, ..Style::PLAIN };
        assert_eq!(colored.paint(Color::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
