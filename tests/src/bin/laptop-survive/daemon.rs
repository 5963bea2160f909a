//! SIGKILL of the daemon in the middle of what it does.
//!
//! After each kill the daemon is started again. What was acknowledged must stand; what was not must be as before, or
//! whole if the log says that it was done; nothing may be in between.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::survive::Told;

use crate::dice::Dice;
use crate::progress::Progress;

const TOKEN: &str = "0x8060";
const WORK: &str = "/srv/work/survive";
const DAEMON: &str = "/usr/lib/laptop/daemon.sh";

/// What a kind of trial found.
#[derive(Default)]
struct Tally {
    kills: u32,
    acknowledged: u32,
    lost: u32,
    mixed: u32,
}

/// What is done while the daemon is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// A token is written.
    Write,
    /// A checkpoint is made.
    Checkpoint,
    /// A checkpoint is restored.
    Restore,
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
    };
    let (mut dice, mut tally) = (Dice(seed), Tally::default());
    let mut progress = Progress::new();
    for time in 0..times {
        trial(&mut dice, &mut tally).with_context(|| format!("{name}, trial {time}"))?;
        ensure!(quiet("dsmil", &["log", "verify"])?, "the log does not verify after trial {time}");
        progress.tell(|| format!("{name}: {} of {times} kills", time + 1));
    }
    let Tally { kills, acknowledged, lost, mixed } = tally;
    let told = |metric: &str, count: u32| {
        Told::violations(name, metric, count, kills).with("acknowledged", acknowledged).with("seed", seed)
    };
    Ok(vec![
        told("kills of the daemon after which something acknowledged is lost", lost),
        told("kills of the daemon after which something is done in part", mixed),
    ])
}

fn write(dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<()> {
    let (old, facts) = (token()?, size()?);
    let new = old ^ (1 + u32::try_from(dice.below(255))?);
    let acknowledged = killed(&["tokens", "set", &format!("{TOKEN}={new}")], dice.below(300), tally)?;
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
    let acknowledged = killed(&["checkpoint", "create", &name], dice.below(900), tally)?;
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
    let acknowledged = killed(&["checkpoint", "restore", &name, "--yes"], dice.below(2_000), tally)?;
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

/// Starts a command, kills the daemon after a while, starts it again; tells whether the command was acknowledged.
fn killed(words: &[&str], after_ms: u64, tally: &mut Tally) -> anyhow::Result<bool> {
    let mut child = spawn(words)?;
    sleep(Duration::from_millis(after_ms));
    ensure!(quiet(DAEMON, &["kill"])?, "the daemon could not be killed");
    let acknowledged = child.wait()?.success();
    ensure!(quiet(DAEMON, &["start"])?, "the daemon did not come up again");
    tally.kills += 1;
    tally.acknowledged += u32::from(acknowledged);
    Ok(acknowledged)
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
