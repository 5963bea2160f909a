//! SIGKILL of the daemon, or of the helper that changes files for it, in the middle of what it does.
//!
//! After each kill the daemon is started again; without its helper it ends by itself first. What was acknowledged must stand; what was not must be as before, or
//! whole if the log says that it was done; nothing may be in between.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::survive::Told;

use crate::dice::Dice;
use crate::progress::Progress;

const TOKEN: &str = "0x8060";
const WORK: &str = "/srv/work/survive";
/// Deeds at the beginning that nobody interrupts.
const UNHURT: u32 = 3;
/// How long the helper may outlive the daemon.
const HELPER_MAX: Duration = Duration::from_secs(30);
const DAEMON: &str = "/usr/lib/laptop/daemon.sh";

/// What a kind of trial found.
#[derive(Default)]
struct Tally {
    kills: u32,
    acknowledged: u32,
    lost: u32,
    mixed: u32,
    /// Of the kills, how many hit the helper.
    helpers: u32,
    /// Of the kills, how many came before the deed was acknowledged.
    amid: u32,
    /// How often nobody was killed, and how long the deed took then at least, microseconds: a kill after it is wasted.
    unhurt: u32,
    usual_us: u64,
}

/// What is done while the daemon is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// A token is written.
    Write,
    /// A checkpoint is made.
    Checkpoint,
    /// A checkpoint is restored, in place or at once.
    Restore,
    /// Checkpoints go, and what none needs.
    Prune,
}

/// Kills the daemon so many times.
///
/// # Errors
///
/// A trial could not be made, or the log does not verify after it.
pub(crate) fn run(deed: Deed, times: u32, seed: u64) -> anyhow::Result<Vec<Told>> {
    let (name, trial) = match deed {
        Deed::Write => ("writes", write as fn(&mut Dice, &mut Tally) -> anyhow::Result<()>),
        Deed::Checkpoint => ("checkpoints", checkpoint as _),
        Deed::Restore => ("restores", restore as _),
        Deed::Prune => ("prunes", prune as _),
    };
    let (mut dice, mut tally) = (Dice(seed), Tally::default());
    let mut progress = Progress::new();
    for time in 0..times + UNHURT {
        trial(&mut dice, &mut tally).with_context(|| format!("{name}, trial {time}"))?;
        ensure!(quiet("dsmil", &["log", "verify"])?, "the log does not verify after trial {time}");
        progress.tell(|| format!("{name}: {} of {times} kills", (time + 1).saturating_sub(UNHURT)));
    }
    let Tally { kills, acknowledged, lost, mixed, helpers, amid, .. } = tally;
    let told = |metric: &str, count: u32| {
        Told::violations(name, metric, count, kills)
            .with("acknowledged", acknowledged)
            .with("of_the_helper", helpers)
            .with("before_it_was_acknowledged", amid)
            .with("seed", seed)
    };
    Ok(vec![
        told("kills of the daemon after which something acknowledged is lost", lost),
        told("kills of the daemon after which something is done in part", mixed),
    ])
}

