//! Any valid object survives being written and read; nothing anybody writes breaks the reader.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::{diff, parse, parse_bytes, validate_object};
use super::{RELEASE, SERVICE};
use crate::digest::Digest;
use crate::model::{
    Artifact, Bake, Check, CommandCheck, Deadline, DnsTraffic, Driver, HttpCheck, Object, Probe,
    ProcessDriver, Region, Release, Restart, Selector, Service, Serving, StopSignal, TcpCheck,
    Traffic, UpgradePolicy,
};
use crate::time::Span;

const NAME: &str = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?";

/// Any text a program can be given, braces doubled: quotes, colons, newlines, words YAML knows.
fn text() -> impl Strategy<Value = String> {
    let words = ["", " ", "null", "~", "true", "1.10", "0x1f", "a: b", "- a", "# a", "*a", "&a"];
    prop_oneof![
        "[ -~\n\t\u{a0}-\u{2ff}\u{1f600}]{0,12}"
            .prop_map(|text| text.replace('{', "{{").replace('}', "}}")),
        prop::sample::select(words.to_vec()).prop_map(ToOwned::to_owned),
    ]
}

fn span(range: std::ops::Range<u64>) -> impl Strategy<Value = Span> {
    range.prop_map(Span)
}

fn argv() -> impl Strategy<Value = Vec<String>> {
    (text(), vec(text(), 0..3)).prop_map(|(program, more)| {
        let mut argv = vec![format!("/{program}")];
        argv.extend(more);
        argv
    })
}

fn env() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[A-Z_][A-Z0-9_]{0,6}", text(), 0..3)
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        (1u16.., option::of(100u16..600)).prop_map(|(port, status)| Probe::Http(HttpCheck {
            url: format!("http://{{address}}:{port}/"),
            status,
        })),
        (1u16..).prop_map(|port| Probe::Tcp(TcpCheck { address: format!("[::1]:{port}") })),
        (argv(), env()).prop_map(|(argv, env)| Probe::Command(CommandCheck { argv, env })),
    ]
}

fn checks() -> impl Strategy<Value = Vec<Check>> {
    let check = ("[A-Za-z0-9_.-]{1,8}", probe(), 100u64..100_000, 1u32..=100, 1u32..=100);
    vec(check, 0..4).prop_map(|checks| {
        let mut named = BTreeMap::new();
        for (name, probe, every, rise, fall) in checks {
            let (every, timeout) = (Span(every), Span(every.div_ceil(2)));
            named.insert(name.clone(), Check { name, probe, every, timeout, rise, fall });
        }
        named.into_values().collect()
    })
}

fn driver() -> impl Strategy<Value = Driver> {
    let signals = [StopSignal::Term, StopSignal::Int, StopSignal::Quit];
    let restarts = [Restart::Always, Restart::OnFailure, Restart::Never];
    (
        prop::sample::select(signals.to_vec()),
        span(0..10_000),
        prop::sample::select(restarts.to_vec()),
    )
        .prop_map(|(stop_signal, stop_timeout, restart)| {
            Driver::Process(ProcessDriver { stop_signal, stop_timeout, restart })
        })
}

fn traffic() -> impl Strategy<Value = Traffic> {
    (1u16.., 1u64..=3600, span(0..10_000), option::of(Just("http://{address}/".to_owned())))
        .prop_map(|(port, ttl, drain, in_flight)| Traffic {
            dns: DnsTraffic { port, ttl: Span::secs(ttl) },
            drain,
            in_flight,
        })
}

