//! What is not a fault of a call: a BIOS password, somebody else who writes, unloading while an undo is retried.

use std::fs::read_to_string;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use device::{Error, Event, Reason, Undo};
use nix::errno::Errno;
use tests::machine::vendor::Call;

use crate::laptop::{Laptop, any_but, now_ns};
use crate::trial::{Bench, By, RETRY_NS};

/// The module, as the laptop has it.
const MODULE: &str = "/usr/lib/modules/dsmil.ko";
/// What the module says of its transaction, without an open file.
const STATE: &str = "/sys/kernel/debug/dsmil/state";
/// `DSMIL_REASON_PASSWORD`.
const PASSWORD: Reason = Reason(22);

/// One trial.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    /// A password is set before the commit.
    Password { size: usize },
    /// It is set between commit and undo, and taken away later.
    PasswordAtUndo { size: usize },
    /// Somebody else changes an entry's location between commit and undo.
    Left { entry: u32, by: By },
    /// They do so after an attempt to undo has failed at that entry, and before the next.
    LeftAtRetry { entry: u32 },
}

impl Case {
    pub(crate) fn family(self) -> &'static str {
        match self {
            Self::Password { .. } => "password",
            Self::PasswordAtUndo { .. } => "password at undo",
            Self::Left { by: By::Request, .. } => "left by request",
            Self::Left { by: By::Close, .. } => "left by close",
            Self::Left { by: By::Deadline, .. } => "left by deadline",
            Self::LeftAtRetry { .. } => "left at retry",
        }
    }
}

/// All cases; the largest transaction has so many entries.
pub(crate) fn cases(entries: u32) -> impl Iterator<Item = Case> {
    let sizes = [0, 1, 2];
    let passwords = sizes.map(|size| Case::Password { size }).into_iter();
    let passwords = passwords.chain(sizes.map(|size| Case::PasswordAtUndo { size }));
    let left = (0..entries).flat_map(|entry| By::ALL.map(|by| Case::Left { entry, by }));
    passwords.chain(left).chain((0..entries).map(|entry| Case::LeftAtRetry { entry }))
}

pub(crate) fn try_one(bench: &mut Bench, case: Case) -> anyhow::Result<()> {
    match case {
        Case::Password { size } => password(bench, size),
        Case::PasswordAtUndo { size } => password_at_undo(bench, size),
        Case::Left { entry, by } => left(bench, usize::try_from(entry)?, by),
        Case::LeftAtRetry { entry } => left_at_retry(bench, usize::try_from(entry)?),
    }
}

fn set_password(bench: &Bench, is_set: bool) -> anyhow::Result<()> {
    bench.laptop.firmware.vendor(Call::Password, [u32::from(is_set), 0, 0, 0])?;
    Ok(())
}

fn password(bench: &mut Bench, size: usize) -> anyhow::Result<()> {
    let change = bench.change(size)?;
    set_password(bench, true)?;
    let done = bench.commit(&change, By::Request);
    set_password(bench, false)?;
    match done? {
        Err(Error::Password { undo: Undo::Done, .. }) => {}
        Err(other) => bench.wrong(&format!("with a password the commit says: {other:?}"))?,
        Ok(_) => bench.wrong("a commit succeeds although a password forbids it")?,
    }
    let eacces =
        |event: &Event| matches!(event, Event::Refused { reason: PASSWORD, error: Errno::EACCES, .. });
    if !bench.has_seen(eacces)? {
        bench.wrong("no event tells of the password")?;
    }
    bench.must_be_old(&change, "after a commit that a password forbade")
}

fn password_at_undo(bench: &mut Bench, size: usize) -> anyhow::Result<()> {
    let change = bench.change(size)?;
    let held = bench.commit(&change, By::Request)??;
    set_password(bench, true)?;
    let said = held.end(bench, By::Request);
    let (values, state) = (bench.values(&change)?, bench.state()?);
    set_password(bench, false)?;
    if said?.is_some_and(|said| said.is_ok()) || values != change.new {
        bench
            .wrong(&format!("an undo that a password forbids says that it is done: {values:?}, {state:?}"))?;
    }
    bench.judge_retrying(&change, change.places.len())
}

