//! Faults of the firmware at each call of a change.
//!
//! Afterwards the old values are back, or the failure is told and they come back once the firmware works again: always.

use anyhow::{Context as _, ensure};
use device::{Error, Undo};
use tests::survive::Told;

use crate::dice::Dice;
use crate::laptop::{SIZES, now_ns};
use crate::others;
use crate::progress::Progress;
use crate::trial::{Bench, By, NEVER_NS, RETRY_NS, Tally};

/// Each kind of fault in all its forms, but for slowness, which is no failure.
const KINDS: [&str; 10] = [
    "error",
    "unsupported",
    "garbage",
    "garbage,value=1",
    "short,value=0",
    "short,value=20",
    "short,value=24",
    "short,value=4095",
    "late-error",
    "write-ignored",
];
/// Those of them with which a commit fails after it has written.
const FIRST: [&str; 4] = ["error", "late-error", "short,value=20", "write-ignored"];
/// Pairs of faults that a whole run draws: each costs the pause of a second.
const PAIRS: u32 = 160;
/// Of each list, how many quarters of the number asked for are drawn: those that cost seconds are fewer.
const SHARES: [usize; 5] = [8, 4, 1, 1, 4];
/// Pauses that are twice as long as the one before; a test waits for no more.
const MOST_DOUBLED: u32 = 5;
/// A call that is slow, in milliseconds.
const SLOW_MS: u64 = 2000;
/// Violations after which a run ends.
const ENOUGH: u32 = 12;

