//! NATS JetStream, a stream on disk that is flushed for each message before it is acknowledged (`sync_interval: always`).
//!
//! Its protocol is lines of text (docs.nats.io, “Client Protocol” and “JetStream wire API”), so its clients are as small as
//! ours: 80 connections of one thread.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tests::bench::{Scratch, output};

use super::Round;
use super::clients::{self, Client, Speech, leading};
use super::peers::Server;
use crate::sinks::ENTRY_BYTES;

/// How long a start or an answer may take; only a failure gets there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below the kernel's ephemeral ports.
const ADDRESS: &str = "127.0.0.1:19654";
const STREAM: &str =
    r#"{"name":"BENCH","subjects":["bench"],"storage":"file","num_replicas":1,"max_age":0,"discard":"new"}"#;

/// A running server.
pub struct JetStream {
    server: Child,
    version: String,
}

impl JetStream {
    /// Starts it and makes a stream; `NATS` names the program.
    ///
    /// # Errors
    ///
    /// The program is missing, does not listen, or makes no stream.
    pub fn start(scratch: &Scratch) -> anyhow::Result<Self> {
        let program = std::env::var("NATS").context("NATS names no program: use “make bench”")?;
        let version = output(&program, &["--version"])?;
        let (config, store) = (scratch.path().join("nats.conf"), scratch.path().join("jetstream"));
        let text =
            format!("listen: {ADDRESS:?}\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n");
        fs::write(&config, text)?;
        let server = Command::new(&program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(scratch.path().join("nats.log"))?)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let jetstream = Self { server, version };
        let began = Instant::now();
        while TcpStream::connect(ADDRESS).is_err() {
            ensure!(began.elapsed() < PATIENCE, "NATS does not listen at {ADDRESS}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut stream = connect("made")?;
        let length = STREAM.len();
        write!(stream, "PUB $JS.API.STREAM.CREATE.BENCH made {length}\r\n{STREAM}\r\n")?;
        let (head, body) = (line(&mut stream)?, line(&mut stream)?);
        ensure!(
            head.starts_with("MSG") && !body.contains(r#""error""#),
            "NATS makes no stream: {head}{body}"
        );
        Ok(jetstream)
    }
}

impl Server for JetStream {
    fn version(&self) -> String {
        format!("{}, file storage, sync_interval: always, a TCP connection for each client", self.version)
    }

    fn round(&mut self, clients: usize, time: Duration) -> anyhow::Result<Round> {
        let client = |place| {
            let inbox = format!("inbox.{place}");
            let stream = connect(&inbox)?;
            stream.set_nonblocking(true)?;
            let mut frame = format!("PUB bench {inbox} {ENTRY_BYTES}\r\n").into_bytes();
            frame.extend([[b'.'; ENTRY_BYTES].as_slice(), b"\r\n"].concat());
            Ok(Client::new(stream, Publish { frame }))
        };
        let mut clients: Vec<_> = (0..clients).map(client).collect::<anyhow::Result<_>>()?;
        clients::run(&mut clients, time)
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// A connection that hears what is sent to its inbox.
fn connect(inbox: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\nPING\r\n")?;
    loop {
        match line(&mut stream)?.trim_end() {
            "PONG" => return Ok(stream),
            said if said.starts_with("INFO") => {}
            said => bail!("NATS says {said}"),
        }
    }
}

/// One line; byte by byte, so that nothing behind it is taken.
fn line(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut text = String::new();
    BufReader::with_capacity(1, stream).read_line(&mut text)?;
    ensure!(!text.is_empty(), "NATS hung up");
    Ok(text)
}

struct Publish {
    frame: Vec<u8>,
}

impl Speech for Publish {
    fn next(&mut self) -> anyhow::Result<&[u8]> {
        Ok(&self.frame)
    }

    fn place(&mut self, received: &[u8]) -> anyhow::Result<Option<u64>> {
        let text = std::str::from_utf8(received)?;
        if text.matches("\r\n").count() < 2 || !text.ends_with("\r\n") {
            return Ok(None);
        }
        // An acknowledgement: {"stream":"BENCH","seq":4711}. A PING would be due after two minutes, and a round is shorter.
        let place = text.split_once(r#""seq":"#).and_then(|(_, rest)| leading(rest.trim_start()));
        place.with_context(|| format!("NATS did not take it: {text}")).map(Some)
    }
}
