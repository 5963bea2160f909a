//! What can go wrong, and the exit code that says so.

use std::io;
use std::ops::Range;

use api::client;
use api::wire::Code;
use serde::Serialize;
use store::Place;

use crate::output;

/// Why the command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The daemon could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The daemon answered something else than was asked.
    #[error("the daemon's answer is not one to this command; are both of the same version?")]
    Unexpected,
    /// A log or a key could not be read.
    #[error(transparent)]
    Store(store::Error),
    /// What was verified is not what was written.
    #[error("{message}")]
    Damaged {
        /// What is damaged, where, and how it shows.
        message: String,
        /// The same for programs, where it is known.
        damage: Option<Damage>,
    },
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Tried, and not done.
    #[error("{0}")]
    Failed(String),
    /// What was compared differs; said on the standard output.
    #[error("they differ")]
    Differs,
    /// A comparison could not be made: 1 would say that something differs.
    #[error(transparent)]
    Trouble(Box<Self>),
    /// The standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Damaged(damage) => {
                Self::Damaged { message: damage.to_string(), damage: Some(Damage::from(&*damage)) }
            }
            other => Self::Store(other),
        }
    }
}

/// Where a log is damaged, as JSON.
#[derive(Debug, Default, Serialize)]
pub struct Damage {
    file: String,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Range<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
}

impl From<&store::Damage> for Damage {
    fn from(damage: &store::Damage) -> Self {
        let mut place =
            Self { file: damage.file.display().to_string(), offset: damage.offset, ..Self::default() };
        match &damage.place {
            Place::Entry(index) => place.entry = Some(*index),
            Place::Entries(range) => place.entries = Some(range.clone()),
            Place::Head(number) => place.head = Some(*number),
            Place::File => {}
        }
        place
    }
}

/// How the command ended; `docs/cli.md` lists the codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done. Also where the reader of the output went away: it has what it wanted.
    Done,
    /// Tried and failed.
    Failed,
    /// Of a comparison: something differs.
    Differs,
    /// The command line, or a request as a whole, makes no sense.
    Usage,
    /// The daemon cannot be reached, or went away before it answered.
    Unreachable,
    /// The rules deny it.
    Denied,
    /// Something that excludes it is under way.
    Busy,
    /// There is no such thing.
    NotFound,
    /// Verification found damage.
    Damaged,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Differs => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Denied => 4,
            Self::Busy => 5,
            Self::NotFound => 6,
            Self::Damaged => 7,
        }
    }
}

/// The table of exit codes for `--help`.
pub const EXIT_HELP: &str = "\
Exit codes:
  0  done
  1  failed; of “checkpoint diff”: something differs, and 2 where it failed
  2  usage: the command line or the request makes no sense
  3  the daemon cannot be reached, or the connection broke before its answer
  4  denied by the rules
  5  busy: something that excludes it is under way
  6  not found
  7  verification found damage";

impl Fault {
    /// The exit code and the word that JSON has for it.
    fn kind(&self) -> (Exit, &'static str) {
        match self {
            Self::Client(error) => match error {
                client::Error::Connect { .. } => (Exit::Unreachable, "unreachable"),
                client::Error::Broken(_) => (Exit::Unreachable, "broken"),
                client::Error::Foreign(_) => (Exit::Failed, "foreign"),
                client::Error::Refused { code, .. } => refused(*code),
            },
            Self::Unexpected => (Exit::Failed, "foreign"),
            Self::Store(error) => match error {
                store::Error::Absent { .. } => (Exit::NotFound, "not_found"),
                store::Error::Locked { .. } => (Exit::Busy, "busy"),
                _ => (Exit::Failed, "failed"),
            },
            Self::Damaged { .. } => (Exit::Damaged, "damaged"),
            Self::Usage(_) => (Exit::Usage, "usage"),
            Self::NotFound(_) => (Exit::NotFound, "not_found"),
            Self::Failed(_) => (Exit::Failed, "failed"),
            Self::Differs => (Exit::Differs, "differs"),
            Self::Trouble(fault) => match fault.kind() {
                (Exit::Failed, code) => (Exit::Usage, code),
                kind => kind,
            },
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => (Exit::Done, "done"),
            Self::Output(_) => (Exit::Failed, "failed"),
        }
    }

    /// Tells it on the error output and gives the exit code.
    pub fn report(&self, json: bool, quiet: bool) -> Exit {
        let (exit, code) = self.kind();
        if matches!(exit, Exit::Done | Exit::Differs) || quiet {
            return exit;
        }
        let message = self.to_string();
        if json {
            let damage = match self {
                Self::Damaged { damage, .. } => damage.as_ref(),
                _ => None,
            };
            report_json(&ErrorBody { code, message: &message, exit: exit.code(), damage });
        } else {
            output::error(&message);
        }
        exit
    }
}

const fn refused(code: Code) -> (Exit, &'static str) {
    match code {
        Code::Denied => (Exit::Denied, "denied"),
        Code::Busy => (Exit::Busy, "busy"),
        Code::NotFound => (Exit::NotFound, "not_found"),
        Code::Invalid => (Exit::Usage, "invalid"),
        Code::NoRoom => (Exit::Failed, "no_room"),
        Code::Failed => (Exit::Failed, "failed"),
    }
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: &'a ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'static str,
    message: &'a str,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<&'a Damage>,
}

fn report_json(error: &ErrorBody<'_>) {
    if let Ok(text) = serde_json::to_string(&ErrorDocument { error }) {
        output::note(&text);
    }
}

/// Tells of a command line that was not understood, as JSON.
pub fn report_usage_json(message: &str) {
    report_json(&ErrorBody { code: "usage", message, exit: Exit::Usage.code(), damage: None });
}
