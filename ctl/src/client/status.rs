//! What a gRPC status means: a problem to report, a reason to wait, or a door that is closed.
//!
//! Controllers put the JSON of a [`Problem`] into the details. A status without it comes from the
//! transport, or from something that is not a controller of ours.

use std::error::Error as _;

use tonic::{Code as Grpc, Status};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::request::REQUEST_ID;

/// What to do about a status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Asking again would not help.
    Final(Problem),
    /// The same request may be sent again after a pause.
    NotNow(Problem),
    /// Nobody answered there, for this reason.
    Unreachable(String),
}

/// Judges a status.
pub(crate) fn judge(status: &Status) -> Verdict {
    if let Ok(problem) = serde_json::from_slice::<Problem>(status.details()) {
        let problem = named(problem, status);
        return if problem.retryable { Verdict::NotNow(problem) } else { Verdict::Final(problem) };
    }
    let from_transport = status.source().is_some();
    match status.code() {
        Grpc::Unavailable | Grpc::Cancelled | Grpc::DeadlineExceeded => {
            Verdict::Unreachable(reason(status))
        }
        Grpc::Unknown | Grpc::Internal if from_transport => Verdict::Unreachable(reason(status)),
        code => Verdict::Final(named(bare(code, status), status)),
    }
}

/// Returns the problem with the id under which the controller has logged the request.
fn named(mut problem: Problem, status: &Status) -> Problem {
    let id = status.metadata().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    problem.request_id = problem.request_id.or_else(|| id.map(str::to_owned));
    problem
}

fn bare(code: Grpc, status: &Status) -> Problem {
    let class = match code {
        Grpc::InvalidArgument | Grpc::OutOfRange => Code::Usage,
        Grpc::PermissionDenied | Grpc::Unauthenticated => Code::Denied,
        Grpc::NotFound => Code::NotFound,
        Grpc::Aborted | Grpc::AlreadyExists => Code::Conflict,
        _ => Code::Failed,
    };
    let text = reason(status);
    match code {
        Grpc::Unimplemented => Problem::new(class, "the controller does not know this request")
            .because(text)
            .hint("it may be of another version: compare `trictl version` with the controller's"),
        _ => Problem::new(class, text),
    }
}

/// Returns the status's message and its causes as one line; no part is said twice.
fn reason(status: &Status) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut add = |text: String| {
        // rustls adds a link to its manual.
        let text = text.split(": https://docs.rs/").next().unwrap_or_default().to_owned();
        // tonic and hyper wrap the cause in several layers of the same words.
        let known = parts.iter().any(|part| part.contains(&text));
        let noise = matches!(text.as_str(), "transport error" | "client error (Connect)");
        if !text.is_empty() && !known && !noise {
            parts.push(text);
        }
    };
    add(status.message().to_owned());
    let mut cause = status.source();
    while let Some(error) = cause {
        add(error.to_string());
        cause = error.source();
    }
    if parts.is_empty() { format!("{}", status.code()) } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_details(problem: &Problem) -> Status {
        let details = serde_json::to_vec(problem).unwrap();
        Status::with_details(Grpc::FailedPrecondition, "refused", details.into())
    }

    #[test]
    fn a_problem_in_the_details_is_the_answer() {
        let problem = Problem::refused("serving.at_least", "only aws and gcp serve web");
        assert_eq!(judge(&with_details(&problem)), Verdict::Final(problem.clone()));
        let later = Problem { retryable: true, ..problem };
        assert_eq!(judge(&with_details(&later)), Verdict::NotNow(later.clone()));
    }

    #[test]
    fn a_bare_status_keeps_its_class() {
        let denied = judge(&Status::permission_denied("not you"));
        assert_eq!(denied, Verdict::Final(Problem::new(Code::Denied, "not you")));
        let Verdict::Final(unknown) = judge(&Status::unimplemented("no such method")) else {
            panic!("asking again would not teach it the request");
        };
        assert_eq!(unknown.why, ["no such method"]);
    }

    #[test]
    fn a_closed_door_is_not_an_answer() {
        let status = Status::unavailable("tcp connect error");
        assert_eq!(judge(&status), Verdict::Unreachable("tcp connect error".to_owned()));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(matches!(judge(&broken), Verdict::Unreachable(_)));
    }
}
