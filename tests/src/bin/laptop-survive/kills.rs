//! SIGKILL of the holder of a transaction, at each of its steps and in the middle of each, in all sorts of company.
//!
//! What nobody confirmed is undone within the time that its firmware calls take and a second, from the kill on. Where the kill closes the
//! file, all is done before the killed process can be reaped; where others share the holder's file table, the module has to look for
//! its end within that second.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use device::State;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::json;
use tests::survive::Told;

use crate::dice::Dice;
use crate::holder::{self, Company, End, Plan};
use crate::laptop::{self, Laptop, Place, SIZES, now_ns};
use crate::progress::Progress;
use crate::shared::{Shared, Step};

/// Kills of a whole run: each point of [`POINTS`] in each company four times.
pub(crate) const TIMES: u32 = 512;
/// What an undo may take besides its firmware calls.
const SLACK_NS: u64 = 1_000_000_000;

/// And where the calls alone take seconds, under a kernel that looks for mistakes, everything else is slow, too.
const fn slack_ns(calls_ns: u64) -> u64 {
    if 2 * calls_ns > SLACK_NS { 2 * calls_ns } else { SLACK_NS }
}
/// Firmware calls of an entry that a commit makes in one go, whoever was killed meanwhile: old value, write, read back.
const ENTRY_CALLS: u64 = 3;
/// What is not at rest after this much more is not going to be.
const PATIENCE_NS: u64 = 10_000_000_000;
/// The longest that a holder may take to a step.
const STEP_NS: u64 = 120_000_000_000;
/// Far away: nothing but the kill ends these transactions.
const NEVER: Duration = Duration::from_secs(120);
/// The shortest deadline that there is.
const SHORTEST: Duration = Duration::from_secs(1);
/// A firmware call that is slow on purpose, in milliseconds: long enough for a kill to fall into it.
const SLOW_MS: u64 = 40;
/// What takes longer is told, since it is the machine's doing or the module's, in milliseconds.
const UNUSUAL_MS: f64 = 400.0;
/// Violations after which a run ends.
const ENOUGH: u32 = 12;

/// When, after a step, the kill comes.
#[derive(Clone, Copy, Debug)]
enum When {
    /// At once.
    Now,
    /// Within the time that a commit takes.
    Commit,
    /// In a call of the commit that is slow on purpose.
    SlowCommit,
    /// Within the time that an undo takes.
    Undo,
    /// In a call of the undo that is slow on purpose.
    SlowUndo,
    /// Around the deadline.
    Deadline,
}

/// Where in a transaction the kill comes.
const POINTS: [(End, Step, When); 16] = [
    (End::Wait, Step::Begun, When::Now),
    (End::Wait, Step::Staged, When::Now),
    (End::Wait, Step::StagedAll, When::Now),
    (End::Wait, Step::Committing, When::Now),
    (End::Wait, Step::Committing, When::Commit),
    (End::Wait, Step::Committing, When::SlowCommit),
    (End::Wait, Step::Committed, When::Now),
    (End::Wait, Step::Committed, When::Commit),
    (End::Wait, Step::Committed, When::Deadline),
    (End::Confirm, Step::Settling, When::Now),
    (End::Confirm, Step::Settled, When::Now),
    (End::Undo, Step::Settling, When::Undo),
    (End::Undo, Step::Settling, When::SlowUndo),
    (End::Close, Step::Settling, When::Undo),
    (End::Close, Step::Settled, When::Now),
    (End::CloseDuplicate, Step::Settled, When::Now),
];

/// What the kills found.
#[derive(Default)]
struct Tally {
    kills: u32,
    lost: u32,
    mixed: u32,
    late: u32,
    /// Kills by the step that the holder had come to when it was killed.
    at: BTreeMap<String, u32>,
    /// Changes that stayed, and that went back.
    kept: u32,
    undone: u32,
    /// Milliseconds from the kill to rest: where it closes the file, and where others share it.
    direct_ms: Vec<f64>,
    shared_ms: Vec<f64>,
    /// The longest of what these may be at most: it goes by what calls of the firmware take on this kernel.
    bound_ms: f64,
}

