//! How long a phase of a restore may take.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::Error;

/// The end of the phase that is under way, for everybody who takes part in it. It is looked at between one file and the next, one chunk
/// and the next: a single call that hangs is not ended by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limit(Rc<Cell<Option<Running>>>);

#[derive(Clone, Copy, Debug)]
struct Running {
    phase: &'static str,
    limit: Duration,
    began: Instant,
}

impl Limit {
    /// A phase begins; without a limit, or for what must come to its end, it may take as long as it takes.
    pub(crate) fn begin(&self, phase: &'static str, limit: Option<Duration>) {
        self.0.set(limit.map(|limit| Running { phase, limit, began: Instant::now() }));
    }

    /// What must come to its end begins.
    pub(crate) fn lift(&self) {
        self.0.set(None);
    }

    /// Whether there is time left.
    ///
    /// # Errors
    ///
    /// - [`Error::Late`]: there is none
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            Some(Running { phase, limit, began }) if began.elapsed() > limit => {
                Err(Error::Late { phase, limit_s: limit.as_secs() })
            }
            _ => Ok(()),
        }
    }
}
