//! What is asked of agents that run, from any thread. Nothing here waits.

use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::agent::protocol::{Code, Id, Payload, ToAgent};
use rustix::event::{EventfdFlags, epoll, eventfd};
use sandbox::Brake;
use sandbox::helper::{Client, Effect};
use tokio::sync::mpsc;
use types::agent::{Limits, Name};
use types::hash::Hash;

use super::driver;
use super::happened::{Batch, Why};
use super::instance::{Instance, LINE_MAX, State};
use super::record::Record;
use super::shared::Shared;
use super::timers::Due;

/// Numbers of agents are below: two bits say which of its pipes is meant.
const INSTANCE_MAX: u64 = 1 << 61;
/// How patient the supervisor is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long an agent may take to say hello.
    pub hello: Duration,
    /// How often it is asked for a heartbeat.
    pub heartbeat: Duration,
    /// As many unanswered in a row are too many.
    pub misses: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { hello: Duration::from_secs(30), heartbeat: Duration::from_secs(5), misses: 3 }
    }
}

/// An agent to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its number, below 2^61; no agent that runs may have it.
    pub instance: u64,
    /// What it is called.
    pub name: Name,
    /// Its definition.
    pub path: PathBuf,
    /// SHA-256 of the definition that was approved.
    pub hash: Hash,
    /// What the definition allows.
    pub limits: Limits,
}

/// Why a call brought nothing.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What kind of failure.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
    /// Asking again may help.
    pub retry: bool,
}

