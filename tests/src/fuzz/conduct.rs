//! Runs one program: makes its actors, hands each operation to the one whose it is, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};

mod slots;

use slots::{Busy, Slot};

use super::actor::{Actor, Common, Done};
use super::arms;
use super::known::Cell;
use super::model::Fate;
use super::program::{ACTORS, Call, FILES, MAPS, Op, Place, Program};
use super::raw::{self, Block};
use super::uapi::*;
use crate::machine::fault::Fault;
use crate::machine::guest::Firmware;
use crate::machine::vendor;

/// An operation that has not come to its end after this long never will.
const HANG: Duration = Duration::from_secs(60);
/// From the end of every process to the end of their transaction, without faults; the interface says one second and
/// the firmware's calls, an emulated processor of a busy machine may take a while for these.
const IDLE: Duration = Duration::from_secs(5);
/// The same after firmware faults: the pause before the next attempt has grown.
const IDLE_AFTER_FAULTS: Duration = Duration::from_secs(90);

/// Runs programs.
#[derive(Debug)]
pub(crate) struct Conductor {
    pub(crate) common: Common,
    actor: Actor,
    pub(crate) firmware: Firmware,
    results: PipeReader,
    told: File,
    slots: Vec<Slot>,
    /// Descriptors from here on belong to programs.
    first_free: i32,
    process: i32,
    faulted: bool,
    /// Time that operations took, by name, and how many there were.
    pub(crate) times: BTreeMap<&'static str, (Duration, u64)>,
    /// How long it took at most until no transaction was left, without faults.
    pub(crate) idle_max: Duration,
}

impl Conductor {
    /// Everything that stays open is opened here.
    pub(crate) fn new(common: Common, firmware: Firmware) -> anyhow::Result<Self> {
        let (results, told) = std::io::pipe().context("a pipe")?;
        let told = File::from(OwnedFd::from(told));
        let actor = Actor::new(0, common);
        let first_free = raw::first_free().context("/dev/null")?;
        let process = i32::try_from(std::process::id())?;
        let slots = (0..ACTORS).map(|_| Slot::Empty).collect();
        let (idle_max, times) = (Duration::ZERO, BTreeMap::new());
        Ok(Self {
            common,
            actor,
            firmware,
            results,
            told,
            times,
            idle_max,
            slots,
            first_free,
            process,
            faulted: false,
        })
    }

    pub(crate) fn has_coverage(&self) -> bool {
        self.actor.has_coverage()
    }

    pub(crate) fn can_fail(&self) -> bool {
        self.actor.can_fail()
    }

    pub(crate) fn set_common(&mut self, common: Common) {
        self.common = common;
        self.actor.set_common(common);
    }

    /// Runs a program to its end; what became of each operation. `tell` sees each as soon as it is known.
    pub(crate) fn run(
        &mut self,
        program: &Program,
        tell: &mut dyn FnMut(&Op, &Done),
    ) -> anyhow::Result<Vec<Fate>> {
        self.clear();
        let mut done = BTreeMap::new();
        for (index, op) in program.0.iter().enumerate() {
            let index = u32::try_from(index)?;
            let began = Instant::now();
            let own = self.step(index, op, program, &mut done)?;
            let time = self.times.entry(arms::name(&op.call)).or_default();
            *time = (time.0 + began.elapsed(), time.1 + 1);
            if let Some(own) = own {
                done.insert(index, own);
            }
            self.drain(&mut done)?;
        }
        let began = Instant::now();
        self.finish(&mut done)?;
        let time = self.times.entry("(end)").or_default();
        *time = (time.0 + began.elapsed(), time.1 + 1);
        let shared = self.common.shared;
        let mut fates = Vec::new();
        for (index, op) in program.0.iter().enumerate() {
            let one = done.get(&u32::try_from(index)?).copied();
            if let Some(done) = &one {
                tell(op, done);
            }
            fates.push(Fate {
                done: one,
                begun: shared.stage.get(index).is_some_and(|stage| stage.load(Ordering::SeqCst) > 0),
                transaction: shared.transaction.get(index).map_or(0, |number| number.load(Ordering::SeqCst)),
            });
        }
        Ok(fates)
    }

    fn clear(&self) {
        let shared = self.common.shared;
        shared.latest.store(0, Ordering::SeqCst);
        shared.own.iter().for_each(|own| own.store(0, Ordering::SeqCst));
        shared.stage.iter().for_each(|stage| stage.store(0, Ordering::SeqCst));
        shared.transaction.iter().for_each(|number| number.store(0, Ordering::SeqCst));
    }

    /// One operation; its result, unless an actor is still at it or it has come already.
    fn step(
        &mut self,
        index: u32,
        op: &Op,
        program: &Program,
        done: &mut BTreeMap<u32, Done>,
    ) -> anyhow::Result<Option<Done>> {
        let mut own = Done { index, ..Done::default() };
        match &op.call {
            Call::Spawn { slot, kind } => self.spawn(*slot, *kind, program, &mut own)?,
            Call::Kill { slot } => self.kill(*slot, done)?,
            Call::Signal { slot } => self.signal(*slot),
            Call::Fault { spec } => {
                let fault: Fault = spec.parse()?;
                self.faulted = true;
                // All slots may be taken: that is no failure of the module.
                if self.firmware.vendor(vendor::Call::FaultAdd, fault.words()).is_err() {
                    own.flags |= Done::SKIPPED;
                }
            }
            Call::ClearFaults => self.clear_faults()?,
            Call::Poke { location, select, value } => {
                let inputs = [u32::from(*location), u32::from(*select), *value, 0];
                self.firmware.vendor(vendor::Call::Poke, inputs)?;
            }
            Call::Heat { decikelvin } => {
                self.firmware.vendor(vendor::Call::Heat, [*decikelvin, 0, 0, 0])?;
            }
            Call::Exit if op.on > 0 => return self.exit(op.on, index, done),
            _ if op.on == 0 => return Ok(Some(self.actor.run(index, op))),
            _ => return self.hand(index, op, done),
        }
        Ok(Some(own))
    }

