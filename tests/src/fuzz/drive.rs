//! The fuzzer's loop: which program next, what it reached, whether everything is as it must be.

mod replay;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use replay::line;

use super::actor::{Common, Done};
use super::arms::Arms;
use super::conduct::Conductor;
use super::dice::Dice;
use super::generate::Generator;
use super::known::{Cell, Known};
use super::laptop::{self, Laptop, Phase};
use super::model::Model;
use super::pieces::{Needs, PIECES, Piece};
use super::program::{Body, Call, Ioctl, Op, Place, Program};
use super::raw::{self, CELLS, Shared};
use super::reports::Reports;
use super::uapi::*;
use super::watch::Watch;
use crate::machine::expected::Expected;
use crate::machine::guest::Firmware;

/// Most programs that are kept for having reached something new.
const CORPUS_MAX: usize = 4096;
/// Calls of the firmware that a sequence needs to get far.
const ENOUGH_CALLS: u32 = 60;
/// A line about the progress this often.
const PROGRESS: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything is chosen from it and from what was reached so far.
    pub seed: u64,
    /// Ends after so many sequences.
    pub sequences: u64,
    /// Ends after so many operations.
    pub ops: u64,
    /// Reruns one program and prints what each operation gave: a file, or SEED:INDEX of a run without coverage.
    pub replay: Option<String>,
    /// The module's file.
    pub module: PathBuf,
    /// What the laptop's description says: `expected.json`.
    pub expected: PathBuf,
    /// Fails if an end that needs no set-up of its own was not reached.
    pub require_arms: bool,
    /// Calls of the firmware that a sequence may take, roughly, on average.
    pub calls: u32,
    /// Ends with some sequences on a locked-down kernel.
    pub lockdown: bool,
}

/// Runs the fuzzer.
///
/// # Errors
///
/// The laptop cannot be used, the kernel reported something, or a value of the firmware changed that must not have: the
/// sequence was printed.
pub fn run(options: &Options) -> anyhow::Result<()> {
    raw::handle_signal();
    let mut driver = Driver::new(options)?;
    match &options.replay {
        Some(what) => driver.replay(what),
        None => driver.fuzz(options),
    }
}

struct Driver {
    laptop: Laptop,
    conductor: Conductor,
    model: Model,
    reports: Reports,
    watch: Watch,
    arms: Arms,
    corpus: Vec<Program>,
    phase: Option<Phase>,
    /// Pieces that are still to be run in this phase.
    leading: Vec<&'static Piece>,
    /// Calls of the firmware are as slow as with a sanitizing kernel.
    has_slow_calls: bool,
    /// Writes that had reached the firmware when the model was compared last.
    writes: u32,
    ops: u64,
    sequences: u64,
    began: Instant,
    compared: u64,
}

