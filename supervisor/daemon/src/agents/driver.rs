//! The one thread that reads all agents and the helper.
//!
//! It sleeps until one of them has something, reads each that has, and tells all of it as one batch: the more there is to do, the less
//! each message costs. Only telling makes it wait; then nothing is read, and who writes waits, too.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::agent::protocol::{ToAgent, VERSION};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use sandbox::Exit;
use sandbox::helper::{Event, NotStarted, Pipes};
use tokio::sync::mpsc;

use super::events::{Read, Token, read};
use super::happened::{Batch, Happened, Why};
use super::heard::Heard;
use super::instance::{Instance, LINE_MAX, State};
use super::record::{Record, Stderr};
use super::shared::{CLOSED_MAX, Shared};
use super::timers::{Due, Timer, Timers};
use crate::clock;

/// Events that are taken at once: each agent can have three.
const EVENTS_MAX: usize = 512;
/// Bytes that are read from an agent before the next one has its turn: what a pipe holds.
const READ_MAX: usize = 64 << 10;
/// Reads of what is left when an agent has ended: more than a pipe holds was written by nobody.
const LEFT_MAX: usize = 4;

/// An agent that runs, as the driver alone knows it.
struct Agent {
    instance: Arc<Instance>,
    pid: i32,
    stdout: Option<OwnedFd>,
    heard: Heard,
    stderr: Option<OwnedFd>,
    record: Stderr,
    /// The last heartbeat that was asked for, and what [`Shared::freezes`] was then.
    asked: u64,
    freezes: u64,
}

struct Driver {
    shared: Arc<Shared>,
    told: mpsc::Sender<Batch>,
    record: Record,
    agents: HashMap<u64, Agent>,
    timers: Timers,
    batch: Batch,
    buffer: Vec<u8>,
    is_lost: bool,
}

/// Starts the thread.
pub fn start(shared: Arc<Shared>, told: mpsc::Sender<Batch>, record: Record) -> anyhow::Result<()> {
    let flags = epoll::EventFlags::IN;
    epoll::add(&shared.epoll, &shared.client, Token::HELPER.data(), flags).context("watching the helper")?;
    epoll::add(&shared.epoll, &shared.wake, Token::WAKE.data(), flags).context("watching agents")?;
    let driver = Driver {
        shared,
        told,
        record,
        agents: HashMap::new(),
        timers: Timers::default(),
        batch: Batch::new(),
        buffer: vec![0; READ_MAX],
        is_lost: false,
    };
    std::thread::Builder::new()
        .name("agents".to_owned())
        .spawn(move || driver.run())
        .context("starting the thread that reads agents")?;
    Ok(())
}

