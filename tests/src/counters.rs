//! What sweeps count, and how often it must have happened for a sweep to prove anything.

/// Makes `Counter`: each name with how often it must have happened in a thousand seeds.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $least:literal;)*) => {
        /// Something that a sweep counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Counter {$($(#[$doc])* $name,)*}

        impl Counter {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns how often it must have happened in a thousand seeds.
            pub fn least(self) -> u64 {
                match self {$(Self::$name => $least,)*}
            }
        }
    };
}

pub(crate) use counters;
