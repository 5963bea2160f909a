//! `dsmil agent`

mod approve;
mod control;
mod list;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use api::agent::definition::{self, FILE_MAX};
use api::document::mistake::Mistake;
use clap::{Args, Subcommand};
use serde::Serialize;
use types::agent::Definition;

use crate::fault::Fault;
use crate::output::{self, Table, clean, count};
use crate::session::Context;

/// Agents: programs that do tasks within limits.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  dsmil agent check /etc/dsmil/agents/*.md")]
pub enum Agent {
    List(list::List),
    Show(list::Show),
    Check(Check),
    Approve(approve::Approve),
    Run(control::RunOne),
    Logs(control::Logs),
    Restart(control::Restart),
}

impl Agent {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::List(list) => list.run(context),
            Self::Show(show) => show.run(context),
            Self::Check(check) => check.run(context),
            Self::Approve(approve) => approve.run(context),
            Self::Run(run) => run.run(context),
            Self::Logs(logs) => logs.run(context),
            Self::Restart(restart) => restart.run(context),
        }
    }
}

/// Checks the files that define agents, without the daemon.
///
/// All mistakes are told at once, each with its line and column and with what to do. Exit code 1 if there is one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil agent check word-counter.md
  dsmil agent check /etc/dsmil/agents/*.md --json")]
pub struct Check {
    /// Agents' files: Markdown under YAML front matter.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What was checked, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "agents_checked")]
struct Checked {
    files: Vec<CheckedFile>,
}

#[derive(Serialize)]
struct CheckedFile {
    file: String,
    /// None of a file with mistakes.
    agent: Option<Agreed>,
    mistakes: Vec<Wrong>,
}

/// What a good file defines, in short.
#[derive(Serialize)]
struct Agreed {
    name: String,
    command: Vec<String>,
    capabilities: Vec<String>,
    /// SHA-256 of the file, which is what is approved.
    hash: String,
}

/// A mistake in a file, as JSON.
#[derive(Serialize)]
pub struct Wrong {
    line: u32,
    column: u32,
    key: String,
    what: String,
    advice: String,
}

impl Check {
    fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut checked = Checked { files: Vec::with_capacity(self.files.len()) };
        let mut table = Table::new(&["AGENT", "ASKS FOR", "MEMORY", "TIMEOUT", "SHA-256"]);
        let (mut wrong, mut good, mut told) = (0_u64, 0_u64, String::new());
        for path in &self.files {
            let file = path.display().to_string();
            let read = definition::read(&bytes(path)?);
            let (agent, mistakes) = match read {
                Ok(agent) => {
                    good += 1;
                    table.row(row(&agent));
                    (Some(agreed(&agent)), Vec::new())
                }
                Err(mistakes) => (None, mistakes),
            };
            wrong += u64::try_from(mistakes.len()).unwrap_or(u64::MAX);
            for mistake in &mistakes {
                // Writing into a string cannot fail.
                _ = writeln!(told, "{}", clean(&format!("{file}:{mistake}")));
            }
            checked.files.push(CheckedFile {
                file,
                agent,
                mistakes: mistakes.into_iter().map(Wrong::from).collect(),
            });
        }
        if context.json {
            output::document(&checked, None)?;
        } else {
            let table = if good > 0 { table.to_string() } else { String::new() };
            output::print(&(told + &table))?;
        }
        match wrong {
            0 => Ok(()),
            _ => Err(Fault::Failed(count(wrong, "mistake", "mistakes"))),
        }
    }
}

/// A file, as far as it is looked at: readers of agents and of workflows refuse what is longer.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let limit = u64::try_from(FILE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Fault::NotFound(format!("there is no file {}", path.display())))
        }
        Err(error) => Err(Fault::Failed(format!("cannot read {}: {error}", path.display()))),
    }
}

fn row(agent: &Definition) -> [String; 5] {
    let capabilities = agent.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    [
        agent.name.to_string(),
        if capabilities.is_empty() { "nothing".to_owned() } else { capabilities },
        agent.limits.memory.to_string(),
        agent.timeout.to_string(),
        agent.hash.to_string(),
    ]
}

fn agreed(agent: &Definition) -> Agreed {
    Agreed {
        name: agent.name.to_string(),
        command: agent.command.clone(),
        capabilities: agent.capabilities.iter().map(ToString::to_string).collect(),
        hash: agent.hash.to_string(),
    }
}

impl From<Mistake> for Wrong {
    fn from(mistake: Mistake) -> Self {
        let Mistake { place, path, what, advice } = mistake;
        Self { line: place.line, column: place.column, key: path, what, advice }
    }
}
