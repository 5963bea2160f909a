//! When the power goes.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fuzz::dice::Dice;

/// What happens meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// The laptop comes up: so long after its disk is first written.
    Starting(Duration),
    /// It works: so long after it has looked for what was acknowledged before.
    Working(Duration),
    /// The TPM has just written its memory for the so-manieth time since then: so long ago.
    Counting(u32, Duration),
    /// The so-manieth restore since then began so long ago.
    Restoring(u32, Duration),
}

/// Longest time after the beginning of a restore; most take less.
const RESTORE_MS: usize = 900;

/// Longest way from the first write to the disk to an answer of the daemon, on a busy machine about that.
const START_MS: usize = 9_000;

impl When {
    /// A quarter while it starts, a quarter as the TPM counts.
    pub(super) fn choose(dice: &mut Dice, number: u32) -> Self {
        let ms = |dice: &mut Dice, bound| {
            Duration::from_millis(u64::try_from(dice.below(bound)).unwrap_or_default())
        };
        match number % 4 {
            1 => Self::Starting(ms(dice, START_MS)),
            3 => Self::Counting(1 + dice.word() % 6, ms(dice, 30)),
            _ => Self::Working(Duration::from_secs(1) + ms(dice, 6_000)),
        }
    }

    /// A quarter while it starts, and so takes up or brings back what was cut; else in the middle of a restore.
    pub(super) fn choose_restore(dice: &mut Dice, number: u32) -> Self {
        let ms = |dice: &mut Dice, bound| {
            Duration::from_millis(u64::try_from(dice.below(bound)).unwrap_or_default())
        };
        match number % 4 {
            3 => Self::Starting(ms(dice, START_MS)),
            _ => Self::Restoring(1 + dice.word() % 3, ms(dice, RESTORE_MS)),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Working(_) => "working",
            Self::Counting(..) => "counting",
            Self::Restoring(..) => "restoring",
        }
    }
}

/// Looks whether the moment has come, and at what of the laptop needs no power besides its disk.
#[derive(Debug)]
pub(super) struct Watch {
    when: When,
    writes: PathBuf,
    nv: PathBuf,
    tokens: PathBuf,
    /// From when on the time counts.
    began: Option<Instant>,
    /// The TPM's memory as it was last seen, and how often it was another since it counts.
    nv_seen: Option<(u64, i64)>,
    nv_changes: u32,
    /// How much the firmware had written.
    tokens_seen: u64,
    /// How long the log of writes was, at most, when one of the two last changed.
    settled: u64,
}

impl Watch {
    pub(super) fn new(when: When, [writes, nv, tokens]: [PathBuf; 3]) -> Self {
        Self {
            when,
            writes,
            nv,
            tokens,
            began: None,
            nv_seen: None,
            nv_changes: 0,
            tokens_seen: 0,
            settled: 0,
        }
    }

    /// Whether the power goes now, in a laptop that has looked for what was acknowledged or not, and has begun so many restores.
    pub(super) fn is_now(&mut self, is_checked: bool, restores: u32) -> bool {
        let changes = self.observe();
        let (is_due, after) = match self.when {
            When::Starting(after) => (length(&self.writes) > 0, after),
            When::Working(after) => (is_checked, after),
            When::Restoring(times, after) => (restores >= times, after),
            When::Counting(times, after) => {
                if is_checked && changes {
                    self.nv_changes += 1;
                }
                (self.nv_changes >= times, after)
            }
        };
        if is_due && self.began.is_none() {
            self.began = Some(Instant::now());
        }
        self.began.is_some_and(|began| began.elapsed() >= after)
    }

    /// After the cut: up to where the log of writes may be shortened, for a cut that comes a little earlier. TPM and firmware
    /// must not know of what happened behind it.
    pub(super) fn settled(mut self) -> u64 {
        self.observe();
        self.settled
    }

    /// Whether the TPM's memory has changed. Both are looked at before the log of writes: what they know of is not behind its end.
    fn observe(&mut self) -> bool {
        // The software TPM writes another file and gives it the name.
        let nv = self.nv.metadata().ok().map(|meta| (meta.ino(), meta.mtime_nsec()));
        let tokens = length(&self.tokens);
        let is_nv = nv != self.nv_seen;
        if is_nv || tokens != self.tokens_seen {
            self.settled = length(&self.writes);
        }
        (self.nv_seen, self.tokens_seen) = (nv, tokens);
        is_nv
    }
}

fn length(file: &Path) -> u64 {
    file.metadata().map_or(0, |meta| meta.len())
}
