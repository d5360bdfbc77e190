//! Problems and endings as people read them: what and where, why, the rule, the next command.

use std::fmt::Write as _;

use trireme_proto::problem::Problem;

use super::style::{Color, Style};
use crate::error::Ending;

/// Returns a problem as lines.
pub(super) fn render(problem: &Problem, style: Style) -> String {
    let mut text = line(style, Color::Bad, "error", &problem.message);
    for why in &problem.why {
        text += &line(style, Color::Strong, "because", why);
    }
    if let Some(rule) = &problem.rule {
        text += &line(style, Color::Strong, "rule", rule);
    }
    if let Some(hint) = &problem.hint {
        text += &line(style, Color::Good, "hint", hint);
    }
    if let Some(request) = &problem.request_id {
        text += &line(style, Color::Dim, "request", request);
    }
    text
}

/// Returns an ending as lines.
pub(super) fn render_ending(ending: &Ending, style: Style) -> String {
    let mut text = ending.message.clone();
    text.push('\n');
    if let Some(hint) = &ending.hint {
        text += &line(style, Color::Good, "hint", hint);
    }
    text
}

/// Returns one labelled entry; further lines of it are indented below the label.
fn line(style: Style, color: Color, label: &str, text: &str) -> String {
    let mut out = String::new();
    for (number, part) in text.trim_end().lines().enumerate() {
        let start = if number == 0 {
            style.paint(color, &format!("{label}:")) + " "
        } else {
            " ".repeat(label.len() + 2)
        };
        let _ = writeln!(out, "{start}{part}");
    }
    out
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use trireme_proto::problem::Code;

    use super::*;
    use crate::error::EndingCode;

    fn refused() -> Problem {
        let mut problem = Problem::refused("serving.at_least", "upgrade of web cannot be started")
            .because("aliyun does not serve web: node aliyun-1 is lost")
            .because("with aws taken 1 region would serve, 2 must\n(aliyun, gcp were counted)")
            .hint("trictl why region/aliyun");
        problem.request_id = Some("ab12-1".to_owned());
        problem
    }

    #[test]
    fn a_problem_says_what_why_which_rule_and_what_next() {
        assert_snapshot!(render(&refused(), Style::PLAIN), @r"
        error: upgrade of web cannot be started
        because: aliyun does not serve web: node aliyun-1 is lost
        because: with aws taken 1 region would serve, 2 must
                 (aliyun, gcp were counted)
        rule: serving.at_least
        hint: trictl why region/aliyun
        request: ab12-1
        ");
    }

    #[test]
    fn what_is_not_known_is_not_printed() {
        let problem = Problem::new(Code::NotFound, "no service `wbe`");
        assert_eq!(render(&problem, Style::PLAIN), "error: no service `wbe`\n");
    }

    #[test]
    fn an_ending_is_no_error() {
        let ending = Ending::new(EndingCode::Changes, "2 objects differ").hint("trictl apply");
        assert_eq!(render_ending(&ending, Style::PLAIN), "2 objects differ\nhint: trictl apply\n");
    }
}
