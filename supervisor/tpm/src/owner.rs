//! The thread that owns the chip: one request after the other.

use std::time::Instant;

use tokio::sync::oneshot;
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::chip::Chip;
use crate::counters::Shared;
use crate::key_dir::Role;
use crate::queue::{Answered, Queue, Work};
use crate::software::Software;
use crate::{Error, Signature};

/// What does the work: the chip, or, where the configuration allows it, software.
pub(crate) enum Backend {
    Chip(Box<Chip>),
    Software(Software),
}

impl Backend {
    /// Does what only a chip can do.
    pub(crate) fn chip<T>(
        &mut self,
        what: &'static str,
        operation: &mut dyn FnMut(&mut Chip) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Self::Chip(chip) => chip.serve(operation),
            Self::Software(_) => Err(Error::Unsupported { what, by: "the software key: it is no TPM" }),
        }
    }

    pub(crate) fn sign(&mut self, role: Role, digest: Hash) -> Result<Signature, Error> {
        match self {
            Self::Chip(chip) => chip.serve(&mut |chip| chip.sign(role, digest)),
            Self::Software(software) => software.sign(role, digest),
        }
    }

    pub(crate) fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Chip(chip) => chip.serve(&mut |chip| chip.seal(data)),
            Self::Software(software) => software.seal(data),
        }
    }

    pub(crate) fn unseal(&mut self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            Self::Chip(chip) => chip.serve(&mut |chip| chip.unseal(blob)),
            Self::Software(software) => software.unseal(blob),
        }
    }

    pub(crate) fn random(&mut self, len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            Self::Chip(chip) => chip.serve(&mut |chip| chip.random(len)),
            Self::Software(_) => Software::random(len),
        }
    }

    fn set_deadline(&mut self, deadline: Instant) {
        if let Self::Chip(chip) = self {
            chip.base.link.deadline = deadline;
        }
    }

    fn close(self) -> Result<(), Error> {
        match self {
            Self::Chip(chip) => chip.close(),
            Self::Software(_) => Ok(()),
        }
    }
}

/// A request with the place for its answer.
pub(crate) struct Ask<T, F> {
    pub(crate) reply: oneshot::Sender<Result<T, Error>>,
    pub(crate) operation: F,
}

impl<T, F> Work for Ask<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Backend) -> Result<T, Error> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(self: Box<Self>, backend: &mut Backend) -> Answered {
        let Self { reply, operation } = *self;
        let result = operation(backend);
        // The caller may have given up meanwhile.
        Answered { failed: result.is_err(), give: Box::new(move || drop(reply.send(result))) }
    }
}

/// Serves until nobody is left to ask or it is told to stop, then leaves the chip as it was found.
pub(crate) fn run(mut backend: Backend, queue: &Queue, counters: &Shared) {
    while let Some(job) = queue.pop() {
        backend.set_deadline(job.deadline);
        let start = Instant::now();
        let answered = job.work.run(&mut backend);
        counters.record(job.kind, start - job.since, start.elapsed(), answered.failed);
        // Counted before it is given: who has the answer finds it in the counters.
        (answered.give)();
    }
    queue.finish(backend.close());
}
