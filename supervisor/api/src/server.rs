//! Accepts connections, knows who asks, hands requests on and replies back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::{Command, RequestId};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::peer::Peer;

use crate::FRAME_MAX;
use crate::wire::convert;
use crate::wire::{Behind, Body, Code, Request, Response};

mod room;

pub use room::{CONNECTIONS_MAX, CONNECTIONS_OF_USER_MAX, CONNECTIONS_OF_USERS_MAX};
use room::{Place, Room};

/// Longest request, bytes: the largest that makes sense changes 512 tokens in some 50 KiB.
pub const REQUEST_MAX: usize = 256 << 10;
/// Requests of one connection under way; the next one is read when the reply to one of them is written.
pub const REQUESTS_MAX: usize = 4;
/// Replies of one connection that may wait: one and all phases for each request under way.
const REPLIES_MAX: usize = 64;
/// How long a client may leave a reply unread before its connection ends.
const READ_PATIENCE: Duration = Duration::from_secs(30);
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
    /// Where replies go.
    pub replies: Replies,
}

/// The way back to who asked. As long as a copy of it is held, the request counts as under way.
#[derive(Clone, Debug)]
pub struct Replies {
    sender: mpsc::Sender<Outgoing>,
    slot: Arc<OwnedSemaphorePermit>,
}

/// A reply on its way. It keeps its request's slot until it is written.
type Outgoing = (Response, Arc<OwnedSemaphorePermit>);

impl Replies {
    /// Hands a reply over without waiting. Who has gone, or does not read, loses it.
    pub fn send(&self, response: Response) {
        self.sender.try_send((response, Arc::clone(&self.slot))).ok();
    }

    /// Whether nobody is there any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
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
    let Ok(body) = serde_json::to_vec(&refusal("", Code::Busy, full)) else { return };
    let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    let frame = [length.as_slice(), &body].concat();
    stream.try_write(&frame).ok();
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

type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Writer = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

async fn connection(
    stream: UnixStream,
    peer: Peer,
    requests: mpsc::Sender<Incoming>,
    stop: CancellationToken,
) -> io::Result<()> {
    let codec = |longest| LengthDelimitedCodec::builder().max_frame_length(longest).new_codec();
    let (reader, writer) = stream.into_split();
    let mut reader = Reader::new(reader, codec(REQUEST_MAX));
    let mut writer = Writer::new(writer, codec(FRAME_MAX));
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut free: Option<OwnedSemaphorePermit> = None;
    loop {
        tokio::select! {
            slot = Arc::clone(&slots).acquire_owned(), if free.is_none() => free = slot.ok(),
            frame = reader.next(), if free.is_some() => match frame {
                None => return Ok(()),
                Some(Err(error)) => {
                    let message = format!("a request is a length and at most {REQUEST_MAX} bytes of JSON: {error}");
                    send(&mut writer, &refusal("", Code::Invalid, message)).await?;
                    return Err(error);
                }
                Some(Ok(frame)) => match understand(&frame) {
                    Err(response) => send(&mut writer, &response).await?,
                    Ok((request, command)) => if let Some(slot) = free.take() {
                        let replies = Replies { sender: sender.clone(), slot: Arc::new(slot) };
                        if requests.send(Incoming { peer, request, command, replies }).await.is_err() {
                            return Ok(());
                        }
                    },
                },
            },
            Some((response, slot)) = replies.recv() => {
                send(&mut writer, &response).await?;
                drop(slot);
            }
            () = stop.cancelled() => {
                // What is decided already is still told.
                while let Ok((response, _)) = replies.try_recv() {
                    send(&mut writer, &response).await?;
                }
                return Ok(());
            }
        }
    }
}

async fn send(writer: &mut Writer, response: &Response) -> io::Result<()> {
    let mut body = serde_json::to_vec(response).map_err(io::Error::other)?;
    if body.len() > FRAME_MAX {
        let message =
            format!("the answer has {} bytes and at most {FRAME_MAX} fit: ask for less", body.len());
        body = serde_json::to_vec(&refusal(&response.id, Code::Failed, message)).map_err(io::Error::other)?;
    }
    let sending = timeout(READ_PATIENCE, writer.send(Bytes::from(body))).await;
    sending.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
}

fn refusal(id: &str, code: Code, message: String) -> Response {
    Response { id: id.to_owned(), behind: Behind::default(), body: Body::Refused { code, message } }
}

/// A frame as a request, or what to answer to one that is none.
fn understand(frame: &[u8]) -> Result<(RequestId, Command), Box<Response>> {
    let refuse = |id: &str, message: String| Box::new(refusal(id, Code::Invalid, message));
    let request: Request = serde_json::from_slice(frame)
        .map_err(|error| refuse("", format!("the request is not understood: {error}")))?;
    let id = convert::request_id(&request.id).map_err(|fault| refuse(&request.id, fault.to_string()))?;
    let command =
        convert::command(request.command).map_err(|fault| refuse(&request.id, fault.to_string()))?;
    Ok((id, command))
}