    /// Gives an operation to another actor.
    fn hand(&mut self, index: u32, op: &Op, done: &mut BTreeMap<u32, Done>) -> anyhow::Result<Option<Done>> {
        self.settle(op.on, done)?;
        let commands = match self.slots.get_mut(usize::from(op.on)) {
            Some(Slot::Process { commands, busy, .. } | Slot::Thread { commands, busy, .. }) => {
                let waits = op.later && matches!(op.call, Call::Events { .. });
                *busy = if waits { Busy::Waiting } else { Busy::Working };
                commands
            }
            _ => return Ok(Some(Done { index, flags: Done::SKIPPED, ..Done::default() })),
        };
        commands.write_all(&index.to_le_bytes()).context("a command for an actor")?;
        if !op.later {
            self.settle(op.on, done)?;
        }
        Ok(None)
    }

    /// Waits until an actor has ended what it does. Whoever waits for an event is interrupted.
    fn settle(&mut self, slot: u8, done: &mut BTreeMap<u32, Done>) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            match self.busy(slot) {
                Busy::No => return Ok(()),
                // Again and again: the first may come just before it begins to wait.
                Busy::Waiting => self.signal(slot),
                Busy::Working => {}
            }
            self.wait(1)?;
            self.drain(done)?;
            if began.elapsed() > HANG {
                bail!("an operation of actor {slot} did not end within {} s", HANG.as_secs());
            }
        }
    }

    fn busy(&self, slot: u8) -> Busy {
        match self.slots.get(usize::from(slot)) {
            Some(Slot::Process { busy, .. } | Slot::Thread { busy, .. }) => *busy,
            _ => Busy::No,
        }
    }

    /// Waits a moment for results.
    fn wait(&self, ms: u16) -> anyhow::Result<bool> {
        use std::os::fd::AsFd as _;
        let mut one = [PollFd::new(self.results.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut one, PollTimeout::from(ms)) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error).context("waiting for results"),
        }
    }

    /// Takes the results that have come.
    fn drain(&mut self, done: &mut BTreeMap<u32, Done>) -> anyhow::Result<()> {
        while self.wait(0)? {
            let mut bytes = [0; Done::BYTES];
            self.results.read_exact(&mut bytes).context("a result")?;
            let one = Done::from_bytes(&bytes);
            if let Some(Slot::Process { busy, .. } | Slot::Thread { busy, .. }) =
                usize::try_from(one.slot).ok().and_then(|slot| self.slots.get_mut(slot))
            {
                *busy = Busy::No;
            }
            done.insert(one.index, one);
        }
        Ok(())
    }

    fn clear_faults(&mut self) -> anyhow::Result<()> {
        self.firmware.vendor(vendor::Call::FaultClear, [0; 4])?;
        Ok(())
    }

    /// Ends all actors, closes and unmaps everything, and waits until the module has no transaction.
    fn finish(&mut self, done: &mut BTreeMap<u32, Done>) -> anyhow::Result<()> {
        for slot in 1..ACTORS {
            self.kill(slot, done)?;
        }
        (0..MAPS).for_each(|map| {
            raw::unmap(map);
        });
        (0..FILES).for_each(|file| {
            raw::close(file);
        });
        raw::close_from(self.first_free);
        self.drain(done)?;
        let faulted = std::mem::take(&mut self.faulted);
        if faulted {
            self.clear_faults()?;
        }
        let limit = if faulted { IDLE_AFTER_FAULTS } else { IDLE };
        let began = Instant::now();
        while let Some(info) = self.info()? {
            if info.state == DSMIL_STATE_IDLE {
                break;
            }
            if began.elapsed() > limit {
                bail!("state {} is left {} s after the last process ended", info.state, limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if !faulted {
            self.idle_max = self.idle_max.max(began.elapsed());
        }
        Ok(())
    }

    /// What the module says of itself; none if it is not loaded.
    pub(crate) fn info(&self) -> anyhow::Result<Option<dsmil_info>> {
        let node = c"/dev/dsmil".to_owned();
        let opened = raw::open(&node, libc::O_RDONLY, 0);
        if opened < 0 {
            return Ok(None);
        }
        let size = size_of::<dsmil_info>();
        let at = raw::put(0, Block::Argument, Place::Room, &vec![0; size]);
        let answer = raw::ioctl(0, DSMIL_IOC_INFO, at);
        let bytes = raw::get(0, Block::Argument, Place::Room, size);
        raw::close(0);
        anyhow::ensure!(answer == 0, "DSMIL_IOC_INFO failed with {answer}");
        Ok(raw::structure_at(&bytes, 0))
    }

    /// Every value of the firmware's storage, past the module and past all faults.
    pub(crate) fn storage(&self) -> anyhow::Result<Vec<(Cell, u32)>> {
        let (words, select_words) = self.firmware.storage()?;
        let value = |cell: Cell| {
            let at = usize::from(cell.1) * select_words + usize::from(cell.0);
            Ok((
                cell,
                *words.get(at).with_context(|| format!("location {:#x} is not in the storage", cell.0))?,
            ))
        };
        self.common.known.cells().map(value).collect()
    }

    /// How many writes reached the firmware since the boot.
    pub(crate) fn writes(&self) -> anyhow::Result<u32> {
        let [_, writes, _] = self.firmware.vendor(vendor::Call::Calls, [0; 4])?;
        Ok(writes)
    }
}
