//! The helper's side.

use std::os::unix::net::UnixStream;

use super::frame;
use crate::Error;
use crate::worker::Worker;
use crate::worker::effect::{Effect, Executor, Reply};

/// Serves one daemon until it closes its end. What the worker may change comes from configuration that only root can
/// write; effects name roots by their index in it.
///
/// # Errors
///
/// - [`Error::Helper`], [`Error::Limit`]: the daemon sent what is no effect; the helper serves no further
pub fn serve(stream: &UnixStream, mut worker: Worker) -> Result<(), Error> {
    while let Some(bytes) = frame::receive(stream)? {
        let effect: Effect = frame::decode(&bytes)?;
        frame::send(stream, &answer(&mut worker, &effect))?;
    }
    Ok(())
}

fn answer(worker: &mut Worker, effect: &Effect) -> Reply {
    let answered = match effect {
        Effect::Read { root } => worker.read(*root).map(Reply::Bytes),
        Effect::Look { .. } | Effect::Image { .. } | Effect::Dump { .. } => {
            worker.perform(effect).map(Reply::Progress)
        }
        other => worker.perform(other).map(|_| Reply::Done),
    };
    match answered {
        Ok(reply) => reply,
        Err(Error::Unfinished(root)) => Reply::Unfinished(root),
        Err(Error::Refused(why) | Error::Invalid(why)) => Reply::Refused(why),
        // The other end says who failed.
        Err(Error::Failed(why)) => Reply::Failed(why),
        Err(error) => Reply::Failed(error.to_string()),
    }
}
