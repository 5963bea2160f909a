//! Agents: processes are started, told and ended; and all of them stopped at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::agent::protocol::word::Known;
use api::agent::protocol::{Id, Payload};
use api::wire;
use engine::fleet::decide::{Found as Defined, Heard};
use engine::run::decide::Said;
use engine::run::fact::TaskRef;
use engine::run::{Act, What};
use engine::{Event, Standing};
use policy::{Denial, Permit, Rules};
use tokio::sync::mpsc;
use types::agent::{Capability, Limits};
use types::hash::Hash;

use crate::agents::fleet::{Fleet, Refused, Start};
use crate::agents::folders::Found;
use crate::agents::happened::{Batch, Happened};
use crate::run::Message;

/// A refusal as agents are told.
fn refused(code: Known, message: &str) -> Refused {
    Refused { code: code.into(), message: message.to_owned(), retry: code == Known::Unavailable }
}

const fn code_of(code: wire::Code) -> Known {
    match code {
        wire::Code::Denied => Known::Denied,
        wire::Code::Busy | wire::Code::NoRoom => Known::Unavailable,
        wire::Code::NotFound | wire::Code::Invalid => Known::Input,
        wire::Code::Failed => Known::Failed,
    }
}

/// How long an agent may take to stop with a task, and to end, before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// In which time all agents are to stand still.
const FROZEN_MAX: Duration = Duration::from_millis(85);
/// In which time all are to be gone.
const KILLED_MAX: Duration = Duration::from_millis(500);

/// Agents, as effects get at them.
pub struct Agents {
    fleet: Fleet,
    rules: Rules,
    /// What the files allow that are there, by their hashes; and what is wrong with others.
    known: Mutex<(HashMap<Hash, Limits>, Vec<Found>)>,
    /// Processes with lower numbers were stopped with all others: what was decided of them before and is let out now is void.
    floor: AtomicU64,
    /// What happened that no agent told: a process that could not be reached.
    unheard: mpsc::UnboundedSender<Event>,
}

impl Agents {
    pub fn new(fleet: Fleet, rules: Rules, unheard: mpsc::UnboundedSender<Event>) -> Self {
        Self { fleet, rules, known: Mutex::default(), floor: AtomicU64::new(0), unheard }
    }

    fn known(&self) -> MutexGuard<'_, (HashMap<Hash, Limits>, Vec<Found>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are the files that there are. Files of before are remembered: a process may still run by them.
    pub fn found(&self, all: Vec<Found>) -> Event {
        let mut known = self.known();
        let defined = all.iter().filter_map(|found| {
            let definition = found.definition.as_ref().ok()?.clone();
            Some(Defined { path: found.path.to_string_lossy().into_owned(), uid: found.uid, definition })
        });
        let defined: Vec<Defined> = defined.collect();
        known.0 = defined.iter().map(|one| (one.definition.hash, one.definition.limits)).collect();
        known.1 = all.into_iter().filter(|found| found.definition.is_err()).collect();
        Event::Agents(defined)
    }

    /// The files that have mistakes.
    pub fn wrong(&self) -> Vec<Found> {
        self.known().1.clone()
    }

    /// The last of what a process wrote to its error output.
    pub fn stderr(&self, instance: u64) -> Option<Vec<u8>> {
        self.fleet.stderr(instance)
    }

    /// Does what a fact asks for. Nothing here waits.
    pub fn act(&self, act: Act, now_ns: i64) {
        if act.what.instance() < self.floor.load(Ordering::Acquire) {
            return;
        }
        let grant = policy::Grant::from(&act.grant);
        let permit = match act.standing {
            Standing::Beginning => policy::redeem(&self.rules, &grant, act.order, now_ns),
            Standing::GoingOn => policy::redeem_next(&self.rules, &grant, act.order),
            Standing::Ending => policy::redeem_undo(&grant, act.order),
        };
        match permit {
            Ok(permit) => self.permitted(act.what, permit),
            Err(denial) => self.denied(&act.what, &denial),
        }
    }

    fn permitted(&self, what: What, permit: Permit) {
        match what {
            What::Start { instance, name, path, hash } => {
                let limits = self.known().0.get(&hash).copied().unwrap_or_default();
                self.fleet.start(Start { instance, name, path: path.into(), hash, limits }, permit);
            }
            What::Task { instance, task, timeout_ns, input } => {
                let told = self.tell(instance, task, timeout_ns, input, permit);
                if !told {
                    self.unreached(instance, task, "it could not be told");
                }
            }
            What::Cancel { instance, task } => {
                if let Ok(id) = task.to_string().parse() {
                    self.fleet.cancel(instance, &id, GRACE, "it is not wanted any more");
                }
            }
            What::Leave { instance } => self.fleet.end(instance, GRACE),
        }
    }

    fn tell(&self, instance: u64, task: TaskRef, timeout_ns: u64, input: String, _permit: Permit) -> bool {
        let ids = task.to_string().parse::<Id>().and_then(|id| Ok((id, task.key().parse::<Id>()?)));
        let (Ok(ids), Ok(input)) = (ids, Payload::from_json(input)) else { return false };
        self.fleet.task(instance, ids, task.attempt, Duration::from_nanos(timeout_ns), input)
    }

