//! The agent's side of the protocol: reads what the supervisor says, hands tasks to threads, answers heartbeats meanwhile.
//!
//! # Invariants
//!
//! - Only the thread that works on a task speaks of it, and its `result` or `error` is the last that is said of it.
//! - A call's id follows from the work's key and from what is asked, so that the same call of another attempt is the same request.
//! - An id whose answer is outstanding is never sent again: another attempt at the same work waits for the first one's answer.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::agent::lines::{Bounds, Lines, Violation};
use api::agent::protocol::{FromAgent, Id, Payload, ToAgent, VERSION};

use crate::fault::Fault;
use crate::task::{Reply, Task};

/// Longest line that is taken from the supervisor, bytes; its own bound is half of that.
const LINE_MAX: usize = 2 << 20;
/// What the protocol allows an agent.
const CALLS_MAX: usize = 64;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Stack of a thread that works on a task: nothing here recurses but JSON, which nests 64 deep at most.
const STACK: usize = 512 << 10;
/// How long tasks may take to end once the supervisor is gone.
const END_MAX: Duration = Duration::from_secs(2);
/// Longest message of an error, characters.
const MESSAGE_MAX: usize = 2_000;

/// What a role does with a task.
pub type Doing = dyn Fn(&Task) -> Result<Payload, Fault> + Send + Sync;

/// How a task is done.
pub enum Work {
    /// At once, by whoever reads: the output is the input.
    Echo,
    /// By a thread of its own.
    Thread(Box<Doing>),
}

