//! Clients that each have one run under way. One thread serves all of them.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use tests::bench::quantile_of;

use super::{Round, STEPS};

/// How long the daemon may take to answer; only a failure gets there.
const PATIENCE_MS: u16 = 30_000;

/// A connection with one run under way.
pub struct Client {
    stream: UnixStream,
    /// The request, with a place for its id.
    frame: Vec<u8>,
    id: u128,
    sent: Instant,
    received: Vec<u8>,
    waits: bool,
}

/// Before the id of a request.
const BEFORE: &[u8] = br#"{"id":""#;

fn frame(command: &Value) -> anyhow::Result<Vec<u8>> {
    let body = format!("{}{}\",\"command\":{command}}}", String::from_utf8_lossy(BEFORE), "0".repeat(32));
    let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
    frame.extend(body.as_bytes());
    Ok(frame)
}

/// Ids that nobody had.
fn fresh() -> anyhow::Result<u128> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Asks for one thing and waits for the answer.
pub fn ask(socket: &Path, command: &Value) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    let mut frame = frame(command)?;
    let at = 4 + BEFORE.len();
    let id = format!("{:032x}", fresh()?);
    frame.get_mut(at..at + 32).context("a short frame")?.copy_from_slice(id.as_bytes());
    stream.write_all(&frame)?;
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 65_536];
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the daemon hung up");
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        while let Some(body) = take(&mut received) {
            let said: Value = serde_json::from_slice(&body)?;
            match said.get("reply").and_then(Value::as_str) {
                Some("done") => return Ok(said.get("answer").cloned().unwrap_or_default()),
                Some("progress") => {}
                _ => bail!("the daemon says {said}"),
            }
        }
    }
}

/// The first whole message.
fn take(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_be_bytes(*received.first_chunk::<4>()?)).ok()?;
    let body = received.get(4..4 + length)?.to_vec();
    received.drain(..4 + length);
    Some(body)
}

impl Client {
    pub fn connect(socket: &Path, place: usize, workflow: &str) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            frame: frame(&json!({ "command": "run", "file": workflow }))?,
            id: fresh()? ^ place as u128,
            sent: Instant::now(),
            received: Vec::new(),
            waits: false,
        })
    }

    fn send(&mut self, now: Instant) -> anyhow::Result<()> {
        self.id = self.id.wrapping_add(1);
        let at = 4 + BEFORE.len();
        let id = format!("{:032x}", self.id);
        self.frame.get_mut(at..at + 32).context("a short frame")?.copy_from_slice(id.as_bytes());
        self.sent = now;
        self.stream.write_all(&self.frame).context("sending a run")?;
        self.waits = true;
        Ok(())
    }

    /// Whether the run has ended.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the daemon hung up"),
            Ok(count) => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("receiving an answer"),
        }
        while let Some(body) = take(&mut self.received) {
            let said = std::str::from_utf8(&body)?;
            if said.contains(r#""kind":"ran""#) {
                self.waits = false;
            } else {
                ensure!(said.contains(r#""reply":"progress""#), "a run did not end well: {said}");
            }
        }
        Ok(!self.waits)
    }
}

/// Runs of all clients, for some time.
pub fn run(clients: &mut [Client], time: Duration) -> anyhow::Result<Round> {
    let mut waits_ms = Vec::with_capacity(1 << 18);
    let began = Instant::now();
    for client in &mut *clients {
        client.send(began)?;
    }
    let (end, mut waiting) = (began + time, clients.len());
    while waiting > 0 {
        for place in readable(clients)? {
            let Some(client) = clients.get_mut(place).filter(|client| client.waits) else { continue };
            if !client.receive()? {
                continue;
            }
            let now = Instant::now();
            waits_ms.push((now - client.sent).as_secs_f64() * 1e3);
            if now < end {
                client.send(now)?;
            } else {
                waiting -= 1;
            }
        }
    }
    let steps = (waits_ms.len() * STEPS) as f64;
    waits_ms.sort_by(f64::total_cmp);
    let rate = steps / began.elapsed().as_secs_f64();
    Ok(Round { rate, p99_ms: quantile_of(&waits_ms, 0.99).unwrap_or(f64::NAN) })
}

fn readable(clients: &[Client]) -> anyhow::Result<Vec<usize>> {
    let mut ready: Vec<PollFd<'_>> =
        clients.iter().map(|client| PollFd::new(client.stream.as_fd(), PollFlags::POLLIN)).collect();
    ensure!(poll(&mut ready, PollTimeout::from(PATIENCE_MS))? > 0, "the daemon is silent");
    let ready = ready.iter().enumerate().filter(|(_, ready)| ready.any().unwrap_or_default());
    Ok(ready.map(|(place, _)| place).collect())
}
