//! Manifests: what people write, read with positions, checked whole, compared and explained.
//!
//! ```text
//! text ──tree──▶ nodes with marks ──shape──▶ Object ──validate──▶ Located<Object>
//!                                     ▲ JSON schema of the model ──▶ explain, schema
//! ```
//!
//! The shape of a manifest is declared once, as the types of [`crate::model`]; the schema derived
//! from them drives reading, messages and help. Everything that can be found wrong is reported at
//! once, with line, column and what to write instead. Nothing here opens files.

mod diff;
mod error;
mod explain;
mod parse;
mod schema;
mod shape;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod validate;

pub use diff::{Change, ObjectDiff, SetDiff, diff, diff_set};
pub use error::{Finding, ManifestError};
pub use explain::{ExplainError, Explained, ExplainedField, explain};
pub use parse::{Located, Position, check_set, parse, parse_bytes};
pub use schema::schema;
pub use validate::{Fault, Known, immutable_conflict, validate_object, validate_set};

/// Longest manifest text in bytes: 1 MiB, hundreds of services, and small enough for one request.
pub const TEXT_LEN_MAX: usize = 1024 * 1024;
