//! What the kernel tells of the machine, below `/proc`: memory, load, pressure, disks, modules, sockets, processes.
//!
//! - [`network`]: sockets and interfaces; [`processes`]: who uses what

mod network;

mod processes;

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Act, Role, rooted, rounded};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

/// What is read of one file at most, bytes.
const FILE_MAX: u64 = 4 << 20;
/// Bytes of a KiB, which `/proc` calls kB.
const KIB: u64 = 1_024;

const LIMIT: Field = ("limit", "how many are told, at most 1000; 100 unless given");

/// The machine.
pub const ROLE: Role = Role {
    name: "system",
    options: "`--root DIR`",
    acts: &[
        Act {
            name: "memory",
            input: &[],
            output: "`total`, `available`, `free`, `cached`, `swap_total`, `swap_free` in bytes; `used_percent`",
            run: memory,
        },
        Act {
            name: "load",
            input: &[],
            output: "`load_1`, `load_5`, `load_15`, `running`, `processes`",
            run: load,
        },
        Act {
            name: "pressure",
            input: &[],
            output: "of `cpu`, `memory` and `io`, `some` and `full`: `avg10`, `avg60`, `avg300` in percent, `total` in microseconds",
            run: pressure,
        },
        Act {
            name: "disks",
            input: &[("above_percent", "only those that are fuller; 0 unless given")],
            output: "`disks`: `path`, `device`, `type`, `bytes`, `free`, `used_percent`, `read_only`",
            run: disks,
        },
        Act { name: "uptime", input: &[], output: "`seconds`, `kernel`", run: uptime },
        Act {
            name: "modules",
            input: &[LIMIT, ("name", "only this one")],
            output: "`modules`: `name`, `bytes`, `users`, `state`; `count`",
            run: modules,
        },
        Act {
            name: "sockets",
            input: &[LIMIT],
            output: "`listening`: `protocol`, `address`, `port`, `uid`; `count`",
            run: network::sockets,
        },
        Act {
            name: "processes",
            input: &[LIMIT],
            output: "`processes` with most memory first: `pid`, `name`, `bytes`, `threads`, `state`; `count`",
            run: processes::processes,
        },
        Act {
            name: "interfaces",
            input: &[],
            output: "`interfaces`: `name`, `received`, `sent` in bytes, `errors`, `dropped`",
            run: network::interfaces,
        },
    ],
    check: rooted,
};

fn root(options: &Options) -> &Path {
    options.root.as_deref().unwrap_or(Path::new("/proc"))
}

/// A file below the root; its name is always one of ours.
fn file(options: &Options, name: &str) -> Result<String, Fault> {
    let path = root(options).join(name);
    let mut text = String::new();
    std::fs::File::open(&path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text)).map_err(
        |error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Fault::unavailable(format!("this kernel has no {}", path.display()))
            }
            _ => Fault::system(path.display(), &error),
        },
    )?;
    Ok(text)
}

fn strange(name: &str) -> Fault {
    Fault::failed(format!("{name} is not as this program knows it"))
}

/// A share in percent, to a tenth.
fn percent(part: u64, whole: u64) -> Value {
    let tenths = u128::from(part) * 1_000 / u128::from(whole.max(1));
    rounded(f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0, 1)
}

fn memory(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let text = file(options, "meminfo")?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number: u64 = line?.split_whitespace().next()?.parse().ok()?;
        Some(number.saturating_mul(KIB))
    };
    let total = bytes("MemTotal").ok_or_else(|| strange("meminfo"))?;
    let available = bytes("MemAvailable").ok_or_else(|| strange("meminfo"))?;
    Ok(json!({
        "total": total, "available": available, "free": bytes("MemFree"), "cached": bytes("Cached"),
        "swap_total": bytes("SwapTotal"), "swap_free": bytes("SwapFree"),
        "used_percent": percent(total.saturating_sub(available), total),
    }))
}

fn load(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let text = file(options, "loadavg")?;
    let mut words = text.split_whitespace();
    let mut number = || words.next()?.parse::<f64>().ok();
    let loads = (number(), number(), number());
    let (Some(one), Some(five), Some(fifteen)) = loads else { return Err(strange("loadavg")) };
    let (running, all) =
        words.next().and_then(|word| word.split_once('/')).ok_or_else(|| strange("loadavg"))?;
    let count = |text: &str| text.parse::<u64>().map_err(|_| strange("loadavg"));
    Ok(json!({
        "load_1": one, "load_5": five, "load_15": fifteen, "running": count(running)?, "processes": count(all)?,
    }))
}

fn pressure(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let mut told = Map::new();
    for name in ["cpu", "memory", "io"] {
        let text = file(options, &format!("pressure/{name}"))?;
        let mut kinds = Map::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(kind) = words.next() else { continue };
            let fields = words.filter_map(|word| {
                let (name, value) = word.split_once('=')?;
                let value = if name == "total" {
                    json!(value.parse::<u64>().ok()?)
                } else {
                    json!(value.parse::<f64>().ok()?)
                };
                Some((name.to_owned(), value))
            });
            kinds.insert(kind.to_owned(), Value::Object(fields.collect()));
        }
        told.insert(name.to_owned(), Value::Object(kinds));
    }
    Ok(Value::Object(told))
}

/// Only what lies on a device, or is shared from afar: not the kernel's own file systems.
fn is_disk(device: &str, kind: &str) -> bool {
    device.starts_with('/') || ["overlay", "nfs", "nfs4", "9p", "virtiofs", "zfs", "btrfs"].contains(&kind)
}

fn disks(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let above = input.number_or("above_percent", 0, 100)?;
    let above = f64::from(u32::try_from(above).unwrap_or(100));
    // This process's own, as other users may not look at the first one's.
    let text = file(options, "self/mounts")?;
    let mut disks: Vec<Value> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(path), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let read_only = words.next().unwrap_or_default().split(',').any(|option| option == "ro");
        let path = path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        task.at(u64::try_from(disks.len()).unwrap_or(0), None, || format!("asks about {path}"))?;
        if !is_disk(device, kind) || !seen.insert(path.clone()) {
            continue;
        }
        // A mount that is gone or not ours to look at is none that is told.
        let Ok(space) = rustix::fs::statvfs(path.as_str()) else { continue };
        let bytes = space.f_blocks.saturating_mul(space.f_frsize);
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let used = percent(bytes.saturating_sub(free), bytes);
        if bytes == 0 || used.as_f64().is_none_or(|used| used < above) {
            continue;
        }
        disks.push(json!({
            "path": path, "device": device, "type": kind, "bytes": bytes, "free": free, "used_percent": used,
            "read_only": read_only,
        }));
    }
    Ok(json!({"disks": disks}))
}

fn uptime(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let text = file(options, "uptime")?;
    let seconds: f64 =
        text.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or_else(|| strange("uptime"))?;
    let kernel = file(options, "sys/kernel/osrelease")?;
    Ok(json!({"seconds": seconds, "kernel": kernel.trim()}))
}

fn modules(_: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, 1_000)?;
    let only = input.text_or("name", "")?;
    let text = file(options, "modules")?;
    let mut told = Vec::new();
    let mut count = 0_u64;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(bytes), Some(users)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if !only.is_empty() && only != name {
            continue;
        }
        count += 1;
        if told.len() < limit {
            told.push(json!({
                "name": name, "bytes": bytes.parse::<u64>().ok(), "users": users.parse::<u64>().ok(),
                "state": words.nth(1),
            }));
        }
    }
    Ok(json!({"modules": told, "count": count}))
}
