//! Length-prefixed CBOR.

use std::io::{self, Read, Write};

use minicbor::{Decode, Encode};

use crate::Error;
use crate::error::length;
use crate::files::entry::{PATH_BYTES_MAX, XATTR_BYTES_MAX};
use crate::worker::effect::DATA_BYTES_MAX;

/// Largest frame without its length, in bytes: the largest piece of data, or the largest metadata, with room for names.
pub const FRAME_BYTES_MAX: usize = DATA_BYTES_MAX + XATTR_BYTES_MAX + 4 * PATH_BYTES_MAX;

/// Sends one message.
pub(super) fn send(mut stream: impl Write, message: &impl Encode<()>) -> Result<(), Error> {
    let bytes = minicbor::to_vec(message).map_err(|e| Error::Invalid(e.to_string()))?;
    let found = bytes.len();
    let size = u32::try_from(found).ok().filter(|_| found <= FRAME_BYTES_MAX);
    let size = size.ok_or(Error::Limit {
        what: "a message to the helper",
        found: length(found),
        limit: length(FRAME_BYTES_MAX),
    })?;
    let mut frame = Vec::with_capacity(found + 4);
    frame.extend(size.to_le_bytes());
    frame.extend(bytes);
    stream.write_all(&frame).map_err(|e| Error::Helper(e.to_string()))
}

/// Receives the bytes of one message; none where the peer has closed.
pub(super) fn receive(mut stream: impl Read) -> Result<Option<Vec<u8>>, Error> {
    let mut size = [0; 4];
    let first = loop {
        match stream.read(&mut size) {
            Ok(count) => break count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::Helper(e.to_string())),
        }
    };
    if first == 0 {
        return Ok(None);
    }
    let rest = size.get_mut(first..).unwrap_or_default();
    stream.read_exact(rest).map_err(|e| Error::Helper(e.to_string()))?;
    let found = u64::from(u32::from_le_bytes(size));
    let limit = length(FRAME_BYTES_MAX);
    if found > limit {
        return Err(Error::Limit { what: "a message", found, limit });
    }
    // Grows with what really comes, so a length alone takes no memory.
    let mut bytes = Vec::new();
    stream.take(found).read_to_end(&mut bytes).map_err(|e| Error::Helper(e.to_string()))?;
    if length(bytes.len()) != found {
        return Err(Error::Helper("a message ends early".into()));
    }
    Ok(Some(bytes))
}

/// Reads a message; nothing may follow it.
pub(super) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode().map_err(|e| Error::Helper(format!("a message is not understood: {e}")))?;
    if decoder.position() != bytes.len() {
        return Err(Error::Helper("something follows a message".into()));
    }
    Ok(message)
}