fn write(dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<()> {
    let (old, facts) = (token()?, size()?);
    let new = old ^ (1 + u32::try_from(dice.below(255))?);
    let acknowledged = killed(&["tokens", "set", &format!("{TOKEN}={new}")], dice, tally)?;
    let now = token()?;
    match outcome("write tokens", facts)?.as_str() {
        _ if acknowledged && now != new => tally.lost += 1,
        "done" if now != new => tally.lost += 1,
        "done" => {}
        _ if now != old => tally.mixed += 1,
        _ => {}
    }
    Ok(())
}

fn checkpoint(dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<()> {
    fill(dice)?;
    let name = format!("c{:x}", dice.below(u64::MAX));
    let acknowledged = killed(&["checkpoint", "create", &name], dice, tally)?;
    let list = answer(&["checkpoint", "list"])?;
    let listed = list.get("checkpoints").and_then(Value::as_array).context("a list")?;
    let is_listed = listed.iter().any(|one| one.get("name").and_then(Value::as_str) == Some(&name));
    if acknowledged && !is_listed {
        tally.lost += 1;
    }
    if is_listed && !quiet("dsmil", &["checkpoint", "verify", &name])? {
        tally.mixed += 1;
    }
    Ok(())
}

fn restore(dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<()> {
    fill(dice)?;
    let name = format!("r{:x}", dice.below(u64::MAX));
    ensure!(quiet("dsmil", &["checkpoint", "create", &name])?, "no checkpoint");
    let old_token = token()?;
    let wanted = picture()?;
    fill(dice)?;
    ensure!(quiet("dsmil", &["tokens", "set", &format!("{TOKEN}={}", old_token ^ 1)])?, "no write");
    let spoiled = picture()?;
    let mut words = vec!["checkpoint", "restore", &name, "--yes"];
    let in_place = dice.below(2) == 0;
    words.extend(in_place.then_some("--in-place"));
    let acknowledged = killed_then(&words, dice, tally, &mut || {
        // Of two folders one stands there at every moment, also before anybody puts anything right.
        let amid = if in_place { String::new() } else { picture()? };
        Ok(in_place || amid == wanted || amid == spoiled)
    })?;
    let (now, token_now) = (picture()?, token()?);
    let is_back = now == wanted && token_now == old_token;
    let is_before = now == spoiled && token_now == old_token ^ 1;
    if acknowledged && !is_back {
        tally.lost += 1;
    }
    if !is_back && !is_before {
        tally.mixed += 1;
    }
    Ok(())
}

/// Checkpoints of which the older ones go: no other is lost, and those are wholly there or gone.
fn prune(dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<()> {
    for _ in 0..3 {
        fill(dice)?;
        let name = format!("p{:x}", dice.below(u64::MAX));
        ensure!(quiet("dsmil", &["checkpoint", "create", &name])?, "no checkpoint");
    }
    let before = listed()?;
    let acknowledged =
        killed(&["checkpoint", "prune", "--keep-last", "3", "--manual", "--yes"], dice, tally)?;
    let after = listed()?;
    let kept = before.get(before.len().saturating_sub(3)..).unwrap_or_default();
    if kept.iter().any(|name| !after.contains(name)) || (acknowledged && after.len() > 3) {
        tally.lost += 1;
    }
    let mut whole = after.iter().map(|name| quiet("dsmil", &["checkpoint", "verify", name]));
    if whole.any(|whole| !matches!(whole, Ok(true))) {
        tally.mixed += 1;
    }
    // What was interrupted is done by the next one.
    ensure!(
        quiet("dsmil", &["checkpoint", "prune", "--keep-last", "3", "--manual", "--yes"])?,
        "it does not prune after a kill"
    );
    Ok(())
}

/// The names of all checkpoints, the oldest first.
fn listed() -> anyhow::Result<Vec<String>> {
    let list = answer(&["checkpoint", "list"])?;
    let all = list.get("checkpoints").and_then(Value::as_array).context("a list")?;
    let mut all: Vec<(u64, String)> = all
        .iter()
        .filter_map(|one| Some((one.get("number")?.as_u64()?, one.get("name")?.as_str()?.to_owned())))
        .collect();
    all.sort_unstable();
    Ok(all.into_iter().map(|(_, name)| name).collect())
}

fn killed(words: &[&str], dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<bool> {
    killed_then(words, dice, tally, &mut || Ok(true))
}

/// Starts a command, kills the daemon or its helper after a while, looks, and starts the daemon again; tells whether the command was acknowledged.
/// The first times nobody is killed, to see how long it takes.
fn killed_then(
    words: &[&str],
    dice: &mut Dice,
    tally: &mut Tally,
    look: &mut dyn FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let (began, mut child) = (Instant::now(), spawn(words)?);
    if tally.unhurt < UNHURT {
        let done = child.wait()?.success();
        tally.unhurt += 1;
        let taken = u64::try_from(began.elapsed().as_micros())?;
        tally.usual_us = if tally.unhurt == 1 { taken } else { tally.usual_us.min(taken) };
        ensure!(done, "{words:?} fails where nobody is killed");
        return Ok(done);
    }
    sleep(Duration::from_micros(dice.below(tally.usual_us + tally.usual_us / 8)));
    let of_helper = dice.below(3) == 0;
    if of_helper {
        tally.helpers += u32::from(helper()?.is_some_and(|pid| kill(pid, Signal::SIGKILL).is_ok()));
        // It ends by itself once it notices, and what is asked then waits for the next.
        child.wait()?;
    }
    ensure!(quiet(DAEMON, &["kill"])?, "the daemon could not be killed");
    let acknowledged = child.wait()?.success();
    wait_for_helper()?;
    tally.mixed += u32::from(!look()?);
    ensure!(quiet(DAEMON, &["start"])?, "the daemon did not come up again");
    tally.kills += 1;
    tally.acknowledged += u32::from(acknowledged);
    tally.amid += u32::from(!acknowledged);
    Ok(acknowledged)
}

/// The helper's process, if there is one.
fn helper() -> anyhow::Result<Option<Pid>> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if words.first().is_some_and(|word| word.ends_with(b"dsmild"))
            && words.contains(&b"helper".as_slice())
            && words.contains(&b"restore".as_slice())
        {
            return Ok(Some(Pid::from_raw(pid)));
        }
    }
    Ok(None)
}

/// It does to the end what it is at when the daemon is gone.
fn wait_for_helper() -> anyhow::Result<()> {
    let began = Instant::now();
    while helper()?.is_some() {
        ensure!(began.elapsed() < HELPER_MAX, "the helper does not end although the daemon is gone");
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn spawn(words: &[&str]) -> anyhow::Result<Child> {
    Ok(Command::new("dsmil")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

fn quiet(program: &str, words: &[&str]) -> anyhow::Result<bool> {
    let done = Command::new(program).args(words).stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("starting {program}"))?;
    if !done.status.success() {
        eprintln!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim_end());
    }
    Ok(done.status.success())
}

/// The answer of a command as JSON.
fn answer(words: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new("dsmil").args(words).arg("--json").output()?;
    let document: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("dsmil {words:?}"))?;
    document.get("answer").cloned().with_context(|| format!("dsmil {words:?} gave no answer: {document}"))
}

fn token() -> anyhow::Result<u32> {
    let answer = answer(&["tokens", "get", TOKEN])?;
    let value =
        answer.pointer("/values/0/value").and_then(Value::as_u64).with_context(|| format!("{answer}"))?;
    Ok(u32::try_from(value)?)
}

/// How many facts the log has.
fn size() -> anyhow::Result<u64> {
    let answer = answer(&["log", "tail", "-n", "1"])?;
    answer.get("size").and_then(Value::as_u64).with_context(|| format!("{answer}"))
}

/// How the last work of a kind ended, by the log from that fact on; empty if there was none.
fn outcome(title: &str, from: u64) -> anyhow::Result<String> {
    let answer = answer(&["log", "tail", "-n", "200"])?;
    let records = answer.get("records").and_then(Value::as_array).context("records")?;
    let field = |record: &Value, name: &str| record.get(name).cloned().unwrap_or_default();
    let last = records.iter().rev().find(|record| {
        field(record, "index").as_u64().is_some_and(|index| index >= from)
            && field(record, "fact") == "accepted"
            && field(record, "text").as_str().is_some_and(|text| text.starts_with(title))
    });
    // Killed before it was even accepted.
    let Some(work) = last.map(|record| field(record, "work")) else { return Ok(String::new()) };
    let end =
        records.iter().find(|record| field(record, "fact") == "finished" && field(record, "work") == work);
    let end = end.with_context(|| format!("work {work} has no end after a start"))?;
    Ok(field(end, "text").as_str().unwrap_or_default().to_owned())
}

/// New contents: some files stay, some change, some go.
fn fill(dice: &mut Dice) -> anyhow::Result<()> {
    fs::create_dir_all(WORK)?;
    for number in 0..12 {
        let path = Path::new(WORK).join(format!("file{number}"));
        match dice.below(3) {
            0 => {}
            1 => drop(fs::remove_file(&path)),
            _ => {
                fs::write(&path, vec![u8::try_from(dice.below(256))?; usize::try_from(dice.below(200_000))?])?
            }
        }
    }
    Ok(())
}

/// What the kernel tells of the files: kind, mode, owner, modification time; and their contents.
fn picture() -> anyhow::Result<String> {
    let script = "cd /srv/work && find . -printf '%P %y %m %U %G %T@\\n' | LC_ALL=C sort && \
                  find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum";
    let output = Command::new("bash").args(["-c", script]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
