//! `dsmil agent run`, `logs`, `restart`

use api::wire::{Answer, Command};
use clap::Args;
use serde_json::Value;

use crate::fault::Fault;
use crate::output::{self, clean, count};
use crate::runs;
use crate::session::Context;

/// Has an agent do one task, and shows what comes out.
///
/// It is a run of a workflow with one step: “dsmil runs show” shows it afterwards.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil agent run token-reader '{\"token\": \"0x8000\"}'
  dsmil agent run word-counter '{\"text\": \"a b\"}' --json")]
pub struct RunOne {
    /// The agent.
    #[arg(value_name = "AGENT")]
    name: String,
    /// What it is done with: JSON.
    #[arg(value_name = "INPUT", default_value = "null")]
    input: String,
}

/// Shows what an agent's processes wrote to their error output last. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil agent logs word-counter")]
pub struct Logs {
    /// The agent.
    #[arg(value_name = "AGENT")]
    name: String,
}

/// Ends an agent's processes, and lets one that failed too often have tasks again. New processes start when they are needed.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil agent restart word-counter")]
pub struct Restart {
    /// The agent.
    #[arg(value_name = "AGENT")]
    name: String,
}

impl RunOne {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let input: Value = serde_json::from_str(&self.input)
            .map_err(|error| Fault::Usage(format!("the input is no JSON: {error}")))?;
        let name = self.name.parse::<types::agent::Name>().map_err(|bad| {
            Fault::Usage(format!("“{}” is not an agent's name: it {bad}", clean(&self.name)))
        })?;
        // What looks like an expression is meant as it stands.
        let input = input.to_string().replace("${{", "$\\u007b{");
        let file = format!("name: {name}\nsteps:\n  - id: task\n    agent: {name}\n    with: {input}\n");
        let (run, behind) = runs::follow(context, file, Vec::new())?;
        let output = run.steps.first().and_then(|step| step.output.clone()).unwrap_or_default();
        output::answer(context.json, &Answer::Run(Box::new(run)), &behind, &format!("{}\n", clean(&output)))
    }
}

impl Logs {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::AgentLog { name: self.name.clone() };
        let (answer, behind) = context.ask("read what an agent wrote", command)?;
        let Answer::AgentLog { text } = &answer else { return Err(Fault::Unexpected) };
        let lines: String = text.lines().map(|line| clean(line) + "\n").collect();
        output::answer(context.json, &answer, &behind, &lines)
    }
}

impl Restart {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::RestartAgent { name: self.name.clone() };
        let (answer, behind) = context.ask("restart an agent", command)?;
        let Answer::Restarted { ended } = &answer else { return Err(Fault::Unexpected) };
        let text = format!("told {} to end\n", count(*ended, "process", "processes"));
        output::answer(context.json, &answer, &behind, &text)
    }
}