fn upgrade() -> impl Strategy<Value = UpgradePolicy> {
    let order = prop::sample::subsequence(vec!["aws", "aliyun", "gcp"], 0..=3).prop_shuffle();
    (order, span(0..60_000), span(20_001..90_000), span(90_000..9_000_000)).prop_map(
        |(order, region, step, fleet)| UpgradePolicy {
            order: order.into_iter().map(|name| name.parse().unwrap()).collect(),
            bake: Bake { region },
            deadline: Deadline { step, fleet },
            approvals: None,
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    let serving = (option::of(any::<u32>()), 1u32..)
        .prop_map(|(at_least, nodes)| Serving { at_least, nodes });
    let labels = btree_map("[a-z.]{1,6}", text(), 1..3);
    let logs = btree_map(NAME, "(/|[{]data[}]/)[a-z]{1,8}(/[a-z.]{3,8}g)?", 0..3);
    let traffic = option::of(traffic());
    let service = (NAME, labels, driver(), serving, checks(), logs, traffic, upgrade()).prop_map(
        |(name, labels, driver, serving, checks, logs, traffic, upgrade)| {
            let (name, nodes) = (name.parse().unwrap(), Selector { labels });
            Object::Service(Service {
                name,
                nodes,
                driver,
                serving,
                checks,
                logs,
                traffic,
                upgrade,
                by_hand: None,
            })
        },
    );
    let release = (NAME, "[0-9][0-9a-z.+-]{0,8}", any::<[u8; 32]>(), argv(), env()).prop_map(
        |(service, version, digest, argv, env)| {
            let (url, sha256) = ("file:///srv/x y#: z".to_owned(), Digest::from_bytes(digest));
            let (service, version) = (service.parse().unwrap(), version.parse().unwrap());
            let (artifact, images) = (Some(Artifact { url, sha256 }), BTreeMap::new());
            Object::Release(Release { service, version, artifact, images, argv, env })
        },
    );
    let region = (NAME, option::of(text().prop_filter("a name", |text| !text.is_empty())))
        .prop_map(|(name, cloud)| Object::Region(Region { name: name.parse().unwrap(), cloud }));
    prop_oneof![region, service, release]
}

proptest! {
    #[test]
    fn any_valid_object_survives_being_written_and_read(object in object()) {
        prop_assert_eq!(validate_object(&object), vec![]);
        let yaml = serde_saphyr::to_string(&object).unwrap();
        let read = parse("m.yaml", &yaml);
        let read = read.unwrap_or_else(|error| panic!("{yaml}\n{error}")).remove(0).value;
        prop_assert_eq!(&read, &object, "{}", yaml);
        let json = serde_json::to_string(&read).unwrap();
        let again: Object = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&again, &object, "{}", json);
        // JSON is YAML: what the controller keeps can be applied again as it is.
        let applied = parse("m.json", &json);
        let applied = applied.unwrap_or_else(|error| panic!("{json}\n{error}")).remove(0).value;
        prop_assert_eq!(&applied, &object, "{}", json);
    }

    #[test]
    fn two_objects_differ_exactly_if_they_are_not_equal(old in object(), new in object()) {
        prop_assert!(diff(&old, &old).is_empty());
        let same_kind = old.kind() == new.kind();
        prop_assert!(!same_kind || (old == new) == diff(&old, &new).is_empty());
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse_bytes("m.yaml", &bytes) {
            prop_assert!(!error.render(false).is_empty());
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[-:,{}\\[\\]&*!|>'\"%@`#?~ \n\ta-c1é\u{feff}\u{1}]{0,60}") {
        if let Err(error) = parse("m.yaml", &text) {
            prop_assert!(!error.render(true).is_empty());
            prop_assert!(error.findings().iter().all(|one| one.line > 0 && one.column > 0));
        }
    }

    #[test]
    fn no_slip_of_the_pen_breaks_the_reader(
        at in any::<prop::sample::Index>(),
        cut in 0usize..8,
        put in "[-:,{}\\[\\]&*!|>'\"#? \n\ta-z0-9]{0,6}",
    ) {
        let whole = format!("{SERVICE}---\n{RELEASE}");
        let start = at.index(whole.len());
        let end = (start + cut).min(whole.len());
        let text = format!("{}{put}{}", &whole[..start], &whole[end..]);
        if let Err(error) = parse("m.yaml", &text) {
            prop_assert!(!error.render(false).is_empty());
        }
    }
}
