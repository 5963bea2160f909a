//! dsmild: the daemon of DSMIL.
//!
//! # Layout
//!
//! - [`config`]: the file, one struct for each part
//! - [`seal`]: sets and seals the tokens that may be written, before the daemon starts
//! - [`open`]: everything that needs root, opened first and handed down as values
//! - [`helpers`]: the root helpers that restore files and start agents, started before the drop
//! - [`privileges`]: the drop
//! - [`keys`]: the repository's key, sealed by the TPM
//! - [`run`]: decide, append, evolve, act
//! - [`journal`]: the log as the loop uses it, and its signed heads
//! - [`unrecorded`]: what was done while there was no log to tell of it
//! - [`sources`]: the world's events become inputs
//! - [`effects`]: effects act on the world
//! - [`agents`]: the agents that are defined, and those that run
//! - [`query`]: answers that change nothing; [`past`]: the state as it was
//! - [`clock`]: the only place that asks for the time

#![forbid(unsafe_code)]

#[cfg(test)]
#[path = "../../tpm/tests/tpm/common.rs"]
#[expect(dead_code, reason = "the software TPM of the tests of `tpm`, of which not all is needed")]
mod common;

mod agents;
mod clock;
mod config;
mod effects;
mod helpers;
mod journal;
mod keys;
mod open;
mod past;
mod privileges;
mod query;
mod run;
mod seal;
mod sources;
mod unrecorded;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Connections that are looked at before the loop has its turn: all of them.
const FRONT_TASKS: u32 = 256;

/// The DSMIL daemon: records, decides and acts; everything else asks it.
#[derive(Parser)]
#[command(
    name = "dsmild",
    version,
    after_help = "Exit status: 0 stopped in order, 1 did not start or had to stop, 2 usage.\n\
                  The log must never lose what was acknowledged: if the disk fails, dsmild stops at once."
)]
struct Arguments {
    /// The configuration; it belongs to root.
    #[arg(long, default_value = "/etc/dsmil/dsmild.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Run the daemon in the foreground (the default)
    Run {
        /// Go on although the TPM's anchor is not that of the log, and record this reason: after a new mainboard, or where a log
        /// was put back on purpose. The anchor is then made anew
        #[arg(long, value_name = "REASON")]
        accept_anchor: Option<String>,
        /// Go on with a new TPM, after a new mainboard, and record this reason: the keys of the old one are put aside, their public
        /// halves kept in tpm/retired, and the log goes on under a new one. “dsmil tpm recover” then opens the checkpoints
        #[arg(long, value_name = "REASON")]
        new_machine: Option<String>,
    },
    /// Read the configuration, say what is wrong with it, and exit
    Check,
    /// Set and seal the tokens that may be written; once after the module is loaded
    Seal,
    /// Serve as a root helper of a running daemon; started by dsmild itself
    #[command(hide = true)]
    Helper {
        /// Which helper
        kind: helpers::Kind,
        /// SHA-256 of the configuration that the daemon has read
        config_hash: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match main_inner(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn main_inner(arguments: &Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("DSMIL_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let config = config::load(&arguments.config)?;
    match &arguments.what {
        Some(What::Check) => {
            println!("{} is in order", arguments.config.display());
            Ok(())
        }
        Some(What::Seal) => seal::seal(&config),
        Some(What::Helper { kind, config_hash }) => helpers::serve(*kind, &config, config_hash),
        Some(What::Run { .. }) | None => {
            let (accept, moved) = match &arguments.what {
                Some(What::Run { accept_anchor, new_machine }) => {
                    (accept_anchor.clone(), new_machine.clone())
                }
                _ => (None, None),
            };
            stop_at_panic();
            let opened = open::open(config, &arguments.config, moved.is_some())?;
            privileges::drop_to(&opened.user)?;
            let workers = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            // Connections and the loop share one thread: what one hands to the other costs no switch, and the loop's turn
            // comes when all that has arrived is read, so that one flush covers it.
            let front = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .event_interval(FRONT_TASKS)
                .build()?;
            let result = front.block_on(run::run(opened, (accept, moved), workers.handle().clone()));
            // Stopping has waited already; a call that hangs in the firmware must not keep the process.
            front.shutdown_background();
            workers.shutdown_background();
            result
        }
    }
}

/// A panic anywhere ends the process, in every build: a task that vanished would leave its work under way for ever,
/// and the next start takes it up.
fn stop_at_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
}
