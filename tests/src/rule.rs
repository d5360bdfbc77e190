//! A property that must hold in every simulated history, with its claim in words.

use std::fmt;

/// A property that must hold; `L` is what looks after it.
pub struct Rule<L: ?Sized> {
    /// Its name.
    pub name: &'static str,
    /// What it claims.
    pub sentence: &'static str,
    /// How it is checked.
    pub check: Box<L>,
}

impl<L: ?Sized> fmt::Debug for Rule<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).finish_non_exhaustive()
    }
}
