//! What is under way, on the error output: one line that changes on a terminal, else a line for each phase and, of what takes long, for
//! each while.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{output, time};

/// People wait this long before they ask what goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the line of a terminal counts on.
const TICK: Duration = Duration::from_secs(1);
/// How often a line says how far it has come where there is no terminal.
const WHILE: Duration = Duration::from_secs(10);
/// Phases that wait to be written; more hold up the work's reader, not the work.
const PHASES_MAX: usize = 64;
/// Longest line on a terminal, characters: one that wraps could not be replaced.
const LINE_MAX: usize = 76;
/// How wide the bar is, characters.
const BAR: u64 = 8;

/// When phases are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// At once.
    Phases,
    /// Once the work has lasted for [`PATIENCE`].
    Late,
    /// Not at all.
    Nothing,
}

/// What a position counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Entries of a log.
    Entries,
}

impl Unit {
    fn text(self, number: u64) -> String {
        match self {
            Self::Bytes => output::bytes(number),
            Self::Entries => output::count(number, "entry", "entries"),
        }
    }
}

/// How far a phase has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Position {
    unit: Unit,
    done: u64,
    total: u64,
    /// When the phase began.
    since: Instant,
}

/// Shows what is under way until it is dropped.
pub struct Progress {
    phases: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
    position: Arc<Mutex<Option<Position>>>,
}

impl Progress {
    /// Begins; `doing` names the work.
    pub fn start(doing: &str, show: Show) -> Self {
        let position = Arc::default();
        if show == Show::Nothing {
            return Self { phases: None, writer: None, position };
        }
        let (sender, phases) = sync_channel(PHASES_MAX);
        let line = Line {
            doing: doing.to_owned(),
            phase: None,
            position: Arc::clone(&position),
            terminal: io::stderr().is_terminal(),
            start: Instant::now(),
            silence: if show == Show::Late { PATIENCE } else { Duration::ZERO },
            shown: None,
        };
        let writer = std::thread::spawn(move || line.run(&phases));
        Self { phases: Some(sender), writer: Some(writer), position }
    }

