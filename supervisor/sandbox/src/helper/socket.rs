//! Packets of CBOR with descriptors beside them.
//!
//! A packet comes whole or not at all, with its own descriptors: there is no stream in which a length could lie.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minicbor::{Decode, Encode};
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::error::Error;

/// Longest message, bytes: a path, or a reason, and room for the rest.
pub(super) const MESSAGE_MAX: usize = 8 << 10;
/// Most descriptors of a message.
pub(super) const FDS_MAX: usize = 4;

/// A socket with two ends: one is the daemon's, one the helper's.
///
/// # Errors
///
/// The kernel refused.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    let made = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    made.map_err(|error| Error::Helper(error.to_string()))
}

/// A message's bytes.
pub(super) fn encode(message: &impl Encode<()>) -> Result<Vec<u8>, Error> {
    let bytes = minicbor::to_vec(message).map_err(|error| Error::Helper(error.to_string()))?;
    if bytes.len() > MESSAGE_MAX {
        return Err(Error::Helper("a message is too long".to_owned()));
    }
    Ok(bytes)
}

/// Reads a message; nothing may follow it.
pub(super) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let message =
        decoder.decode().map_err(|error| Error::Helper(format!("a message is not understood: {error}")))?;
    if decoder.position() != bytes.len() {
        return Err(Error::Helper("something follows a message".to_owned()));
    }
    Ok(message)
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Yes,
    /// There is no room for it now.
    Full,
    /// The other end is closed.
    End,
}

/// Sends a message, if there is room for it now.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], fds: &[OwnedFd]) -> Result<Sent, Error> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FDS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Error::Helper("too many descriptors".to_owned()));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut beside, flags) {
            Ok(_) => return Ok(Sent::Yes),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => return Ok(Sent::Full),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Ok(Sent::End),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Helper(error.to_string())),
        }
    }
}

/// What was received.
pub(super) enum Packet {
    /// Nothing is there now.
    None,
    /// The other end is closed.
    End,
    /// A message.
    Message(Vec<u8>, Vec<OwnedFd>),
}

/// Receives a message, if there is one.
pub(super) fn receive(socket: impl AsFd) -> Result<Packet, Error> {
    let mut bytes = [0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FDS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags) {
            Ok(got) => break got,
            Err(rustix::io::Errno::AGAIN) => return Ok(Packet::None),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(Packet::End),
            Err(error) => return Err(Error::Helper(error.to_string())),
        }
    };
    let mut fds = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Error::Helper("a message is too long".to_owned()));
    }
    match bytes.get(..got.bytes) {
        // No message is empty.
        Some([]) | None => Ok(Packet::End),
        Some(message) => Ok(Packet::Message(message.to_vec(), fds)),
    }
}
