//! What the trials with faults share: a change, what ends it, and the look at what is left.

use std::mem::forget;
use std::os::fd::{AsRawFd, RawFd};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use device::{Device, Error, Event, Events, Flags, Outcome, Pending, Record, State, Undo};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::close;
use types::token::Change;

use crate::dice::Dice;
use crate::laptop::{self, Laptop, NODE, Place, now_ns};

/// What a rest may take besides pauses and firmware calls.
const SLACK_NS: u64 = 1_000_000_000;
/// The pause before the first new attempt of an undo; each further one is twice as long.
pub(crate) const RETRY_NS: u64 = 1_000_000_000;
/// What is not at rest after this is not going to be.
pub(crate) const NEVER_NS: u64 = 150_000_000_000;
/// A deadline that does not come.
const LONG: Duration = Duration::from_secs(120);
/// The shortest deadline that there is.
const SHORTEST: Duration = Duration::from_secs(1);

/// What makes the module undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The owner's request.
    Request,
    /// The owner closes the file.
    Close,
    /// The deadline.
    Deadline,
}

impl By {
    pub(crate) const ALL: [Self; 3] = [Self::Request, Self::Close, Self::Deadline];
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tried: u32,
    /// Neither the old values nor a failure that was told.
    pub(crate) untold: u32,
    /// Told otherwise than it was.
    pub(crate) wrong: u32,
    /// Not at rest in time.
    pub(crate) late: u32,
    /// From a failed undo to rest, in milliseconds, pauses included.
    pub(crate) rest_ms: Vec<f64>,
    /// The longest of what these times may be at most: it goes by what calls of the firmware take on this kernel.
    pub(crate) rest_bound_ms: f64,
}

/// What is tried on.
pub(crate) struct Bench {
    pub(crate) laptop: Laptop,
    pub(crate) events: Events,
    pub(crate) dice: Dice,
    pub(crate) tally: Tally,
    /// Firmware calls of a clean commit of the largest size, in nanoseconds: no undo takes more.
    pub(crate) calls_ns: u64,
}

/// A change that is about to be made.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) places: Vec<Place>,
    pub(crate) old: Vec<u32>,
    pub(crate) new: Vec<u32>,
    pub(crate) changes: Vec<Change>,
}

/// A change that is pending, with the descriptor of its file.
pub(crate) struct Held {
    device: Device,
    pending: Pending,
    number: RawFd,
    /// When its deadline comes at the latest, CLOCK_BOOTTIME in nanoseconds.
    deadline_ns: u64,
}

impl Bench {
    pub(crate) fn open(seed: u64) -> anyhow::Result<Self> {
        let laptop = Laptop::open()?;
        let events = laptop.device.events()?;
        Ok(Self { laptop, events, dice: Dice(seed), tally: Tally::default(), calls_ns: 0 })
    }

    /// A change of all places of a size.
    pub(crate) fn change(&mut self, size: usize) -> anyhow::Result<Wanted> {
        let places = self.laptop.places(size)?;
        let old = self.laptop.peek(&places)?;
        let changes = laptop::changes(&places, &old, &mut self.dice);
        let new = changes.iter().map(|change| change.value).collect();
        self.forget_events()?;
        Ok(Wanted { places, old, new, changes })
    }

