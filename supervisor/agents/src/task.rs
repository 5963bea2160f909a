//! A task as the thread sees it that works on it.

use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::agent::protocol::{FromAgent, Id, Payload};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use types::agent::Capability;

use crate::desk::Desk;
use crate::fault::Fault;

/// After how long progress is told, and again: ten a second are told of an agent, and up to four tasks share them.
const PROGRESS: Duration = Duration::from_secs(1);
/// Bytes of a call's hash that its id has.
const CALL_BYTES: usize = 16;

/// What a call brought.
pub type Reply = Result<Payload, Fault>;

/// A task that is open.
pub struct Task {
    desk: Arc<Desk>,
    id: Id,
    key: Id,
    input: Payload,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    is_cancelled: bool,
    reply: Option<Reply>,
    /// Calls so far.
    calls: u64,
    /// When progress was told last, or the task began.
    told: Instant,
    /// How far it was then.
    done: u64,
    total: Option<u64>,
}

impl Task {
    /// A task that begins now.
    pub fn new(desk: Arc<Desk>, id: Id, key: Id, input: Payload) -> Self {
        let told = Instant::now();
        let state = State { is_cancelled: false, reply: None, calls: 0, told, done: 0, total: None };
        Self { desk, id, key, input, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Its id.
    pub const fn id(&self) -> &Id {
        &self.id
    }

    /// Where it is open.
    pub const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// What it is to be done with.
    pub fn input(&self) -> Result<Value, Fault> {
        serde_json::from_str(self.input.as_str()).map_err(|error| Fault::input(error.to_string()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is not wanted any more.
    pub fn cancel(&self) {
        self.state().is_cancelled = true;
        self.changed.notify_all();
    }

    /// What it asked for is here.
    pub fn answer(&self, reply: Reply) {
        self.state().reply = Some(reply);
        self.changed.notify_all();
    }

    /// To be called wherever work goes on: `done` of `total`, and what is being done.
    ///
    /// # Errors
    ///
    /// The task was cancelled.
    pub fn at(&self, done: u64, total: Option<u64>, text: impl FnOnce() -> String) -> Result<(), Fault> {
        let mut state = self.state();
        if state.is_cancelled {
            return Err(Fault::cancelled());
        }
        (state.done, state.total) = (done, total);
        if state.told.elapsed() < PROGRESS {
            return Ok(());
        }
        state.told = Instant::now();
        drop(state);
        let text = text().chars().filter(|c| *c != '\0').take(200).collect();
        let progress = FromAgent::Progress { id: self.id.clone(), done, total, text: Some(text) };
        // What does not fit into a line is not worth a failure.
        self.desk.say(&progress).or(Ok(()))
    }

    /// Does nothing for a while.
    ///
    /// # Errors
    ///
    /// The task was cancelled.
    pub fn pause(&self, time: Duration, text: &str) -> Result<(), Fault> {
        let until = Instant::now() + time;
        loop {
            let (done, total) = {
                let state = self.state();
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || state.is_cancelled {
                    (state.done, state.total)
                } else {
                    let wait = left.min(PROGRESS);
                    let state =
                        self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                    (state.done, state.total)
                }
            };
            self.at(done, total, || text.to_owned())?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Asks the supervisor for something, and waits for it.
    ///
    /// # Errors
    ///
    /// It was refused, or could not be done; the task was cancelled.
    pub fn call(&self, capability: &str, input: &Value) -> Result<Value, Fault> {
        let me = self.desk.task(&self.id).ok_or_else(Fault::cancelled)?;
        let capability: Capability =
            capability.parse().map_err(|bad| Fault::failed(format!("a capability {bad}")))?;
        let input = Payload::of(input).map_err(|unfit| Fault::failed(format!("the call {unfit}")))?;
        let count = {
            let mut state = self.state();
            // What nobody wants any more is not asked for.
            if state.is_cancelled {
                return Err(Fault::cancelled());
            }
            state.calls += 1;
            state.reply = None;
            state.calls
        };
        let id = call_id(&self.key, count, &capability, input.as_str())?;
        if self.desk.expect(&id, &me)? {
            let message = FromAgent::Call {
                id: id.clone(),
                task: self.id.clone(),
                capability: capability.clone(),
                input,
            };
            self.desk.say(&message).inspect_err(|_| self.desk.forget(&id))?;
        }
        let payload = self.reply(&capability)?;
        serde_json::from_str(payload.as_str())
            .map_err(|error| Fault::failed(format!("the answer to {capability}: {error}")))
    }

    fn reply(&self, capability: &Capability) -> Reply {
        loop {
            let mut state = self.state();
            if let Some(reply) = state.reply.take() {
                return reply
                    .map_err(|fault| Fault { message: format!("{capability}: {}", fault.message), ..fault });
            }
            let (done, total) = (state.done, state.total);
            if !state.is_cancelled {
                drop(self.changed.wait_timeout(state, PROGRESS).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(state);
            }
            self.at(done, total, || format!("waits for {capability}"))?;
        }
    }
}

/// The same for the same question of the same work, whichever attempt asks.
fn call_id(key: &Id, count: u64, capability: &Capability, input: &str) -> Result<Id, Fault> {
    let hash = Sha256::digest(format!("{key}\n{count}\n{capability}\n{input}"));
    hex(hash.get(..CALL_BYTES).unwrap_or_default()).parse().map_err(|_| Fault::failed("no id for a call"))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}
