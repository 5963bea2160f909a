//! `dsmil tpm status`

use api::wire::tpm::{Anchor, Features, Found, Keys, Operation, Queue, Report};
use api::wire::{Answer, Behind, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table, WARNING, bytes, count};
use crate::session::Context;
use crate::time;

/// Shows the TPM: who it is, what it offers, what it has cost since the daemon's start, and what it would notice.
///
/// The chip keeps a counter and the log's size and root: the anchor. A log that is put back to an older copy is noticed at the
/// next start, up to a point. While the chip has power it also counts each signed head, so that point is the newest head; after
/// a power loss it is the last anchoring. What lies between the two is the window; the last line says where both are now.
///
/// The record of the anchor wears the chip's memory, so its writes are shown against what chips are made for. How much NV memory is
/// left no chip tells: it is counted against the 7 KiB that chips have at least. Times are upper bounds: half of the operations of a
/// kind took less than P50, 99 of 100 less than P99. They leave out the time in the queue.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm status
  dsmil tpm status --json | jq '.answer.anchor | {noticed, noticed_unpowered}'
  dsmil tpm status --json | jq '.answer.operations[] | select(.failed > 0)'")]
pub struct Status {}

impl Status {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("ask about the TPM", Command::Tpm)?;
        let Answer::Tpm(report) = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, &text(report, &behind))
    }
}

fn text(report: &Report, behind: &Behind) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    let software = if report.software { "; it is software" } else { "" };
    row("chip", format!("{}{software}", report.chip));
    row("keys", keys(&report.keys));
    match &report.features {
        Some(features) => offers(features, &mut row),
        None => {
            row("offers", format!("unknown: {}", report.failure.as_deref().unwrap_or("it did not answer")))
        }
    }
    match &report.anchor {
        Some(anchor) => anchored(anchor, &mut row),
        None => row("anchor", "none: this daemon goes without".to_owned()),
    }
    if let Some(standing) = &report.vault {
        super::vault::rows(standing, &mut row);
    }
    row("queue", queue(&report.queue));
    row("commands", commands(&report.queue));
    let missing = behind.missing.iter();
    let missing: String =
        missing.map(|part| format!("{WARNING}MISSING      {}{WARNING:#}\n", output::clean(part))).collect();
    format!("{missing}{table}\n{}\n{}\n", operations(&report.operations), window(report))
}

fn keys(keys: &Keys) -> String {
    let attestation = keys.attestation.as_deref().unwrap_or("none");
    format!("head {}, general {}, attestation {attestation}", keys.head, keys.general)
}

fn offers(features: &Features, row: &mut impl FnMut(&str, String)) {
    row("algorithms", features.algorithms.join(" "));
    row("PCR banks", features.banks.join(" "));
    row("encrypts", if features.encrypts { "for callers too" } else { "not for callers" }.to_owned());
    let indices = count(features.nv_indices, "index", "indices");
    let (used, left, budget) = (features.nv_used, features.nv_left, features.nv_budget);
    row("NV memory", format!("{indices}, {} used, {} left of {}", bytes(used), bytes(left), bytes(budget)));
    let counters =
        features.counters_left.map_or_else(|| "unknown how many".to_owned(), |left| left.to_string());
    row("NV counters", format!("{counters} left"));
    let locked = if features.locked_out { "LOCKED OUT" } else { "not locked out" };
    row(
        "lockout",
        format!("{locked}, {} of {} wrong authorisations", features.failures, features.failures_max),
    );
}

fn anchored(anchor: &Anchor, row: &mut impl FnMut(&str, String)) {
    let heads = count(anchor.heads, "head", "heads");
    let owed = if anchor.owed { ", and the newest not counted yet" } else { "" };
    row("anchor", format!("counter {}, {heads} since{owed}", anchor.counter));
    let next = match anchor.next_s {
        0 => "again with the next head".to_owned(),
        seconds => format!("again at latest with the first head after {}", time::span(seconds)),
    };
    let when = if anchor.anchored.is_empty() { "before this start" } else { &anchor.anchored };
    row("", format!("anchored {when}, {next}"));
    let writes = count(anchor.writes, "write", "writes");
    row("", format!("{writes} of the record; chips are made for {}", anchor.writes_max));
    if !anchor.name.is_empty() {
        row("", format!("name {}", anchor.name));
    }
    row("at the start", found(&anchor.found));
}

fn found(found: &Found) -> String {
    if found.made {
        "the anchor was made".to_owned()
    } else if found.window_open {
        let ahead = count(found.heads_ahead, "head", "heads");
        format!("the chip had lost power: the window was open; its count was {ahead} ahead of the log")
    } else {
        "the log was the newest that the chip knew of".to_owned()
    }
}

fn queue(queue: &Queue) -> String {
    format!(
        "{} waiting; {} refused as it was full, {} passed, {} taken back",
        queue.waiting,
        queue.full,
        count(queue.deadlines_passed, "deadline", "deadlines"),
        queue.cancelled
    )
}

fn commands(queue: &Queue) -> String {
    let reconnects = count(queue.reconnects, "reconnection", "reconnections");
    format!("{} sent, {} of them again as the chip asked; {reconnects}", queue.commands, queue.retries)
}

/// A table of what was asked for, and a line of what was not.
fn operations(operations: &[Operation]) -> String {
    let (asked, idle): (Vec<_>, Vec<_>) =
        operations.iter().partition(|operation| operation.count > 0 || operation.waiting > 0);
    let mut table = Table::new(&["OPERATION", "DONE", "FAILED", "WAITING", "P50", "P99", "LONGEST"]);
    for operation in asked {
        let below =
            |bound: Option<u64>| bound.map_or_else(|| "unknown".to_owned(), |us| format!("< {}", ms(us)));
        table.row([
            operation.kind.clone(),
            operation.count.to_string(),
            operation.failed.to_string(),
            operation.waiting.to_string(),
            below(operation.p50_us),
            below(operation.p99_us),
            ms(operation.max_us),
        ]);
    }
    let idle: Vec<_> = idle.iter().map(|operation| output::clean(&operation.kind)).collect();
    if idle.is_empty() { table.to_string() } else { format!("{table}not asked for: {}\n", idle.join(", ")) }
}

/// What a log that is put back can lack without being noticed.
fn window(report: &Report) -> String {
    let Some(anchor) = &report.anchor else {
        return "Window: the log is not anchored, so that one that is put back is not noticed.".to_owned();
    };
    format!(
        "Window: of the log's {}, one that is put back lacking any of the first {} is noticed now; after a power loss, any of the first {}.",
        count(report.log.size, "entry", "entries"),
        anchor.noticed,
        anchor.noticed_unpowered
    )
}

/// Microseconds as milliseconds, rounded up so that an upper bound stays one; tenths below ten.
fn ms(us: u64) -> String {
    let tenths = us.div_ceil(100);
    if tenths < 100 {
        format!("{}.{} ms", tenths / 10, tenths % 10)
    } else {
        format!("{} ms", us.div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_stay_bounds() {
        for (us, text) in [
            (0, "0.0 ms"),
            (2, "0.1 ms"),
            (1024, "1.1 ms"),
            (8192, "8.2 ms"),
            (9901, "10 ms"),
            (16_384, "17 ms"),
            (8_388_608, "8389 ms"),
        ] {
            assert_eq!(ms(us), text);
        }
    }
}
