//! Asks and waits, without a runtime.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::FRAME_MAX;
use crate::server::REQUEST_MAX;
use crate::wire::{Answer, Behind, Body, Code, Command, Request, Response};

/// How long the daemon may be silent; a long work tells its phases, and a firmware call takes seconds at worst.
const SILENCE: Duration = Duration::from_secs(300);

/// What a request takes that is not long, and each that holds a secret but a vault's, bytes.
const SHORT_BYTES: usize = 2 << 10;

/// A request that was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens, or we may not connect.
    #[error(
        "the daemon cannot be reached at {path}: {source} (is dsmild running, and are you root or in the group dsmil?)"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke; the daemon may have done it all the same.
    #[error("the connection to the daemon broke: {0}; “dsmil log tail” shows whether it was done")]
    Broken(#[from] io::Error),
    /// The daemon speaks another language.
    #[error("the daemon's answer cannot be understood: {0}; are both of the same version?")]
    Foreign(String),
    /// The daemon refused or failed.
    #[error("{message}")]
    Refused {
        /// Which kind.
        code: Code,
        /// What, why, and what to do.
        message: String,
    },
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`].
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path)
            .and_then(|stream| stream.set_read_timeout(Some(SILENCE)).map(|()| stream))
            .map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        Ok(Self { stream })
    }

    /// Asks for one thing and waits for its end; phases on the way go to `progress`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the daemon's reason; [`Error::Broken`] or [`Error::Foreign`] if there is no telling.
    pub fn call(
        &mut self,
        command: Command,
        mut progress: impl FnMut(&str),
    ) -> Result<(Answer, Behind), Error> {
        let id = fresh_id()?;
        let request = Request { id: id.clone(), command };
        // It may hold a secret, and has room for it from the start.
        let mut body = Zeroizing::new(Vec::with_capacity(SHORT_BYTES));
        serde_json::to_writer(&mut *body, &request).map_err(|error| Error::Foreign(error.to_string()))?;
        if let Err(error) = self.send(&body) {
            // Who closes on us may have said why.
            return Err(match self.receive() {
                Ok(Response { body: Body::Refused { code, message }, .. }) => {
                    Error::Refused { code, message }
                }
                _ => error,
            });
        }
        loop {
            let response = self.receive()?;
            // A request that was not understood is refused without an id.
            let is_ours = response.id == id
                || (response.id.is_empty() && matches!(response.body, Body::Refused { .. }));
            match response.body {
                _ if !is_ours => {}
                Body::Progress { phase } => progress(&phase),
                Body::Done { answer } => return Ok((answer, response.behind)),
                Body::Refused { code, message } => return Err(Error::Refused { code, message }),
            }
        }
    }

    fn send(&mut self, body: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(body.len())
            .ok()
            .filter(|_| body.len() <= REQUEST_MAX)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"))?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(body)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Response, Error> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= FRAME_MAX)
            .ok_or_else(|| Error::Foreign("a frame is longer than allowed".to_owned()))?;
        let mut body = Zeroizing::new(vec![0; length]);
        self.stream.read_exact(&mut body)?;
        serde_json::from_slice(&body).map_err(|error| Error::Foreign(error.to_string()))
    }
}

/// 128 bits from the kernel.
fn fresh_id() -> Result<String, io::Error> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
