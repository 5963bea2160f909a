//! `dsmil run`

use std::fmt::Write as _;
use std::path::PathBuf;

use api::workflow::arguments::{self, Refused};
use api::workflow::{self, expression};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use types::workflow::{Mode, Step, Who, Workflow};

use crate::agent::{Wrong, bytes};
use crate::fault::Fault;
use crate::output::{self, Table, clean, count};
use crate::runs;
use crate::session::Context;

/// Runs a workflow.
///
/// The file is checked as a whole before anything starts: all mistakes are told at once, each with its line and column and
/// with what to do. Exit code 1 if there is one, 2 if what the run is given does not fit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil run report.yaml --dry-run
  dsmil run report.yaml folder=/srv/texts limit=5 'texts=[\"a\", \"b\"]'")]
pub struct Run {
    /// The workflow's file: YAML.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the run is given: a text as it stands, anything else as JSON.
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Check the file and what it is given, show the steps in the order of their needs, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What was checked, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "workflow_checked")]
struct Checked {
    file: String,
    /// None of a file with mistakes.
    workflow: Option<Agreed>,
    mistakes: Vec<Wrong>,
    /// What is wrong with what the run is given.
    refused: Vec<RefusedParam>,
}

/// What a good file says.
#[derive(Serialize)]
struct Agreed {
    name: String,
    description: Option<String>,
    /// SHA-256 of the file.
    hash: String,
    timeout_ms: u64,
    priority: String,
    on_failure: String,
    /// None where one does not fit.
    params: Option<Vec<Given>>,
    /// Steps whose needs lie in earlier levels alone.
    levels: Vec<Vec<Planned>>,
}

#[derive(Serialize)]
struct Given {
    name: String,
    value: Value,
}

#[derive(Serialize)]
struct Planned {
    id: String,
    mode: &'static str,
    /// Names, or a capability.
    agents: Vec<String>,
    capability: Option<String>,
    needs: Vec<String>,
    #[serde(rename = "if")]
    condition: Option<String>,
    checkpoint_before: bool,
}

#[derive(Serialize)]
struct RefusedParam {
    name: String,
    what: String,
    advice: String,
}

impl Run {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let file = self.file.display().to_string();
        let file_bytes = bytes(&self.file)?;
        let checked = match workflow::read(&file_bytes) {
            Ok(checked) => checked,
            Err(mistakes) => {
                let number = u64::try_from(mistakes.len()).unwrap_or(u64::MAX);
                let told = lines(mistakes.iter().map(|mistake| format!("{file}:{mistake}")));
                let mistakes = mistakes.into_iter().map(Wrong::from).collect();
                tell(context, &Checked { file, workflow: None, mistakes, refused: Vec::new() }, &told)?;
                return Err(Fault::Failed(count(number, "mistake", "mistakes")));
            }
        };
        let workflow = &checked.workflow;
        let params = match arguments::read(workflow, &self.params) {
            Ok(params) => params,
            Err(refused) => {
                let told = lines(refused.iter().map(ToString::to_string));
                let workflow = Some(agreed(workflow, None));
                let number = u64::try_from(refused.len()).unwrap_or(u64::MAX);
                let refused = refused.into_iter().map(RefusedParam::from).collect();
                tell(context, &Checked { file, workflow, mistakes: Vec::new(), refused }, &told)?;
                return Err(Fault::Usage(format!(
                    "{} in what the run is given",
                    count(number, "mistake", "mistakes")
                )));
            }
        };
        if !self.dry_run {
            let text = String::from_utf8(file_bytes).map_err(|_| Fault::Unexpected)?;
            return runs::start(context, text, self.params.clone());
        }
        let text = plan(workflow, &params);
        let workflow = Some(agreed(workflow, Some(params)));
        tell(context, &Checked { file, workflow, mistakes: Vec::new(), refused: Vec::new() }, &text)
    }
}

impl From<Refused> for RefusedParam {
    fn from(refused: Refused) -> Self {
        let Refused { name, what, advice } = refused;
        Self { name, what, advice }
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| clean(&line) + "\n").collect()
}

