//! `dsmil runs`

mod show;

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use api::client::Client;
use api::wire::agents::{Run, begun_of};
use api::wire::{Answer, Behind, Command};
use clap::{Args, Subcommand};

use crate::fault::Fault;
use crate::output::{self, Table, clean};
use crate::progress;
use crate::session::{Context, Session};

/// How often a run that is watched is looked at.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the daemon may take to say that a run has begun.
const BEGIN_MAX: Duration = Duration::from_secs(60);

/// Runs of workflows: what is under way, and the last that have ended.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil runs list
  dsmil runs watch 7
  dsmil runs cancel 7")]
pub enum Runs {
    List(List),
    Show(One),
    Watch(Watch),
    Cancel(Cancel),
    Pause(Pause),
    Resume(Resume),
}

/// Lists runs by number.
#[derive(Debug, Args)]
pub struct List {}

/// Shows a run and its steps.
#[derive(Debug, Args)]
pub struct One {
    /// Its number.
    #[arg(value_name = "RUN")]
    run: u64,
}

/// Shows a run as it goes on, until it ends. Exit code 1 if it fails or is cancelled.
///
/// On a terminal its steps are drawn anew as they change; elsewhere each change is a line, with --json a document.
#[derive(Debug, Args)]
pub struct Watch {
    /// Its number.
    #[arg(value_name = "RUN")]
    run: u64,
}

/// Ends a run; what is under way is cancelled.
#[derive(Debug, Args)]
pub struct Cancel {
    /// Its number.
    #[arg(value_name = "RUN")]
    run: u64,
}

/// Lets nothing new begin in a run; what is under way ends.
#[derive(Debug, Args)]
pub struct Pause {
    /// Its number.
    #[arg(value_name = "RUN")]
    run: u64,
}

/// Lets a run that pauses go on.
#[derive(Debug, Args)]
pub struct Resume {
    /// Its number.
    #[arg(value_name = "RUN")]
    run: u64,
}

impl Runs {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::List(_) => list(context),
            Self::Show(one) => {
                let (run, behind) = look(&mut context.connect()?, one.run)?;
                let text = show::text(&run);
                output::answer(context.json, &Answer::Run(Box::new(run)), &behind, &text)
            }
            Self::Watch(watch) => {
                let (run, _) = watched(context, watch.run)?;
                ended(&run)
            }
            Self::Cancel(Cancel { run }) => control(context, *run, "cancel", "cancelled"),
            Self::Pause(Pause { run }) => control(context, *run, "pause", "paused"),
            Self::Resume(Resume { run }) => control(context, *run, "resume", "resumed"),
        }
    }
}

fn list(context: &Context) -> Result<(), Fault> {
    let (answer, behind) = context.ask("list runs", Command::Runs)?;
    let Answer::Runs { runs } = &answer else { return Err(Fault::Unexpected) };
    let mut table = Table::new(&["RUN", "WORKFLOW", "STATE", "STEPS", "TOOK", "BEGAN", "BY"]);
    for run in runs {
        table.row([
            run.number.to_string(),
            run.workflow.clone(),
            run.state.clone(),
            format!("{}/{}", run.progress.0, run.progress.1),
            show::time(run.took_ms),
            run.began.clone(),
            run.uid.to_string(),
        ]);
    }
    output::answer(context.json, &answer, &behind, &table.to_string())
}

fn control(context: &Context, run: u64, action: &str, done: &str) -> Result<(), Fault> {
    let command = Command::ControlRun { run, action: action.to_owned() };
    let (answer, behind) = context.ask(&format!("{action} run {run}"), command)?;
    output::answer(context.json, &answer, &behind, &format!("{done} run {run}\n"))
}

fn look(session: &mut Session<'_>, run: u64) -> Result<(Run, Behind), Fault> {
    let (answer, behind) = session.ask("show a run", Command::ShowRun { run }, progress::Show::Nothing)?;
    match answer {
        Answer::Run(run) => Ok((*run, behind)),
        _ => Err(Fault::Unexpected),
    }
}

/// What a run that did not end well is to whoever waited for it.
pub fn ended(run: &Run) -> Result<(), Fault> {
    match (run.state.as_str(), &run.reason) {
        ("failed" | "cancelled", reason) => {
            let reason = reason.as_deref().unwrap_or("it does not say why");
            Err(Fault::Failed(format!("run {} {}: {}", run.number, run.state, clean(reason))))
        }
        _ => Ok(()),
    }
}

/// Shows a run until it ends.
fn watched(context: &Context, number: u64) -> Result<(Run, Behind), Fault> {
    let mut session = context.connect()?;
    let is_drawn = !context.json && !context.quiet && std::io::stdout().is_terminal();
    let mut view = show::View::new(is_drawn, context.json);
    loop {
        let (run, behind) = look(&mut session, number)?;
        view.show(&run)?;
        if run.ended.is_some() {
            return Ok((run, behind));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Has the daemon run a workflow, and waits for its end: nothing is shown but what is under way.
pub fn follow(context: &Context, file: String, params: Vec<String>) -> Result<(Run, Behind), Fault> {
    let number = begin(context, file, params)?;
    let mut session = context.connect()?;
    let progress = context.progress(&format!("run {number}"));
    loop {
        let (run, behind) = look(&mut session, number)?;
        if run.ended.is_some() {
            drop(progress);
            ended(&run)?;
            return Ok((run, behind));
        }
        progress.reach(&format!("{} of {} steps", run.progress.0, run.progress.1));
        std::thread::sleep(INTERVAL);
    }
}

/// Has the daemon run a workflow, and shows it until it ends.
pub fn start(context: &Context, file: String, params: Vec<String>) -> Result<(), Fault> {
    let number = begin(context, file, params)?;
    if !context.json {
        output::note(&format!(
            "run {number}; “dsmil runs watch {number}” shows it again if this command is ended"
        ));
    }
    let (run, _) = watched(context, number)?;
    ended(&run)
}

/// The number of a run that the daemon has accepted. Its end is not waited for here: it may be days.
fn begin(context: &Context, file: String, params: Vec<String>) -> Result<u64, Fault> {
    let mut client = Client::connect(&context.socket)?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let phases = tell.clone();
        let result = client.call(Command::Run { file, params }, |phase| {
            if let Some(run) = begun_of(phase) {
                phases.send(Ok(run)).ok();
            }
        });
        let number = match result {
            Ok((Answer::Ran { run }, _)) => Ok(run),
            Ok(_) => Err(Fault::Unexpected),
            Err(error) => Err(error.into()),
        };
        tell.send(number).ok();
    });
    match told.recv_timeout(BEGIN_MAX) {
        Ok(number) => number,
        Err(RecvTimeoutError::Timeout) => Err(Fault::Failed(
            "the daemon does not say whether the run has begun: “dsmil runs list” shows it".to_owned(),
        )),
        Err(RecvTimeoutError::Disconnected) => Err(Fault::Unexpected),
    }
}
