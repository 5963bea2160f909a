//! The messages on an agent's stdin and stdout: one JSON object a line; see docs/agents.md.
//!
//! # Layout
//!
//! - [`FromAgent`], [`ToAgent`]: what each side says
//! - [`payload`]: inputs and outputs, which nobody between the two ends interprets
//! - [`word`]: ids, codes, levels
//! - `object`: takes a line apart
//!
//! # Invariants
//!
//! - A message of an agent has exactly the fields of its type: what would be ignored is refused, so that no agent
//!   believes it was heard. An agent ignores fields that it does not know.
//! - What is written here is one line, `"type"` first, in the order of the fields below, without spaces: simple enough
//!   for a shell script.

mod object;

pub mod payload;

pub mod word;

#[cfg(test)]
mod tests;

use serde::Serialize;
use types::agent::{Capability, Name};

use self::object::Object;
pub use self::payload::Payload;
pub use self::word::{Code, Id, Level};
use super::lines::Violation;

/// The protocol's version. An agent answers with the version that it speaks; none but this is known.
pub const VERSION: u32 = 1;

/// What an agent says.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromAgent {
    /// First of all, in answer to the supervisor's.
    Hello {
        /// The version that it speaks.
        protocol: u32,
        /// Tasks that it can work on at once, 1 unless given.
        tasks: u32,
    },
    /// How far a task is.
    Progress {
        /// The task.
        id: Id,
        /// What is done, in units of the agent's choice.
        done: u64,
        /// What there is to do in all, in the same units, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// What is being done, for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// Something for the record.
    Log {
        /// The task that it belongs to, if to one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Id>,
        /// How much it matters.
        level: Level,
        /// What is to be recorded.
        text: String,
    },
    /// Asks that something be done that the agent must not, or cannot, do itself. It goes through the gate.
    Call {
        /// The call's id, of the agent's choice, among those that are open.
        id: Id,
        /// The task for which it is asked.
        task: Id,
        /// What is asked, such as `token.read`.
        #[serde(serialize_with = "word::shown")]
        capability: Capability,
        /// What it is asked with.
        input: Payload,
    },
    /// A task is done.
    Result {
        /// The task.
        id: Id,
        /// What came out.
        output: Payload,
    },
    /// A task failed, or was cancelled.
    Error {
        /// The task.
        id: Id,
        /// What kind of failure.
        code: Code,
        /// What happened, for people.
        message: String,
        /// Trying again may help.
        retry: bool,
    },
    /// The answer to the supervisor's.
    Heartbeat {
        /// The number that it bore.
        sequence: u64,
    },
}

/// What the supervisor says.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// First of all.
    Hello {
        /// The version that the supervisor speaks.
        protocol: u32,
        /// What the agent is called.
        #[serde(serialize_with = "word::shown")]
        agent: Name,
        /// Longest line that is taken from it, bytes without the line feed.
        line_max: u64,
        /// How often it is asked for a heartbeat.
        heartbeat_ms: u64,
    },
    /// Something to do.
    Task {
        /// The task's id: what the agent says of it bears this.
        id: Id,
        /// The same for each attempt at the same work: what was done under it must not be done again.
        key: Id,
        /// Which attempt, from 1.
        attempt: u32,
        /// How long it may take.
        timeout_ms: u64,
        /// What to do it with.
        input: Payload,
    },
    /// Stop working on a task, and say so with an error of code `cancelled` (or with its result, if that came first).
    Cancel {
        /// The task.
        id: Id,
        /// After this time the agent is killed.
        grace_ms: u64,
        /// Why, for people.
        reason: String,
    },
    /// What a call brought.
    Result {
        /// The call.
        id: Id,
        /// What came out.
        output: Payload,
    },
    /// Why a call brought nothing.
    Error {
        /// The call.
        id: Id,
        /// What kind of failure; `denied` if the gate refused.
        code: Code,
        /// What happened, for people.
        message: String,
        /// Asking again may help.
        retry: bool,
    },
    /// Are you there?
    Heartbeat {
        /// To be sent back.
        sequence: u64,
    },
}

/// A message as a line with its line feed.
///
/// # Errors
///
/// The line would be longer than `line_max` bytes.
fn line(message: &impl Serialize, line_max: usize) -> Result<String, TooLong> {
    // Structs of texts and numbers always have a JSON form.
    let mut line = serde_json::to_string(message).map_err(|_| TooLong { bytes: 0 })?;
    if line.len() > line_max {
        return Err(TooLong { bytes: line.len() });
    }
    line.push('\n');
    Ok(line)
}

