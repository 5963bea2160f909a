//! The keys of ours that are lists and maps of their own.

use types::agent::{Bytes, Capability, Cpu, Limits, Milliseconds, Retry};

use super::CAPABILITIES_MAX;
use crate::document::Kind;
use crate::document::fields::{Field, Fields};
use crate::document::mistake::{Mistake, Mistakes};
use crate::document::scalar::Count;

const LIMITS: &[&str] = &["memory", "pids", "cpu", "open_files", "output_line", "output_second"];

pub fn capabilities(field: Field, mistakes: &mut Mistakes) -> Option<Vec<Capability>> {
    let advice = "write it as a list: “capabilities: [token.read, file.read:/srv/data]”";
    let fields = field.list(CAPABILITIES_MAX, advice, mistakes)?;
    let count = fields.len();
    let mut capabilities = Vec::with_capacity(count);
    for field in fields {
        let (place, path) = (field.node.place, field.path.clone());
        // YAML takes a colon with a space behind it, or with nothing, for a map.
        let advice = match field.node.kind {
            Kind::Map(_) => "leave no space behind the colon: file.read:/srv/data",
            _ => "write a kind such as token.read, and perhaps where: file.read:/srv/data",
        };
        let Some(capability) = field.parsed(advice, mistakes) else { continue };
        if capabilities.contains(&capability) {
            let what = format!("“{capability}” stands here a second time");
            mistakes.add(Mistake::new(place, what, "keep one of them").of(path));
        } else {
            capabilities.push(capability);
        }
    }
    (capabilities.len() == count).then_some(capabilities)
}

pub fn limits(field: Field, mistakes: &mut Mistakes) -> Option<Limits> {
    let mut fields = Fields::of(field, mistakes)?;
    let default = Limits::default();
    let bytes = "write a size such as 64MiB";
    let count = "write a whole number such as 32";
    let memory = fields
        .take("memory")
        .map_or(Some(default.memory), |field| field.within(Bytes(1 << 20), Bytes(1 << 40), bytes, mistakes));
    let pids = fields
        .take("pids")
        .map_or(Some(Count(default.pids)), |field| field.within(Count(1), Count(4096), count, mistakes));
    let cpu = fields.take("cpu").map_or(Some(default.cpu), |field| {
        field.within(Cpu(1), Cpu(100_000), "write percent of one core, such as 50%", mistakes)
    });
    // A program needs three for its stdio and some for its libraries.
    let open_files = fields.take("open_files").map_or(Some(Count(default.open_files)), |field| {
        field.within(Count(8), Count(65_536), count, mistakes)
    });
    let output_line = fields
        .take("output_line")
        .map_or(Some(default.output_line), |field| field.within(Bytes(256), Bytes(1 << 20), bytes, mistakes));
    let output_second = fields.take("output_second").map_or(Some(default.output_second), |field| {
        field.within(Bytes(256), Bytes(1 << 30), bytes, mistakes)
    });
    fields.end(LIMITS, mistakes);
    Some(Limits {
        memory: memory?,
        pids: pids?.0,
        cpu: cpu?,
        open_files: open_files?.0,
        output_line: output_line?,
        output_second: output_second?,
    })
}

/// `key_max` is how the file writes `delay_max`.
pub fn retry(field: Field, key_max: &'static str, mistakes: &mut Mistakes) -> Option<Retry> {
    let (place, path) = (field.node.place, field.path.clone());
    let mut fields = Fields::of(field, mistakes)?;
    let default = Retry::default();
    let time = "write a time such as 1s";
    let hour = Milliseconds(3_600_000);
    let limit = fields.take("limit").map_or(Some(Count(default.limit)), |field| {
        field.within(Count(0), Count(100), "write a whole number such as 3", mistakes)
    });
    let delay = fields
        .take("delay")
        .map_or(Some(default.delay), |field| field.within(Milliseconds(1), hour, time, mistakes));
    // A longer first delay moves the default along: only what is written can contradict itself.
    let most = default.delay_max.max(delay.unwrap_or(default.delay));
    let delay_max =
        fields.take(key_max).map_or(Some(most), |field| field.within(Milliseconds(1), hour, time, mistakes));
    fields.end(&["limit", "delay", key_max], mistakes);
    let retry = Retry { limit: limit?.0, delay: delay?, delay_max: delay_max? };
    if retry.delay > retry.delay_max {
        let what = format!("delay {} is longer than {key_max} {}", retry.delay, retry.delay_max);
        mistakes.add(Mistake::new(place, what, format!("make {key_max} the longer one")).of(path));
        return None;
    }
    Some(retry)
}
