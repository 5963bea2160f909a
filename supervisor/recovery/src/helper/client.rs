//! The daemon's side of the helper.

use std::os::unix::net::UnixStream;

use super::frame;
use crate::Error;
use crate::worker::effect::{Effect, Executor, Progress, Reply};

/// Performs effects through the helper.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// The helper serves the other end of `stream`.
    #[must_use]
    pub const fn new(stream: UnixStream) -> Self {
        Self { stream }
    }
}

impl Client {
    fn ask(&mut self, effect: &Effect) -> Result<Reply, Error> {
        frame::send(&self.stream, effect)?;
        let bytes = frame::receive(&self.stream)?.ok_or_else(|| Error::Helper("it has ended".into()))?;
        match frame::decode(&bytes)? {
            Reply::Refused(why) => Err(Error::Refused(why)),
            Reply::Failed(why) => Err(Error::Failed(why)),
            Reply::Unfinished(root) => Err(Error::Unfinished(root)),
            Reply::Busy(why) => Err(Error::Busy(why)),
            reply => Ok(reply),
        }
    }
}

fn odd() -> Error {
    Error::Helper("it answers another question".into())
}

impl Executor for Client {
    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        match self.ask(effect)? {
            Reply::Done => Ok(Progress::None),
            Reply::Progress(progress) => Ok(progress),
            _ => Err(odd()),
        }
    }

    fn read(&mut self, root: u16) -> Result<Vec<u8>, Error> {
        match self.ask(&Effect::Read { root })? {
            Reply::Bytes(bytes) => Ok(bytes),
            _ => Err(odd()),
        }
    }
}
