//! Accepts connections, knows who asks, hands requests on and replies back.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use engine::{Command, RequestId};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::bytes::{Buf as _, BytesMut};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::peer::Peer;
use zeroize::{Zeroize as _, Zeroizing};

use crate::FRAME_MAX;
use crate::wire::convert;
use crate::wire::{Behind, Body, Code, Request, Response};

mod line;
mod room;

use line::{Line, Slot};
pub use room::{CONNECTIONS_MAX, CONNECTIONS_OF_USER_MAX, CONNECTIONS_OF_USERS_MAX};
use room::{Place, Room};

/// Longest request, bytes: the largest that makes sense changes 512 tokens in some 50 KiB.
pub const REQUEST_MAX: usize = 256 << 10;
/// Requests of one connection under way; the next one is read when the reply to one of them is written.
pub const REQUESTS_MAX: usize = 4;
/// The length before each message, bytes.
const LENGTH_BYTES: usize = 4;
/// Space for what is read at once, bytes: most requests are far shorter.
const READ_BYTES: usize = 4 << 10;
/// What a reply takes that is not long, and each that holds a secret, bytes.
const SHORT_BYTES: usize = 2 << 10;
/// How long stopping waits for replies that are on their way.
const LAST_REPLIES: Duration = Duration::from_secs(1);
/// A pause after a failed accept (such as too many open files), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request that came in.
#[derive(Debug)]
pub struct Incoming {
    /// Who asks.
    pub peer: Peer,
    /// Which request.
    pub request: RequestId,
    /// For what.
    pub command: Command,
    /// What the command hands over beside itself.
    pub payload: Option<Payload>,
    /// Where replies go.
    pub replies: Replies,
}

/// What a command hands over beside itself, wiped when it is dropped; it may be a secret, so it does not show itself.
pub struct Payload(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload(…)")
    }
}

/// The way back to who asked. As long as a copy of it is held, the request counts as under way.
#[derive(Clone, Debug)]
pub struct Replies(Arc<Slot>);

impl Replies {
    /// Hands a reply over without waiting. Who has gone, or does not read, loses it.
    pub fn send(&self, response: &Response) {
        match frame(response) {
            Ok(frame) => self.0.send(frame),
            Err(error) => tracing::error!(%error, "a reply cannot be encoded"),
        }
    }