/// How long the firmware takes for a clean transaction, in nanoseconds, and in how many calls.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    commit_ns: u64,
    undo_ns: u64,
    commit_calls: u32,
    undo_calls: u32,
}

struct Kills {
    laptop: Laptop,
    shared: &'static Shared,
    paces: Vec<Pace>,
    dice: Dice,
    tally: Tally,
}

/// Kills so many holders.
///
/// # Errors
///
/// The laptop is not as it should be, or a holder could not do what it should.
pub(crate) fn run(times: u32, seed: u64) -> anyhow::Result<Vec<Told>> {
    let laptop = Laptop::open()?;
    // Who outlives a holder becomes our child, so that it can be waited for.
    set_child_subreaper(true)?;
    let paces =
        (0..SIZES).map(|size| pace(&laptop, size, &mut Dice(seed))).collect::<anyhow::Result<Vec<_>>>()?;
    let mut kills =
        Kills { laptop, shared: Shared::new()?, paces, dice: Dice(seed), tally: Tally::default() };
    let mut progress = Progress::new();
    for time in 0..times {
        let trial = Trial::new(time, &mut kills.dice)?;
        kills.try_one(&trial).with_context(|| format!("kill {time}: {trial:?}"))?;
        let Tally { kills: done, lost, mixed, late, .. } = kills.tally;
        progress.tell(|| format!("kills: {done} of {times}, lost {lost}, mixed {mixed}, late {late}"));
        if lost + mixed + late >= ENOUGH {
            eprintln!("  that is enough: the run ends");
            break;
        }
    }
    Ok(kills.tally.told(seed))
}

/// Times clean transactions, the slowest of three.
fn pace(laptop: &Laptop, size: usize, dice: &mut Dice) -> anyhow::Result<Pace> {
    let places = laptop.places(size)?;
    let mut pace = Pace::default();
    for _ in 0..3 {
        let changes = laptop::changes(&places, &laptop.peek(&places)?, dice);
        let mut transaction = laptop.device.begin(NEVER, device::Flags::default())?;
        transaction.stage(&changes)?;
        let (before, _) = laptop.calls()?;
        let began = now_ns()?;
        let pending = transaction.commit()?;
        pace.commit_ns = pace.commit_ns.max(now_ns()? - began);
        let (between, _) = laptop.calls()?;
        let began = now_ns()?;
        pending.undo()?;
        pace.undo_ns = pace.undo_ns.max(now_ns()? - began);
        let (after, _) = laptop.calls()?;
        (pace.commit_calls, pace.undo_calls) = (between - before, after - between);
    }
    Ok(pace)
}

/// One kill.
#[derive(Debug)]
struct Trial {
    company: Company,
    end: End,
    step: Step,
    when: When,
    size: usize,
}

impl Trial {
    /// All points in turn; the company goes on by one more in each round, so that all meet.
    fn new(time: u32, dice: &mut Dice) -> anyhow::Result<Self> {
        let (points, companies) = (u32::try_from(POINTS.len())?, u32::try_from(Company::ALL.len())?);
        let (point, round) = (time % points, time / points);
        let company = usize::try_from((point + round) % companies)?;
        let &(end, step, when) = POINTS.get(usize::try_from(point)?).context("no such point")?;
        let &company = Company::ALL.get(company).context("no such company")?;
        Ok(Self { company, end, step, when, size: usize::try_from(dice.below(u64::try_from(SIZES)?))? })
    }
}

