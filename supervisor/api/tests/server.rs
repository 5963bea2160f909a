//! Attacks on the socket: whatever a client sends, leaves out or does not read, the server answers or hangs up, serves
//! the others, and neither panics nor grows.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, where a failure is a finding"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use api::FRAME_MAX;
use api::server::{CONNECTIONS_MAX, CONNECTIONS_OF_USER_MAX, Incoming, REQUEST_MAX, REQUESTS_MAX, serve};
use api::wire::{Answer, Behind, Body, Code, Response, convert};
use proptest::prelude::*;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A hang is told as one instead of stopping the test run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for a server that would take more to take it; only a wrong server depends on it.
const PAUSE: Duration = Duration::from_millis(500);
const ID: &str = "00112233445566778899aabbccddeeff";

static PANICKED: AtomicBool = AtomicBool::new(false);

/// A server whose engine answers each request at once, with as many bytes as it was told.
struct Server {
    runtime: Runtime,
    path: PathBuf,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    asked: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(answer_bytes: usize) -> Self {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Of the server's threads: a failed assertion of a test is told by itself.
            if std::thread::current().name().is_some_and(|name| name.starts_with("tokio")) {
                PANICKED.store(true, Ordering::SeqCst);
            }
            usual(panic);
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let stop = CancellationToken::new();
        let (requests, mut incoming) = mpsc::channel::<Incoming>(16);
        let asked = Arc::new(AtomicUsize::new(0));
        let (seen, entered) = (Arc::clone(&asked), runtime.enter());
        let listener = UnixListener::bind(&path).unwrap();
        let serving = runtime.spawn(serve(listener, requests, stop.clone()));
        drop(entered);
        runtime.spawn(async move {
            while let Some(asked) = incoming.recv().await {
                seen.fetch_add(1, Ordering::SeqCst);
                asked.replies.send(&Response {
                    id: convert::request_text(asked.request),
                    behind: Behind { firmware: "x".repeat(answer_bytes), ..Behind::default() },
                    body: Body::Done { answer: Answer::Checkpoints { checkpoints: Vec::new() } },
                });
            }
        });
        Self { runtime, path, stop, serving: Some(serving), asked, _dir: dir }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Somebody else is served.
    fn is_well(&self) {
        let mut stream = self.connect();
        write(&mut stream, &status(ID)).unwrap();
        assert!(matches!(read(&mut stream).unwrap().body, Body::Done { .. }));
        assert!(!PANICKED.load(Ordering::SeqCst), "the server panicked");
    }

    fn end(mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, serving).await });
        ended.expect("the server does not stop").unwrap();
        self.runtime.shutdown_timeout(PATIENCE);
        assert!(!PANICKED.load(Ordering::SeqCst), "the server panicked");
    }
}

