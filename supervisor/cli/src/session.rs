//! A connection to the daemon, and the warning about what its answers lack.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use api::client::Client;
use api::wire::{Answer, Behind, Command};

use crate::fault::Fault;
use crate::output;
use crate::progress::{Progress, Show};

/// What every subcommand is run with.
#[derive(Debug)]
pub struct Context {
    /// Answers as JSON.
    pub json: bool,
    /// Nothing on the error output.
    pub quiet: bool,
    /// Where the daemon listens.
    pub socket: PathBuf,
}

impl Context {
    /// Shows what is under way once it has lasted for long, as long as it is kept.
    pub fn progress(&self, doing: &str) -> Progress {
        Progress::start(doing, self.shown(Show::Late))
    }

    /// What is shown to whom this runs for.
    fn shown(&self, show: Show) -> Show {
        let is_silent = self.quiet || (self.json && !io::stderr().is_terminal());
        if is_silent { Show::Nothing } else { show }
    }

    /// Connects, asks once, and shows nothing of short works.
    pub fn ask(&self, doing: &str, command: Command) -> Result<(Answer, Behind), Fault> {
        self.connect()?.ask(doing, command, Show::Late)
    }

    /// Connects.
    pub fn connect(&self) -> Result<Session<'_>, Fault> {
        Ok(Session { context: self, client: Client::connect(&self.socket)?, warned: false })
    }
}

/// A connection.
#[derive(Debug)]
pub struct Session<'a> {
    context: &'a Context,
    client: Client,
    warned: bool,
}

impl Session<'_> {
    /// Asks, shows what is under way, and warns once about what the answers lack.
    pub fn ask(&mut self, doing: &str, command: Command, show: Show) -> Result<(Answer, Behind), Fault> {
        let progress = Progress::start(doing, self.context.shown(show));
        let result = self.client.call(command, |phase| progress.reach(phase));
        drop(progress);
        let (answer, behind) = result?;
        if !self.context.json && !self.context.quiet && !self.warned {
            self.warned = true;
            if let Some(text) = lacks(&behind) {
                output::warning(&text);
            }
        }
        Ok((answer, behind))
    }
}

/// What answers lack, in one line.
fn lacks(behind: &Behind) -> Option<String> {
    let mut parts = Vec::new();
    if behind.emulated {
        parts.push(format!("this machine is emulated (firmware {})", behind.firmware));
    }
    if !behind.missing.is_empty() {
        parts.push(format!("missing guarantees: {}", behind.missing.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
