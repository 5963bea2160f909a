//! What an agent said, line by line, and whether it may say that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use api::agent::lines::{Bounds, Lines, Violation};
use api::agent::protocol::{FromAgent, Id, Level, VERSION};
use types::agent::Limits;

use super::happened::{Batch, Happened};
use super::instance::State;

/// Most calls that an agent may have open.
const CALLS_MAX: usize = 64;
/// Progress is told at most so often; of what comes in between, the last counts.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Records of an agent that are told in a second, on average and at once; the others are counted.
const LOGS_SECOND: u32 = 100;

/// What one agent has said so far.
#[derive(Debug)]
pub struct Heard {
    lines: Option<Lines>,
    words: Words,
}

#[derive(Debug)]
struct Words {
    is_ready: bool,
    /// The last heartbeat that was asked for, and that was answered.
    asked: u64,
    answered: u64,
    /// Progress that is not told yet, by task; only of open ones.
    progress: HashMap<Id, Happened>,
    progress_at: Option<Instant>,
    logs: Logs,
}

/// How many records may be told.
#[derive(Debug)]
struct Logs {
    since: Option<Instant>,
    count: u32,
    dropped: u64,
}

/// Where what is heard goes: the agent's state, its number, its process, the batch.
type To<'t> = (&'t mut State, u64, i32, &'t mut Batch);

impl Heard {
    /// Nothing yet.
    pub fn new(limits: &Limits) -> Self {
        let line_max = usize::try_from(limits.output_line.0).unwrap_or(usize::MAX);
        let bounds = Bounds { line_max, second_max: limits.output_second.0 };
        let words = Words {
            is_ready: false,
            asked: 0,
            answered: 0,
            progress: HashMap::new(),
            progress_at: None,
            logs: Logs { since: None, count: 0, dropped: 0 },
        };
        Self { lines: Some(Lines::new(bounds)), words }
    }

    /// It has said hello.
    pub const fn is_ready(&self) -> bool {
        self.words.is_ready
    }

    /// The last heartbeat that was answered.
    pub const fn answered(&self) -> u64 {
        self.words.answered
    }

    /// A heartbeat was asked for.
    pub const fn asked(&mut self, sequence: u64) {
        self.words.asked = sequence;
    }

    /// Heartbeats up to this one need no answer.
    pub fn forgive(&mut self, sequence: u64) {
        self.words.answered = self.words.answered.max(sequence);
    }

    /// Progress waits to be told.
    pub fn held_progress(&self) -> bool {
        !self.words.progress.is_empty()
    }

    /// Tells progress that was held back.
    pub fn tell_progress(&mut self, number: u64, now: Instant, batch: &mut Batch) {
        self.words.progress_at = Some(now);
        batch.extend(self.words.progress.drain().map(|(_, progress)| (number, progress)));
    }

    /// Takes what came at this time: monotonic, and by the clock that goes on while the machine sleeps.
    ///
    /// # Errors
    ///
    /// The first violation; what was said before it was told.
    pub fn hear(&mut self, bytes: &[u8], now: (Instant, u64), to: To<'_>) -> Result<(), Violation> {
        let Self { lines: Some(lines), words } = self else { return Ok(()) };
        let (state, number, pid, batch) = to;
        lines.feed(bytes, now.1, |line, text| {
            let message = FromAgent::read(line, text)?;
            words
                .take(message, now.0, (state, number, pid, batch))
                .map_err(|why| Violation::NotAMessage { line, why })
        })
    }

    /// Its stdout has ended.
    ///
    /// # Errors
    ///
    /// [`Violation::CutOff`].
    pub fn finish(&mut self) -> Result<(), Violation> {
        self.lines.take().map_or(Ok(()), Lines::finish)
    }
}

impl Words {
    /// Understands a message where it stands; what is wrong with it there.
    fn take(&mut self, message: FromAgent, now: Instant, to: To<'_>) -> Result<(), String> {
        let (state, number, pid, batch) = to;
        let mut tell = |happened| batch.push((number, happened));
        if let FromAgent::Hello { protocol, tasks } = message {
            if self.is_ready {
                return Err("hello is said once".to_owned());
            }
            if protocol != VERSION {
                return Err(format!("protocol {protocol} is unknown here"));
            }
            self.is_ready = true;
            tell(Happened::Ready { pid, tasks });
            return Ok(());
        }
        if !self.is_ready {
            return Err("hello comes first".to_owned());
        }
        let open = |state: &State, task: &Id| {
            if state.tasks.contains_key(task) { Ok(()) } else { Err(format!("no task {task} is open")) }
        };
        match message {
            FromAgent::Hello { .. } => {}
            FromAgent::Progress { id, done, total, text } => {
                open(state, &id)?;
                let progress = Happened::Progress { task: id.clone(), done, total, text };
                if self.progress.is_empty() && self.progress_at.is_none_or(|at| now >= at + PROGRESS_EVERY) {
                    self.progress_at = Some(now);
                    tell(progress);
                } else {
                    self.progress.insert(id, progress);
                }
            }
            FromAgent::Log { id, level, text } => {
                for log in self.logs.take(now, Happened::Log { task: id, level, text }) {
                    tell(log);
                }
            }
            FromAgent::Call { id, task, capability, input } => {
                open(state, &task)?;
                if state.calls.len() >= CALLS_MAX {
                    return Err(format!("{CALLS_MAX} calls are open"));
                }
                if !state.calls.insert(id.clone()) {
                    return Err(format!("a call {id} is open already"));
                }
                tell(Happened::Called { id, task, capability, input });
            }
            FromAgent::Result { id, output } => {
                open(state, &id)?;
                state.tasks.remove(&id);
                self.progress.remove(&id);
                tell(Happened::Done { task: id, output });
            }
            FromAgent::Error { id, code, message, retry } => {
                open(state, &id)?;
                state.tasks.remove(&id);
                self.progress.remove(&id);
                tell(Happened::Failed { task: id, code, message, retry });
            }
            FromAgent::Heartbeat { sequence } => {
                if sequence > self.asked {
                    return Err(format!("heartbeat {sequence} was not asked for"));
                }
                self.answered = self.answered.max(sequence);
            }
        }
        Ok(())
    }
}

impl Logs {
    /// The record, if it may be told, behind a word on those that could not.
    fn take(&mut self, now: Instant, log: Happened) -> impl Iterator<Item = Happened> + use<> {
        let is_new = self.since.is_none_or(|since| now >= since + Duration::from_secs(1));
        if is_new {
            self.since = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        let is_told = self.count <= LOGS_SECOND;
        let dropped = if is_told { std::mem::take(&mut self.dropped) } else { 0 };
        if !is_told {
            self.dropped += 1;
        }
        let text = format!("{dropped} records were not taken: an agent has {LOGS_SECOND} in a second");
        let missing = Happened::Log { task: None, level: Level::Warning, text };
        (dropped > 0).then_some(missing).into_iter().chain(is_told.then_some(log))
    }
}
