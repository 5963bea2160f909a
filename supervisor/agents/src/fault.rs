//! Why a task has no result.

use api::agent::protocol::Code;
use api::agent::protocol::word::Known;

/// Why a task has no result, as its `error` tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What kind of failure.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
    /// Another attempt may help.
    pub retry: bool,
}

impl Fault {
    fn new(code: Known, message: impl Into<String>, retry: bool) -> Self {
        Self { code: code.into(), message: message.into(), retry }
    }

    /// What the task was given makes no sense.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Known::Input, message, false)
    }

    /// It was tried, and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Known::Failed, message, false)
    }

    /// It is not allowed.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Known::Denied, message, false)
    }

    /// What it takes is not there now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Known::Unavailable, message, true)
    }

    /// As asked.
    pub fn cancelled() -> Self {
        Self::new(Known::Cancelled, "as asked", false)
    }

    /// What an error of the system comes to: `what` could not be done.
    pub fn system(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let message = format!("{what}: {error}");
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::denied(message),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput => Self::input(message),
            _ => Self::failed(message),
        }
    }
}