/// A message that does not fit into a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message has {bytes} bytes, more than a line may")]
pub struct TooLong {
    /// How long it would be.
    pub bytes: usize,
}

impl FromAgent {
    /// Reads line `number` of an agent.
    ///
    /// # Errors
    ///
    /// [`Violation::NotJson`], [`Violation::NotAMessage`].
    pub fn read(number: u64, line: &str) -> Result<Self, Violation> {
        let object = Object::read(line).map_err(|why| Violation::NotJson { line: number, why })?;
        Self::understand(object).map_err(|why| Violation::NotAMessage { line: number, why })
    }

    /// The message as a line with its line feed.
    ///
    /// # Errors
    ///
    /// The line would be longer than `line_max` bytes.
    pub fn line(&self, line_max: usize) -> Result<String, TooLong> {
        line(self, line_max)
    }

    fn understand(mut object: Object<'_>) -> Result<Self, String> {
        let kind: String = object.need("type")?;
        let message = match kind.as_str() {
            "hello" => Self::Hello {
                protocol: object.need("protocol")?,
                tasks: object.take("tasks")?.unwrap_or(1).max(1),
            },
            "progress" => Self::Progress {
                id: object.need_word("id")?,
                done: object.need("done")?,
                total: object.take("total")?,
                text: object.take_text("text")?,
            },
            "log" => Self::Log {
                id: object.take_word("id")?,
                level: object.need_word("level")?,
                text: object.need_text("text")?,
            },
            "call" => Self::Call {
                id: object.need_word("id")?,
                task: object.need_word("task")?,
                capability: object.need_word("capability")?,
                input: object.payload("input")?,
            },
            "result" => Self::Result { id: object.need_word("id")?, output: object.payload("output")? },
            "error" => Self::Error {
                id: object.need_word("id")?,
                code: object.need_word("code")?,
                message: object.need_text("message")?,
                retry: object.take("retry")?.unwrap_or(false),
            },
            "heartbeat" => Self::Heartbeat { sequence: object.need("sequence")? },
            other => return Err(format!("the type {other:?} is unknown")),
        };
        object.end()?;
        Ok(message)
    }
}

impl ToAgent {
    /// Reads a line of the supervisor, as an agent does: fields that are unknown are ignored.
    ///
    /// # Errors
    ///
    /// [`Violation::NotJson`], [`Violation::NotAMessage`].
    pub fn read(number: u64, line: &str) -> Result<Self, Violation> {
        let object = Object::read(line).map_err(|why| Violation::NotJson { line: number, why })?;
        Self::understand(object).map_err(|why| Violation::NotAMessage { line: number, why })
    }

    /// The message as a line with its line feed.
    ///
    /// # Errors
    ///
    /// The line would be longer than `line_max` bytes.
    pub fn line(&self, line_max: usize) -> Result<String, TooLong> {
        line(self, line_max)
    }

    fn understand(mut object: Object<'_>) -> Result<Self, String> {
        let kind: String = object.need("type")?;
        Ok(match kind.as_str() {
            "hello" => Self::Hello {
                protocol: object.need("protocol")?,
                agent: object.need_word("agent")?,
                line_max: object.need("line_max")?,
                heartbeat_ms: object.need("heartbeat_ms")?,
            },
            "task" => Self::Task {
                id: object.need_word("id")?,
                key: object.need_word("key")?,
                attempt: object.need("attempt")?,
                timeout_ms: object.need("timeout_ms")?,
                input: object.payload("input")?,
            },
            "cancel" => Self::Cancel {
                id: object.need_word("id")?,
                grace_ms: object.need("grace_ms")?,
                reason: object.need_text("reason")?,
            },
            "result" => Self::Result { id: object.need_word("id")?, output: object.payload("output")? },
            "error" => Self::Error {
                id: object.need_word("id")?,
                code: object.need_word("code")?,
                message: object.need_text("message")?,
                retry: object.take("retry")?.unwrap_or(false),
            },
            "heartbeat" => Self::Heartbeat { sequence: object.need("sequence")? },
            other => return Err(format!("the type {other:?} is unknown")),
        })
    }
}
