//! `dsmil agent list`, `show`

use api::wire::agents::Agent;
use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table, clean};
use crate::session::Context;

/// Lists the agents, whether they may run, and how many processes each has.
///
/// “waits” means that its file is not approved (“dsmil agent approve”), “rests” that it failed too often, “wrong” that its file has
/// mistakes, “gone” that the file is no longer there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil agent list
  dsmil agent list --json | jq -r '.answer.agents[] | select(.state == \"waits\").name'")]
pub struct List {}

/// Shows an agent, its processes and what they are at.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil agent show token-reader")]
pub struct Show {
    /// Its name.
    #[arg(value_name = "AGENT")]
    name: String,
}

impl List {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("list agents", Command::Agents)?;
        let Answer::Agents { agents } = &answer else { return Err(Fault::Unexpected) };
        let mut table = Table::new(&["AGENT", "STATE", "PROCESSES", "ASKS FOR", "FILE"]);
        for agent in agents {
            table.row([
                agent.name.clone(),
                agent.state.clone(),
                agent.instances.len().to_string(),
                or_nothing(agent.capabilities.join(" ")),
                agent.path.clone(),
            ]);
        }
        output::answer(context.json, &answer, &behind, &table.to_string())
    }
}

impl Show {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("show an agent", Command::Agents)?;
        let Answer::Agents { agents } = answer else { return Err(Fault::Unexpected) };
        let found = agents.into_iter().find(|agent| agent.name == self.name);
        let agent = found.ok_or_else(|| {
            Fault::NotFound(format!(
                "there is no agent “{}”: “dsmil agent list” shows them",
                clean(&self.name)
            ))
        })?;
        let text = text(&agent);
        output::answer(context.json, &Answer::Agents { agents: vec![agent] }, &behind, &text)
    }
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text }
}

fn text(agent: &Agent) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    let rests = agent.rests_s.map_or_else(String::new, |s| format!(", for {s} s"));
    row("agent", agent.name.clone());
    row("state", format!("{}{rests}", agent.state));
    row("file", format!("{}, of user {}", agent.path, agent.uid));
    row("sha-256", agent.hash.clone());
    row("asks for", or_nothing(agent.capabilities.join(" ")));
    for instance in &agent.instances {
        let pid = instance.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
        let tasks =
            if instance.tasks.is_empty() { String::new() } else { format!(": {}", instance.tasks.join(" ")) };
        row("process", format!("{} {}{pid}{tasks}", instance.number, instance.state));
    }
    for mistake in &agent.mistakes {
        row("mistake", mistake.clone());
    }
    table.to_string()
}