impl Kills {
    fn try_one(&mut self, trial: &Trial) -> anyhow::Result<()> {
        let places = self.laptop.places(trial.size)?;
        let pace = *self.paces.get(trial.size).context("no such size")?;
        let old = self.laptop.peek(&places)?;
        let changes = laptop::changes(&places, &old, &mut self.dice);
        let new: Vec<u32> = changes.iter().map(|change| change.value).collect();
        let slow_ns = self.slow_down(trial.when, pace)?;
        let deadline = if matches!(trial.when, When::Deadline) { SHORTEST } else { NEVER };
        self.shared.reset();
        // Three of four of those between two calls are sure to come there; what the others hit, the machine decides.
        let is_call = matches!(trial.step, Step::Committing | Step::Settling);
        let linger = matches!(trial.when, When::Now) && !is_call && self.dice.below(4) != 0;
        let linger = linger.then_some(trial.step);
        let plan = Plan { company: trial.company, end: trial.end, deadline, linger, changes };
        let holder = holder::start(self.shared, &plan)?;
        self.await_step(trial.step)?;
        let delay_ns = self.delay(trial.when, pace);
        let until = now_ns()? + delay_ns;
        while now_ns()? < until {
            std::hint::spin_loop();
        }
        // What closing brings about, it has brought about when it returns.
        let closes = matches!(trial.end, End::Close | End::CloseDuplicate | End::Undo);
        let closed_late = closes && self.shared.has_reached(Step::Settled) && !self.is_idle()?;
        let at = self.shared.step().map_or_else(String::new, |step| format!("{step:?}").to_lowercase());
        *self.tally.at.entry(at).or_default() += 1;
        let killed_ns = now_ns()?;
        kill(holder, Signal::SIGKILL)?;
        waitpid(holder, None)?;
        let reaped_late = !trial.company.shares_files() && !self.is_idle()?;
        let entry_ns = pace.commit_ns * ENTRY_CALLS / u64::from(pace.commit_calls.max(1));
        let bound = killed_ns + slow_ns + entry_ns + pace.undo_ns + slack_ns(pace.undo_ns);
        let bound_ms = Duration::from_nanos(bound - killed_ns).as_secs_f64() * 1e3;
        self.tally.bound_ms = self.tally.bound_ms.max(bound_ms);
        let rest = self.settled_at(&places, &old, &new, bound)?;
        self.judge(trial, &places, (&old, &new), (rest, killed_ns), (closed_late, reaped_late))?;
        self.clean_up()
    }

    /// Makes a call slow on purpose, if the kill is to fall into it; how slow, in nanoseconds.
    fn slow_down(&mut self, when: When, pace: Pace) -> anyhow::Result<u64> {
        let call = match when {
            When::SlowCommit => self.dice.below(pace.commit_calls.into()),
            When::SlowUndo => u64::from(pace.commit_calls) + self.dice.below(pace.undo_calls.into()),
            _ => return Ok(0),
        };
        self.laptop.add_fault(&format!("slow,skip={call},count=1,value={SLOW_MS}"))?;
        Ok(SLOW_MS * 1_000_000)
    }

