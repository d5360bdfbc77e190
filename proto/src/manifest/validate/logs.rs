//! Log files that could not be read, or that would open more of a node than they say.

use std::collections::BTreeMap;

use super::Faults;
use crate::id::ServiceId;

/// Most files of one service.
const FILES_MAX: usize = 32;
/// Longest path that Linux takes.
const PATH_LEN_MAX: usize = 4095;

pub(super) fn validate(logs: &BTreeMap<String, String>, faults: &mut Faults) {
    if logs.len() > FILES_MAX {
        let message = format!("{} files are more than {FILES_MAX}", logs.len());
        faults.add("logs", message, "declare only those that operators read");
    }
    for (name, path) in logs {
        let at = format!("logs.{name}");
        // The same grammar as that of services: a name is no path and needs no quoting.
        if name.parse::<ServiceId>().is_err() {
            let help = "use letters a-z, digits and -, such as access or gc-1";
            faults.add(&at, format!("`{name}` is not a name of a file to read"), help);
        }
        faults.template(&at, path);
        if let Some(why) = unreadable(path) {
            let help = "write it like /var/log/web/access.log or {data}/access.log";
            faults.add(at, format!("`{path}` {why}"), help);
        }
    }
}

/// Returns why no node would read the file at this path.
fn unreadable(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("{data}").unwrap_or(path);
    if !rest.starts_with('/') {
        Some("is neither absolute nor below {data}")
    } else if path.len() > PATH_LEN_MAX {
        Some("is longer than any path")
    } else if rest.split('/').any(|part| part == "..") {
        Some("leads out through `..`")
    } else if rest.ends_with('/') {
        Some("names a directory")
    } else {
        None
    }
}
