//! `trictl service logs`: what services wrote on their nodes.

use std::str::FromStr;

use serde_json::json;
use trireme_proto::id::{RegionId, ServiceId};
use trireme_proto::query::{Grep, LogEvent, LogsRequest, TAIL_MAX, TAIL_USUAL, Totals};
use trireme_proto::time::{Span, WallTime};

use super::super::usage;
use crate::App;
use crate::client::Heard;
use crate::context::now;
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::output::lines::Lines;

/// Print what services wrote
///
/// Lines of several nodes come in the order of time, as far as they say when they were written;
/// those that do not stay with the line before them, and each node's own lines stay in their
/// order. While following, order holds within a quarter of a second. Nodes search and count by
/// themselves, so that only what is wanted travels. A node that does not answer is named, and the
/// exit code is 6.
///
/// A follow goes on over restarts of the service, rotation of the file, and the loss of a
/// controller; Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services; the lines of all are merged
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<ServiceId>,

    /// Only nodes of this region
    #[arg(long)]
    region: Option<RegionId>,

    /// Only this node; may be repeated
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,

    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,

    /// Newest lines of each node and file, or `all`; by default 100, or all with --since
    #[arg(long, value_name = "N")]
    tail: Option<Tail>,

    /// Only lines that match this regular expression; --tail counts only these
    #[arg(long, value_name = "REGEX")]
    grep: Option<String>,

    /// Upper and lower case are the same to --grep
    #[arg(long, short, requires = "grep")]
    ignore_case: bool,

    /// Only lines from this time on: a span before now such as 10m, or 2026-11-21T22:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,

    /// Read this file too, which the manifest declares under `logs`; may be repeated
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,

    /// Leave out the services' own output
    #[arg(long, requires = "files")]
    files_only: bool,
}

/// How many lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Newest(u32),
    All,
}

impl FromStr for Tail {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = text.parse().ok().filter(|number| *number <= TAIL_MAX);
        number.map(Self::Newest).ok_or_else(|| format!("write 0 to {TAIL_MAX}, or all"))
    }
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Ago(Span),
    At(WallTime),
}

impl FromStr for Since {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let stamp: Option<jiff::Timestamp> = text.parse().ok();
        let millis = stamp.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok());
        millis.map(|millis| Self::At(WallTime(millis))).ok_or_else(|| {
            "write a span such as 10m, or a time such as 2026-11-21T22:00:00Z".to_owned()
        })
    }
}

impl Args {
    fn request(self) -> LogsRequest {
        let tail = match (self.tail, self.since) {
            (Some(Tail::Newest(lines)), _) => Some(lines),
            (Some(Tail::All), _) | (None, Some(_)) => None,
            (None, None) => Some(TAIL_USUAL),
        };
        let since = self.since.map(|since| match since {
            Since::Ago(span) => WallTime(now().0.saturating_sub(span.0)),
            Since::At(time) => time,
        });
        let ignore_case = self.ignore_case;
        LogsRequest {
            services: self.services,
            region: self.region,
            nodes: self.nodes,
            files: self.files,
            files_only: self.files_only,
            tail,
            since,
            grep: self.grep.map(|pattern| Grep { pattern, ignore_case }),
            follow: self.follow,
            from: std::collections::BTreeMap::new(),
        }
    }
}

/// Prints lines until there are no more.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = args.request();
    if let Some(grep) = &request.grep {
        grep.compile().map_err(|error| usage(error.to_string()))?;
    }
    if request.follow {
        app.on_interrupt(Ending::new(EndingCode::Interrupted, "stopped following"));
    }
    let several = request.services.len() > 1 || !request.files.is_empty();
    let mut lines = Lines::new(app.out.style(), several);
    let client = app.client()?;
    let mut logs = client.logs(request);
    while let Some(heard) = logs.next().await? {
        match heard {
            Heard::Event(LogEvent::Lines { lines: views }) => {
                if !app.out.is_json() {
                    app.out.text(&lines.render(&views))?;
                    continue;
                }
                for view in &views {
                    app.out.event(&json!(view), String::new)?;
                }
            }
            Heard::Event(LogEvent::Notice { source, text }) => {
                app.out.note(&format!("{source}: {text}"))?;
            }
            Heard::Event(LogEvent::End { totals }) => return ended(app, &totals),
            Heard::Lost { address, why } => {
                app.out.note(&format!("lost controller {address} ({why}), asking another"))?;
            }
        }
    }
    Ok(Outcome::Done)
}

fn ended(app: &App, totals: &Totals) -> Result<Outcome, Failure> {
    if app.out.is_json() {
        app.out.event(&json!(totals), String::new)?;
    }
    totals.problem().map_or(Ok(Outcome::Done), |problem| Err(problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_lines_and_since_when() {
        assert_eq!("all".parse(), Ok(Tail::All));
        assert_eq!("0".parse(), Ok(Tail::Newest(0)));
        assert!("100001".parse::<Tail>().is_err() && "-1".parse::<Tail>().is_err());
        assert_eq!("10m".parse(), Ok(Since::Ago(Span::secs(600))));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Since::At(WallTime(1000))));
        assert!("yesterday".parse::<Since>().is_err());
    }
}
