//! Who uses memory: the processes that this user may see.

use serde_json::{Value, json};

use super::{KIB, file, root};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// Most processes that are looked at; the kernel's own bound on a 64-bit machine.
const PROCESSES_MAX: usize = 1 << 22;

/// A process, with what it holds in memory; none where it ended meanwhile.
fn process(options: &Options, pid: u32) -> Option<(u64, Value)> {
    let text = file(options, &format!("{pid}/status")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // A thread of the kernel has no memory of its own.
    let resident: u64 =
        field("VmRSS:").and_then(|text| text.split(' ').next()?.parse().ok()).map_or(0, |kib: u64| kib * KIB);
    let threads: Option<u64> = field("Threads:").and_then(|text| text.parse().ok());
    let state = field("State:").and_then(|text| text.split(' ').next());
    let told = json!({
        "pid": pid, "name": field("Name:"), "bytes": resident, "threads": threads, "state": state,
    });
    Some((resident, told))
}

pub fn processes(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, 1_000)?;
    let folder =
        std::fs::read_dir(root(options)).map_err(|error| Fault::system(root(options).display(), &error))?;
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut all: Vec<(u64, Value)> = Vec::new();
    let mut count = 0_u64;
    for pid in pids.take(PROCESSES_MAX) {
        task.at(count, None, || format!("looks at process {pid}"))?;
        let Some(found) = process(options, pid) else { continue };
        count += 1;
        all.push(found);
        if all.len() > limit * 2 + 64 {
            cut(&mut all, limit);
        }
    }
    cut(&mut all, limit);
    let told: Vec<Value> = all.into_iter().map(|(_, told)| told).collect();
    Ok(json!({"processes": told, "count": count}))
}

fn cut(all: &mut Vec<(u64, Value)>, limit: usize) {
    all.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    all.truncate(limit);
}
