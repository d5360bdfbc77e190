//! Lines that services wrote, each with where it is from.
//!
//! On a terminal nothing of a line can move the cursor, change colours or turn the text around:
//! whoever writes into a log is not always a friend. Into a file or a pipe lines go as they are.

use std::fmt::Write as _;

use trireme_proto::query::LogView;

use super::style::{Color, Style};

/// Said at the end of a line of which more was left out.
const CUT: &str = " [cut]";

/// Writes lines, aligned as far as it has seen them.
#[derive(Debug)]
pub struct Lines {
    style: Style,
    /// Whether the service has to be named too.
    several: bool,
    width: usize,
}

impl Lines {
    /// Writes lines of one service, or of several.
    pub fn new(style: Style, several: bool) -> Self {
        Self { style, several, width: 0 }
    }

    /// Returns lines as text.
    pub fn render(&mut self, lines: &[LogView]) -> String {
        let mut text = String::new();
        for line in lines {
            let from = self.from(line);
            self.width = self.width.max(from.len());
            let from =
                self.style.paint(Color::Dim, &format!("{from:<width$} |", width = self.width));
            let said =
                if self.style.live { visible(&line.line.text) } else { line.line.text.clone() };
            let cut = if line.line.cut { self.style.paint(Color::Dim, CUT) } else { String::new() };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{from} {said}{cut}");
        }
        text
    }

    fn from(&self, line: &LogView) -> String {
        match (self.several, &line.file) {
            (false, None) => line.node.to_string(),
            (_, None) => format!("{} {}", line.node, line.service),
            (_, Some(file)) => format!("{} {}/{file}", line.node, line.service),
        }
    }
}

/// Returns text in which every character is seen as itself, tabs aside.
pub fn visible(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\t' && (c.is_control() || turns(c)) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use trireme_proto::query::{Cursor, LogLine};

    use super::*;

    fn line(node: &str, service: &str, file: Option<&str>, text: &str, cut: bool) -> LogView {
        LogView {
            node: node.parse().unwrap(),
            service: service.parse().unwrap(),
            file: file.map(str::to_owned),
            line: LogLine { time: None, text: text.to_owned(), cut, cursor: Cursor::default() },
        }
    }

    /// DMP-03: each line with its node, and with its service and file where there are several.
    #[test]
    fn lines_say_where_they_are_from() {
        let mut one = Lines::new(Style::PLAIN, false);
        let text = one.render(&[line("gcp-1", "web", None, "up", false)]);
        assert_eq!(text, "gcp-1 | up\n");
        let mut several = Lines::new(Style::PLAIN, true);
        let text = several.render(&[
            line("aws-1", "dmpool", Some("stratum"), "share", true),
            line("aws-1", "dmpool-admin", None, "x\x1b[2J", false),
        ]);
        assert_eq!(text, "aws-1 dmpool/stratum | share [cut]\naws-1 dmpool-admin   | x\x1b[2J\n");
    }

    #[test]
    fn on_a_terminal_a_line_can_do_nothing_but_be_read() {
        let live = Style { live: true, ..Style::PLAIN };
        let mut lines = Lines::new(live, false);
        let text = lines.render(&[line("a", "web", None, "x\x1b[2J\r\u{202e}\ty é 中", false)]);
        assert_eq!(text, "a | x\\u{1b}[2J\\r\\u{202e}\ty é 中\n");
    }
}
