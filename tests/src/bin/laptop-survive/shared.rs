//! Memory that the killer and the killed share.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use anyhow::Context as _;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// How far the holder of a transaction is; each step comes after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum Step {
    /// A transaction is open.
    Begun = 1,
    /// The first change is staged.
    Staged = 2,
    /// All are.
    StagedAll = 3,
    /// About to commit.
    Committing = 4,
    /// The commit has returned.
    Committed = 5,
    /// About to confirm, undo or close.
    Settling = 6,
    /// That has returned.
    Settled = 7,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Begun,
        Self::Staged,
        Self::StagedAll,
        Self::Committing,
        Self::Committed,
        Self::Settling,
        Self::Settled,
    ];
}

/// What is written there.
#[derive(Debug)]
pub(crate) struct Shared {
    step: AtomicU32,
    /// Number of the transaction.
    pub(crate) transaction: AtomicU64,
    /// The holder could not do what it should.
    pub(crate) has_failed: AtomicBool,
    /// Whoever outlives the holder is to end.
    pub(crate) is_over: AtomicBool,
}

impl Shared {
    /// Fresh memory, which every process forked from here shares. It is there as long as they are.
    pub(crate) fn new() -> anyhow::Result<&'static Self> {
        let length = NonZeroUsize::new(size_of::<Self>()).context("no memory is shared")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping at an address of the kernel's choice.
        let place = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_SHARED) }?;
        // SAFETY: The mapping is large enough, aligned to a page, zeroed, which all atomics may be, and never unmapped.
        Ok(unsafe { place.cast::<Self>().as_ref() })
    }

    /// As fresh.
    pub(crate) fn reset(&self) {
        self.step.store(0, SeqCst);
        self.transaction.store(0, SeqCst);
        self.has_failed.store(false, SeqCst);
        self.is_over.store(false, SeqCst);
    }

    pub(crate) fn arrive(&self, step: Step) {
        self.step.store(step as u32, SeqCst);
    }

    /// The step that it has come to, if any.
    pub(crate) fn step(&self) -> Option<Step> {
        let step = self.step.load(SeqCst);
        Step::ALL.into_iter().find(|known| *known as u32 == step)
    }

    pub(crate) fn has_reached(&self, step: Step) -> bool {
        self.step.load(SeqCst) >= step as u32
    }
}