/// All agents that run. When the last copy is dropped, they are killed.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl Fleet {
    /// Nobody runs yet. What happens is told to `told`, in order; while it is full nothing is read from agents.
    ///
    /// What agents write to stderr is kept in `logs`, a folder that is made.
    pub fn new(
        (client, brake): (Client, Brake),
        told: mpsc::Sender<Batch>,
        logs: &Path,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let record = Record::start(logs)?;
        let shared = Arc::new(Shared {
            client,
            brake,
            asks: Mutex::default(),
            instances: RwLock::default(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("watching agents")?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("watching agents")?,
            timers: Mutex::default(),
            freezes: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            patience,
        });
        driver::start(Arc::clone(&shared), told, record)?;
        let alive = Arc::new(Alive(Arc::clone(&shared)));
        Ok(Self { shared, _alive: alive })
    }

    /// Has an agent started. What becomes of it is told; nothing happens where one of that number runs.
    pub fn start(&self, start: Start, _permit: policy::Permit) {
        let Start { instance, name, path, hash, limits } = start;
        let found = Arc::new(Instance::new(instance, name, limits));
        match self.shared.instances().entry(instance) {
            Entry::Vacant(place) if instance < INSTANCE_MAX => drop(place.insert(found)),
            _ => return tracing::error!("agent {instance} is not started: its number is taken or too large"),
        }
        if !self.shared.ask(Effect::Start { instance, path, hash }) {
            self.shared.due(Instant::now(), instance, Due::Hello);
        }
    }

    /// Gives an agent something to do; false where it cannot be told: it has not started, is ending or has ended, or the message
    /// is too long. Until the task's end is told it is open.
    pub fn task(
        &self,
        instance: u64,
        (id, key): (Id, Id),
        attempt: u32,
        timeout: Duration,
        input: Payload,
    ) -> bool {
        let timeout_ms = milliseconds(timeout);
        let task = id.clone();
        let Ok(line) = (ToAgent::Task { id, key, attempt, timeout_ms, input }).line(LINE_MAX) else {
            return false;
        };
        self.with(instance, |found, state| {
            if !state.is_open() {
                return false;
            }
            // Before it is told, so that its answer is never a surprise.
            state.tasks.insert(task, None);
            self.shared.send(found, state, &line)
        })
    }

    /// Tells an agent to stop working on a task; after `grace` it is killed, if the task has not ended. False where no such task is open.
    pub fn cancel(&self, instance: u64, task: &Id, grace: Duration, reason: &str) -> bool {
        let message = ToAgent::Cancel {
            id: task.clone(),
            grace_ms: milliseconds(grace),
            reason: reason.replace('\0', ""),
        };
        let Ok(line) = message.line(LINE_MAX) else { return false };
        let at = Instant::now() + grace;
        let is_open = self.with(instance, |found, state| {
            let Some(until) = state.tasks.get_mut(task) else { return false };
            // A second cancel cannot give more time.
            *until = Some(until.map_or(at, |until| until.min(at)));
            self.shared.send(found, state, &line);
            true
        });
        if is_open {
            self.shared.due(at, instance, Due::Cancel(task.clone()));
        }
        is_open
    }

    /// Answers a call; false where none of that id is open, or the answer is too long for a message.
    pub fn answer(&self, instance: u64, call: &Id, answer: Result<Payload, Refused>) -> bool {
        let id = call.clone();
        let message = match answer {
            Ok(output) => ToAgent::Result { id, output },
            Err(Refused { code, message, retry }) => {
                ToAgent::Error { id, code, message: message.replace('\0', ""), retry }
            }
        };
        let Ok(line) = message.line(LINE_MAX) else { return false };
        self.with(instance, |found, state| state.calls.remove(call) && self.shared.send(found, state, &line))
    }

    /// Asks an agent to end by closing its stdin; after `grace` it is killed.
    pub fn end(&self, instance: u64, grace: Duration) {
        let has_started = self.with(instance, |_, state| {
            let has_started = state.stdin().is_some();
            state.close();
            has_started
        });
        if has_started {
            self.shared.due(Instant::now() + grace, instance, Due::End);
        } else {
            self.kill(instance);
        }
    }

    /// Kills an agent.
    pub fn kill(&self, instance: u64) {
        self.with(instance, |found, state| {
            self.shared.condemn(found, state, Why::Killed);
            true
        });
    }

    /// Has [`Used`](super::happened::Happened::Used) told of an agent.
    #[cfg_attr(not(test), expect(dead_code, reason = "nobody shows it yet"))]
    pub fn usage(&self, instance: u64) {
        self.shared.ask(Effect::Usage { instance });
    }

    /// The last of what an agent wrote to stderr; nothing where none of that number runs.
    pub fn stderr(&self, instance: u64) -> Option<Vec<u8>> {
        let found = self.shared.instance(instance)?;
        let tail = found.state().tail.iter().copied().collect();
        Some(tail)
    }

    /// Stops all agents by one write. Time that they stand still does not count against them, but for tasks that were cancelled.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn freeze_all(&self) -> Result<(), sandbox::Error> {
        let result = self.shared.brake.freeze();
        if result.is_ok() {
            self.shared.freezes.fetch_or(1, Ordering::AcqRel);
        }
        result
    }

    /// Lets them go on.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn thaw_all(&self) -> Result<(), sandbox::Error> {
        let result = self.shared.brake.thaw();
        if result.is_ok() && self.shared.is_frozen() {
            self.shared.freezes.fetch_add(1, Ordering::AcqRel);
        }
        result
    }

    /// Kills all agents by one write.
    ///
    /// # Errors
    ///
    /// The kernel refused; the helper was asked to do it then.
    pub fn kill_all(&self) -> Result<(), sandbox::Error> {
        let killed = self.shared.brake.kill();
        for found in self.shared.all() {
            found.state().verdict.get_or_insert(Why::Killed);
        }
        // Those whose programs have not started yet are the helper's, too.
        self.shared.ask(Effect::KillAll);
        killed
    }

    /// What waits for all agents to stand still, or to be dead; and lists those that are not.
    pub fn brake(&self) -> &Brake {
        &self.shared.brake
    }

    fn with(&self, instance: u64, act: impl FnOnce(&Arc<Instance>, &mut State) -> bool) -> bool {
        self.shared.instance(instance).is_some_and(|found| act(&found, &mut found.state()))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
