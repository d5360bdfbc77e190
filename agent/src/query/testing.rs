//! Answers of which a test knows beforehand what they are.

use super::{Answering, Outlet, Respond};
use trireme_proto::query::{Ended, Question};

/// Has nothing to say to any question.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Respond for Nothing {
    fn respond(&self, _: Question, _: Outlet) -> Answering {
        Box::pin(async { Ok(Ended::default()) })
    }
}
