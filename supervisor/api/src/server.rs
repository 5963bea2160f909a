//! Accepts connections, knows who asks, hands requests on and replies back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::{Command, RequestId};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;
use types::peer::Peer;

use crate::FRAME_MAX;
use crate::wire::convert;
use crate::wire::{Behind, Body, Code, Request, Response};

/// Connections at once; the next one waits in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;
/// Replies that a slow reader may leave waiting before it is cut off.
pub const REPLIES_MAX: usize = 256;
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
    /// Where replies go; full means that the reader does not read.
    pub replies: mpsc::Sender<Response>,
}

/// Serves the socket until it is told to stop.
pub async fn serve(listener: UnixListener, requests: mpsc::Sender<Incoming>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (requests, stop) = (requests.clone(), stop.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, requests, stop).await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: UnixStream,
    requests: mpsc::Sender<Incoming>,
    stop: CancellationToken,
) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let peer = Peer { pid: credentials.pid().unwrap_or(0), uid: credentials.uid(), gid: credentials.gid() };
    let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_MAX).new_codec();
    let mut framed = Framed::new(stream, codec);
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    loop {
        tokio::select! {
            frame = next(&mut framed) => match frame? {
                None => return Ok(()),
                Some(frame) => match understand(&frame) {
                    Ok((request, command)) => {
                        let incoming = Incoming { peer, request, command, replies: sender.clone() };
                        if requests.send(incoming).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(response) => send(&mut framed, &response).await?,
                },
            },
            Some(response) = replies.recv() => send(&mut framed, &response).await?,
            () = stop.cancelled() => {
                // What is decided already is still told.
                while let Ok(response) = replies.try_recv() {
                    send(&mut framed, &response).await?;
                }
                return Ok(());
            }
        }
    }
}

async fn next(framed: &mut Framed<UnixStream, LengthDelimitedCodec>) -> io::Result<Option<BytesMut>> {
    framed.next().await.transpose()
}

async fn send(framed: &mut Framed<UnixStream, LengthDelimitedCodec>, response: &Response) -> io::Result<()> {
    let body = serde_json::to_vec(response).map_err(io::Error::other)?;
    framed.send(Bytes::from(body)).await
}

/// A frame as a request, or what to answer to one that is none.
fn understand(frame: &[u8]) -> Result<(RequestId, Command), Box<Response>> {
    let refuse = |id: &str, message: String| {
        Box::new(Response {
            id: id.to_owned(),
            behind: Behind::default(),
            body: Body::Refused { code: Code::Invalid, message },
        })
    };
    let request: Request = serde_json::from_slice(frame)
        .map_err(|error| refuse("", format!("the request is not understood: {error}")))?;
    let id = convert::request_id(&request.id).map_err(|fault| refuse(&request.id, fault.to_string()))?;
    let command =
        convert::command(request.command).map_err(|fault| refuse(&request.id, fault.to_string()))?;
    Ok((id, command))
}
