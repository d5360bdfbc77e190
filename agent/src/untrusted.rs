//! Every reader of this crate that bytes of others reach (see [`trireme_proto::untrusted`]).

use trireme_proto::untrusted::Decoder;

use crate::config::Config;
use crate::http::Url;

/// The readers of this crate.
pub const DECODERS: &[Decoder] = &[
    ("plugin_output", plugin_output),
    ("log_time", log_time),
    ("agent_config", config),
    ("url", url),
];

fn plugin_output(bytes: &[u8]) {
    let (text, perfdata) = crate::check::split(&String::from_utf8_lossy(bytes));
    assert!(!text.contains('\n'), "the text is one line");
    assert!(perfdata.iter().all(|perf| !perf.label.is_empty()), "{perfdata:?}");
}

fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Config::parse("fuzzed", text));
    }
}

/// Reads an address, and where a redirect from it leads.
fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (base, location) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(url) = Url::parse(base) {
        drop(url.join(location));
        let written = url.to_string();
        let again = Url::parse(&written).map(|again| again.to_string());
        assert_eq!(again.ok().as_ref(), Some(&written), "an address is read otherwise");
    }
}

fn log_time(line: &[u8]) {
    crate::host::any_stamp(line);
}
