//! Requests counted by method and code, without a lock where one was seen before.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tonic::Code;
use trireme_telemetry::{Histogram, Page};

use super::names;

/// gRPC codes there are.
const CODES: usize = 17;

/// Methods that are told apart, at most: far more than there are.
const METHODS_MAX: usize = 256;

/// Name of every method that is none of ours: whoever asks must not invent labels.
const UNKNOWN: &str = "unknown";

/// What was asked since the start.
#[derive(Debug, Default)]
pub struct Requests {
    methods: RwLock<HashMap<String, Arc<Method>>>,
    denied: Mutex<BTreeMap<(&'static str, String), u64>>,
}

#[derive(Debug)]
struct Method {
    codes: [AtomicU64; CODES],
    took: Histogram,
}

impl Default for Method {
    fn default() -> Self {
        Self { codes: std::array::from_fn(|_| AtomicU64::new(0)), took: Histogram::default() }
    }
}

impl Requests {
    /// Counts a request for `path`, as in `/fleet.v1.Operator/Get`, by a caller in `role`.
    pub fn count(&self, path: &str, code: Code, took: Duration, role: &'static str) {
        let method = named(path, code);
        let known =
            self.methods.read().unwrap_or_else(PoisonError::into_inner).get(method).cloned();
        let counts = known.unwrap_or_else(|| self.add(method));
        counts.codes[code as usize % CODES].fetch_add(1, Ordering::Relaxed);
        counts.took.observe(took);
        if code == Code::PermissionDenied {
            let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            *denied.entry((role, method.to_owned())).or_default() += 1;
        }
    }

    fn add(&self, method: &str) -> Arc<Method> {
        let mut methods = self.methods.write().unwrap_or_else(PoisonError::into_inner);
        let method = if methods.len() < METHODS_MAX { method } else { UNKNOWN };
        Arc::clone(methods.entry(method.to_owned()).or_default())
    }

    /// Adds what was counted.
    pub fn show(&self, page: &mut Page) {
        let methods = self.methods.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, method) in methods.into_iter().collect::<BTreeMap<_, _>>() {
            for (number, count) in (0_i32..).zip(&method.codes) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let code = format!("{:?}", Code::from_i32(number));
                    page.count(&names::REQUESTS, &[&name, &code], count);
                }
            }
            page.timing(&names::TOOK, &[&name], method.took.read());
        }
        for ((role, method), count) in &*self.denied.lock().unwrap_or_else(PoisonError::into_inner)
        {
            page.count(&names::DENIED, &[role, method], *count);
        }
    }
}

/// Returns a method as metrics name it: service and method, without the package.
fn named(path: &str, code: Code) -> &str {
    if code == Code::Unimplemented {
        return UNKNOWN;
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_prefix("fleet.v1.").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use trireme_telemetry::Format;

    use super::*;

    #[test]
    fn requests_are_told_by_method_and_code_and_strangers_invent_no_names() {
        let requests = Requests::default();
        let took = Duration::from_millis(2);
        requests.count("/fleet.v1.Operator/Get", Code::Ok, took, "admin");
        requests.count("/fleet.v1.Operator/Get", Code::Ok, took, "admin");
        requests.count("/fleet.v1.Operator/Get", Code::PermissionDenied, took, "agent");
        for number in 0..1000 {
            requests.count(&format!("/x{number}"), Code::Unimplemented, took, "none");
            requests.count(&format!("/fleet.v1.{number}"), Code::Ok, took, "none");
        }
        let mut page = Page::default();
        requests.show(&mut page);
        let text = page.text(Format::OpenMetrics);
        for line in [
            r#"fleet_rpc_requests_total{method="Operator/Get",code="Ok"} 2"#,
            r#"fleet_rpc_requests_total{method="Operator/Get",code="PermissionDenied"} 1"#,
            r#"fleet_rpc_duration_seconds_count{method="Operator/Get"} 3"#,
            r#"fleet_authz_denied_total{role="agent",method="Operator/Get"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let methods = text.lines().filter(|l| l.starts_with("fleet_rpc_duration_seconds_count"));
        assert!(methods.count() <= METHODS_MAX + 1);
        assert!(!text.contains("\"/x"), "a path that does not exist is no label");
    }
}