fn tell(context: &Context, checked: &Checked, text: &str) -> Result<(), Fault> {
    if context.json { output::document(checked, None) } else { output::print(text) }
}

/// The level of each step: one more than the highest of its needs, from 1.
fn levels(workflow: &Workflow) -> Vec<usize> {
    let mut levels = vec![1_usize; workflow.steps.len()];
    // A step may need one that stands behind it, so a level can take as many rounds to settle as there are steps.
    for _ in 0..workflow.steps.len() {
        let next: Vec<usize> = workflow
            .steps
            .iter()
            .map(|step| 1 + step.needs.iter().filter_map(|need| levels.get(*need)).max().unwrap_or(&0))
            .collect();
        if next == levels {
            break;
        }
        levels = next;
    }
    levels
}

/// The steps with their levels, level by level, in the file's order within each.
fn in_order(workflow: &Workflow) -> Vec<(usize, &Step)> {
    let mut steps: Vec<(usize, &Step)> = levels(workflow).into_iter().zip(&workflow.steps).collect();
    steps.sort_by_key(|(level, _)| *level);
    steps
}

fn needs(workflow: &Workflow, step: &Step) -> Vec<String> {
    step.needs.iter().filter_map(|need| workflow.steps.get(*need)).map(|step| step.id.to_string()).collect()
}

fn condition(workflow: &Workflow, step: &Step) -> Option<String> {
    step.when.as_ref().map(|when| expression::print(when, workflow))
}

/// What would be done, for people.
fn plan(workflow: &Workflow, params: &[Value]) -> String {
    let mut table = Table::new(&["LEVEL", "STEP", "MODE", "AGENT", "NEEDS", "IF"]);
    for (level, step) in in_order(workflow) {
        let agent = match &step.who {
            Who::Agents(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Who::Capability(capability) => format!("({capability})"),
        };
        table.row([
            level.to_string(),
            step.id.to_string(),
            mode(&step.mode),
            agent,
            needs(workflow, step).join(" "),
            condition(workflow, step).unwrap_or_default(),
        ]);
    }
    let mut text = table.to_string();
    for (param, value) in workflow.params.iter().zip(params) {
        // Writing into a string cannot fail.
        _ = writeln!(text, "{}", clean(&format!("{} = {value}", param.name)));
    }
    text
}

/// A mode with its numbers.
fn mode(mode: &Mode) -> String {
    let word = mode.word();
    match mode {
        Mode::Sequential => word.to_owned(),
        Mode::Parallel { at_once, .. } | Mode::Pipeline { at_once, .. } => format!("{word} {at_once}"),
        Mode::Consensus { copies, quorum, .. } => format!("{word} {quorum}/{copies}"),
        Mode::Competitive { copies } | Mode::Redundant { copies, .. } => format!("{word} {copies}"),
    }
}

fn agreed(workflow: &Workflow, params: Option<Vec<Value>>) -> Agreed {
    let mut levels: Vec<Vec<Planned>> = Vec::new();
    for (level, step) in in_order(workflow) {
        if levels.len() < level {
            levels.push(Vec::new());
        }
        if let Some(last) = levels.last_mut() {
            last.push(planned(workflow, step));
        }
    }
    let given = |values: Vec<Value>| {
        let given = workflow.params.iter().zip(values);
        given.map(|(param, value)| Given { name: param.name.to_string(), value }).collect()
    };
    Agreed {
        name: workflow.name.to_string(),
        description: workflow.description.clone(),
        hash: workflow.hash.to_string(),
        timeout_ms: workflow.timeout.0,
        priority: workflow.priority.to_string(),
        on_failure: workflow.on_failure.to_string(),
        params: params.map(given),
        levels,
    }
}

fn planned(workflow: &Workflow, step: &Step) -> Planned {
    let (agents, capability) = match &step.who {
        Who::Agents(names) => (names.iter().map(ToString::to_string).collect(), None),
        Who::Capability(capability) => (Vec::new(), Some(capability.to_string())),
    };
    Planned {
        id: step.id.to_string(),
        mode: step.mode.word(),
        agents,
        capability,
        needs: needs(workflow, step),
        condition: condition(workflow, step),
        checkpoint_before: step.checkpoint_before,
    }
}
