//! Clients of a server that answers each append: each has a connection of its own and one append under way.
//!
//! One thread serves all of their sockets. What a client costs is taken from the same CPUs as the server, so it does no
//! more than it must: it sends the next append when the answer to the last is whole, and looks that it is one.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Round;
use crate::sinks::ENTRY_BYTES;

/// How long a server may take to answer; only a failure gets there.
const PATIENCE_MS: u16 = 30_000;

/// A socket that does not block.
pub trait Stream: Read + Write + AsFd {}
impl<S: Read + Write + AsFd> Stream for S {}

/// What a server understands.
pub trait Speech {
    /// The next append, as it is sent.
    ///
    /// # Errors
    ///
    /// A mistake of the benchmark.
    fn next(&mut self) -> anyhow::Result<&[u8]>;

    /// The place of an append, once its answer is whole.
    ///
    /// # Errors
    ///
    /// The answer says something else.
    fn place(&mut self, received: &[u8]) -> anyhow::Result<Option<u64>>;
}

/// A connection and what is spoken over it.
pub struct Client<S, W> {
    /// The connection.
    pub stream: S,
    /// What is spoken.
    pub speech: W,
    sent: Instant,
    received: Vec<u8>,
    waits: bool,
}

impl<S: Stream, W: Speech> Client<S, W> {
    /// One that has sent nothing yet.
    pub fn new(stream: S, speech: W) -> Self {
        Self { stream, speech, sent: Instant::now(), received: Vec::new(), waits: false }
    }

    fn send(&mut self, now: Instant) -> anyhow::Result<()> {
        self.sent = now;
        // The buffer of a socket with nothing under way takes it whole.
        self.stream.write_all(self.speech.next()?).context("sending an append")?;
        self.waits = true;
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<Option<u64>> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the server hung up"),
            Ok(count) => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("receiving an answer"),
        }
        let place = self.speech.place(&self.received)?;
        if place.is_some() {
            self.received.clear();
            self.waits = false;
        }
        Ok(place)
    }
}

/// Appends of all clients, for some time.
///
/// # Errors
///
/// The server refuses an append, or is silent.
pub fn run<S: Stream, W: Speech>(clients: &mut [Client<S, W>], time: Duration) -> anyhow::Result<Round> {
    let (mut waits_ms, mut places) = (Vec::with_capacity(1 << 20), Vec::with_capacity(1 << 20));
    let began = Instant::now();
    for client in &mut *clients {
        client.send(began)?;
    }
    let (end, mut waiting) = (began + time, clients.len());
    while waiting > 0 {
        for place in readable(clients)? {
            let Some(client) = clients.get_mut(place).filter(|client| client.waits) else { continue };
            let Some(index) = client.receive()? else { continue };
            let now = Instant::now();
            waits_ms.push((now - client.sent).as_secs_f64() * 1e3);
            places.push(index);
            if now < end {
                client.send(now)?;
            } else {
                waiting -= 1;
            }
        }
    }
    Ok(Round::new(began.elapsed(), waits_ms, places))
}

/// Which clients have something to read; waits for one.
fn readable<S: Stream, W>(clients: &[Client<S, W>]) -> anyhow::Result<Vec<usize>> {
    let mut ready: Vec<PollFd<'_>> =
        clients.iter().map(|client| PollFd::new(client.stream.as_fd(), PollFlags::POLLIN)).collect();
    ensure!(poll(&mut ready, PollTimeout::from(PATIENCE_MS))? > 0, "the server is silent");
    let ready = ready.iter().enumerate().filter(|(_, ready)| ready.any().unwrap_or_default());
    Ok(ready.map(|(place, _)| place).collect())
}

/// Notes for our daemon.
pub struct Note {
    /// The note, with places for its id and its text; each gets others.
    frame: Vec<u8>,
    id: u128,
}

/// Before and behind the id of a request.
const BEFORE: &[u8] = br#"{"id":""#;
const BEHIND: &[u8] = br#"","command":{"command":"note","kind":"bench","text":""#;

/// Clients of our daemon.
///
/// # Errors
///
/// The daemon cannot be reached.
pub fn of_ours(socket: &Path, clients: usize) -> anyhow::Result<Vec<Client<UnixStream, Note>>> {
    let seed = u128::from_be_bytes(random()?);
    let client = |place| {
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(Client::new(stream, Note::new(seed ^ ((place as u128) << 64))?))
    };
    let clients: anyhow::Result<_> = (0..clients).map(client).collect();
    clients.with_context(|| format!("connecting to {}", socket.display()))
}

impl Note {
    fn new(id: u128) -> anyhow::Result<Self> {
        let length = BEFORE.len() + 32 + BEHIND.len() + ENTRY_BYTES + 3;
        let mut frame = u32::try_from(length)?.to_be_bytes().to_vec();
        frame.extend([BEFORE, &[b'0'; 32], BEHIND, &[b'.'; ENTRY_BYTES], b"\"}}"].concat());
        Ok(Self { frame, id })
    }
}

impl Speech for Note {
    fn next(&mut self) -> anyhow::Result<&[u8]> {
        self.id += 1;
        let id = format!("{:032x}", self.id);
        let (at, text) = (4 + BEFORE.len(), 4 + BEFORE.len() + 32 + BEHIND.len());
        for at in [at, text] {
            self.frame.get_mut(at..at + 32).context("a short frame")?.copy_from_slice(id.as_bytes());
        }
        Ok(&self.frame)
    }

    fn place(&mut self, received: &[u8]) -> anyhow::Result<Option<u64>> {
        let Some((length, body)) = received.split_first_chunk::<4>() else { return Ok(None) };
        if body.len() < usize::try_from(u32::from_be_bytes(*length))? {
            return Ok(None);
        }
        let text = std::str::from_utf8(body)?;
        let index = text.rsplit_once(r#""kind":"noted","index":"#).and_then(|(_, rest)| leading(rest));
        index.with_context(|| format!("a note was not taken: {text}")).map(Some)
    }
}

/// The number that a text begins with, if something stands behind it.
pub fn leading(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    text.get(..digits)?.parse().ok()
}

fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