impl Driver {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let expected = Expected::read(&options.expected).context("the laptop's description")?;
        let known: &'static Known = Box::leak(Box::new(Known::new(&expected)));
        ensure!(known.locations.len() * 3 <= CELLS, "more than {CELLS} values");
        raw::make_arenas().context("memory for arguments")?;
        let shared = Shared::new().context("memory for all processes")?;
        let compat = raw::has_compat();
        let common = Common { shared, known, page_bytes: 4096, compat, fail: laptop::may_fail() };
        let firmware = Firmware::open().context("the firmware is reached through dell-smbios")?;
        let laptop = Laptop::new(options.module.clone())?;
        let reports = Reports::new()?;
        let conductor = Conductor::new(common, firmware)?;
        println!(
            "fuzz: {} tokens at {} locations; coverage {}, failing allocations {}, 32-bit calls {}, password {}",
            known.tokens.len(),
            known.locations.len(),
            yes(conductor.has_coverage()),
            yes(conductor.can_fail()),
            yes(compat),
            yes(laptop.has_password),
        );
        let mut driver = Self {
            laptop,
            conductor,
            model: Model::default(),
            reports,
            watch: Watch::new(),
            arms: Arms::default(),
            corpus: Vec::new(),
            phase: None,
            leading: Vec::new(),
            has_slow_calls: options.calls < ENOUGH_CALLS,
            writes: 0,
            ops: 0,
            sequences: 0,
            began: Instant::now(),
            compared: 0,
        };
        driver.writes = driver.conductor.writes()?;
        driver.model.values = driver.conductor.storage()?.into_iter().collect();
        Ok(driver)
    }

    fn fuzz(&mut self, options: &Options) -> anyhow::Result<()> {
        let mut shown = Instant::now();
        while self.sequences < options.sequences && self.ops < options.ops {
            self.enter(Phase::of(self.sequences))?;
            let program = self.next(options);
            self.one(&program)?;
            self.sequences += 1;
            if shown.elapsed() > PROGRESS {
                shown = Instant::now();
                self.show();
            }
        }
        if options.lockdown {
            self.enter(Phase::Sealed)?;
            Laptop::lock_down()?;
            self.phase = Some(Phase::LockedDown);
            self.leading = self.pieces(Phase::LockedDown);
            for _ in 0..20 {
                let program = self.next(options);
                self.one(&program)?;
                self.sequences += 1;
            }
        }
        self.judge(&Program::default(), &BTreeMap::new())?;
        self.show();
        print!("ends that were reached:\n{}", self.arms.table());
        println!("time by operation, in ms, and how many:");
        for (name, (time, count)) in &self.conductor.times {
            println!("  {:>9}  {count:>9}  {name}", time.as_millis());
        }
        let (required, special) = self.arms.missing();
        println!("not reached, with a set-up of their own: {}", list(&special));
        println!("not reached: {}", list(&required));
        println!(
            "longest wait for the end of a transaction after its owner's: {} ms",
            self.conductor.idle_max.as_millis()
        );
        if let Some(leaks) = Reports::leaks() {
            bail!("kmemleak found memory that nobody points to:\n{leaks}");
        }
        ensure!(
            !options.require_arms || required.is_empty(),
            "ends that were not reached: {}",
            list(&required)
        );
        Ok(())
    }

    /// The next program: a piece that leads somewhere, else by chance.
    fn next(&mut self, options: &Options) -> Program {
        let piece = self.leading.pop().and_then(|piece| piece.program(self.conductor.common.known));
        piece.unwrap_or_else(|| self.choose(options.seed).calmed(self.calls(options)))
    }

    /// The pieces of a phase that lead to ends which were not yet seen, the first one last.
    fn pieces(&self, phase: Phase) -> Vec<&'static Piece> {
        let can = |needs| match needs {
            Needs::Nothing => true,
            Needs::QuickCalls => !self.has_slow_calls,
            Needs::Failures => self.conductor.can_fail(),
        };
        let leads = |piece: &&Piece| piece.phase == phase && can(piece.needs) && self.arms.lacks(piece.ends);
        PIECES.iter().filter(leads).rev().collect()
    }

    /// A program by chance: new, or made from those that reached something new.
    fn choose(&self, seed: u64) -> Program {
        let dice = Dice::of_sequence(seed, self.sequences);
        let mut generator = Generator { dice, known: self.conductor.common.known };
        if self.corpus.is_empty() || generator.dice.one_in(3) {
            return generator.program();
        }
        // Half of the time one of the newest, which lead on.
        let pick = |dice: &mut Dice| {
            let from = if dice.one_in(2) { self.corpus.len().saturating_sub(16) } else { 0 };
            self.corpus.get(from + dice.below(self.corpus.len() - from))
        };
        match (pick(&mut generator.dice), pick(&mut generator.dice)) {
            (Some(one), Some(other)) => generator.mutation(one, other),
            _ => generator.program(),
        }
    }

    /// Calls of the firmware that this sequence may take. Where they are few, one sequence takes them for others too,
    /// since transactions need many.
    fn calls(&self, options: &Options) -> u32 {
        let every = (ENOUGH_CALLS / options.calls.max(1)).max(1);
        if self.sequences.is_multiple_of(every.into()) { options.calls.saturating_mul(every) } else { 0 }
    }

    /// Brings the laptop into a phase.
    fn enter(&mut self, phase: Phase) -> anyhow::Result<()> {
        if self.phase == Some(phase) && !self.is_used_up(phase)? {
            return Ok(());
        }
        self.laptop.load(phase)?;
        if self.phase != Some(phase) {
            self.leading = self.pieces(phase);
        }
        self.phase = Some(phase);
        let (text, bytes) = laptop::text().context("the module is loaded, but not in /proc/modules")?;
        let shared = self.conductor.common.shared;
        shared.text.store(text, Ordering::SeqCst);
        shared.text_bytes.store(bytes, Ordering::SeqCst);
        let info = self.conductor.info()?.context("the module is loaded, but there is no /dev/dsmil")?;
        let page_bytes = info.page_bytes;
        self.conductor.set_common(Common { page_bytes, ..self.conductor.common });
        self.model.allowed.clear();
        if phase != Phase::Unsealed {
            self.one(&sealing(self.conductor.common.known))?;
            let info = self.conductor.info()?.context("/dev/dsmil is gone")?;
            ensure!(info.flags & DSMIL_INFO_SEALED != 0, "the allow-list could not be sealed");
        }
        Ok(())
    }

    /// A program has sealed what was to be tried unsealed.
    fn is_used_up(&self, phase: Phase) -> anyhow::Result<bool> {
        let info = if phase == Phase::Unsealed { self.conductor.info()? } else { None };
        Ok(info.is_some_and(|info| info.flags & DSMIL_INFO_SEALED != 0))
    }

    /// Runs one program and looks at everything.
    fn one(&mut self, program: &Program) -> anyhow::Result<()> {
        let shared = self.conductor.common.shared;
        self.remember();
        let points = shared.points.load(Ordering::SeqCst);
        let mut wrong = None;
        let mut arms = std::mem::take(&mut self.arms);
        let before = arms.count();
        self.watch.begin(self.title(), program);
        let fates = self.conductor.run(program, &mut |op, done| {
            arms.note(op, done);
            if done.flags & Done::WRONG != 0 && wrong.is_none() {
                wrong = Some(format!("what was written back contradicts the result: {}", line(op, done)));
            }
        });
        self.watch.end();
        let is_new = arms.count() > before || shared.points.load(Ordering::SeqCst) > points;
        self.arms = arms;
        let fates = fates.map_err(|error| self.tell(program, &format!("{error:#}")))?;
        self.ops += u64::try_from(program.0.len())?;
        if let Some(report) = self.reports.look() {
            return Err(self.tell(program, &format!("the kernel reports:\n{report}")));
        }
        if let Some(wrong) = wrong {
            return Err(self.tell(program, &wrong));
        }
        let known = self.conductor.common.known;
        self.model.learn(program, &fates, known);
        let permitted = self.model.permitted(program, &fates, known);
        self.compare(program, &permitted)?;
        if is_new && self.corpus.len() < CORPUS_MAX {
            self.corpus.push(program.clone());
        }
        Ok(())
    }

    /// Lets every process know which values stand.
    fn remember(&self) {
        let common = self.conductor.common;
        for (cell, value) in &self.model.values {
            if let Some(place) = common.known.place(*cell).and_then(|place| common.shared.before.get(place)) {
                place.store(*value, Ordering::Relaxed);
            }
        }
    }

    /// Compares every value of the firmware with the model, unless no write has reached it since the last time.
    fn compare(&mut self, program: &Program, permitted: &BTreeMap<Cell, Vec<u32>>) -> anyhow::Result<()> {
        let writes = self.conductor.writes()?;
        if writes == self.writes && permitted.is_empty() {
            return Ok(());
        }
        self.writes = writes;
        self.judge(program, permitted)
    }

    fn judge(&mut self, program: &Program, permitted: &BTreeMap<Cell, Vec<u32>>) -> anyhow::Result<()> {
        let found = self.conductor.storage()?;
        self.compared += 1;
        let violations = self.model.compare(permitted, &found);
        if violations.is_empty() {
            return Ok(());
        }
        let text: Vec<String> = violations
            .iter()
            .map(|one| {
                let kind = if one.is_allowed { "on the allow-list" } else { "NOT on the allow-list" };
                let (location, select) = one.cell;
                format!(
                    "location {location:#06x} ({kind}), select {select}: {} stands, {:?} may",
                    one.found, one.permitted
                )
            })
            .collect();
        Err(self.tell(program, &format!("the firmware holds what it must not:\n{}", text.join("\n"))))
    }

    /// A sequence's number and phase, as `--replay` finds the phase again.
    fn title(&self) -> String {
        format!("sequence {} in phase {:?}", self.sequences, self.phase)
    }

    /// Prints a failing sequence as `--replay` takes it.
    fn tell(&self, program: &Program, what: &str) -> anyhow::Error {
        println!("# {}:", self.title());
        what.lines().for_each(|line| println!("# {line}"));
        println!("--- begin of the sequence\n{program}--- end of the sequence");
        anyhow::anyhow!("sequence {}: {}", self.sequences, what.lines().next().unwrap_or_default())
    }

    fn show(&self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let per_second = u32::try_from(self.ops).map_or(f64::MAX, f64::from) / seconds.max(0.001);
        println!(
            "{seconds:7.1} s: {} ops, {per_second:.0}/s, {} sequences, {} points, {} kept, {} ends, storage compared {} times",
            self.ops,
            self.sequences,
            self.conductor.common.shared.points.load(Ordering::SeqCst),
            self.corpus.len(),
            self.arms.count(),
            self.compared,
        );
    }
}

/// Seals the fuzzer's own allow-list, after one with everything that is never written was tried: were that taken,
/// the sequences that follow would write it.
fn sealing(known: &Known) -> Program {
    let allow = |ids| {
        let (at, array) = (Place::Room, Place::Room);
        let body = Body::Allow { ids };
        let ioctl =
            Ioctl { file: 0, at, array, count: None, flip: None, flip_array: None, compat: false, body };
        Op::new(0, Call::Ioctl(ioctl))
    };
    let open = Call::Open { file: 0, access: Default::default(), nonblock: false, weak: false };
    let denied = known.tokens.iter().filter(|token| token.denied).map(|token| token.id);
    let too_many = known.allowed().into_iter().chain(denied).collect();
    Program(vec![Op::new(0, open), allow(too_many), allow(known.allowed())])
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn list(of: &[String]) -> String {
    if of.is_empty() { "nothing".to_owned() } else { of.join(", ") }
}