fn left(bench: &mut Bench, entry: usize, by: By) -> anyhow::Result<()> {
    let change = bench.change(2)?;
    let left_before = bench.laptop.device.info()?.left;
    let held = bench.commit(&change, by)??;
    let place = change.place(entry)?.clone();
    let (old, new) =
        (*change.old.get(entry).context("no such entry")?, *change.new.get(entry).context("no such entry")?);
    let theirs = any_but(&[old, new], &mut bench.dice);
    bench.laptop.poke(&place, theirs)?;
    let said = held.end(bench, by)?;
    let mut wanted = change.clone();
    *wanted.old.get_mut(entry).context("no such entry")? = theirs;
    // What somebody else put there stays, everything else goes back.
    bench.must_be_old(&wanted, "with a value of somebody else among them")?;
    let others = u32::try_from(change.places.len() - 1)?;
    match said {
        None => {}
        Some(Ok(settled)) if settled.left == 1 && settled.undone == others => {}
        Some(other) => bench.wrong(&format!("of somebody else's value the undo says: {other:?}"))?,
    }
    let left = bench.laptop.device.info()?.left - left_before;
    if left != 1 {
        bench.wrong(&format!("{left} locations are counted as left alone, not one"))?;
    }
    let told = |event: &Event| matches!(event, Event::Left { id, select, old: told } if *id == place.id && *select == place.select && *told == old);
    if !bench.has_seen(told)? {
        bench.wrong("no event tells of the location that was left alone")?;
    }
    bench.must_rest(&wanted, now_ns()?, 0)?;
    bench.restore(&change)
}

fn left_at_retry(bench: &mut Bench, entry: usize) -> anyhow::Result<()> {
    let change = bench.change(2)?;
    let held = bench.commit(&change, By::Request)??;
    let place = change.place(entry)?.clone();
    let (old, new) =
        (*change.old.get(entry).context("no such entry")?, *change.new.get(entry).context("no such entry")?);
    // An undo goes from the last entry to the first.
    let skip = change.places.len() - 1 - entry;
    bench.laptop.add_fault(&format!("error,on=write,skip={skip},count=1"))?;
    if held.end(bench, By::Request)?.is_some_and(|said| said.is_ok()) {
        bench.wrong("an undo of which a write failed says that it is done")?;
    }
    let began = now_ns()?;
    let theirs = any_but(&[old, new], &mut bench.dice);
    bench.laptop.poke(&place, theirs)?;
    let mut wanted = change.clone();
    *wanted.old.get_mut(entry).context("no such entry")? = theirs;
    bench.must_rest(&wanted, began, RETRY_NS)?;
    let told = |event: &Event| matches!(event, Event::Left { id, select, old: told } if *id == place.id && *select == place.select && *told == old);
    if !bench.has_seen(told)? {
        bench.wrong("no event tells of the location that was left alone at a retry")?;
    }
    bench.restore(&change)
}

/// While an undo is retried and no file is open, the module cannot be unloaded; afterwards it can. Loads it again, with
/// nothing sealed. What was wrong.
///
/// # Errors
///
/// It could not be tried.
pub(crate) fn unload(seed: u64) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut bench = Bench::open(seed)?;
    let change = bench.change(1)?;
    let held = bench.commit(&change, By::Close)??;
    bench.laptop.add_fault("error,on=write,count=0")?;
    held.end(&mut bench, By::Close)?;
    let Bench { laptop: Laptop { firmware, device, .. }, events, .. } = bench;
    drop((device, events));
    if !is_undoing()? {
        wrong.push("the undo does not count as retried although all writes fail".to_owned());
    }
    if run("rmmod", &["dsmil"])? {
        wrong.push("the module was unloaded while an undo was retried".to_owned());
        return Ok(wrong);
    }
    firmware.vendor(Call::FaultClear, [0; 4])?;
    // The next attempt comes after two seconds at most, unless this machine was slower than the first pause.
    let end = now_ns()? + 10 * RETRY_NS;
    while is_undoing()? {
        ensure!(now_ns()? < end, "the undo does not succeed");
        sleep(Duration::from_millis(5));
    }
    for (place, old) in change.places.iter().zip(&change.old) {
        let [now, ..] = firmware.vendor(Call::Peek, place.inputs(0))?;
        if now != *old {
            wrong.push(format!("{place:?} holds {now} instead of {old}"));
        }
    }
    if !run("rmmod", &["dsmil"])? {
        wrong.push("the module cannot be unloaded after the undo".to_owned());
        return Ok(wrong);
    }
    ensure!(run("insmod", &[MODULE, "write_rate=0", "read_rate=0"])?, "the module does not load again");
    Ok(wrong)
}

fn is_undoing() -> anyhow::Result<bool> {
    Ok(read_to_string(STATE)?.lines().any(|line| line == "state 3"))
}

fn run(program: &str, words: &[&str]) -> anyhow::Result<bool> {
    let status = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(status.with_context(|| format!("starting {program}"))?.success())
}