    /// Begins, stages and commits through a file of its own.
    ///
    /// # Errors
    ///
    /// Outside: before the commit. Inside: what the commit said.
    pub(crate) fn commit(&self, change: &Wanted, by: By) -> anyhow::Result<Result<Held, Error>> {
        let fd = open(NODE, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let number = fd.as_raw_fd();
        let device = Device::from(fd);
        // Where a call takes a third of a second, what is looked at before the deadline takes longer than the shortest.
        let deadline =
            if by == By::Deadline { SHORTEST + Duration::from_nanos(2 * self.calls_ns) } else { LONG };
        let mut transaction = device.begin(deadline, Flags::default())?;
        transaction.stage(&change.changes)?;
        let done = transaction.commit();
        // It runs from the commit's end on, which was before its answer.
        let deadline_ns = now_ns()? + u64::try_from(deadline.as_nanos())?;
        Ok(done.map(|pending| Held { device, pending, number, deadline_ns }))
    }

    /// What the firmware holds of a change.
    pub(crate) fn values(&self, change: &Wanted) -> anyhow::Result<Vec<u32>> {
        self.laptop.peek(&change.places)
    }

    pub(crate) fn state(&self) -> anyhow::Result<State> {
        Ok(self.laptop.device.info()?.state)
    }

    /// Has a commit failed with an error that says of the undo what is so?
    pub(crate) fn judge_failed(&mut self, change: &Wanted, told: &Error) -> anyhow::Result<()> {
        let undo = match told {
            Error::Firmware { undo, .. } | Error::NotStuck { undo, .. } | Error::Password { undo, .. } => {
                *undo
            }
            Error::Unexpected { .. } => Undo::NotNeeded,
            other => return self.wrong(&format!("the commit failed with: {other}")),
        };
        match undo {
            Undo::NotNeeded | Undo::Done => {
                self.must_be_old(change, "after a commit that says so")?;
                let info = self.laptop.device.info()?;
                if info.state != State::Idle || info.outcome != Outcome::Failed {
                    self.wrong(&format!("after a failed commit: {:?}, {:?}", info.state, info.outcome))?;
                }
                Ok(())
            }
            Undo::Retrying => self.judge_retrying(change, 1),
            Undo::Left => self.wrong("the commit says that somebody else changed a location"),
        }
    }

    /// An undo has failed at one call: it must be told, all else must be back, and then it must come to rest.
    pub(crate) fn judge_retrying(&mut self, change: &Wanted, stuck_max: usize) -> anyhow::Result<()> {
        let began = now_ns()?;
        let values = self.values(change)?;
        let stuck = values.iter().zip(&change.old).filter(|(now, old)| now != old).count();
        match self.state()? {
            State::Undoing { .. } => {
                if stuck > stuck_max {
                    self.wrong(&format!("{stuck} values are not back: {values:?}"))?;
                }
                if !self.has_seen(|event| matches!(event, Event::Retrying { .. }))? {
                    self.wrong("no event tells that the undo is retried")?;
                }
                match self.laptop.device.begin(LONG, Flags::default()) {
                    Err(Error::Undoing) => {}
                    // The new attempt may have come first.
                    Err(other) => self.wrong(&format!("a transaction while undoing: {other}"))?,
                    Ok(_) if self.values(change)? == change.old => {}
                    Ok(_) => self.wrong("a transaction begins while an undo is retried")?,
                }
            }
            state => self.must_be_old(change, &format!("in state {state:?}"))?,
        }
        self.must_rest(change, began, RETRY_NS)
    }

    /// It must be idle, with the old values, within a pause, firmware calls and the slack.
    pub(crate) fn must_rest(&mut self, change: &Wanted, began: u64, pause_ns: u64) -> anyhow::Result<()> {
        let bound = began + pause_ns + 2 * self.calls_ns + SLACK_NS;
        if self.laptop.rests_until(bound)? {
            if pause_ns > 0 {
                let ms = |ns| Duration::from_nanos(ns).as_secs_f64() * 1e3;
                self.tally.rest_ms.push(ms(now_ns()? - began));
                self.tally.rest_bound_ms = self.tally.rest_bound_ms.max(ms(bound - began));
            }
        } else {
            eprintln!("  FAIL not at rest in time: {:?}", self.state()?);
            self.tally.late += 1;
            ensure!(self.laptop.rests_until(began + NEVER_NS)?, "the module never comes to rest");
        }
        self.must_be_old(change, "at rest")
    }

    /// The old values must stand; if not they are put there, for the next trial.
    pub(crate) fn must_be_old(&mut self, change: &Wanted, when: &str) -> anyhow::Result<()> {
        let values = self.values(change)?;
        if values != change.old {
            eprintln!("  FAIL {when}: old {:?}, new {:?}, now {values:?}", change.old, change.new);
            self.tally.untold += 1;
            self.restore(change)?;
        }
        Ok(())
    }

    /// Puts the old values back past the module.
    pub(crate) fn restore(&self, change: &Wanted) -> anyhow::Result<()> {
        change.places.iter().zip(&change.old).try_for_each(|(place, old)| self.laptop.poke(place, *old))
    }

    pub(crate) fn wrong(&mut self, what: &str) -> anyhow::Result<()> {
        eprintln!("  FAIL {what}");
        self.tally.wrong += 1;
        Ok(())
    }

    /// All events until now are of no interest.
    pub(crate) fn forget_events(&mut self) -> anyhow::Result<()> {
        self.take_events().map(drop)
    }

    fn take_events(&mut self) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        while self.events.try_read(&mut records)? > 0 {}
        Ok(records)
    }

    /// Among the events since the last look is one that `is_it`.
    pub(crate) fn has_seen(&mut self, is_it: impl Fn(&Event) -> bool) -> anyhow::Result<bool> {
        Ok(self.take_events()?.iter().any(|record| is_it(&record.event)))
    }
}

impl Held {
    /// Ends it in that way; what an undo that was asked for said. At the deadline it returns once the module has acted, which must be
    /// within the undo's firmware calls and the slack.
    pub(crate) fn end(
        self,
        bench: &mut Bench,
        by: By,
    ) -> anyhow::Result<Option<Result<device::Settled, Error>>> {
        let Self { device, pending, number, deadline_ns } = self;
        match by {
            By::Request => Ok(Some(pending.undo())),
            By::Close => {
                forget((device, pending));
                close(number)?;
                Ok(None)
            }
            By::Deadline => {
                let end = now_ns()? + NEVER_NS;
                while matches!(device.info()?.state, State::Pending { .. }) {
                    ensure!(now_ns()? < end, "the deadline does not come");
                    sleep(Duration::from_millis(1));
                }
                let late_ns = now_ns()?.saturating_sub(deadline_ns);
                if late_ns > bench.calls_ns + SLACK_NS.max(2 * bench.calls_ns) {
                    eprintln!("  FAIL undone {late_ns} ns after the deadline");
                    bench.tally.late += 1;
                }
                let _too_late = pending.undo();
                Ok(None)
            }
        }
    }
}

impl Wanted {
    pub(crate) fn place(&self, index: usize) -> anyhow::Result<&Place> {
        self.places.get(index).context("no such place")
    }
}