/// One trial.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// A call of the commit fails.
    Commit { size: usize, kind: &'static str, call: u32 },
    /// A call of the undo fails.
    Undo { size: usize, kind: &'static str, call: u32, by: By },
    /// The change of entry `entry` fails, and then a call of the undo.
    Both { size: usize, first: &'static str, entry: u32, second: &'static str, call: u32 },
    /// All writes of the undo fail until its third attempt.
    Lasting { size: usize, kind: &'static str },
    /// A call of commit or undo takes two seconds.
    Slow { call: u32 },
    /// What is not a fault of a call.
    Other(others::Case),
}

impl Case {
    /// What a small run has one of each at least.
    fn family(self) -> &'static str {
        match self {
            Self::Commit { kind, .. } | Self::Undo { kind, .. } | Self::Lasting { kind, .. } => kind,
            Self::Both { second, .. } => second,
            Self::Slow { .. } => "slow",
            Self::Other(case) => case.family(),
        }
    }
}

/// Firmware calls of a clean change.
#[derive(Clone, Copy, Debug)]
struct Calls {
    entries: u32,
    commit: u32,
    undo: u32,
}

/// Tries so many of each list, or all.
///
/// # Errors
///
/// The laptop is not as it should be, or does not come to rest.
pub(crate) fn run(times: Option<u32>, seed: u64) -> anyhow::Result<Vec<Told>> {
    let mut bench = Bench::open(seed)?;
    let calls = (0..SIZES).map(|size| count(&mut bench, size)).collect::<anyhow::Result<Vec<_>>>()?;
    eprintln!("  calls of clean changes: {calls:?}");
    let mut cases = Vec::new();
    for (mut list, share) in lists(&calls, &mut bench.dice).into_iter().zip(SHARES) {
        if let Some(times) = times {
            draw(&mut list, usize::try_from(times)? * share / 4, &mut bench.dice);
        }
        cases.extend(list);
    }
    let mut progress = Progress::new();
    let all = cases.len();
    for (done, case) in cases.into_iter().enumerate() {
        let before = violations(&bench);
        try_one(&mut bench, case, &calls).with_context(|| format!("{case:?}"))?;
        bench.tally.tried += 1;
        if violations(&bench) > before {
            eprintln!("  that was {case:?}");
        }
        let tally = &bench.tally;
        let counts = format!("untold {}, wrong {}, late {}", tally.untold, tally.wrong, tally.late);
        progress.tell(|| format!("faults: {} of {all}, {counts}", done + 1));
        if violations(&bench) >= ENOUGH {
            eprintln!("  that is enough: the run ends");
            break;
        }
    }
    let mut tally = std::mem::take(&mut bench.tally);
    // With no file open.
    drop(bench);
    for what in others::unload(seed)? {
        eprintln!("  FAIL {what}");
        tally.wrong += 1;
    }
    tally.tried += 1;
    Ok(told(&tally, seed))
}

fn violations(bench: &Bench) -> u32 {
    bench.tally.untold + bench.tally.wrong + bench.tally.late
}

/// Counts the calls of a clean change, and times them.
fn count(bench: &mut Bench, size: usize) -> anyhow::Result<Calls> {
    let change = bench.change(size)?;
    let ((before, _), began) = (bench.laptop.calls()?, now_ns()?);
    let held = bench.commit(&change, By::Request)??;
    bench.calls_ns = bench.calls_ns.max(now_ns()? - began);
    ensure!(bench.values(&change)? == change.new, "a clean commit does not write");
    let (between, _) = bench.laptop.calls()?;
    held.end(bench, By::Request)?.context("an undo was asked for")??;
    let (after, _) = bench.laptop.calls()?;
    ensure!(bench.values(&change)? == change.old, "a clean undo does not undo");
    let entries = u32::try_from(change.places.len())?;
    Ok(Calls { entries, commit: between - before, undo: after - between })
}

/// All cases, in lists of their own.
fn lists(calls: &[Calls], dice: &mut Dice) -> [Vec<Case>; 5] {
    let (mut commit, mut undo, mut lasting, mut slow) = (vec![], vec![], vec![], vec![]);
    for (size, calls) in calls.iter().enumerate() {
        for kind in KINDS {
            let is_write = kind == "write-ignored";
            let in_commit = if is_write { calls.entries } else { calls.commit };
            let in_undo = if is_write { calls.entries } else { calls.undo };
            commit.extend((0..in_commit).map(|call| Case::Commit { size, kind, call }));
            undo.extend((0..in_undo).map(|call| {
                let by = dice.pick(&By::ALL).unwrap_or(By::Request);
                Case::Undo { size, kind, call, by }
            }));
        }
    }
    let pair = |dice: &mut Dice| {
        let size = usize::try_from(dice.below(3)).unwrap_or(0);
        let entries = calls.get(size)?.entries;
        let entry = u32::try_from(dice.below(entries.into())).ok()?;
        let (first, second) = (dice.pick(&FIRST)?, dice.pick(&KINDS)?);
        // An undo of those before the entry, and of the entry itself.
        let in_undo = if second == "write-ignored" { entry + 1 } else { 3 * (entry + 1) };
        let call = u32::try_from(dice.below(in_undo.into())).ok()?;
        Some(Case::Both { size, first, entry, second, call })
    };
    let both = (0..PAIRS).filter_map(|_| pair(dice)).collect();
    lasting.extend(["error", "write-ignored"].map(|kind| Case::Lasting { size: 2, kind }));
    let whole = calls.first().map_or(0, |calls| calls.commit + calls.undo);
    slow.extend((0..whole).map(|call| Case::Slow { call }));
    slow.extend(lasting);
    [
        commit,
        undo,
        both,
        slow,
        others::cases(calls.last().map_or(0, |calls| calls.entries)).map(Case::Other).collect(),
    ]
}

/// Draws so many of a list, of each family in turn.
fn draw(list: &mut Vec<Case>, times: usize, dice: &mut Dice) {
    for last in (1..list.len()).rev() {
        let other = usize::try_from(dice.below(u64::try_from(last + 1).unwrap_or(1))).unwrap_or(0);
        list.swap(last, other);
    }
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    list.sort_by_cached_key(|case| {
        let rank = seen.entry(case.family()).or_default();
        *rank += 1;
        *rank
    });
    list.truncate(times);
}

fn try_one(bench: &mut Bench, case: Case, calls: &[Calls]) -> anyhow::Result<()> {
    match case {
        Case::Commit { size, kind, call } => in_commit(bench, size, kind, call)?,
        Case::Undo { size, kind, call, by } => in_undo(bench, size, kind, call, by)?,
        Case::Both { size, first, entry, second, call } => {
            in_both(bench, size, (first, entry), (second, call))?
        }
        Case::Lasting { size, kind } => lasting(bench, size, kind)?,
        Case::Slow { call } => slow(bench, call, calls.first().map_or(0, |calls| calls.commit))?,
        Case::Other(case) => others::try_one(bench, case)?,
    }
    bench.laptop.clear_faults()
}

fn in_commit(bench: &mut Bench, size: usize, kind: &str, call: u32) -> anyhow::Result<()> {
    let change = bench.change(size)?;
    bench.laptop.add_fault(&format!("{kind},skip={call},count=1"))?;
    let (_, before) = bench.laptop.calls()?;
    let done = bench.commit(&change, By::Request)?;
    let (_, after) = bench.laptop.calls()?;
    ensure!(after == before + 1, "the fault did not hit: {before}, {after}");
    match done {
        Ok(held) => {
            bench.wrong("the commit succeeds although a call failed")?;
            held.end(bench, By::Request)?;
            bench.must_be_old(&change, "after its undo")
        }
        Err(error) => {
            // Reads come first: before a write there is nothing to undo.
            let reads = u32::try_from(change.places.len())?;
            let is_read = kind != "write-ignored" && call < reads;
            let wanted = if is_read { Undo::NotNeeded } else { Undo::Done };
            match &error {
                Error::Firmware { undo, .. } | Error::NotStuck { undo, .. } if *undo == wanted => {}
                other => bench.wrong(&format!("not {wanted:?}: {other:?}"))?,
            }
            bench.judge_failed(&change, &error)
        }
    }
}

fn in_undo(bench: &mut Bench, size: usize, kind: &str, call: u32, by: By) -> anyhow::Result<()> {
    let change = bench.change(size)?;
    let held = bench.commit(&change, by)??;
    ensure!(bench.values(&change)? == change.new, "a clean commit does not write");
    let (_, before) = bench.laptop.calls()?;
    bench.laptop.add_fault(&format!("{kind},skip={call},count=1"))?;
    let said = held.end(bench, by)?;
    let (_, after) = bench.laptop.calls()?;
    ensure!(after == before + 1, "the fault did not hit: {before}, {after}");
    match said {
        Some(Ok(settled)) => {
            bench.wrong(&format!("the undo succeeds although a call failed: {settled:?}"))?;
            bench.must_be_old(&change, "after an undo that says so")
        }
        Some(Err(Error::Firmware { undo, .. } | Error::NotStuck { undo, .. })) if undo == Undo::Retrying => {
            bench.judge_retrying(&change, 1)
        }
        Some(Err(other)) => {
            bench.wrong(&format!("the undo failed with: {other:?}"))?;
            bench.judge_retrying(&change, 1)
        }
        None => bench.judge_retrying(&change, 1),
    }
}

fn in_both(
    bench: &mut Bench,
    size: usize,
    (first, entry): (&str, u32),
    (second, call): (&str, u32),
) -> anyhow::Result<()> {
    let change = bench.change(size)?;
    // All reads, then a write and its read-back for each entry; the failing write is this call of all calls.
    let entries = u32::try_from(change.places.len())?;
    let write = entries + 2 * entry;
    let skip = if first == "write-ignored" { entry } else { write };
    bench.laptop.add_fault(&format!("{first},skip={skip},count=1"))?;
    // An ignored write is found out by its read-back only.
    let undo_from = write + if first == "write-ignored" { 2 } else { 1 };
    let skip = if second == "write-ignored" { entry + 1 } else { undo_from } + call;
    bench.laptop.add_fault(&format!("{second},skip={skip},count=1"))?;
    match bench.commit(&change, By::Request)? {
        Ok(held) => {
            bench.wrong("the commit succeeds although a write failed")?;
            held.end(bench, By::Request)?;
            bench.must_rest(&change, now_ns()?, RETRY_NS)
        }
        Err(error) => bench.judge_failed(&change, &error),
    }
}

fn lasting(bench: &mut Bench, size: usize, kind: &str) -> anyhow::Result<()> {
    let change = bench.change(size)?;
    let held = bench.commit(&change, By::Request)??;
    bench.laptop.add_fault(&format!("{kind},on=write,count=0"))?;
    let began = now_ns()?;
    if held.end(bench, By::Request)?.is_some_and(|said| said.is_ok()) {
        bench.wrong("the undo succeeds although all writes fail")?;
    }
    // The second attempt comes a second after the first.
    let mut attempts = 1;
    while attempts < 2 {
        match bench.state()? {
            device::State::Undoing { attempts: now } => attempts = now,
            state => return bench.wrong(&format!("while all writes fail: {state:?}")),
        }
        ensure!(now_ns()? < began + NEVER_NS, "there is no second attempt");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    if bench.values(&change)? != change.new {
        bench.wrong("something is back although all writes fail")?;
    }
    bench.laptop.clear_faults()?;
    // Where a call takes long, further attempts have failed since, and one may be about to.
    let began = now_ns()?;
    let failed = if let device::State::Undoing { attempts } = bench.state()? { attempts } else { 0 };
    bench.must_rest(&change, began, RETRY_NS << failed.min(MOST_DOUBLED))
}

/// Slowness is no failure: both calls succeed.
fn slow(bench: &mut Bench, call: u32, in_commit: u32) -> anyhow::Result<()> {
    let change = bench.change(0)?;
    let spec = |call| format!("slow,skip={call},count=1,value={SLOW_MS}");
    if call < in_commit {
        bench.laptop.add_fault(&spec(call))?;
    }
    let began = now_ns()?;
    let held = bench.commit(&change, By::Request)??;
    if bench.values(&change)? != change.new {
        bench.wrong("a slow commit does not write")?;
    }
    if call >= in_commit {
        bench.laptop.add_fault(&spec(call - in_commit))?;
    }
    if let Some(Err(error)) = held.end(bench, By::Request)? {
        bench.wrong(&format!("a slow undo fails: {error}"))?;
    }
    ensure!(now_ns()? - began >= SLOW_MS * 1_000_000, "the call was not slow");
    bench.must_be_old(&change, "after a slow change")
}

fn told(tally: &Tally, seed: u64) -> Vec<Told> {
    let count = |metric, count| Told::violations("faults", metric, count, tally.tried).with("seed", seed);
    let mut all = vec![
        count("faults after which neither the old values stood nor the failure was told", tally.untold),
        count("faults that were told otherwise than they were", tally.wrong),
        count("faults after which the module was not at rest in time", tally.late),
    ];
    if !tally.rest_ms.is_empty() {
        let mut rest = count("ms from an undo that failed to rest, the module's pause included", 0);
        rest.samples.clone_from(&tally.rest_ms);
        // Each was held against its own bound, which is what “late” counts.
        rest.goal = tally.rest_bound_ms;
        all.push(rest);
    }
    all
}
