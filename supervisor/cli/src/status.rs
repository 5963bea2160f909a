//! `dsmil status`

use api::wire::{self, Answer, Behind, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table, WARNING, count};
use crate::session::Context;
use crate::time::Point;

/// Shows how machine, daemon and guarantees stand.
///
/// Names the machine and what its firmware is reached through, the TPM and its signing key, the log with its signed head,
/// thermal zones, scheduler latency for each CPU, and the rights that the daemon holds. Guarantees that this start lacks
/// come first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil status
  dsmil status --quiet && echo the daemon answers
  dsmil status --at 4711
  dsmil status --at 2h
  dsmil status --json | jq .answer.log.size")]
pub struct Status {
    /// Write nothing: the exit code alone says whether the daemon answers.
    #[arg(long, short)]
    pub quiet: bool,
    /// What was known at a point of the past instead: after this fact, or up to this moment (2026-11-21T08:00:00Z,
    /// “2026-11-21 08:00”, or how long ago: 2h).
    #[arg(long, value_name = "POINT", conflicts_with = "quiet")]
    at: Option<Point>,
}

impl Status {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        if let Some(point) = self.at {
            return past(context, point);
        }
        let (answer, behind) = context.ask("status", Command::Status)?;
        let Answer::Status(status) = &answer else { return Err(Fault::Unexpected) };
        if self.quiet {
            return Ok(());
        }
        output::answer(context.json, &answer, &behind, &text(status, &behind))
    }
}

fn past(context: &Context, point: Point) -> Result<(), Fault> {
    let (answer, behind) = context.ask("fold the past", point.command()?)?;
    let Answer::Past(past) = &answer else { return Err(Fault::Unexpected) };
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("after fact", format!("{}, {}", past.fact, past.time));
    row("checkpoints", past.checkpoints.len().to_string());
    row("under way", if past.works.is_empty() { "nothing".to_owned() } else { past.works.join(", ") });
    let starts = count(past.starts, "start", "starts");
    row("daemon", format!("{starts}, {}", count(past.denials, "denial", "denials")));
    lines(&mut table, "zones", past.zones.iter().map(zone));
    lines(&mut table, "missing", past.missing.iter().cloned());
    output::answer(context.json, &answer, &behind, &table.to_string())
}

fn text(status: &wire::Status, behind: &Behind) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("machine", status.machine.clone());
    let emulated = if behind.emulated { "emulated" } else { "not known to be emulated" };
    row("firmware", format!("{}, {emulated}", behind.firmware));
    row("device", status.device.as_ref().map_or_else(|| "none".to_owned(), device));
    row("TPM", status.tpm.as_ref().map_or_else(|| "none".to_owned(), tpm));
    row("log", log(&status.log));
    row("checkpoints", status.checkpoints.to_string());
    let works = if status.works.is_empty() { "nothing".to_owned() } else { status.works.join(", ") };
    row("under way", works);
    row("daemon", daemon(status));
    lines(&mut table, "zones", status.zones.iter().map(zone));
    lines(&mut table, "scheduler", status.scheduler.iter().map(latency));
    let missing = behind.missing.iter();
    let missing: String =
        missing.map(|part| format!("{WARNING}MISSING      {}{WARNING:#}\n", output::clean(part))).collect();
    format!("{missing}{table}")
}

/// Several lines under one name.
fn lines(table: &mut Table, name: &str, lines: impl Iterator<Item = String>) {
    let mut name = name;
    for line in lines {
        table.row([std::mem::take(&mut name).to_owned(), line]);
    }
    if !name.is_empty() {
        table.row([name.to_owned(), "none".to_owned()]);
    }
}

fn device(device: &wire::DeviceStatus) -> String {
    let sealed = if device.sealed { "sealed" } else { "NOT sealed" };
    format!(
        "{} DSMIL devices among {} tokens, {} writable, allow-list {sealed}",
        device.devices, device.tokens, device.writable
    )
}

fn tpm(tpm: &wire::TpmStatus) -> String {
    let (manufacturer, vendor) = (tpm.manufacturer.trim(), tpm.vendor.trim());
    let signatures = count(tpm.signatures, "signature", "signatures");
    format!("{manufacturer} {vendor} {}, key {}, {signatures} since the start", tpm.firmware, tpm.key)
}

fn log(log: &wire::LogStatus) -> String {
    format!("{}, {} signed, root {}", count(log.size, "entry", "entries"), log.signed, log.root)
}

fn daemon(status: &wire::Status) -> String {
    let held = if status.capabilities.is_empty() { "none".to_owned() } else { status.capabilities.join(" ") };
    format!(
        "dsmild {}, user {}, capabilities {held}; {}, {}",
        status.version,
        status.user,
        count(status.starts, "start", "starts"),
        count(status.denials, "denial", "denials")
    )
}

fn zone(zone: &wire::Zone) -> String {
    match zone.millicelsius {
        Some(value) => format!("{} {}, {}", zone.name, types::unit::MilliCelsius(value), zone.level),
        None => format!("{} no reading, {}", zone.name, zone.level),
    }
}

fn latency(cpu: &wire::CpuLatency) -> String {
    let below = |edge: Option<u64>| edge.map_or_else(|| "unknown".to_owned(), |edge| format!("< {edge} µs"));
    let waits = count(cpu.count, "wait", "waits");
    format!("CPU {}: p50 {}, p99 {}, {waits}", cpu.cpu, below(cpu.p50_us), below(cpu.p99_us))
}
