//! Thermal zones of the kernel, below `/sys/class/thermal`: one file holds a zone's temperature in thousandths of a degree Celsius.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Act, Role, rooted, rounded};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

/// Most zones, and most trip points of one.
const ZONES_MAX: usize = 256;
const TRIPS_MAX: usize = 32;
/// Time between two readings unless given, and the least, milliseconds.
const EVERY_MS: u64 = 250;
const EVERY_MS_MIN: u64 = 20;

const SECONDS: Field = ("seconds", "for how long, at most 600; 2 unless given");
const EVERY: Field = ("every_ms", "time between two readings, at least 20; 250 unless given");

/// Thermal zones.
pub const ROLE: Role = Role {
    name: "thermal",
    options: "`--root DIR`",
    acts: &[
        Act { name: "zones", input: &[], output: "`zones`: `zone`, `type`, `celsius`, `trips`", run: zones },
        Act {
            name: "max",
            input: &[],
            output: "the hottest: `zone`, `type`, `celsius`; `zones`: how many",
            run: max,
        },
        Act {
            name: "average",
            input: &[SECONDS, EVERY],
            output: "`zones`: of each `zone`, `type`, `average`, `least`, `most`, `readings`",
            run: average,
        },
        Act {
            name: "above",
            input: &[("celsius", "the threshold; each zone's lowest trip point unless given")],
            output: "`above`: `zone`, `type`, `celsius`, `threshold`; `is_hot`; `zones`: how many",
            run: above,
        },
    ],
    check: rooted,
};

struct Zone {
    name: String,
    kind: String,
    millicelsius: i64,
}

impl Zone {
    fn celsius(&self) -> Value {
        celsius(self.millicelsius)
    }
}

fn celsius(millicelsius: i64) -> Value {
    json!(f64::from(i32::try_from(millicelsius).unwrap_or(i32::MAX)) / 1_000.0)
}

fn number(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// All zones that can be read now, by name; some have no reading while their device sleeps.
fn read(options: &Options) -> Result<Vec<Zone>, Fault> {
    let root = options.root.as_deref().unwrap_or(Path::new("/sys/class/thermal"));
    let folder = fs::read_dir(root).map_err(|error| Fault::system(root.display(), &error))?;
    let mut names: Vec<String> = folder
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("thermal_zone"))
        .take(ZONES_MAX)
        .collect();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let zones: Vec<Zone> = names
        .into_iter()
        .filter_map(|name| {
            let millicelsius = number(&root.join(&name).join("temp"))?;
            let kind = fs::read_to_string(root.join(&name).join("type")).unwrap_or_default();
            Some(Zone { kind: kind.trim().to_owned(), name, millicelsius })
        })
        .collect();
    if zones.is_empty() {
        return Err(Fault::unavailable(format!("{} has no zone that can be read", root.display())));
    }
    Ok(zones)
}

/// A zone's trip points.
fn trips(options: &Options, zone: &str) -> Vec<(String, i64)> {
    let root = options.root.as_deref().unwrap_or(Path::new("/sys/class/thermal")).join(zone);
    (0..TRIPS_MAX)
        .map_while(|index| {
            let at = number(&root.join(format!("trip_point_{index}_temp")))?;
            let kind = fs::read_to_string(root.join(format!("trip_point_{index}_type"))).unwrap_or_default();
            Some((kind.trim().to_owned(), at))
        })
        .collect()
}

fn zones(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let told: Vec<Value> = read(options)?
        .iter()
        .map(|zone| {
            let trips: Vec<Value> = trips(options, &zone.name)
                .iter()
                .map(|(kind, at)| json!({"type": kind, "celsius": celsius(*at)}))
                .collect();
            json!({"zone": zone.name, "type": zone.kind, "celsius": zone.celsius(), "trips": trips})
        })
        .collect();
    Ok(json!({"zones": told}))
}

fn max(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let zones = read(options)?;
    // Of zones that are equally hot, the first.
    let hottest = zones.iter().rev().max_by_key(|zone| zone.millicelsius);
    let hottest = hottest.ok_or_else(|| Fault::unavailable("there is no zone"))?;
    Ok(json!({
        "zone": hottest.name, "type": hottest.kind, "celsius": hottest.celsius(), "zones": zones.len(),
    }))
}

/// What was read of a zone over a time.
struct Series {
    zone: Zone,
    sum: f64,
    least: i64,
    most: i64,
    readings: u32,
}

fn average(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let seconds = input.number_or("seconds", 2, 600)?;
    let every = input.number_or("every_ms", EVERY_MS, 60_000)?.max(EVERY_MS_MIN);
    let rounds = seconds.saturating_mul(1_000).div_ceil(every).max(1);
    let mut all: Vec<Series> = Vec::new();
    for round in 0..rounds {
        task.at(round, Some(rounds), || "reads zones".to_owned())?;
        for zone in read(options)? {
            let now = zone.millicelsius;
            let degrees = f64::from(i32::try_from(now).unwrap_or(i32::MAX));
            match all.iter_mut().find(|one| one.zone.name == zone.name) {
                Some(one) => {
                    one.sum += degrees;
                    (one.least, one.most) = (one.least.min(now), one.most.max(now));
                    one.readings += 1;
                }
                None => all.push(Series { zone, sum: degrees, least: now, most: now, readings: 1 }),
            }
        }
        task.pause(Duration::from_millis(every), "reads zones")?;
    }
    let told: Vec<Value> = all
        .iter()
        .map(|one| {
            json!({
                "zone": one.zone.name, "type": one.zone.kind, "readings": one.readings, "least": celsius(one.least),
                "average": rounded(one.sum / f64::from(one.readings) / 1_000.0, 3), "most": celsius(one.most),
            })
        })
        .collect();
    Ok(json!({"zones": told}))
}

fn above(_: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let given = match input.get("celsius") {
        None => None,
        Some(value) => {
            let number = value.as_f64().filter(|number| (-273.0..=1_000.0).contains(number));
            Some(number.ok_or_else(|| Fault::input("“celsius” is a number from -273 to 1000"))?)
        }
    };
    let zones = read(options)?;
    let mut above = Vec::new();
    for zone in &zones {
        let lowest = || trips(options, &zone.name).iter().map(|(_, at)| *at).filter(|at| *at > 0).min();
        let Some(threshold) = given.map(|given| json!(given)).or_else(|| Some(celsius(lowest()?))) else {
            continue;
        };
        if zone.celsius().as_f64() > threshold.as_f64() {
            above.push(json!({
                "zone": zone.name, "type": zone.kind, "celsius": zone.celsius(), "threshold": threshold,
            }));
        }
    }
    Ok(json!({"is_hot": !above.is_empty(), "above": above, "zones": zones.len()}))
}
