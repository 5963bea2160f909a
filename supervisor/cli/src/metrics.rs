//! `dsmil metrics`

use std::fs;
use std::path::{Path, PathBuf};

use api::wire::{Answer, Command};
use clap::Args;
use serde::Serialize;

use crate::fault::Fault;
use crate::output;
use crate::progress::Show;
use crate::session::Context;

/// Writes what the daemon counts as metrics: OpenMetrics text, as Prometheus and its relatives read it.
///
/// Machine, log, scheduler, thermal zones, and the TPM with a histogram for each kind of operation. With --out the file is
/// replaced in one step, so that node_exporter's textfile collector never reads half of it; run it from a timer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil metrics
  dsmil metrics --out /var/lib/prometheus/node-exporter/dsmil.prom")]
pub struct Metrics {
    /// The file to replace; without it the text goes to the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The text in JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "metrics")]
struct Written<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

impl Metrics {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        let (status, behind) = session.ask("ask for the status", Command::Status, Show::Late)?;
        let (tpm, _) = session.ask("ask about the TPM", Command::Tpm, Show::Late)?;
        let (Answer::Status(status), Answer::Tpm(report)) = (&status, &tpm) else {
            return Err(Fault::Unexpected);
        };
        let text = api::metrics::openmetrics(status, report, &behind);
        if let Some(out) = &self.out {
            replace(out, &text)?;
        }
        if context.json {
            let out = self.out.as_ref().map(|out| out.display().to_string());
            return output::document(&Written { text: &text, out }, Some(&behind));
        }
        if self.out.is_none() { output::print(&text) } else { Ok(()) }
    }
}

/// Beside the file first: who reads it meanwhile finds the old text. Metrics are not worth a flush.
fn replace(out: &Path, text: &str) -> Result<(), Fault> {
    let failed = |error| Fault::Failed(format!("cannot write {}: {error}", out.display()));
    let name = out.file_name().ok_or_else(|| Fault::Usage(format!("{} names no file", out.display())))?;
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = out.with_file_name(beside);
    let done = fs::write(&beside, text).and_then(|()| fs::rename(&beside, out));
    if done.is_err() {
        // What is left of a try that failed is of no use to anybody.
        let _ = fs::remove_file(&beside);
    }
    done.map_err(failed)
}
