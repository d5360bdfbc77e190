//! Problems as gRPC statuses: the one place where one becomes the other.

use tonic::{Code as RpcCode, Status};
use trireme_proto::problem::{Code, Problem};

/// Returns the status that carries `problem`.
pub(super) fn status(problem: &Problem) -> Status {
    let code = match problem.code {
        Code::Failed => RpcCode::Internal,
        Code::Usage => RpcCode::InvalidArgument,
        Code::Denied => RpcCode::PermissionDenied,
        Code::Conflict => RpcCode::Aborted,
        Code::Unreachable => RpcCode::Unavailable,
        Code::NotFound => RpcCode::NotFound,
        Code::Refused | Code::Waiting => RpcCode::FailedPrecondition,
    };
    let details = serde_json::to_vec(problem).unwrap_or_default();
    Status::with_details(code, problem.message.clone(), details.into())
}

/// Returns the status of a request that cannot be read.
pub(super) fn usage(what: &str, error: &dyn std::fmt::Display) -> Status {
    status(&Problem::new(Code::Usage, format!("{what}: {error}")))
}