    /// Whether nobody is there any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Serves the socket until it is told to stop; replies that were handed over by then are still written.
pub async fn serve(listener: UnixListener, requests: mpsc::Sender<Incoming>, stop: CancellationToken) {
    let (room, connections) = (Room::default(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let admitted = accepted.and_then(|(stream, _)| {
            let peer = peer(&stream)?;
            Ok((room.admit(peer.uid), stream, peer))
        });
        match admitted {
            Ok((Ok(place), stream, peer)) => {
                connections.spawn(attend(stream, peer, place, requests.clone(), stop.clone()));
            }
            Ok((Err(full), stream, _)) => turn_away(&stream, full),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    timeout(LAST_REPLIES, connections.wait()).await.ok();
}

/// Who is at the other end, by the kernel.
fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let credentials = stream.peer_cred()?;
    Ok(Peer { pid: credentials.pid().unwrap_or(0), uid: credentials.uid(), gid: credentials.gid() })
}

/// Says why and closes. The buffer of a fresh connection takes such a frame at once.
fn turn_away(stream: &UnixStream, full: String) {
    if let Ok(frame) = frame(&refusal("", Code::Busy, full)) {
        stream.try_write(&frame).ok();
    }
}

async fn attend(
    stream: UnixStream,
    peer: Peer,
    place: Place,
    requests: mpsc::Sender<Incoming>,
    stop: CancellationToken,
) {
    if let Err(error) = connection(stream, peer, requests, stop).await {
        tracing::debug!(%error, uid = peer.uid, pid = peer.pid, "connection ended");
    }
    drop(place);
}

async fn connection(
    stream: UnixStream,
    peer: Peer,
    requests: mpsc::Sender<Incoming>,
    stop: CancellationToken,
) -> io::Result<()> {
    let (stream, writer) = stream.into_split();
    let line = Line::new(writer);
    let ended = {
        let reading = pin!(read(stream, &line, peer, &requests));
        tokio::select! {
            biased;
            ended = reading => {
                // Who is hung up on is told why, and who has read nothing yet what was decided.
                line.flush().await;
                ended
            }
            () = line.broken() => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")),
            () = stop.cancelled() => {
                // What is decided already is still told.
                line.flush().await;
                Ok(())
            }
        }
    };
    line.close();
    ended
}

/// Reads requests and hands them on, until the client is done.
async fn read(
    mut stream: OwnedReadHalf,
    line: &Arc<Line>,
    peer: Peer,
    requests: &mpsc::Sender<Incoming>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let replies = Replies(line.slot().await);
        let Some(length) = next(&mut stream, &mut buffer).await.inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                replies.send(&refusal("", Code::Invalid, error.to_string()));
            }
        })?
        else {
            return Ok(());
        };
        let understood = understand(buffer.get(..length).unwrap_or_default());
        // It may have held a secret.
        buffer.get_mut(..length).unwrap_or_default().zeroize();
        buffer.advance(length);
        match understood {
            Err(response) => replies.send(&response),
            Ok((request, command, payload)) => {
                let incoming = Incoming { peer, request, command, payload, replies };
                if requests.send(incoming).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Reads until a whole message is at the start of the buffer, and gives its length; none: the client is done.
async fn next(stream: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
    loop {
        let wanted = match buffer.first_chunk::<LENGTH_BYTES>() {
            None => READ_BYTES,
            Some(length) => {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if length > REQUEST_MAX {
                    let why = format!(
                        "a request is a length and at most {REQUEST_MAX} bytes of JSON, not {length}"
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                if buffer.len() >= LENGTH_BYTES + length {
                    buffer.advance(LENGTH_BYTES);
                    return Ok(Some(length));
                }
                (LENGTH_BYTES + length - buffer.len()).max(READ_BYTES)
            }
        };
        buffer.reserve(wanted);
        if stream.read_buf(buffer).await? == 0 {
            let is_whole = buffer.is_empty();
            return if is_whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// A reply as it goes over the socket.
fn frame(response: &Response) -> io::Result<Zeroizing<Vec<u8>>> {
    // It may hold a secret: wiped when it is written, and long enough from the start that no copy is left where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SHORT_BYTES));
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    serde_json::to_writer(&mut *bytes, response)?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > FRAME_MAX {
        let message = format!("the answer has {length} bytes and at most {FRAME_MAX} fit: ask for less");
        return frame(&refusal(&response.id, Code::Failed, message));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    bytes.iter_mut().zip(length.to_be_bytes()).for_each(|(byte, of_length)| *byte = of_length);
    Ok(bytes)
}

fn refusal(id: &str, code: Code, message: String) -> Response {
    Response { id: id.to_owned(), behind: Behind::default(), body: Body::Refused { code, message } }
}

/// A frame as a request, or what to answer to one that is none.
fn understand(frame: &[u8]) -> Result<(RequestId, Command, Option<Payload>), Box<Response>> {
    let refuse = |id: &str, message: String| Box::new(refusal(id, Code::Invalid, message));
    let request: Request = serde_json::from_slice(frame)
        .map_err(|error| refuse("", format!("the request is not understood: {error}")))?;
    let id = convert::request_id(&request.id).map_err(|fault| refuse(&request.id, fault.to_string()))?;
    let fault = |fault: convert::Fault| refuse(&request.id, fault.to_string());
    let payload = convert::payload(&request.command).map_err(fault)?.map(Payload);
    let command = convert::command(request.command).map_err(fault)?;
    Ok((id, command, payload))
}
