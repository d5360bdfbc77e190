//! What happens in a run, said aloud when it happens.

use tokio::time::Instant;

/// Says what happens, each line with its time since the beginning.
#[derive(Debug)]
pub struct Timeline {
    begun: Instant,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Timeline {
    /// Says one thing.
    #[expect(clippy::print_stdout, reason = "whoever runs it wants to see what is done")]
    pub fn say(&self, what: impl AsRef<str>) {
        println!("{:8.2}  {}", self.begun.elapsed().as_secs_f64(), what.as_ref());
    }
}
