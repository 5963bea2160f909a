//! What the benchmarks share: rounds that alternate, medians and spreads, the table and the file of figures.
//!
//! The programs are in `tests/benches`; `docs/benchmarks.md` says what each measures and how to read its figures.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// Rounds of a benchmark whose rounds are short.
pub const ROUNDS: usize = 11;

/// Which way is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// Rates.
    Higher,
    /// Times and costs.
    Lower,
}

/// What a series of rounds says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Half of the rounds are below.
    pub median: f64,
    /// A tenth of the rounds is below.
    pub p10: f64,
    /// Nine tenths of the rounds are below.
    pub p90: f64,
}

impl Spread {
    /// Of the values of each round, in any order; `None` if there is none. Values that are no number are left out.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile| quantile_of(&sorted, quantile);
        Some(Self { median: at(0.5)?, p10: at(0.1)?, p90: at(0.9)? })
    }

    fn json(self) -> Value {
        json!({ "median": short(self.median), "p10": short(self.p10), "p90": short(self.p90) })
    }
}

/// The quantile, between 0 and 1, of sorted values, with a straight line between neighbours.
pub fn quantile_of(sorted: &[f64], quantile: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = quantile.clamp(0.0, 1.0) * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = place.floor() as usize;
    let (low, high) = (sorted.get(below)?, sorted.get((below + 1).min(last))?);
    let part = place - place.floor();
    // Where both are the same infinity, the line between them would be no number.
    Some(if part > 0.0 { low * (1.0 - part) + high * part } else { *low })
}

/// What ours is held against.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its key, the same for ever, so that figures can be compared over time.
    pub name: &'static str,
    /// Its version, or what it is where it has none.
    pub version: String,
    /// One value for each round, in the order of the rounds.
    pub samples: Vec<f64>,
    /// The ratio that we want to reach.
    pub goal: Option<f64>,
}

/// One figure: ours and the peers, in one metric.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The variant of the benchmark.
    pub variant: &'static str,
    /// What is measured, with unit and load.
    pub metric: &'static str,
    /// Which way is good.
    pub better: Better,
    /// One value for each round, in the order of the rounds.
    pub ours: Vec<f64>,
    /// Those that did the same work in the same rounds.
    pub peers: Vec<Peer>,
    /// What the reader must know to judge it.
    pub notes: Vec<String>,
    /// Further keys, such as counts that carry over to other hardware.
    pub more: Map<String, Value>,
}

impl Figure {
    /// Ours against a peer in the direction of `better`, of each round: neighbours in time share the machine's mood.
    fn ratio(&self, peer: &Peer) -> Option<Spread> {
        let of = |(ours, peer): (&f64, &f64)| match self.better {
            Better::Higher => ours / peer,
            Better::Lower => peer / ours,
        };
        Spread::of(&self.ours.iter().zip(&peer.samples).map(of).collect::<Vec<_>>())
    }

    fn json(&self, bench: &str, machine: &Machine) -> Option<Value> {
        let (mut peers, mut ratio, mut spread, mut goal) = (Map::new(), Map::new(), Map::new(), Map::new());
        for peer in &self.peers {
            let mut values = Spread::of(&peer.samples)?.json();
            values.as_object_mut()?.insert("version".into(), json!(peer.version));
            peers.insert(peer.name.into(), values);
            let against = self.ratio(peer)?;
            ratio.insert(peer.name.into(), json!(short(against.median)));
            spread.insert(peer.name.into(), json!({ "p10": short(against.p10), "p90": short(against.p90) }));
            if let Some(wanted) = peer.goal {
                goal.insert(peer.name.into(), json!(wanted));
            }
        }
        let better = if self.better == Better::Higher { "higher" } else { "lower" };
        let mut notes = self.notes.clone();
        notes.extend(machine.notes.iter().cloned());
        let mut figure = json!({
            "bench": bench, "variant": self.variant, "metric": self.metric, "better": better,
            "ours": Spread::of(&self.ours)?.json(), "peers": peers, "ratio": ratio, "ratio_spread": spread,
            "goal": goal, "runs": self.ours.len(), "cpu": machine.cpu, "kernel": machine.kernel,
            "commit": machine.commit, "notes": notes,
        });
        figure.as_object_mut()?.extend(self.more.clone());
        Some(figure)
    }

