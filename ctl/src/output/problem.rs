//! Problems and endings as people read them: what and where, why, the rule, the next command.

use std::fmt::Write as _;

use trireme_proto::problem::Problem;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Color, Style};
use crate::error::Ending;
use crate::lang::Lang;

/// Returns a problem as lines.
pub(super) fn render(problem: &Problem, style: Style, lang: Lang) -> String {
    let line = |style, color, label, text: &str| line(style, color, (label, text), lang);
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
pub(super) fn render_ending(ending: &Ending, style: Style, lang: Lang) -> String {
    let mut text = lang.say(&ending.message);
    text.push('\n');
    if let Some(hint) = &ending.hint {
        text += &line(style, Color::Good, ("hint", hint), lang);
    }
    text
}

/// Returns one labelled entry; further lines of it are indented below the label.
fn line(style: Style, color: Color, (label, text): (&str, &str), lang: Lang) -> String {
    let (label, text) = (lang.say(label), lang.say(text));
    let mut out = String::new();
    for (number, part) in text.trim_end().lines().enumerate() {
        let start = if number == 0 {
            style.paint(color, &format!("{label}:")) + " "
        } else {
            " ".repeat(label.width() + 2)
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
        assert_snapshot!(render(&refused(), Style::PLAIN, Lang::En), @r"
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
        assert_eq!(render(&problem, Style::PLAIN, Lang::En), "error: no service `wbe`\n");
    }

    #[test]
    fn an_ending_is_no_error() {
        let ending = Ending::new(EndingCode::Changes, "2 objects differ").hint("trictl apply");
        let text = render_ending(&ending, Style::PLAIN, Lang::En);
        assert_eq!(text, "2 objects differ\nhint: trictl apply\n");
    }
}
