//! How far it is, for people.

use std::time::{Duration, Instant};

/// Pause between two lines.
const PAUSE: Duration = Duration::from_secs(2);

/// Lines on the standard error.
pub(crate) struct Progress(Instant);

impl Progress {
    /// The first line comes after the first pause.
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Tells, if the last line was long enough ago.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.0.elapsed() >= PAUSE {
            eprintln!("  {}", what());
            self.0 = Instant::now();
        }
    }
}
