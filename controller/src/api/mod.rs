//! What the controller answers: agents, joining nodes, other controllers, operators.
//!
//! Each service demands its own kind of identity, taken from the verified certificate and never
//! from the request; a denied identity is refused on every call.

mod agent;
mod alerts;
mod approval;
mod audit;
mod authorize;
mod checklists;
mod controllers;
mod door;
mod enrol;
mod gate;
mod login;
mod operations;
mod operator;
mod peer;
mod people;
mod queries;
mod reach;
mod status;

pub use agent::AgentApi;
pub use authorize::{is_denied, role_of, subject};
pub use door::{Door, door};
pub use enrol::EnrolApi;
pub use gate::GateLayer;
pub use login::LoginApi;
pub use operator::OperatorApi;
pub use peer::PeerApi;
pub use queries::{QueriesApi, RelayApi};