/// What is known of both sides.
pub struct Desk {
    /// Longest line that the supervisor takes.
    line_max: AtomicUsize,
    out: Mutex<std::io::Stdout>,
    open: Mutex<HashMap<Id, Arc<Task>>>,
    /// Told when a task has ended.
    ended: Condvar,
    /// Calls without an answer; none: who asked has ended.
    calls: Mutex<HashMap<Id, Option<Arc<Task>>>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Serves until stdin ends. At most `tasks` tasks are expected at once.
    ///
    /// # Errors
    ///
    /// What the supervisor said is no message, or cannot be read.
    pub fn serve(work: Work, tasks: u32) -> Result<(), String> {
        let desk = Arc::new(Self {
            line_max: AtomicUsize::new(256),
            out: Mutex::new(std::io::stdout()),
            open: Mutex::default(),
            ended: Condvar::new(),
            calls: Mutex::default(),
        });
        let work = Arc::new(work);
        let mut lines = Lines::new(Bounds { line_max: LINE_MAX, second_max: u64::MAX >> 1 });
        let mut stdin = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK];
        // What is answered at once goes out together: one write for all that came together.
        let mut said = String::new();
        let served = loop {
            let count = match stdin.read(&mut chunk) {
                Ok(0) => break Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => break Err(format!("stdin cannot be read: {error}")),
            };
            let heard = lines.feed(chunk.get(..count).unwrap_or_default(), 0, |number, line| {
                desk.hear(&work, tasks, ToAgent::read(number, line)?, &mut said);
                Ok(())
            });
            desk.write(&said);
            said.clear();
            if let Err(violation) = heard {
                break Err(told(&violation));
            }
        };
        desk.finish();
        served
    }

    fn hear(self: &Arc<Self>, work: &Arc<Work>, tasks: u32, message: ToAgent, said: &mut String) {
        match message {
            ToAgent::Hello { line_max, .. } => {
                let line_max = usize::try_from(line_max).unwrap_or(usize::MAX).min(LINE_MAX);
                self.line_max.store(line_max, Ordering::Relaxed);
                self.add(said, &FromAgent::Hello { protocol: VERSION, tasks });
            }
            ToAgent::Heartbeat { sequence } => self.add(said, &FromAgent::Heartbeat { sequence }),
            ToAgent::Task { id, key, input, .. } => match &**work {
                Work::Echo => said.push_str(&self.ending(&id, Ok(input))),
                Work::Thread(_) => {
                    // What was said before the task, above all hello, must be out before its thread speaks.
                    self.write(said);
                    said.clear();
                    self.begin(work, Task::new(Arc::clone(self), id, key, input));
                }
            },
            ToAgent::Cancel { id, .. } => {
                if let Some(task) = held(&self.open).get(&id) {
                    task.cancel();
                }
            }
            ToAgent::Result { id, output } => self.answered(&id, Ok(output)),
            ToAgent::Error { id, code, message, retry } => {
                self.answered(&id, Err(Fault { code, message, retry }));
            }
        }
    }

    fn begin(self: &Arc<Self>, work: &Arc<Work>, task: Task) {
        let task = Arc::new(task);
        held(&self.open).insert(task.id().clone(), Arc::clone(&task));
        let (work, worked) = (Arc::clone(work), Arc::clone(&task));
        let begun = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let outcome = match &*work {
                Work::Thread(work) => work(&worked),
                Work::Echo => Err(Fault::failed("echo needs no thread")),
            };
            worked.desk().end(&worked, outcome);
        });
        if let Err(error) = begun {
            self.end(&task, Err(Fault::unavailable(format!("no thread can be started: {error}"))));
        }
    }

    /// A task's last word.
    fn end(&self, task: &Arc<Task>, outcome: Result<Payload, Fault>) {
        for waiting in held(&self.calls).values_mut() {
            if waiting.as_ref().is_some_and(|asker| Arc::ptr_eq(asker, task)) {
                *waiting = None;
            }
        }
        let line = self.ending(task.id(), outcome);
        // Whoever sees no open task any more must be able to rely on its end being written.
        self.write(&line);
        held(&self.open).remove(task.id());
        self.ended.notify_all();
    }

    fn ending(&self, id: &Id, outcome: Result<Payload, Fault>) -> String {
        let line_max = self.line_max.load(Ordering::Relaxed);
        let fault = match outcome {
            Ok(output) => match (FromAgent::Result { id: id.clone(), output }).line(line_max) {
                Ok(line) => return line,
                Err(long) => Fault::failed(format!("{long} ({line_max} bytes): ask for less")),
            },
            Err(fault) => fault,
        };
        let error = |message: String| {
            let (code, retry) = (fault.code.clone(), fault.retry);
            FromAgent::Error { id: id.clone(), code, message, retry }.line(line_max)
        };
        let message: String = fault.message.chars().filter(|c| *c != '\0').take(MESSAGE_MAX).collect();
        // A line has at least 256 bytes, so one without a message fits.
        error(message).or_else(|_| error(String::new())).unwrap_or_default()
    }

    fn add(&self, said: &mut String, message: &FromAgent) {
        said.push_str(&message.line(self.line_max.load(Ordering::Relaxed)).unwrap_or_default());
    }

    /// Says something of an open task; what does not fit into a line is not said.
    pub fn say(&self, message: &FromAgent) -> Result<(), Fault> {
        let line_max = self.line_max.load(Ordering::Relaxed);
        let line =
            message.line(line_max).map_err(|long| Fault::failed(format!("{long}: {line_max} bytes")))?;
        self.write(&line);
        Ok(())
    }

    fn write(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut out = held(&self.out);
        // Where nobody reads any more, stdin ends too, and with it this program.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            held(&self.open).values().for_each(|task| task.cancel());
        }
    }

    /// Has `task` wait for the answer to call `id`; true where it must be asked first.
    pub fn expect(&self, id: &Id, task: &Arc<Task>) -> Result<bool, Fault> {
        let mut calls = held(&self.calls);
        let is_full = calls.len() >= CALLS_MAX;
        match calls.get_mut(id) {
            Some(waiting @ None) => {
                *waiting = Some(Arc::clone(task));
                Ok(false)
            }
            Some(Some(_)) => Err(Fault::unavailable("another attempt at the same work asks the same")),
            None if is_full => Err(Fault::unavailable(format!("{CALLS_MAX} calls have no answer yet"))),
            None => {
                calls.insert(id.clone(), Some(Arc::clone(task)));
                Ok(true)
            }
        }
    }

    /// The task of this id, where it is open.
    pub fn task(&self, id: &Id) -> Option<Arc<Task>> {
        held(&self.open).get(id).map(Arc::clone)
    }

    /// Forgets a call that was not asked after all.
    pub fn forget(&self, id: &Id) {
        held(&self.calls).remove(id);
    }

    fn answered(&self, id: &Id, reply: Reply) {
        if let Some(Some(task)) = held(&self.calls).remove(id) {
            task.answer(reply);
        }
    }

    /// The supervisor is gone: what is under way ends, so that it leaves nothing running.
    fn finish(&self) {
        let until = Instant::now() + END_MAX;
        let mut open = held(&self.open);
        open.values().for_each(|task| task.cancel());
        while !open.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            open = self.ended.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn told(violation: &Violation) -> String {
    format!("what the supervisor said is not understood: {violation}")
}
