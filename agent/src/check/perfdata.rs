//! Reads the numbers that Nagios plugins append to their output: `label=v[UOM];w;c;min;max`.
//!
//! Forgiving, since plugins are: what does not parse is left out, and never changes the status.

/// One number of a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Perf {
    /// What it is.
    pub label: String,
    /// The number; `None` if the plugin could not tell (`U`).
    pub value: Option<f64>,
    /// Unit, such as `s`, `%`, `B`, `c`; may be empty.
    pub unit: String,
    /// Range outside which the plugin warns.
    pub warn: Option<String>,
    /// Range outside which the plugin is critical.
    pub crit: Option<String>,
    /// Least possible value.
    pub min: Option<f64>,
    /// Greatest possible value.
    pub max: Option<f64>,
}

/// Most numbers kept of one run: plugins with more should be several checks.
const PERF_MAX: usize = 32;

/// Splits a plugin's output into its first line of text and its numbers.
///
/// ```text
/// text | numbers
/// longer text
/// longer text | numbers
/// numbers
/// ```
pub(crate) fn split(output: &str) -> (String, Vec<Perf>) {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let (text, numbers) = first.split_once('|').unwrap_or((first, ""));
    let (_, more) = rest.split_once('|').unwrap_or((rest, ""));
    let mut perfdata = parse(numbers);
    perfdata.extend(parse(more));
    perfdata.truncate(PERF_MAX);
    (text.trim().to_owned(), perfdata)
}

fn parse(text: &str) -> Vec<Perf> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && found.len() < PERF_MAX {
        let Some((label, after)) = label(rest) else {
            // Not a label: go on behind the next space.
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, after)| after.trim_start());
            continue;
        };
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        found.extend(number(label, &after[..end]));
        rest = after[end..].trim_start();
    }
    found
}

/// Returns the label before the equals sign, quotes undone (two within quotes mean one).
fn label(text: &str) -> Option<(String, &str)> {
    if let Some(mut quoted) = text.strip_prefix('\'') {
        let mut label = String::new();
        loop {
            let (before, after) = quoted.split_once('\'')?;
            label.push_str(before);
            let Some(more) = after.strip_prefix('\'') else {
                return Some((label, after.strip_prefix('=')?));
            };
            label.push('\'');
            quoted = more;
        }
    }
    let (label, after) = text.split_once('=')?;
    (!label.is_empty() && !label.contains(char::is_whitespace)).then(|| (label.to_owned(), after))
}

fn number(label: String, text: &str) -> Option<Perf> {
    let mut fields = text.split(';');
    let value = fields.next()?;
    let mut text = || fields.next().map(str::trim).filter(|text| !text.is_empty());
    let (warn, crit) = (text().map(str::to_owned), text().map(str::to_owned));
    let (min, max) = (text().and_then(decimal), text().and_then(decimal));
    let (value, unit) = if value == "U" {
        (None, "")
    } else {
        let is_digit = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+');
        let mut end = value.find(|c| !is_digit(c)).unwrap_or(value.len());
        // `1e-05`, but not the unit of `1eV`.
        if let Some(exponent) = value[end..].strip_prefix(['e', 'E'])
            && exponent.starts_with(is_digit)
        {
            end += 1 + exponent.find(|c| !is_digit(c)).unwrap_or(exponent.len());
        }
        (Some(decimal(&value[..end])?), &value[end..])
    };
    Some(Perf { label, value, unit: unit.to_owned(), warn, crit, min, max })
}

/// Returns the number; with a comma as some locales write it, too.
fn decimal(text: &str) -> Option<f64> {
    text.replace(',', ".").parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn perf(label: &str, value: Option<f64>, unit: &str) -> Perf {
        let (label, unit) = (label.to_owned(), unit.to_owned());
        Perf { label, value, unit, warn: None, crit: None, min: None, max: None }
    }

    #[test]
    fn text_and_numbers_are_told_apart_on_all_lines() {
        let (text, found) = split(
            "DISK OK - free 90% | /=2643MB;5948;5958;0;5968\n\
             / 15272 MB\n/boot 68 MB | /boot=68MB;88\n'/var log'=69818MB;@10:20;~:5\n",
        );
        assert_eq!(text, "DISK OK - free 90%");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            [
                Perf {
                    warn: some("5948"),
                    crit: some("5958"),
                    min: Some(0.0),
                    max: Some(5968.0),
                    ..perf("/", Some(2643.0), "MB")
                },
                Perf { warn: some("88"), ..perf("/boot", Some(68.0), "MB") },
                Perf {
                    warn: some("@10:20"),
                    crit: some("~:5"),
                    ..perf("/var log", Some(69818.0), "MB")
                },
            ]
        );
    }

    #[test]
    fn odd_numbers_are_read_and_nonsense_is_left_out() {
        for (text, expected) in [
            ("a=U", vec![perf("a", None, "")]),
            ("a=-1.5e-05s b=2c", vec![perf("a", Some(-1.5e-5), "s"), perf("b", Some(2.0), "c")]),
            ("'it''s'=0,5%", vec![perf("it's", Some(0.5), "%")]),
            (
                "a= =3 word b=x 'open c=1 d=1",
                vec![perf("c", Some(1.0), ""), perf("d", Some(1.0), "")],
            ),
            ("a=NaN b=inf", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_output_breaks_it(output in "[a-z0-9=;|' .\n\u{e9}-]{0,80}") {
            let (text, found) = split(&output);
            prop_assert!(!text.contains('|') && found.len() <= PERF_MAX);
        }
    }
}
