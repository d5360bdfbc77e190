//! Metrics as values: each named once, filled at a scrape, written in either text format.
//!
//! Names are those that a query uses, with `_total` and `_info`. A program lists all of its
//! metrics, so that a renamed one is seen in review and a rule that asks for another one in a test.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises while the process lives; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many took how long.
    Histogram,
    /// Always 1: what matters are its labels; its name ends in `_info`.
    Info,
}

impl Kind {
    /// Returns the kind in one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// A metric: what it is called and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name as queries use it.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it means, without a full stop.
    pub help: &'static str,
}

impl Metric {
    /// Declares a gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// Declares a counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// Declares a histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }

    /// Declares an info.
    pub const fn info(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Info, labels, help }
    }

    /// Returns the name without what its kind adds.
    fn family(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Info => self.name.strip_suffix("_info").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.join(",");
        write!(f, "{:9} {}{{{labels}}}  {}", self.kind.word(), self.name, self.help)
    }
}

/// Text format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// The format before it, for what does not.
    Classic,
}

impl Format {
    /// Returns its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Metrics with their values of one moment.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    metric: Metric,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Count(u64),
    Seconds(f64),
    Timing(Timing),
}

impl Page {
    /// Adds a value of a gauge or an info.
    pub fn gauge(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        self.add(metric, labels, Value::Number(value));
    }

    /// Adds a whole number as the value of a gauge.
    pub fn number(&mut self, metric: &Metric, labels: &[&str], value: impl TryInto<u64>) {
        let value = value.try_into().unwrap_or(u64::MAX);
        self.gauge(metric, labels, to_f64(value));
    }

    /// Adds 1 or 0 as the value of a gauge.
    pub fn flag(&mut self, metric: &Metric, labels: &[&str], value: bool) {
        self.gauge(metric, labels, f64::from(u8::from(value)));
    }

    /// Adds a value of a counter.
    pub fn count(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        self.add(metric, labels, Value::Count(value));
    }

    /// Adds seconds as the value of a counter.
    pub fn seconds(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        self.add(metric, labels, Value::Seconds(value));
    }

    /// Adds what a histogram holds.
    pub fn timing(&mut self, metric: &Metric, labels: &[&str], value: Timing) {
        self.add(metric, labels, Value::Timing(value));
    }

    fn add(&mut self, metric: &Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "labels of {}", metric.name);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let fresh = || Family { metric: *metric, samples: Vec::new() };
        let family = self.families.entry(metric.name).or_insert_with(fresh);
        family.samples.push(Sample { labels, value });
    }

    /// Returns the names of the metrics that have a value.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.families.keys().copied()
    }

    /// Writes the page.
    pub fn text(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut open = String::new();
        text::encode(&mut open, &registry).expect("writing to a string cannot fail");
        match format {
            Format::OpenMetrics => open,
            Format::Classic => classic(&open),
        }
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { metric, samples } in self.families.values() {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let help = format!("{}.", metric.help);
            let mut encoder = encoder.encode_descriptor(metric.family(), &help, None, kind)?;
            for sample in samples {
                let labels: Vec<(&str, &str)> = metric
                    .labels
                    .iter()
                    .copied()
                    .zip(sample.labels.iter().map(String::as_str))
                    .collect();
                match metric.kind {
                    Kind::Info => encoder.encode_info(&labels)?,
                    _ if labels.is_empty() => write(&mut encoder, &sample.value)?,
                    _ => write(&mut encoder.encode_family(&labels)?, &sample.value)?,
                }
            }
        }
        Ok(())
    }
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, u64>> = None;

fn write(encoder: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Number(number) => encoder.encode_gauge(number),
        Value::Count(count) => encoder.encode_counter(count, NO_EXEMPLAR),
        Value::Seconds(seconds) => encoder.encode_counter(seconds, NO_EXEMPLAR),
        Value::Timing(Timing { seconds, count, buckets }) => {
            let exemplars = None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>;
            encoder.encode_histogram(*seconds, *count, buckets, exemplars)
        }
    }
}

/// Returns OpenMetrics text in the format before it: descriptions name the samples themselves, an
/// info is a gauge, and neither units nor an end are told.
fn classic(open: &str) -> String {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in open.lines() {
        if let Some((family, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            kinds.insert(family, kind);
        }
    }
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|word| {
            let (family, rest) = line.strip_prefix(word)?.split_once(' ')?;
            Some((word, family, rest))
        });
        let Some((word, family, rest)) = described else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let ending = match kinds.get(family) {
            Some(&"counter") => "_total",
            Some(&"info") => "_info",
            _ => "",
        };
        let rest = if word == "# TYPE " && rest == "info" { "gauge" } else { rest };
        writeln!(text, "{word}{family}{ending} {rest}").expect("writing to a string cannot fail");
    }
    text
}

/// How many took how long, up to now.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// All of them together, in seconds.
    seconds: f64,
    /// How many.
    count: u64,
    /// How many took at most so many seconds and more than the bound before; the last has no bound.
    buckets: Vec<(f64, u64)>,
}

/// Counts what takes how long, without a lock.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; Self::BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Upper bounds in seconds: a read from memory, an fsync, a round trip, a wait for a leader.
    pub const BOUNDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

    /// Counts one that took so long.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Self::BOUNDS.partition_point(|bound| seconds > *bound);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns what was counted.
    pub fn read(&self) -> Timing {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let bounds = Self::BOUNDS.into_iter().chain(std::iter::once(f64::MAX));
        Timing {
            seconds: to_f64(self.micros.load(Ordering::Relaxed)) / 1e6,
            count: counts.iter().sum(),
            buckets: bounds.zip(counts).collect(),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), micros: AtomicU64::new(0) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the text format has no other numbers")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: Metric = Metric::gauge("fleet_nodes", &["region", "state"], "Nodes by state");
    const TERM: Metric = Metric::gauge("fleet_raft_term", &[], "Term");
    const ASKED: Metric = Metric::counter("fleet_rpc_requests_total", &["method"], "Requests");
    const TOOK: Metric = Metric::histogram("fleet_rpc_duration_seconds", &["method"], "Time");
    const BUILD: Metric = Metric::info("fleet_build_info", &["version"], "What runs");

    fn page() -> Page {
        let mut page = Page::default();
        page.number(&NODES, &["aws", "ready"], 2_u64);
        page.number(&NODES, &["a\"w\\s\n", "lost"], 1_u64);
        page.gauge(&TERM, &[], 7.0);
        page.count(&ASKED, &["Get"], 3);
        page.gauge(&BUILD, &["1.2.3"], 1.0);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_millis(40));
        histogram.observe(Duration::from_mins(1));
        page.timing(&TOOK, &["Get"], histogram.read());
        page
    }

    #[test]
    fn a_page_is_written_in_open_metrics() {
        insta::assert_snapshot!(page().text(Format::OpenMetrics));
    }

    #[test]
    fn a_page_is_written_for_what_knows_only_the_older_format() {
        insta::assert_snapshot!(page().text(Format::Classic));
    }

    #[test]
    fn a_page_knows_what_is_on_it() {
        let page = page();
        let names: Vec<_> = page.names().collect();
        assert_eq!(names, [BUILD.name, NODES.name, TERM.name, TOOK.name, ASKED.name]);
    }
}
