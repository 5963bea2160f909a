//! A connection to the daemon: JSON behind its length, one request at a time.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::Context as _;
use serde_json::{Value, json};

const SOCKET: &str = "/run/dsmil/dsmild.sock";

pub(crate) struct Client(UnixStream);

/// The daemon's no.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its kind.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
}

impl Client {
    pub(crate) fn open() -> anyhow::Result<Self> {
        Ok(Self(UnixStream::connect(SOCKET).with_context(|| format!("connecting to {SOCKET}"))?))
    }

    /// Asks for one thing and waits for its end; the answer.
    pub(crate) fn ask(&mut self, command: &Value) -> anyhow::Result<Result<Value, Refused>> {
        let mut id = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut id)?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = json!({ "id": id, "command": command }).to_string();
        let frame = [&u32::try_from(body.len())?.to_be_bytes(), body.as_bytes()].concat();
        self.0.write_all(&frame).context("asking the daemon")?;
        loop {
            let mut reply = self.receive().context("waiting for the daemon's answer")?;
            let text = |name| reply.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            match text("reply").as_str() {
                "progress" => {}
                "done" => return Ok(Ok(reply.get_mut("answer").map(Value::take).context("no answer")?)),
                _ => return Ok(Err(Refused { code: text("code"), message: text("message") })),
            }
        }
    }

    fn receive(&mut self) -> anyhow::Result<Value> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.0.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}
