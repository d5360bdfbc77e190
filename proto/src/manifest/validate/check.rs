//! Checks that could never pass, never fail, or never end.

use super::{Faults, host_port};
use crate::model::{Check, Probe};
use crate::time::Span;

/// Shortest time between two runs: a check must not become the load it measures.
const EVERY_MIN: Span = Span(100);
/// Most runs in a row that a change of health may take.
const COUNT_MAX: u32 = 100;

pub(super) fn validate(check: &Check, path: &str, faults: &mut Faults) {
    let Check { name, probe, every, timeout, rise, fall } = check;
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > 63 || !name.bytes().all(letters) {
        let message = format!("check `{name}` cannot be named so");
        faults.add(format!("{path}.name"), message, "use 1 to 63 letters, digits, - _ and .");
    }
    if *every < EVERY_MIN {
        let message = format!("check `{name}` would run every {every}");
        faults.add(format!("{path}.every"), message, format!("write at least {EVERY_MIN}"));
    }
    if timeout.0 == 0 {
        let message = format!("check `{name}` can never pass within 0s");
        faults.add(format!("{path}.timeout"), message, "write a span such as 1s");
    } else if timeout > every {
        let message = format!("check `{name}` may take {timeout} but runs every {every}");
        faults.add(format!("{path}.timeout"), message, format!("write at most {every}"));
    }
    for (field, count) in [("rise", *rise), ("fall", *fall)] {
        if count == 0 || count > COUNT_MAX {
            let message = format!("check `{name}` has a {field} of {count}");
            let help = format!("write a number from 1 to {COUNT_MAX}");
            faults.add(format!("{path}.{field}"), message, help);
        }
    }
    match probe {
        Probe::Http(http) => {
            faults.url(&format!("{path}.http.url"), &http.url);
            if let Some(status) = http.status.filter(|status| !(100..600).contains(status)) {
                let message = format!("check `{name}` waits for status {status}");
                faults.add(format!("{path}.http.status"), message, "write one from 100 to 599");
            }
        }
        Probe::Tcp(tcp) => {
            let path = format!("{path}.tcp.address");
            faults.template(&path, &tcp.address);
            if let Err(why) = host_port(&tcp.address) {
                let message = format!("`{}` {why}", tcp.address);
                faults.add(path, message, "write it like {address}:8080");
            }
        }
        Probe::Command(command) => {
            faults.argv(&format!("{path}.command.argv"), &command.argv);
            faults.env(&format!("{path}.command.env"), &command.env);
        }
    }
}