    /// The work has reached a phase.
    pub fn reach(&self, phase: &str) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(phases) = &self.phases {
            // The writer ends only after this sender does.
            let _ = phases.send(phase.to_owned());
        }
    }

    /// The phase has come so far.
    pub fn at(&self, unit: Unit, done: u64, total: u64) {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let since = position.map_or_else(Instant::now, |before| before.since);
        *position = Some(Position { unit, done, total, since });
    }

    /// Work on a log's files has come so far.
    pub fn at_bytes(&self, position: store::log::Position) {
        self.at(Unit::Bytes, position.done, position.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.phases = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Line {
    doing: String,
    phase: Option<String>,
    position: Arc<Mutex<Option<Position>>>,
    terminal: bool,
    start: Instant,
    /// Phases are kept back for so long.
    silence: Duration,
    /// When it was last.
    shown: Option<Instant>,
}

impl Line {
    fn run(mut self, phases: &Receiver<String>) {
        loop {
            match phases.recv_timeout(TICK) {
                Ok(phase) => {
                    self.phase = Some(phase);
                    if self.start.elapsed() >= self.silence {
                        self.show();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.start.elapsed() >= PATIENCE && self.is_due() {
                        self.show();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.terminal && self.shown.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }

    fn position(&self) -> Option<Position> {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self) -> bool {
        let has_position = self.position().is_some();
        self.terminal || self.shown.is_none_or(|shown| has_position && shown.elapsed() >= WHILE)
    }

    fn show(&mut self) {
        self.shown = Some(Instant::now());
        let position = self.position().map(|position| (position, position.since.elapsed()));
        let text = text(&self.doing, self.phase.as_deref(), position.as_ref());
        if !self.terminal {
            return output::note(&text);
        }
        let end = match position {
            Some((position, _)) => format!(" {}", bar(&position)),
            None => format!(" · {} s", self.start.elapsed().as_secs()),
        };
        let room = LINE_MAX.saturating_sub(end.chars().count());
        let text: String = output::clean(&text).chars().take(room).collect();
        let mut err = io::stderr().lock();
        let _ = write!(err, "\r\x1b[2K{text}{end}");
        let _ = err.flush();
    }
}

/// What is under way, and how far it has come in so long a time.
fn text(doing: &str, phase: Option<&str>, position: Option<&(Position, Duration)>) -> String {
    let what = match (phase, position) {
        (Some(phase), Some((position, passed))) => format!("{phase}: {}", told(position, *passed)),
        (Some(phase), None) => phase.to_owned(),
        (None, Some((position, passed))) => told(position, *passed),
        (None, None) => "under way".to_owned(),
    };
    format!("{doing}: {what}")
}

fn bar(position: &Position) -> String {
    let filled = (0..BAR).filter(|step| {
        u128::from(*step) * u128::from(position.total) < u128::from(position.done) * u128::from(BAR)
    });
    let filled = filled.count();
    let left = usize::try_from(BAR).unwrap_or_default().saturating_sub(filled);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(left))
}

/// How far it is, how fast it goes, and what is left.
fn told(position: &Position, passed: Duration) -> String {
    let Position { unit, done, total, .. } = *position;
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    let mut text = format!("{percent} % of {}", unit.text(total));
    let passed_ms = passed.as_millis();
    if done == 0 || passed_ms == 0 {
        return text;
    }
    let rate = u64::try_from(u128::from(done) * 1000 / passed_ms).unwrap_or(u64::MAX);
    let left_ms = u128::from(total.saturating_sub(done)) * passed_ms / u128::from(done);
    let left = time::span(u64::try_from(left_ms.div_ceil(1000)).unwrap_or(u64::MAX));
    let rate = match unit {
        Unit::Bytes => output::bytes(rate),
        Unit::Entries => rate.to_string(),
    };
    let _ = write!(text, ", {rate}/s, {left} left");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unit: Unit, done: u64, total: u64) -> Position {
        Position { unit, done, total, since: Instant::now() }
    }

    #[test]
    fn position_rate_and_time_left_are_told() {
        let quarter = at(Unit::Bytes, 1 << 30, 4 << 30);
        assert_eq!(told(&quarter, Duration::from_secs(4)), "25 % of 4.0 GiB, 256.0 MiB/s, 12 s left");
        assert_eq!(bar(&quarter), "[##------]");
        assert_eq!(
            text("verify the log", None, Some(&(quarter, Duration::from_secs(4)))),
            "verify the log: 25 % of 4.0 GiB, 256.0 MiB/s, 12 s left"
        );
        assert_eq!(text("work", Some("phase"), None), "work: phase");
        assert_eq!(text("work", None, None), "work: under way");
        let entries = at(Unit::Entries, 1_000_000, 361_000_000);
        assert_eq!(
            told(&entries, Duration::from_secs(10)),
            "0 % of 361000000 entries, 100000/s, 1 h 0 min left"
        );
        // Where nothing is known yet, and where there is nothing.
        assert_eq!(told(&at(Unit::Bytes, 0, 1024), Duration::from_secs(1)), "0 % of 1.0 KiB");
        assert_eq!(told(&at(Unit::Bytes, 0, 0), Duration::ZERO), "0 % of 0 B");
        assert_eq!(bar(&at(Unit::Bytes, 0, 0)), format!("[{}]", "-".repeat(8)));
        assert_eq!(bar(&at(Unit::Bytes, 7, 7)), format!("[{}]", "#".repeat(8)));
        // With its bar the line has room.
        let most = (at(Unit::Bytes, 1000 << 30, (1024 << 30) - 1), Duration::from_secs(36_000));
        let line = text("salvage the log", None, Some(&most)) + &bar(&most.0);
        assert!(line.len() < LINE_MAX, "{line}");
    }
}
