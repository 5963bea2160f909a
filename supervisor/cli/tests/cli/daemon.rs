//! A daemon that says what a test has it say.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::wire::{
    Answer, Behind, Body, Checkpoint, Code, Command, CpuLatency, DeviceStatus, Facts, LogStatus, Plan,
    Reading, Request, Response, Status, Token, TpmStatus, Zone,
};

/// What it says to a request.
pub enum Say {
    Progress(&'static str),
    Done(Answer),
    Refused(Code, &'static str),
    /// A frame as it stands; ID is replaced by the request's id.
    Raw(&'static str),
    Pause(Duration),
    HangUp,
}

pub struct Daemon {
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Command>>>,
}

impl Daemon {
    pub fn start(behind: Behind, script: impl Fn(&Command) -> Vec<Say> + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&asked), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (behind, log, script) = (behind.clone(), Arc::clone(&log), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), &behind, &log, &*script));
            }
        });
        Self { dir, asked }
    }

    /// On a machine that lacks nothing, with one answer to everything.
    pub fn answering(answer: Answer) -> Self {
        Self::start(whole(), move |_| vec![Say::Done(answer.clone())])
    }

    pub fn refusing(code: Code, message: &'static str) -> Self {
        Self::start(whole(), move |_| vec![Say::Refused(code, message)])
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Command> {
        self.asked.lock().unwrap().clone()
    }

    /// The command, asking this daemon.
    pub fn dsmil(&self, arguments: &[&str]) -> Output {
        let mut command = command(&self.socket());
        Output::of(command.args(arguments))
    }
}

pub fn command(socket: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("dsmil").unwrap();
    command.env("DSMIL_SOCKET", socket).env_remove("CLICOLOR_FORCE").timeout(Duration::from_secs(60));
    command
}

/// What a run left.
pub struct Output {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Output {
    pub fn of(command: &mut assert_cmd::Command) -> Self {
        let output = command.output().unwrap();
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    /// The standard output of a run that ended well.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""));
        self.out
    }
}

fn serve(
    mut stream: UnixStream,
    behind: &Behind,
    asked: &Mutex<Vec<Command>>,
    script: &dyn Fn(&Command) -> Vec<Say>,
) {
    while let Some(body) = receive(&mut stream) {
        let Request { id, command } = serde_json::from_slice(&body).unwrap();
        asked.lock().unwrap().push(command.clone());
        for say in script(&command) {
            let body = match say {
                Say::Progress(phase) => Body::Progress { phase: phase.to_owned() },
                Say::Done(answer) => Body::Done { answer },
                Say::Refused(code, message) => Body::Refused { code, message: message.to_owned() },
                Say::Raw(text) => {
                    send(&mut stream, text.replace("ID", &id).as_bytes());
                    continue;
                }
                Say::Pause(time) => {
                    std::thread::sleep(time);
                    continue;
                }
                Say::HangUp => return,
            };
            let response = Response { id: id.clone(), behind: behind.clone(), body };
            send(&mut stream, &serde_json::to_vec(&response).unwrap());
        }
    }
}

fn receive(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// The command may be gone, which is what some tests are about.
fn send(stream: &mut UnixStream, body: &[u8]) {
    let _ = stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes());
    let _ = stream.write_all(body);
}

pub fn whole() -> Behind {
    Behind { firmware: "wmi".to_owned(), emulated: false, missing: vec![], facts: None }
}

pub fn lacking() -> Behind {
    Behind {
        firmware: "smm".to_owned(),
        emulated: true,
        missing: vec!["tpm".to_owned(), "bpf".to_owned()],
        facts: Some(Facts { first: 812, last: 815 }),
    }
}

pub fn checkpoint() -> Checkpoint {
    Checkpoint {
        number: 3,
        name: "before".to_owned(),
        created: "2026-11-21T08:00:00.000Z".to_owned(),
        manifest: "ab".repeat(32),
        files: 12,
        tokens: 84,
        bytes: 1_600_000,
        key: "1a2b3c4d".to_owned(),
        read: None,
        kind: "manual".to_owned(),
        settings: 0,
        databases: 0,
        services: 0,
    }
}

pub fn plan() -> Plan {
    Plan {
        number: 3,
        added: 1,
        changed: 0,
        removed: 2,
        tokens: 1,
        denied: 0,
        lines: vec!["add    /srv/a".to_owned(), "remove /srv/evil\x1b[2Jname".to_owned()],
        ..Plan::default()
    }
}

pub fn nothing() -> Plan {
    Plan { number: 3, ..Plan::default() }
}

pub fn tokens() -> Answer {
    let token = |id: &str, device: Option<&str>, writable, denied: Option<&str>| Token {
        id: id.to_owned(),
        location: 0x100,
        table_value: 1,
        device: device.map(str::to_owned),
        name: device.map(|_| "Crypto".to_owned()),
        writable,
        denied: denied.map(str::to_owned),
        shared: denied.is_some(),
    };
    Answer::Tokens {
        tokens: vec![
            token("0x0481", None, true, None),
            token("0x8001", Some("0.1"), true, None),
            token("0x8002", Some("0.2"), false, None),
            token("0x8009", Some("0.9"), false, Some("quarantine")),
        ],
    }
}

pub fn reading(id: &str, value: u32) -> Reading {
    Reading { id: id.to_owned(), select: "current".to_owned(), value: Some(value), error: None }
}

pub fn status() -> Answer {
    Answer::Status(Box::new(Status {
        version: "0.1.0".to_owned(),
        machine: "Dell Inc. Latitude 5450".to_owned(),
        device: Some(DeviceStatus { tokens: 164, devices: 84, writable: 12, sealed: true }),
        tpm: Some(TpmStatus {
            manufacturer: "STM ".to_owned(),
            vendor: "ST33KTPM2X".to_owned(),
            firmware: "9.257".to_owned(),
            key: "1a2b3c4d".to_owned(),
            signatures: 3,
        }),
        log: LogStatus { size: 10, signed: 9, root: "ab".repeat(32) },
        scheduler: vec![
            CpuLatency { cpu: 0, count: 100, p50_us: Some(4), p99_us: Some(64) },
            CpuLatency { cpu: 1, count: 0, p50_us: None, p99_us: None },
        ],
        zones: vec![
            Zone { name: "acpitz".to_owned(), level: "warning".to_owned(), millicelsius: Some(90_000) },
            Zone { name: "gone".to_owned(), level: "unknown".to_owned(), millicelsius: None },
        ],
        works: vec![],
        checkpoints: 2,
        denials: 1,
        starts: 4,
        capabilities: vec!["CAP_BPF".to_owned(), "CAP_PERFMON".to_owned()],
        user: 998,
    }))
}