impl Driver {
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.shared.is_over() {
            events.clear();
            let now = Instant::now();
            let left = self.timers.next().map(|at| at.saturating_duration_since(now));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut events), left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    self.lost(&format!("agents cannot be watched: {error}"));
                    self.tell();
                    return;
                }
            }
            let now_ns = clock::boottime_ns();
            let now = Instant::now();
            for event in &events {
                self.happened(Token(event.data.u64()), (now, now_ns));
            }
            while let Some(timer) = self.timers.take(now) {
                self.is_due(timer, now);
            }
            if !self.batch.is_empty() && !self.tell() {
                break;
            }
        }
        // Nobody is left to be told.
        _ = self.shared.brake.kill();
    }

    /// Tells what has happened; false where nobody listens any more.
    fn tell(&mut self) -> bool {
        let size = self.batch.len();
        self.told.blocking_send(std::mem::replace(&mut self.batch, Batch::with_capacity(size))).is_ok()
    }

    fn happened(&mut self, token: Token, now: (Instant, u64)) {
        match token {
            Token::HELPER => self.helper(now),
            Token::WAKE => {
                _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
                for timer in self.shared.take_timers() {
                    self.timers.set(timer);
                }
            }
            Token(number) => {
                let instance = number >> 2;
                match number & 3 {
                    Token::STDOUT => drop(self.stdout(instance, now)),
                    Token::STDERR => drop(self.stderr(instance, now.0)),
                    _ => self.stdin(instance),
                }
            }
        }
    }

    fn helper(&mut self, now: (Instant, u64)) {
        self.shared.ask_on();
        loop {
            match self.shared.client.hear() {
                Ok(Some(event)) => self.heard(event, now),
                Ok(None) => return,
                Err(error) => return self.lost(&error.to_string()),
            }
        }
    }

    fn heard(&mut self, event: Event, now: (Instant, u64)) {
        match event {
            Event::Started { instance, pid, pipes } => self.started(instance, pid, pipes, now.0),
            Event::NotStarted { instance, why } => {
                self.ended(instance, Why::NotStarted(why), None, (None, 0))
            }
            Event::Ended { instance, exit, usage, stuck } => {
                // What it said last counts, and was said before it ended.
                for _ in 0..LEFT_MAX {
                    if !self.stdout(instance, now) {
                        break;
                    }
                }
                while self.stderr(instance, now.0) {}
                self.ended(instance, Why::Exited, exit, (usage, stuck));
            }
            Event::Usage { instance, usage } => self.batch.push((instance, Happened::Used(usage))),
            Event::Done { .. } => {}
            Event::Failed { instance, why } => tracing::warn!(?instance, "the helper of agents: {why}"),
        }
    }

    fn started(&mut self, number: u64, pid: i32, pipes: Pipes, now: Instant) {
        let Some(instance) = self.shared.instance(number) else { return };
        let Pipes { stdin, stdout, stderr, kill } = pipes;
        let hello = ToAgent::Hello {
            protocol: VERSION,
            agent: instance.name.clone(),
            line_max: instance.limits.output_line.0,
            heartbeat_ms: u64::try_from(self.shared.patience.heartbeat.as_millis()).unwrap_or(u64::MAX),
        };
        let flags = epoll::EventFlags::IN;
        let watched = epoll::add(&self.shared.epoll, &stdout, Token::stdout(number).data(), flags)
            .and_then(|()| epoll::add(&self.shared.epoll, &stderr, Token::stderr(number).data(), flags));
        {
            let mut state = instance.state();
            state.open(stdin, kill);
            if let Err(error) = watched {
                tracing::error!("agent {} cannot be watched: {error}", instance.name);
                self.shared.condemn(&instance, &mut state, Why::Killed);
            } else if let Some(why) = state.verdict.clone() {
                // It was to be killed before it had started.
                self.shared.condemn(&instance, &mut state, why);
            } else if let Ok(line) = hello.line(LINE_MAX) {
                self.shared.send(&instance, &mut state, &line);
            }
        }
        self.timers.set(Timer { at: now + self.shared.patience.hello, instance: number, due: Due::Hello });
        let agent = Agent {
            pid,
            stdout: Some(stdout),
            heard: Heard::new(&instance.limits),
            stderr: Some(stderr),
            record: self.record.stderr(&instance.name, now),
            asked: 0,
            freezes: self.shared.freezes(),
            instance,
        };
        self.agents.insert(number, agent);
    }

    /// Writes on what an agent had no room for.
    fn stdin(&mut self, number: u64) {
        let Some(instance) = self.shared.instance(number) else { return };
        let mut state = instance.state();
        let watched = |state: &State, is_watched: bool| {
            let Some(stdin) = state.stdin() else { return };
            _ = if is_watched {
                epoll::add(&self.shared.epoll, stdin, Token::stdin(number).data(), epoll::EventFlags::OUT)
            } else {
                epoll::delete(&self.shared.epoll, stdin)
            };
        };
        // First, because writing may close it.
        watched(&state, false);
        if !state.flush() {
            watched(&state, true);
        }
    }

    /// Reads what an agent said; true if there may be more.
    fn stdout(&mut self, number: u64, (now, now_ns): (Instant, u64)) -> bool {
        let Some(agent) = self.agents.get_mut(&number) else { return false };
        let Some(stdout) = &agent.stdout else { return false };
        let bytes = match read(stdout, &mut self.buffer) {
            Read::Bytes(count) => self.buffer.get(..count).unwrap_or_default(),
            Read::Nothing => return false,
            Read::End => &[],
        };
        let is_end = bytes.is_empty();
        let mut state = agent.instance.state();
        let was_ready = agent.heard.is_ready();
        let held = agent.heard.held_progress();
        let result = if is_end {
            agent.heard.finish()
        } else {
            agent.heard.hear(bytes, (now, now_ns), (&mut state, number, agent.pid, &mut self.batch))
        };
        let is_broken = result.is_err();
        if let Err(violation) = result {
            self.shared.condemn(&agent.instance, &mut state, Why::Violation(violation));
        }
        drop(state);
        let mut due =
            |after: Duration, due| self.timers.set(Timer { at: now + after, instance: number, due });
        if !was_ready && agent.heard.is_ready() {
            due(self.shared.patience.heartbeat, Due::Heartbeat);
        }
        if !held && agent.heard.held_progress() {
            due(super::heard::PROGRESS_EVERY, Due::Progress);
        }
        if is_end || is_broken {
            due(CLOSED_MAX, Due::Eof);
            unwatch(&self.shared, &mut agent.stdout);
            return false;
        }
        true
    }

    /// Reads what an agent wrote to its owner; true if there may be more.
    fn stderr(&mut self, number: u64, now: Instant) -> bool {
        let Some(agent) = self.agents.get_mut(&number) else { return false };
        let Some(stderr) = &agent.stderr else { return false };
        let allowed = agent.record.allowance(now).min(self.buffer.len());
        if allowed == 0 {
            // It waits in its own write until then, and nobody else does.
            _ = epoll::modify(
                &self.shared.epoll,
                stderr,
                Token::stderr(number).data(),
                epoll::EventFlags::empty(),
            );
            self.timers.set(Timer { at: now + super::record::PAUSE, instance: number, due: Due::Stderr });
            return false;
        }
        match read(stderr, self.buffer.get_mut(..allowed).unwrap_or_default()) {
            Read::Bytes(count) => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                agent.record.keep(bytes, &mut agent.instance.state().tail);
                true
            }
            Read::Nothing => false,
            Read::End => {
                unwatch(&self.shared, &mut agent.stderr);
                false
            }
        }
    }

    fn is_due(&mut self, Timer { instance: number, due, .. }: Timer, now: Instant) {
        let Some(agent) = self.agents.get_mut(&number) else {
            if due == Due::Hello {
                let why = NotStarted::Failed("the helper of agents takes no more orders".to_owned());
                self.ended(number, Why::NotStarted(why), None, (None, 0));
            }
            return;
        };
        let again = |timers: &mut Timers, after| {
            timers.set(Timer { at: now + after, instance: number, due: due.clone() })
        };
        let is_frozen = self.shared.is_frozen();
        let why = match &due {
            Due::Hello if agent.heard.is_ready() => return,
            Due::Hello if is_frozen => return again(&mut self.timers, self.shared.patience.hello),
            Due::Hello => Why::NoHello,
            Due::Heartbeat => {
                again(&mut self.timers, self.shared.patience.heartbeat);
                match heartbeat(&self.shared, agent) {
                    Some(why) => why,
                    None => return,
                }
            }
            Due::Progress => return agent.heard.tell_progress(number, now, &mut self.batch),
            Due::Stderr => {
                if let Some(stderr) = &agent.stderr {
                    let token = Token::stderr(number).data();
                    _ = epoll::modify(&self.shared.epoll, stderr, token, epoll::EventFlags::IN);
                }
                return;
            }
            Due::Eof => Why::ClosedStdout,
            Due::Stdin => Why::NotReading,
            Due::End => Why::Killed,
            Due::Cancel(task) => match agent.instance.state().tasks.get(task) {
                // Its end came in time; or another task has its name by now.
                Some(Some(until)) if *until <= now => Why::IgnoredCancel(task.clone()),
                _ => return,
            },
        };
        self.shared.condemn(&agent.instance, &mut agent.instance.state(), why);
    }

    /// An agent is no more.
    fn ended(
        &mut self,
        number: u64,
        why: Why,
        exit: Option<Exit>,
        (usage, stuck): (Option<sandbox::Usage>, u32),
    ) {
        let Some(instance) = self.shared.instances().remove(&number) else { return };
        if let Some(mut agent) = self.agents.remove(&number) {
            agent.heard.tell_progress(number, Instant::now(), &mut self.batch);
            unwatch(&self.shared, &mut agent.stdout);
            unwatch(&self.shared, &mut agent.stderr);
        }
        let mut state = instance.state();
        if let Some(stdin) = state.stdin() {
            _ = epoll::delete(&self.shared.epoll, stdin);
        }
        let by_itself = if state.is_asked { Why::Ended } else { why.clone() };
        let why = match why {
            Why::Exited => state.verdict.take().unwrap_or(by_itself),
            other => other,
        };
        let stderr = super::record::last(&state.tail);
        drop(state);
        self.batch.push((number, Happened::Ended { why, exit, usage, stuck, stderr }));
    }

    /// The helper is gone, and with it all agents.
    fn lost(&mut self, why: &str) {
        if std::mem::replace(&mut self.is_lost, true) {
            return;
        }
        _ = epoll::delete(&self.shared.epoll, &self.shared.client);
        // It kills them itself where it can; this holds where it could not.
        _ = self.shared.brake.kill();
        for instance in self.shared.all() {
            self.ended(instance.number, Why::HelperLost, None, (None, 0));
        }
        self.batch.push((0, Happened::HelperLost(why.to_owned())));
    }
}

/// Asks an agent whether it is there, unless it has not answered too often.
fn heartbeat(shared: &Shared, agent: &mut Agent) -> Option<Why> {
    let freezes = shared.freezes();
    if agent.freezes != freezes {
        // What was asked while all stood still, or just before, counts for nothing.
        agent.freezes = freezes;
        agent.heard.forgive(agent.asked);
    }
    if shared.is_frozen() {
        return None;
    }
    if agent.asked.saturating_sub(agent.heard.answered()) >= shared.patience.misses {
        return Some(Why::Silent);
    }
    agent.asked += 1;
    agent.heard.asked(agent.asked);
    if let Ok(line) = (ToAgent::Heartbeat { sequence: agent.asked }).line(LINE_MAX) {
        shared.send(&agent.instance, &mut agent.instance.state(), &line);
    }
    None
}

fn unwatch(shared: &Shared, fd: &mut Option<OwnedFd>) {
    if let Some(fd) = fd.take() {
        _ = epoll::delete(&shared.epoll, &fd);
    }
}
