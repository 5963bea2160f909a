//! The daemon's side.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::message::{Asked, Effect, Event, NotStarted, Pipes, Told};
use super::socket::{self, Packet, Sent};
use crate::brake::Brake;
use crate::error::Error;
use crate::folder::wait;
use crate::subtree::Capabilities;

/// Asks a helper, from any thread. Nothing here waits unless it says so.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
}

impl Client {
    /// The helper serves the other end of `socket`: waits until it is ready, and takes over what stops all agents.
    ///
    /// # Errors
    ///
    /// [`Error::Helper`]: agents cannot be started here, the helper has ended, or is not ready in time.
    pub fn open(socket: OwnedFd, within: Duration) -> Result<(Self, Brake, Capabilities), Error> {
        let until = Instant::now() + within;
        let (bytes, fds) = loop {
            match socket::receive(&socket)? {
                Packet::Message(bytes, fds) => break (bytes, fds),
                Packet::End => return Err(ended()),
                Packet::None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Helper("it is not ready in time".to_owned()));
            }
            wait(&socket, PollFlags::IN, left).map_err(|error| Error::Helper(error.to_string()))?;
        };
        let (path, can) = match socket::decode(&bytes)? {
            Told::Ready { path, can } => (path, Capabilities::from(can)),
            Told::Unfit(why) => return Err(Error::Helper(why)),
            _ => return Err(odd()),
        };
        let mut fds = fds.into_iter();
        let path = PathBuf::from(OsString::from_vec(path));
        let folder = [fds.next().ok_or_else(odd)?, fds.next().ok_or_else(odd)?];
        let freeze = if can.freeze { Some(fds.next().ok_or_else(odd)?) } else { None };
        let kill = if can.kill { Some(fds.next().ok_or_else(odd)?) } else { None };
        Ok((Self { socket }, Brake::new(path, folder, freeze, kill), can))
    }

    /// Asks for an effect; false where there is no room now: the socket is writable once there is.
    ///
    /// # Errors
    ///
    /// [`Error::Helper`]: it has ended.
    pub fn ask(&self, effect: &Effect) -> Result<bool, Error> {
        match socket::send(&self.socket, &socket::encode(&Asked::from(effect))?, &[])? {
            Sent::Yes => Ok(true),
            Sent::Full => Ok(false),
            Sent::End => Err(ended()),
        }
    }

    /// What the helper tells next, if it has told something.
    ///
    /// # Errors
    ///
    /// [`Error::Helper`]: it has ended.
    pub fn hear(&self) -> Result<Option<Event>, Error> {
        match socket::receive(&self.socket)? {
            Packet::None => Ok(None),
            Packet::End => Err(ended()),
            Packet::Message(bytes, fds) => event(socket::decode(&bytes)?, fds).map(Some),
        }
    }

    /// Waits for what the helper tells next, at most so long.
    ///
    /// # Errors
    ///
    /// As [`hear`](Self::hear).
    pub fn wait(&self, within: Duration) -> Result<Option<Event>, Error> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(event) = self.hear()? {
                return Ok(Some(event));
            }
            if left.is_zero() {
                return Ok(None);
            }
            wait(&self.socket, PollFlags::IN, left).map_err(|error| Error::Helper(error.to_string()))?;
        }
    }
}

impl AsFd for Client {
    /// Readable when there is something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn event(told: Told, fds: Vec<OwnedFd>) -> Result<Event, Error> {
    let not = |instance, why| Event::NotStarted { instance, why };
    Ok(match told {
        Told::Started(instance, pid) => {
            let mut fds = fds.into_iter();
            let (Some(stdin), Some(stdout), Some(stderr)) = (fds.next(), fds.next(), fds.next()) else {
                return Err(odd());
            };
            Event::Started { instance, pid, pipes: Pipes { stdin, stdout, stderr, kill: fds.next() } }
        }
        Told::Refused(instance, why) => not(instance, NotStarted::Refused(why)),
        Told::NotStarted(instance, why) => not(instance, NotStarted::Failed(why)),
        Told::Full(instance) => not(instance, NotStarted::Full),
        Told::Ended { instance, exit, usage, stuck } => {
            Event::Ended { instance, exit: exit.map(Into::into), usage: usage.map(Into::into), stuck }
        }
        Told::Usage(instance, usage) => Event::Usage { instance, usage: usage.into() },
        Told::Done(instance) => Event::Done { instance },
        Told::Failed(instance, why) => Event::Failed { instance, why },
        Told::Ready { .. } | Told::Unfit(_) => return Err(odd()),
    })
}

fn ended() -> Error {
    Error::Helper("it has ended".to_owned())
}

fn odd() -> Error {
    Error::Helper("it answers another question".to_owned())
}
