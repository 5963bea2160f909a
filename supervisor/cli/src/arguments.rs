//! The command line and what runs for it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::fault::{self, EXIT_HELP, Exit, Fault};
use crate::session::Context;
use crate::{agent, checkpoint, completions, log, man, metrics, run, runs, status, stop, tokens, tpm};

/// The environment's name for the daemon's socket.
const SOCKET_ENV: &str = "DSMIL_SOCKET";

/// Asks the DSMIL daemon: firmware tokens, checkpoints, and the log of everything that was done.
///
/// The answer goes to the standard output: a table for people, or with --json one JSON document {"answer": …, "behind": …}.
/// Warnings, progress and errors go to the error output, with --json errors as {"error": {"code": …, "message": …}}.
#[derive(Debug, Parser)]
#[command(name = "dsmil", version, after_help = help(), max_term_width = 100)]
pub struct Arguments {
    /// Write the answer as one JSON document, and errors as JSON too.
    #[arg(long, global = true, display_order = 100)]
    json: bool,
    /// Where the daemon listens.
    #[arg(long, global = true, display_order = 101, value_name = "PATH", env = SOCKET_ENV, default_value = api::SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

fn help() -> String {
    format!(
        "Examples:
  dsmil status
  dsmil checkpoint create before
  dsmil tokens set 0x8003=0
  dsmil checkpoint restore before
  dsmil log tail -f

{EXIT_HELP}"
    )
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Status),
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Tpm(tpm::Tpm),
    #[command(subcommand)]
    Agent(agent::Agent),
    Run(run::Run),
    #[command(subcommand)]
    Runs(runs::Runs),
    Stop(stop::Stop),
    Metrics(metrics::Metrics),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Reads the command line, does what it says, and reports what went wrong.
pub fn run() -> Result<(), Exit> {
    let arguments = Arguments::try_parse().map_err(|error| refuse(&error))?;
    let quiet = matches!(&arguments.command, Command::Status(status) if status.quiet);
    let context = Context { json: arguments.json, quiet, socket: arguments.socket };
    dispatch(&context, arguments.command).map_err(|fault| fault.report(context.json, context.quiet))
}

fn dispatch(context: &Context, command: Command) -> Result<(), Fault> {
    match command {
        Command::Status(status) => status.run(context),
        Command::Tokens(tokens) => tokens.run(context),
        Command::Checkpoint(checkpoint) => checkpoint.run(context),
        Command::Log(log) => log.run(context),
        Command::Tpm(tpm) => tpm.run(context),
        Command::Agent(agent) => agent.run(context),
        Command::Run(run) => run.run(context),
        Command::Runs(runs) => runs.run(context),
        Command::Stop(stop) => stop.run(context),
        Command::Metrics(metrics) => metrics.run(context),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// Shows help or version where they were asked for, else what is wrong with the command line.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no error.
        let _ = error.print();
        return Exit::Done;
    }
    // Parsing failed, so the flag is looked for by hand; behind “--” it would be an argument.
    if std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json") {
        let text = error.render().to_string();
        fault::report_usage_json(text.trim_end().trim_start_matches("error: "));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}