    fn print(&self) {
        let better = if self.better == Better::Higher { "more is better" } else { "less is better" };
        println!("\n{} · {} ({better})", self.variant, self.metric);
        println!("  {:<14} {:>12} {:>12} {:>12} {:>10} {:>6}", "", "median", "p10", "p90", "ours is", "goal");
        print_row("ours", &self.ours, "", "");
        for peer in &self.peers {
            let ratio = self.ratio(peer).map_or(String::new(), |ratio| format!("× {:.2}", ratio.median));
            let goal = peer.goal.map_or(String::new(), |goal| format!("{goal}"));
            print_row(peer.name, &peer.samples, &ratio, &goal);
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }
}

fn print_row(name: &str, samples: &[f64], ratio: &str, goal: &str) {
    let Some(Spread { median, p10, p90 }) = Spread::of(samples) else { return };
    let digits = if median.abs() >= 1_000.0 { 0 } else { 2 };
    println!("  {name:<14} {median:>12.digits$} {p10:>12.digits$} {p90:>12.digits$} {ratio:>10} {goal:>6}");
}

/// Five digits are more than any of these figures is good for.
fn short(value: f64) -> Value {
    format!("{value:.4e}").parse().map_or(Value::Null, |value: f64| json!(value))
}

/// Where it was measured.
#[derive(Clone, Debug)]
struct Machine {
    cpu: String,
    kernel: String,
    commit: String,
    notes: Vec<String>,
}

/// A benchmark that runs: to be made before the first round, for it notes what else the machine was doing.
#[derive(Clone, Debug)]
pub struct Bench {
    name: &'static str,
    folder: PathBuf,
    machine: Machine,
}

impl Bench {
    /// Begins the benchmark of this name. `BENCH_OUT` is the folder of figures and `BENCH_COMMIT` the commit
    /// that was built; `scripts/bench.sh` sets both.
    ///
    /// # Errors
    ///
    /// What of `/proc` could not be read, or that the folder could not be made.
    pub fn begin(name: &'static str) -> anyhow::Result<Self> {
        let folder = PathBuf::from(env::var_os("BENCH_OUT").unwrap_or_else(|| "target/bench".into()));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let cpus = read("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
        let load = read("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        let commit = env::var("BENCH_COMMIT").unwrap_or_else(|_| "unknown".into());
        let machine = Machine {
            cpu: format!("{} × {count}", model.map_or("unknown", |(_, model)| model.trim())),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().into(),
            commit,
            notes: vec![
                format!("load average {load} on {count} CPUs when it began"),
                "ratio: median over the rounds of ours against the peer in the same round".into(),
            ],
        };
        println!("{name} · {} · Linux {}", machine.cpu, machine.kernel);
        println!("{}", machine.notes.join("\n"));
        Ok(Self { name, folder, machine })
    }

    /// A fresh folder for what the benchmark writes, on the disk that the build is on; removed with the value.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn scratch(&self) -> anyhow::Result<Scratch> {
        let path = self.folder.join(format!("scratch-{}-{}", self.name, std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Adds a note that goes with each figure.
    pub fn note(&mut self, note: String) {
        self.machine.notes.push(note);
    }

    /// Prints the figures and writes them to the file `NAME.json`.
    ///
    /// # Errors
    ///
    /// A figure has no round, or the file cannot be written.
    pub fn finish(self, figures: &[Figure]) -> anyhow::Result<()> {
        figures.iter().for_each(Figure::print);
        let list: Option<Vec<Value>> =
            figures.iter().map(|figure| figure.json(self.name, &self.machine)).collect();
        let text = serde_json::to_string_pretty(&list.context("a figure has no round")?)?;
        let path = self.folder.join(format!("{}.json", self.name));
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        println!("\nwritten: {}", path.display());
        Ok(())
    }
}

/// A folder that goes with the value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// Its file system, in the words of `findmnt`.
    pub fn file_system(&self) -> String {
        output("findmnt", &["-n", "-o", "FSTYPE", "-T", &self.0.to_string_lossy()])
            .unwrap_or_else(|_| "unknown".into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the target folder, which “make clean” removes.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// One of those that take turns: its name, and what does one round of the work.
pub type Arm<'arm, T> = (&'static str, Box<dyn FnMut() -> anyhow::Result<T> + 'arm>);

/// Runs all arms once to warm up, then `rounds` times in turn. Each round begins with another arm, so that none
/// is always the one after the slowest.
///
/// # Errors
///
/// The first error of an arm, with its name.
pub fn alternate<T>(
    rounds: usize,
    arms: &mut [Arm<'_, T>],
) -> anyhow::Result<BTreeMap<&'static str, Vec<T>>> {
    let mut results = BTreeMap::new();
    for round in 0..=rounds {
        let count = arms.len().max(1);
        for place in 0..arms.len() {
            let Some((name, arm)) = arms.get_mut((round + place) % count) else { continue };
            let result = arm().with_context(|| format!("{name}, round {round}"))?;
            let kept: &mut Vec<T> = results.entry(*name).or_default();
            // The round 0 warms up.
            if round > 0 {
                kept.push(result);
            }
        }
        progress(round, rounds);
    }
    Ok(results)
}

/// Shows on a terminal how far it is, and nothing elsewhere.
pub fn progress(round: usize, rounds: usize) {
    if std::io::stderr().is_terminal() {
        let end = if round == rounds { "\r\x1b[K" } else { "" };
        eprint!("\r  round {round} of {rounds} {end}");
    }
}

/// What a command prints, without the last line break.
///
/// # Errors
///
/// It does not start, or ends with another status than 0; what it said is told.
pub fn output(program: &str, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(words).output().with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{program} {}: {}: {}",
        words.join(" "),
        output.status,
        said.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let eleven: Vec<f64> = (0..11).rev().map(f64::from).collect();
        assert_eq!(Spread::of(&eleven), Some(Spread { median: 5.0, p10: 1.0, p90: 9.0 }));
        assert_eq!(Spread::of(&[4.0, 2.0]), Some(Spread { median: 3.0, p10: 2.2, p90: 3.8 }));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(quantile_of(&[1.0, f64::INFINITY], 1.0), Some(f64::INFINITY));
    }

    fn figure(better: Better) -> Value {
        let peer =
            Peer { name: "bare", version: "none".into(), samples: vec![200.0, 100.0, 50.0], goal: Some(0.9) };
        let figure = Figure {
            variant: "in-process",
            metric: "appends/s",
            better,
            ours: vec![100.0, 100.0, 100.0],
            peers: vec![peer],
            notes: vec!["a note".into()],
            more: Map::new(),
        };
        let machine = Machine { cpu: "c".into(), kernel: "k".into(), commit: "h".into(), notes: vec![] };
        figure.json("log", &machine).unwrap()
    }

    #[test]
    fn the_ratio_is_above_one_where_ours_is_better() {
        // The median of 0.5, 1 and 2 is the same both ways; the spread tells the direction.
        assert_eq!(figure(Better::Higher)["ratio"]["bare"], json!(1.0));
        assert_eq!(figure(Better::Higher)["ratio_spread"]["bare"], json!({ "p10": 0.6, "p90": 1.8 }));
        let fast = Figure {
            variant: "v",
            metric: "ms",
            better: Better::Lower,
            ours: vec![1.0],
            peers: vec![Peer { name: "slow", version: String::new(), samples: vec![4.0], goal: None }],
            notes: vec![],
            more: Map::new(),
        };
        assert_eq!(fast.ratio(&fast.peers[0]).unwrap().median, 4.0);
    }

    #[test]
    fn no_key_of_the_format_is_missing() {
        let figure = figure(Better::Lower);
        for key in [
            "bench", "variant", "metric", "better", "ours", "peers", "ratio", "goal", "runs", "cpu",
            "kernel", "commit", "notes",
        ] {
            assert!(figure.get(key).is_some(), "{key}");
        }
        assert_eq!(figure["peers"]["bare"]["version"], "none");
        assert_eq!(figure["goal"]["bare"], json!(0.9));
        assert_eq!(figure["runs"], 3);
    }

    #[test]
    fn arms_take_turns_and_the_warm_up_does_not_count() {
        let order = std::cell::RefCell::new(Vec::new());
        let count = |name| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(order.borrow().len())
            }
        };
        let mut arms: Vec<Arm<'_, usize>> = vec![("a", Box::new(count("a"))), ("b", Box::new(count("b")))];
        let results = alternate(2, &mut arms).unwrap();
        drop(arms);
        assert_eq!(order.into_inner(), ["a", "b", "b", "a", "a", "b"]);
        assert_eq!(results["a"], [4, 5]);
    }
}