    /// What was begun could not be: its end is told as an agent would have told it.
    fn unreached(&self, instance: u64, task: TaskRef, why: &str) {
        let said = Said::Failed { code: "unavailable".to_owned(), message: why.to_owned(), retry: true };
        self.unheard.send(Event::Agent { instance, heard: Heard::Task(task, said) }).ok();
    }

    fn denied(&self, what: &What, denial: &Denial) {
        let why = format!("denied: {denial}");
        match what {
            What::Task { instance, task, .. } => self.unreached(*instance, *task, &why),
            What::Start { instance, .. } => {
                let heard = Heard::Ended { reason: why, is_failure: false };
                self.unheard.send(Event::Agent { instance: *instance, heard }).ok();
            }
            What::Cancel { .. } | What::Leave { .. } => tracing::warn!("an end was {why}"),
        }
    }

    /// Tells an agent what its call has brought.
    pub fn answer(&self, instance: u64, call: &Id, body: &wire::Body) {
        let answer = match body {
            wire::Body::Progress { .. } => return,
            wire::Body::Done { answer } => {
                Payload::of(answer).map_err(|unfit| refused(Known::Failed, &unfit.to_string()))
            }
            wire::Body::Refused { code, message } => Err(refused(code_of(*code), message)),
        };
        self.fleet.answer(instance, call, answer);
    }

    /// Stops all agents now: how long it took until they stood still and until they were gone, and what is left. Processes that are still to be
    /// started and have lower numbers than this one never are.
    pub fn stop_all(&self, floor: u64) -> (Option<u64>, Option<u64>, Vec<i32>) {
        self.floor.fetch_max(floor, Ordering::AcqRel);
        let began = Instant::now();
        let since = |began: Instant| u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let brake = self.fleet.brake();
        // What cannot be frozen is killed all the same.
        let is_frozen = self.fleet.freeze_all().is_ok() && brake.wait_frozen(FROZEN_MAX).unwrap_or(false);
        let frozen_ns = is_frozen.then(|| since(began));
        if let Err(error) = self.fleet.kill_all() {
            tracing::error!("agents cannot be killed at once: {error}");
        }
        let left = KILLED_MAX.saturating_sub(began.elapsed());
        let is_gone = brake.wait_empty(left).is_ok();
        let killed_ns = is_gone.then(|| since(began));
        let left = if is_gone { Vec::new() } else { brake.processes().unwrap_or_default() };
        if let Err(error) = self.fleet.thaw_all() {
            tracing::error!("agents that start now stand still: {error}");
        }
        (frozen_ns, killed_ns, left)
    }
}

/// An agent asks for something.
#[derive(Debug)]
pub struct Called {
    /// Its process.
    pub instance: u64,
    /// The call.
    pub call: Id,
    /// For which task; none of a name that is no task's.
    pub task: Option<TaskRef>,
    /// What it asks for.
    pub capability: Capability,
    /// With what, JSON.
    pub input: String,
}

/// What happened, as the engine hears it; nothing for what it need not know.
pub fn heard(batch: Batch) -> anyhow::Result<Vec<Message>> {
    let mut events = Vec::with_capacity(batch.len());
    for (instance, happened) in batch {
        let task = |id: &Id| id.to_string().parse::<TaskRef>().ok();
        let heard = match happened {
            Happened::Ready { pid, tasks } => Heard::Ready { pid, tasks },
            Happened::Done { task: id, output } => match task(&id) {
                Some(task) => Heard::Task(task, Said::Done(output.into_json())),
                None => continue,
            },
            Happened::Failed { task: id, code, message, retry } => match task(&id) {
                Some(task) => Heard::Task(task, Said::Failed { code: code.to_string(), message, retry }),
                None => continue,
            },
            Happened::Ended { why, exit, usage, stuck, stderr } => {
                tracing::debug!(instance, ?exit, ?usage, stuck, "an agent has ended: {why}");
                let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
                let said = last.map_or_else(String::new, |line| format!("; it said: {line}"));
                let is_failure = !matches!(why.name(), "ended" | "killed");
                Heard::Ended { reason: format!("{why}{said}"), is_failure }
            }
            Happened::HelperLost(why) => anyhow::bail!(
                "the helper of agents has ended: {why}; stopping, so that the next start has one"
            ),
            Happened::Called { id, task: of, capability, input } => {
                let input = input.into_json();
                events.push(Message::Called(Called {
                    instance,
                    call: id,
                    task: task(&of),
                    capability,
                    input,
                }));
                continue;
            }
            Happened::Log { task, level, text } => {
                let task = task.map_or_else(String::new, |task| task.to_string());
                tracing::info!(instance, %task, level = %level, "an agent says: {}", text.escape_debug());
                continue;
            }
            Happened::Progress { task, done, total, text } => {
                tracing::debug!(instance, %task, done, total, text, "progress");
                continue;
            }
            Happened::Used(usage) => {
                tracing::debug!(instance, ?usage, "used");
                continue;
            }
        };
        events.push(Message::Event(Event::Agent { instance, heard }));
    }
    Ok(events)
}
