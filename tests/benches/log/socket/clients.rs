//! The clients of our daemon: each has a connection of its own and one note under way.
//!
//! One thread serves all of their sockets. What a client costs is taken from the same CPUs as the daemon, so it does no
//! more than it must: it sends the next note when the answer to the last is whole, and looks that it is one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Round;
use crate::sinks::ENTRY_BYTES;

/// How long the daemon may take to answer; only a failure gets there.
const PATIENCE_MS: u16 = 30_000;

struct Client {
    /// The note, with places for its id and its text; each gets others.
    frame: Vec<u8>,
    id: u128,
    sent: Instant,
    received: Vec<u8>,
    waits: bool,
}

/// Before and behind the id of a request.
const BEFORE: &[u8] = br#"{"id":""#;
const BEHIND: &[u8] = br#"","command":{"command":"note","kind":"bench","text":""#;

/// Notes of 512 bytes over connections to the socket, for some time.
///
/// # Errors
///
/// The daemon cannot be reached, refuses a note, or is silent.
pub fn run(socket: &Path, clients: usize, time: Duration) -> anyhow::Result<Round> {
    let streams: Vec<UnixStream> = (0..clients)
        .map(|_| {
            let stream = UnixStream::connect(socket)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        })
        .collect::<Result<_, std::io::Error>>()
        .with_context(|| format!("connecting to {}", socket.display()))?;
    let seed = u128::from_be_bytes(random()?);
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..clients)
        .map(|place| Client::new(seed ^ ((place as u128) << 64), began))
        .collect::<Result<_, _>>()?;
    let (mut waits_ms, mut places) = (Vec::with_capacity(1 << 20), Vec::with_capacity(1 << 20));
    let mut ready: Vec<PollFd<'_>> =
        streams.iter().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
    let began = Instant::now();
    for (client, stream) in clients.iter_mut().zip(&streams) {
        client.send(stream, began)?;
    }
    let (end, mut waiting) = (began + time, clients.len());
    while waiting > 0 {
        ensure!(poll(&mut ready, PollTimeout::from(PATIENCE_MS))? > 0, "the daemon is silent");
        for ((client, stream), ready) in clients.iter_mut().zip(&streams).zip(&ready) {
            if !client.waits || !ready.any().unwrap_or_default() {
                continue;
            }
            let Some(index) = client.receive(stream)? else { continue };
            let now = Instant::now();
            waits_ms.push((now - client.sent).as_secs_f64() * 1e3);
            places.push(index);
            if now < end {
                client.send(stream, now)?;
            } else {
                waiting -= 1;
            }
        }
    }
    Ok(Round::new(began.elapsed(), waits_ms, places))
}

impl Client {
    fn new(id: u128, sent: Instant) -> anyhow::Result<Self> {
        let length = BEFORE.len() + 32 + BEHIND.len() + ENTRY_BYTES + 3;
        let mut frame = u32::try_from(length)?.to_be_bytes().to_vec();
        frame.extend([BEFORE, &[b'0'; 32], BEHIND, &[b'.'; ENTRY_BYTES], b"\"}}"].concat());
        Ok(Self { frame, id, sent, received: Vec::new(), waits: false })
    }

    fn send(&mut self, mut stream: &UnixStream, now: Instant) -> anyhow::Result<()> {
        self.id += 1;
        let id = format!("{:032x}", self.id);
        let (at, text) = (4 + BEFORE.len(), 4 + BEFORE.len() + 32 + BEHIND.len());
        for at in [at, text] {
            self.frame.get_mut(at..at + 32).context("a short frame")?.copy_from_slice(id.as_bytes());
        }
        self.sent = now;
        // The buffer of a socket with nothing under way takes it whole.
        stream.write_all(&self.frame).context("sending a note")?;
        self.waits = true;
        Ok(())
    }

    /// The place of the note, once its answer is whole.
    fn receive(&mut self, mut stream: &UnixStream) -> anyhow::Result<Option<u64>> {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the daemon hung up"),
            Ok(count) => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("receiving an answer"),
        }
        let Some((length, body)) = self.received.split_first_chunk::<4>() else { return Ok(None) };
        if body.len() < usize::try_from(u32::from_be_bytes(*length))? {
            return Ok(None);
        }
        let text = std::str::from_utf8(body)?;
        let index = text.rsplit_once(r#""kind":"noted","index":"#).and_then(|(_, rest)| {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            rest.get(..digits)?.parse().ok()
        });
        let index = index.with_context(|| format!("a note was not taken: {text}"))?;
        self.received.clear();
        self.waits = false;
        Ok(Some(index))
    }
}

fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
