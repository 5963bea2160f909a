//! What is under way, on the error output: one line that changes on a terminal, else a line for each phase.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::output;

/// People wait this long before they ask what goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the line of a terminal counts on.
const TICK: Duration = Duration::from_secs(1);
/// Phases that wait to be written; more hold up the work's reader, not the work.
const PHASES_MAX: usize = 64;
/// Longest line on a terminal, characters: one that wraps could not be replaced.
const LINE_MAX: usize = 76;

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

/// Shows what is under way until it is dropped.
pub struct Progress {
    phases: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins; `doing` names the work.
    pub fn start(doing: &str, show: Show) -> Self {
        if show == Show::Nothing {
            return Self { phases: None, writer: None };
        }
        let (sender, phases) = sync_channel(PHASES_MAX);
        let line = Line {
            doing: doing.to_owned(),
            phase: None,
            terminal: io::stderr().is_terminal(),
            start: Instant::now(),
            silence: if show == Show::Late { PATIENCE } else { Duration::ZERO },
            shown: false,
        };
        Self { phases: Some(sender), writer: Some(std::thread::spawn(move || line.run(&phases))) }
    }

    /// The work has reached a phase.
    pub fn reach(&self, phase: &str) {
        if let Some(phases) = &self.phases {
            // The writer ends only after this sender does.
            let _ = phases.send(phase.to_owned());
        }
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
    terminal: bool,
    start: Instant,
    /// Phases are kept back for so long.
    silence: Duration,
    shown: bool,
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
                    if self.start.elapsed() >= PATIENCE && (self.terminal || !self.shown) {
                        self.show();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.terminal && self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }

    fn show(&mut self) {
        self.shown = true;
        let text = format!("{}: {}", self.doing, self.phase.as_deref().unwrap_or("under way"));
        if !self.terminal {
            return output::note(&text);
        }
        let text: String = output::clean(&text).chars().take(LINE_MAX - 10).collect();
        let mut err = io::stderr().lock();
        let _ = write!(err, "\r\x1b[2K{text} · {} s", self.start.elapsed().as_secs());
        let _ = err.flush();
    }
}
