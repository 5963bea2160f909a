//! The TPM's part.

use super::seconds;
use super::text::{Kind, Text};
use crate::wire::tpm::{Anchor, Features, Operation, Queue, Report};

/// Adds all that a report has.
pub fn write(text: &mut Text, report: &Report) {
    let software = if report.software { "yes" } else { "no" };
    text.family("dsmil_tpm", Kind::Info, "The chip.").sample(
        "_info",
        &[("chip", &report.chip), ("software", software)],
        1,
    );
    if let Some(features) = &report.features {
        offers(text, features);
    }
    if let Some(anchor) = &report.anchor {
        anchored(text, anchor);
    }
    queue(text, &report.queue);
    operations(text, &report.operations);
}

fn gauge(text: &mut Text, name: &str, help: &str, value: impl Into<u64>) {
    text.family(name, Kind::Gauge, help).sample("", &[], value.into());
}

fn counter(text: &mut Text, name: &str, help: &str, value: u64) {
    text.family(name, Kind::Counter, help).sample("_total", &[], value);
}

fn offers(text: &mut Text, features: &Features) {
    gauge(text, "dsmil_tpm_nv_indices", "NV indices defined, whoever did.", features.nv_indices);
    gauge(text, "dsmil_tpm_nv_used_bytes", "NV memory that they take, counted generously.", features.nv_used);
    gauge(text, "dsmil_tpm_nv_left_bytes", "NV memory left of what a chip has at least.", features.nv_left);
    if let Some(left) = features.counters_left {
        gauge(text, "dsmil_tpm_nv_counters_left", "NV counters that can still be defined.", left);
    }
    gauge(text, "dsmil_tpm_lockout_failures", "Wrong authorisations counted.", features.failures);
    gauge(
        text,
        "dsmil_tpm_lockout_failures_max",
        "How many of them lead to a lockout.",
        features.failures_max,
    );
    gauge(text, "dsmil_tpm_locked_out", "1 while the chip is locked out.", u8::from(features.locked_out));
}

fn anchored(text: &mut Text, anchor: &Anchor) {
    counter(text, "dsmil_tpm_anchorings", "The chip's counter of anchorings.", anchor.counter);
    counter(
        text,
        "dsmil_tpm_anchor_writes",
        "Writes of the anchor's record since it was made.",
        anchor.writes,
    );
    gauge(text, "dsmil_tpm_anchor_writes_max", "Writes that chips are at least made for.", anchor.writes_max);
    gauge(
        text,
        "dsmil_tpm_anchor_owed",
        "1 while a head is stored that the chip has not counted.",
        u8::from(anchor.owed),
    );
    gauge(
        text,
        "dsmil_tpm_noticed_entries",
        "First entries whose loss a start would notice now.",
        anchor.noticed,
    );
    let help = "The same after the chip has lost power.";
    gauge(text, "dsmil_tpm_noticed_unpowered_entries", help, anchor.noticed_unpowered);
}

fn queue(text: &mut Text, queue: &Queue) {
    gauge(text, "dsmil_tpm_queue_waiting", "Requests that wait for the chip.", queue.waiting);
    counter(text, "dsmil_tpm_queue_full", "Requests refused because the queue was full.", queue.full);
    counter(text, "dsmil_tpm_deadlines_passed", "Requests whose deadline passed.", queue.deadlines_passed);
    counter(text, "dsmil_tpm_cancelled", "Requests taken back in time.", queue.cancelled);
    counter(text, "dsmil_tpm_commands", "Commands sent to the chip.", queue.commands);
    counter(
        text,
        "dsmil_tpm_retries",
        "Commands sent once more because the chip asked for it.",
        queue.retries,
    );
    counter(text, "dsmil_tpm_reconnects", "Times that session and keys were made again.", queue.reconnects);
}

fn operations(text: &mut Text, operations: &[Operation]) {
    let mut waiting =
        text.family("dsmil_tpm_operations_waiting", Kind::Gauge, "Operations that wait, by kind.");
    for operation in operations {
        waiting.sample("", &[("kind", &operation.kind)], operation.waiting);
    }
    let mut failed =
        text.family("dsmil_tpm_operations_failed", Kind::Counter, "Operations that failed, by kind.");
    for operation in operations {
        failed.sample("_total", &[("kind", &operation.kind)], operation.failed);
    }
    let help = "Operations and what they took in the chip, by kind, failed ones included.";
    let mut took = text.family("dsmil_tpm_operation_seconds", Kind::Histogram, help);
    for Operation { kind, count, sum_us, buckets, .. } in operations {
        let (mut below, mut bound_us) = (0, 1_u64);
        let open = buckets.len().saturating_sub(1);
        for counted in buckets.iter().take(open) {
            below += counted;
            bound_us = bound_us.saturating_mul(2);
            took.sample("_bucket", &[("kind", kind), ("le", &seconds(bound_us).to_string())], below);
        }
        took.sample("_bucket", &[("kind", kind), ("le", "+Inf")], count);
        took.sample("_sum", &[("kind", kind)], seconds(*sum_us));
        took.sample("_count", &[("kind", kind)], count);
    }
}