fn status(id: &str) -> Vec<u8> {
    format!(r#"{{"id":"{id}","command":{{"command":"status"}}}}"#).into_bytes()
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

fn write(stream: &mut UnixStream, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(&frame(body))
}

fn read(stream: &mut UnixStream) -> std::io::Result<Response> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
    assert!(length <= FRAME_MAX);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

#[track_caller]
fn refused(response: &Response, wanted: Code) {
    match &response.body {
        Body::Refused { code, message } => {
            assert_eq!(*code, wanted, "{message}");
            assert!(!message.is_empty());
        }
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_connection_goes_on() {
    let server = Server::start(0);
    let mut stream = server.connect();
    let deep = |open: &str, count: usize| open.repeat(count).into_bytes();
    let request = |command: &str| format!(r#"{{"id":"{ID}","command":{command}}}"#).into_bytes();
    let wrong = [
        Vec::new(),
        vec![0; 64],
        vec![0xff; 64],
        b"null".to_vec(),
        b"{}".to_vec(),
        b"[[]]".to_vec(),
        deep("[", 100_000),
        deep(r#"{"id":"#, 20_000),
        request(&format!(r#"{{"command":"facts","limit":{}}}"#, "[".repeat(100_000))),
        request(r#"{"command":"no_such"}"#),
        request(r#""status""#),
        request(r#"{"command":"status","command":"tokens"}"#),
        request(r#"{"command":"restore","which":"a","which":"b"}"#),
        request(r#"{"command":"restore","which":"a","leave_denied":1}"#),
        request(r#"{"command":"restore","which":"a","force":true}"#),
        request(r#"{"command":"facts","limit":-1}"#),
        request(r#"{"command":"facts","limit":4294967296}"#),
        request(r#"{"command":"facts","limit":1e3}"#),
        request(r#"{"command":"write_tokens","changes":[{"id":"0x8060","value":4294967296}]}"#),
        request(r#"{"command":"write_tokens","changes":[{"id":"0x18060","value":1}]}"#),
        request(r#"{"command":"read_tokens","items":[{"id":"0x8060","select":"AC"}]}"#),
        format!(r#"{{"id":"{ID}","id":"{ID}","command":{{"command":"status"}}}}"#).into_bytes(),
        format!(r#"{{"id":"{ID}","uid":0,"command":{{"command":"status"}}}}"#).into_bytes(),
        [status(ID), b"{}".to_vec()].concat(),
        status(&ID.to_uppercase()),
        status(""),
        status("+0112233445566778899aabbccddeeff"),
        status(&"0".repeat(33)),
        vec![b' '; REQUEST_MAX],
    ];
    for body in wrong {
        write(&mut stream, &body).unwrap();
        refused(&read(&mut stream).unwrap(), Code::Invalid);
        assert_eq!(server.asked.load(Ordering::SeqCst), 0, "{}", String::from_utf8_lossy(&body));
    }
    write(&mut stream, &status(ID)).unwrap();
    assert_eq!(read(&mut stream).unwrap().id, ID);
    server.end();
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_it_is_sent_and_ends_the_connection() {
    let server = Server::start(0);
    for length in [REQUEST_MAX + 1, FRAME_MAX, usize::try_from(u32::MAX).unwrap()] {
        let mut stream = server.connect();
        stream.write_all(&u32::try_from(length).unwrap().to_be_bytes()).unwrap();
        refused(&read(&mut stream).unwrap(), Code::Invalid);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    server.is_well();
    server.end();
}

#[test]
fn half_frames_and_silence_cost_nobody_else() {
    let server = Server::start(0);
    let whole = frame(&status(ID));
    let held: Vec<_> = (0..whole.len())
        .step_by(3)
        .map(|part| {
            let mut stream = server.connect();
            stream.write_all(&whole[..part]).unwrap();
            // Some stay, some go in the middle.
            (part % 2 == 0).then_some(stream)
        })
        .collect();
    server.is_well();
    // Byte by byte is slow and no fault.
    let mut slow = server.connect();
    for byte in &whole {
        slow.write_all(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(read(&mut slow).unwrap().id, ID);
    drop(held);
    server.end();
}

#[test]
fn an_answer_that_is_too_long_is_replaced_by_a_refusal() {
    let server = Server::start(FRAME_MAX);
    let mut stream = server.connect();
    write(&mut stream, &status(ID)).unwrap();
    let response = read(&mut stream).unwrap();
    assert_eq!(response.id, ID);
    refused(&response, Code::Failed);
    server.end();
}

#[test]
fn connections_beyond_the_limit_are_told_so_and_the_place_comes_back() {
    let server = Server::start(0);
    let limit = if nix::unistd::geteuid().is_root() { CONNECTIONS_MAX } else { CONNECTIONS_OF_USER_MAX };
    let mut held: Vec<_> = (0..limit).map(|_| server.connect()).collect();
    for stream in &mut held {
        write(stream, &status(ID)).unwrap();
        assert_eq!(read(stream).unwrap().id, ID);
    }
    for _ in 0..44 {
        let mut stream = server.connect();
        refused(&read(&mut stream).unwrap(), Code::Busy);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    // A client hears it as well, although it sends before it reads.
    let mut client = api::client::Client::connect(&server.path).unwrap();
    match client.call(api::wire::Command::Status, |_| ()) {
        Err(api::client::Error::Refused { code: Code::Busy, .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(held);
    // The server notices soon.
    let began = std::time::Instant::now();
    loop {
        let mut stream = server.connect();
        let answered = write(&mut stream, &status(ID)).and_then(|()| read(&mut stream));
        if answered.is_ok_and(|response| response.id == ID) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "no place came back");
    }
    server.end();
}

#[test]
fn who_does_not_read_is_not_asked_for_more() {
    // More than a socket's buffer takes.
    let server = Server::start(4 << 20);
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(PAUSE)).unwrap();
    let mut sent = 0;
    while write(&mut deaf, &status(ID)).is_ok() {
        sent += 1;
    }
    assert!(sent > 2 * REQUESTS_MAX, "the kernel's buffer takes only {sent} requests");
    let asked = server.asked.load(Ordering::SeqCst);
    assert!(asked <= REQUESTS_MAX, "{asked} requests are under way");
    server.is_well();
    // It begins to read: everything that was sent whole is answered.
    for _ in 0..sent {
        assert_eq!(read(&mut deaf).unwrap().id, ID);
    }
    server.end();
}

#[test]
fn the_same_id_twice_is_answered_twice_and_pipelined_requests_all_are() {
    let server = Server::start(0);
    let mut stream = server.connect();
    let mut ids: Vec<_> = (0..200).map(|number| format!("{number:032x}")).collect();
    ids.push(ids[0].clone());
    let all: Vec<u8> = ids.iter().flat_map(|id| frame(&status(id))).collect();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&all));
    let mut answered: Vec<_> = ids.iter().map(|_| read(&mut stream).unwrap().id).collect();
    writing.join().unwrap().unwrap();
    answered.sort();
    ids.sort();
    assert_eq!(answered, ids);
    server.end();
}

#[test]
fn stopping_waits_for_nobody() {
    let server = Server::start(4 << 20);
    let mut deaf = server.connect();
    write(&mut deaf, &status(ID)).unwrap();
    let mut half = server.connect();
    half.write_all(&[0, 0]).unwrap();
    server.end();
}

/// What a fuzzer sends: frames whose bodies are nearly right, and bytes that are no frames.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        Just(status(ID)),
        Just(format!(r#"{{"id":"{ID}","command":{{"command":"facts","from":1,"limit":2}}}}"#).into_bytes()),
        Just(
            format!(
                r#"{{"id":"{ID}","command":{{"command":"write_tokens","changes":[{{"id":"0x8060","value":1}}]}}}}"#
            )
            .into_bytes()
        ),
    ];
    let damaged = (body, proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4));
    let framed = damaged.prop_map(|(mut body, changes)| {
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        frame(&body)
    });
    prop_oneof![4 => framed, 1 => proptest::collection::vec(any::<u8>(), 0..300)]
}

#[test]
fn whatever_comes_is_answered_or_hung_up_on() {
    let server = Server::start(0);
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(pieces in proptest::collection::vec(piece(), 1..8), cut in any::<prop::sample::Index>())| {
        let bytes = pieces.concat();
        let mut stream = server.connect();
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        // The server may have hung up in the middle.
        let _ = stream.write_all(first).and_then(|()| stream.write_all(second));
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // It ends, and all that comes is whole replies.
        let mut rest = Vec::new();
        if stream.read_to_end(&mut rest).is_ok() {
            let mut rest = rest.as_slice();
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let (body, after) = after.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
                serde_json::from_slice::<Response>(body).unwrap();
                rest = after;
            }
            prop_assert!(rest.is_empty());
        }
    });
    server.is_well();
    server.end();
}