    fn await_step(&self, step: Step) -> anyhow::Result<()> {
        let end = now_ns()? + STEP_NS;
        while !self.shared.has_reached(step) {
            ensure!(!self.shared.has_failed.load(SeqCst), "the holder failed before {step:?}");
            ensure!(now_ns()? < end, "the holder does not come to {step:?}");
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// How long after the step the kill comes, in nanoseconds.
    fn delay(&mut self, when: When, pace: Pace) -> u64 {
        match when {
            When::Now => self.dice.below(150_000),
            When::Commit => self.dice.below(pace.commit_ns),
            When::SlowCommit => self.dice.below(pace.commit_ns + SLOW_MS * 1_000_000),
            When::Undo => self.dice.below(pace.undo_ns),
            When::SlowUndo => self.dice.below(pace.undo_ns + SLOW_MS * 1_000_000),
            When::Deadline => 998_000_000 + self.dice.below(8_000_000),
        }
    }

    fn is_idle(&self) -> anyhow::Result<bool> {
        Ok(self.laptop.device.info()?.state == State::Idle)
    }

    /// When the module was idle and the firmware held either values, both as a whole; none if that was after `bound`.
    fn settled_at(
        &self,
        places: &[Place],
        old: &[u32],
        new: &[u32],
        bound: u64,
    ) -> anyhow::Result<Option<u64>> {
        let mut is_idle = self.laptop.rests_until(bound)?;
        let values = self.laptop.peek(places)?;
        let now = now_ns()?;
        if is_idle && now <= bound && (values == old || values == new) {
            return Ok(Some(now));
        }
        if !is_idle {
            is_idle = self.laptop.rests_until(bound + PATIENCE_NS)?;
        }
        if !is_idle {
            eprintln!("  the module does not come to rest: {:?}", self.laptop.device.info()?.state);
        }
        Ok(None)
    }

    fn judge(
        &mut self,
        trial: &Trial,
        places: &[Place],
        (old, new): (&[u32], &[u32]),
        (rest, killed_ns): (Option<u64>, u64),
        (closed_late, reaped_late): (bool, bool),
    ) -> anyhow::Result<()> {
        let values = self.laptop.peek(places)?;
        let (may_be_new, may_be_old) = match trial.end {
            End::Confirm if self.shared.has_reached(Step::Settled) => (true, false),
            End::Confirm if self.shared.has_reached(Step::Settling) => (true, true),
            _ => (false, true),
        };
        let tally = &mut self.tally;
        tally.kills += 1;
        let verdict = if (may_be_old && values == old) || (may_be_new && values == new) {
            ""
        } else if values == old || values == new {
            tally.lost += 1;
            "lost"
        } else {
            tally.mixed += 1;
            "mixed"
        };
        if values == new {
            tally.kept += 1;
        } else {
            tally.undone += 1;
        }
        let is_late = rest.is_none() || closed_late || reaped_late;
        tally.late += u32::from(is_late);
        if let Some(rest) = rest {
            let took = Duration::from_nanos(rest.saturating_sub(killed_ns)).as_secs_f64() * 1e3;
            let list = if trial.company.shares_files() { &mut tally.shared_ms } else { &mut tally.direct_ms };
            list.push(took);
            if took > UNUSUAL_MS {
                eprintln!("  {took:.0} ms: {trial:?}");
            }
        }
        if !verdict.is_empty() || is_late {
            eprintln!(
                "  FAIL {verdict} {trial:?}: old {old:?}, new {new:?}, now {values:?}; in time {}, closed late \
                 {closed_late}, reaped late {reaped_late}",
                rest.is_some()
            );
        }
        Ok(())
    }

    /// Ends who has outlived the holder, and brings the laptop back to rest for the next trial.
    fn clean_up(&self) -> anyhow::Result<()> {
        self.shared.is_over.store(true, SeqCst);
        loop {
            match waitpid(Pid::from_raw(-1), None) {
                Ok(_) => {}
                Err(Errno::ECHILD) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        self.laptop.clear_faults()?;
        if !self.laptop.rests_until(now_ns()? + NEVER.as_secs() * 2_000_000_000)? {
            bail!("the module never comes to rest");
        }
        Ok(())
    }
}

impl Tally {
    fn told(self, seed: u64) -> Vec<Told> {
        let Self { kills, lost, mixed, late, at, kept, undone, direct_ms, shared_ms, bound_ms } = self;
        let count = |metric, count| {
            let told = Told::violations("kills", metric, count, kills).with("seed", seed);
            told.with("kept", kept).with("undone", undone).with("at", json!(at))
        };
        // Each was held against its own bound, which is what “in time” counts.
        let time = |metric: &str, samples: Vec<f64>| {
            let mut told = Told::violations("kills", metric, 0, kills).with("seed", seed);
            told.samples = samples;
            told.goal = bound_ms;
            told.noted("firmware calls included; emulated firmware and processors, times of the guest's CLOCK_BOOTTIME")
        };
        let mut all = vec![
            count(
                "kills of a transaction's holder after which what nobody confirmed stayed, or what was confirmed went",
                lost,
            ),
            count("kills of a transaction's holder after which a part of the change stayed", mixed),
            count("kills of a transaction's holder after which old values were not back in time", late),
        ];
        if !direct_ms.is_empty() {
            all.push(time("ms from the kill to rest", direct_ms));
        }
        if !shared_ms.is_empty() {
            all.push(time("ms from the kill to rest, others sharing the file table", shared_ms));
        }
        all
    }
}
