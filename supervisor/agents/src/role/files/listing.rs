//! By what the folders say: sizes, times, permissions.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;
use serde_json::{Value, json};

use super::root::{DEPTH_MAX, Entry};
use super::{Best, LIMIT_MAX, open, walk, with_walk};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// Unless given, a day.
const WITHIN_S: u64 = 86_400;
/// Most endings that are counted apart; the others are counted together.
const ENDINGS_MAX: usize = 10_000;

fn limit(input: &Input) -> Result<usize, Fault> {
    input.count_or("limit", 100, LIMIT_MAX)
}

fn is_file(entry: &Entry) -> bool {
    entry.kind == FileType::RegularFile
}

fn told(entries: &[Entry]) -> Vec<Value> {
    entries.iter().map(Entry::told).collect()
}

pub fn list(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let depth = if input.flag("deep")? { DEPTH_MAX } else { 1 };
    let mut entries = Vec::new();
    let mut count = 0_u64;
    let walked = open(options)?.walk(task, input.text_or("path", "")?, depth, |_, entry| {
        count += 1;
        if entries.len() < limit {
            entries.push(entry.told());
        }
        Ok(())
    })?;
    Ok(with_walk(json!({"entries": entries, "count": count}), &walked))
}

pub fn count(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let mut bytes = 0_u64;
    let walked = walk(task, input, options, |_, entry| {
        bytes = bytes.saturating_add(entry.bytes);
        Ok(())
    })?;
    Ok(with_walk(json!({"bytes": bytes}), &walked))
}

pub fn largest(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let mut best = Best::new(limit(input)?);
    let walked = walk(task, input, options, |_, entry| {
        if is_file(&entry) {
            best.add(entry.bytes, entry);
        }
        Ok(())
    })?;
    Ok(with_walk(json!({"largest": told(&best.end())}), &walked))
}

pub fn newest(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let mut best = Best::new(limit(input)?);
    let walked = walk(task, input, options, |_, entry| {
        if is_file(&entry) {
            best.add(entry.modified_s, entry);
        }
        Ok(())
    })?;
    Ok(with_walk(json!({"newest": told(&best.end())}), &walked))
}

pub fn changed(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let mut best = Best::new(limit(input)?);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let within_s = input.number_or("within_s", WITHIN_S, u64::MAX)?;
    let since_s = input.number_or("since_s", now_s.saturating_sub(within_s), u64::MAX)?;
    let since = i64::try_from(since_s).unwrap_or(i64::MAX);
    let mut count = 0_u64;
    let walked = walk(task, input, options, |_, entry| {
        if is_file(&entry) && entry.modified_s >= since {
            count += 1;
            best.add(entry.modified_s, entry);
        }
        Ok(())
    })?;
    Ok(with_walk(json!({"changed": told(&best.end()), "count": count, "since_s": since_s}), &walked))
}

pub fn empty(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let mut empty = Vec::new();
    let mut count = 0_u64;
    let walked = walk(task, input, options, |_, entry| {
        if entry.is_empty_folder || (is_file(&entry) && entry.bytes == 0) {
            count += 1;
            if empty.len() < limit {
                empty.push(entry.told());
            }
        }
        Ok(())
    })?;
    Ok(with_walk(json!({"empty": empty, "count": count}), &walked))
}

pub fn types(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let walked = walk(task, input, options, |_, entry| {
        if is_file(&entry) {
            let ending = entry.path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
            let ending = ending.unwrap_or_default();
            let known = types.len() < ENDINGS_MAX || types.contains_key(&ending);
            let (count, bytes) = types.entry(if known { ending } else { "…".to_owned() }).or_default();
            *count += 1;
            *bytes = bytes.saturating_add(entry.bytes);
        }
        Ok(())
    })?;
    let mut all: Vec<_> = types.into_iter().collect();
    all.sort_by_key(|(_, (_, bytes))| Reverse(*bytes));
    let told: Vec<Value> = all
        .iter()
        .take(limit)
        .map(|(ending, (count, bytes))| json!({"ending": ending, "count": count, "bytes": bytes}))
        .collect();
    Ok(with_walk(json!({"types": told, "count": all.len()}), &walked))
}

pub fn permissions(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let (mut open, mut raised) = (Vec::new(), Vec::new());
    let (mut open_count, mut raised_count) = (0_u64, 0_u64);
    let walked = walk(task, input, options, |_, entry| {
        let is_link = entry.kind == FileType::Symlink;
        // In a folder with the sticky bit, nobody can remove what is another's.
        if !is_link && entry.mode & 0o002 != 0 && entry.mode & 0o1000 == 0 {
            open_count += 1;
            if open.len() < limit {
                open.push(entry.told());
            }
        }
        if is_file(&entry) && entry.mode & 0o6000 != 0 {
            raised_count += 1;
            if raised.len() < limit {
                raised.push(entry.told());
            }
        }
        Ok(())
    })?;
    let counts = json!({"open": open_count, "raised": raised_count});
    Ok(with_walk(json!({"open": open, "raised": raised, "counts": counts}), &walked))
}
