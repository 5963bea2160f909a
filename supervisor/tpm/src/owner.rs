//! The thread that owns the chip: one request after the other.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::chip::{Chip, Resources};
use crate::counters::{Kind, Shared};
use crate::{Error, Signature};

/// Where an answer goes; closed when nobody waits for it any more.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What can be asked of the owner.
pub(crate) enum Request {
    Sign(Hash, Reply<Signature>),
    Seal(Zeroizing<Vec<u8>>, Reply<Vec<u8>>),
    Unseal(Vec<u8>, Reply<Zeroizing<Vec<u8>>>),
    Random(usize, Reply<Zeroizing<Vec<u8>>>),
    Resources(Reply<Resources>),
    Shutdown(Reply<()>),
}

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) request: Request,
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
}

/// Serves until it is told to stop or nobody is left to ask, then leaves the chip as it was found.
pub(crate) fn run(mut chip: Chip, mut queue: mpsc::Receiver<Job>, counters: &Arc<Shared>) {
    while let Some(Job { request, deadline }) = queue.blocking_recv() {
        chip.link.deadline = deadline;
        match request {
            Request::Sign(digest, reply) => {
                serve(&mut chip, counters, Kind::Sign, reply, |chip| chip.sign(digest));
            }
            Request::Seal(data, reply) => {
                serve(&mut chip, counters, Kind::Seal, reply, |chip| chip.seal(&data));
            }
            Request::Unseal(blob, reply) => {
                serve(&mut chip, counters, Kind::Unseal, reply, |chip| chip.unseal(&blob));
            }
            Request::Random(len, reply) => {
                serve(&mut chip, counters, Kind::Random, reply, |chip| chip.random(len));
            }
            Request::Resources(reply) => {
                serve(&mut chip, counters, Kind::Resources, reply, Chip::resources);
            }
            Request::Shutdown(reply) => {
                // Those who come now, and those who wait behind, hear that it has stopped.
                drop(queue);
                let closed = chip.close();
                // Nobody may wait for it any more; it is closed all the same.
                let _ = reply.send(closed);
                return;
            }
        }
    }
    // Nobody is left who could hear of an error; the connection closes in any case.
    let _ = chip.close();
}

fn serve<T>(
    chip: &mut Chip,
    counters: &Shared,
    kind: Kind,
    reply: Reply<T>,
    operation: impl FnOnce(&mut Chip) -> Result<T, Error>,
) {
    // The caller gave up while it waited in the queue: the chip's time belongs to the others.
    if reply.is_closed() {
        return;
    }
    let start = Instant::now();
    let result = operation(chip);
    counters.record(kind, start.elapsed(), result.is_err());
    // The caller may have given up meanwhile.
    let _ = reply.send(result);
}
