//! The holder of a transaction: the process that is killed, and those who outlive it.

use std::mem::forget;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::exit;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use device::{Device, Flags, Pages, Pending};
use nix::fcntl::{OFlag, open};
use nix::libc::SIGCHLD;
use nix::sched::{CloneFlags, clone};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Pid, close, dup, fork};
use types::token::Change;

use crate::laptop::NODE;
use crate::raw;
use crate::shared::{Shared, Step};

/// Those who outlive the holder end by themselves after this.
const OUTLIVED_MAX: Duration = Duration::from_secs(90);
/// Pause between two attempts of theirs to keep the change.
const MEDDLE_PAUSE: Duration = Duration::from_millis(3);
/// How long a holder lingers.
const LINGER: Duration = Duration::from_millis(200);
/// Stack of a process that shares the file table.
const STACK_BYTES: usize = 256 << 10;

/// Who else is there when the holder is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody.
    Nobody,
    /// A forked child that has inherited the file, and tries to keep the change.
    Child,
    /// A forked child with the node mapped, its descriptor closed.
    Mapping,
    /// A process that shares the file table since before the node was opened.
    SharerBefore,
    /// One that shares it since the transaction began.
    SharerAfter,
    /// The same, and it tries to keep the change.
    SharerMeddling,
    /// Threads: one of them holds the transaction, two sleep.
    Threads,
    /// Threads: the first one, which the process is named after, is gone.
    Leaderless,
}

impl Company {
    pub(crate) const ALL: [Self; 8] = [
        Self::Nobody,
        Self::Child,
        Self::Mapping,
        Self::SharerBefore,
        Self::SharerAfter,
        Self::SharerMeddling,
        Self::Threads,
        Self::Leaderless,
    ];

    /// The holder's end closes nothing, since others have the same descriptors: it is noticed within a second.
    pub(crate) fn shares_files(self) -> bool {
        matches!(self, Self::SharerBefore | Self::SharerAfter | Self::SharerMeddling)
    }
}

/// What the holder does with its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Waits.
    Wait,
    /// Confirms it.
    Confirm,
    /// Undoes it.
    Undo,
    /// Closes the file.
    Close,
    /// Closes a duplicate of the descriptor.
    CloseDuplicate,
}

/// What a holder is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) company: Company,
    pub(crate) end: End,
    pub(crate) deadline: Duration,
    /// Where it lingers, so that the kill is sure to come there.
    pub(crate) linger: Option<Step>,
    pub(crate) changes: Vec<Change>,
}

impl Plan {
    fn arrive(&self, shared: &Shared, step: Step) {
        shared.arrive(step);
        if self.linger == Some(step) {
            sleep(LINGER);
        }
    }
}

/// Starts a holder; it waits when it is done.
///
/// # Errors
///
/// No process can be made.
pub(crate) fn start(shared: &'static Shared, plan: &Plan) -> anyhow::Result<Pid> {
    // SAFETY: This program has one thread where it forks.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            if let Err(error) = live(shared, plan.clone()) {
                eprintln!("  the holder failed: {error:#}");
                shared.has_failed.store(true, SeqCst);
            }
            raw::end_process(1)
        }
    }
}

fn live(shared: &'static Shared, plan: Plan) -> anyhow::Result<()> {
    match plan.company {
        Company::Threads => {
            for _ in 0..2 {
                spawn(park);
            }
            let worker = spawn(move || transact(shared, &plan));
            worker.join().ok().context("the holder's thread died")?
        }
        Company::Leaderless => {
            spawn(move || {
                if let Err(error) = transact(shared, &plan) {
                    eprintln!("  the holder failed: {error:#}");
                    shared.has_failed.store(true, SeqCst);
                }
                exit(1)
            });
            raw::end_thread()
        }
        _ => transact(shared, &plan),
    }
}

fn park() {
    loop {
        sleep(Duration::from_secs(1));
    }
}

/// The transaction, step by step; returns only if it fails.
fn transact(shared: &'static Shared, plan: &Plan) -> anyhow::Result<()> {
    if plan.company == Company::SharerBefore {
        share_files(shared, None)?;
    }
    let fd = open(NODE, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    let number = fd.as_raw_fd();
    let device = Device::from(fd);
    if plan.company == Company::Mapping {
        let pages = device.map()?;
        outlived(shared, |_| {
            let _closed = close(number);
            keep_mapped(&pages)
        })?;
    }
    let mut transaction = device.begin(plan.deadline, Flags::default())?;
    shared.transaction.store(device.info()?.transaction, SeqCst);
    match plan.company {
        Company::Child => outlived(shared, |shared| meddle(shared, number))?,
        Company::SharerAfter => share_files(shared, None)?,
        Company::SharerMeddling => share_files(shared, Some(number))?,
        _ => {}
    }
    plan.arrive(shared, Step::Begun);
    let (first, rest) = plan.changes.split_at_checked(1).context("nothing to change")?;
    transaction.stage(first)?;
    plan.arrive(shared, Step::Staged);
    if !rest.is_empty() {
        transaction.stage(rest)?;
    }
    plan.arrive(shared, Step::StagedAll);
    plan.arrive(shared, Step::Committing);
    let pending = transaction.commit()?;
    plan.arrive(shared, Step::Committed);
    if plan.end != End::Wait {
        plan.arrive(shared, Step::Settling);
        settle(device, pending, number, plan.end)?;
        plan.arrive(shared, Step::Settled);
    } else {
        forget((device, pending));
    }
    park();
    Ok(())
}

fn settle(device: Device, pending: Pending, number: RawFd, end: End) -> anyhow::Result<()> {
    match end {
        End::Wait => {}
        End::Confirm => pending.confirm()?,
        End::Undo => drop(pending.undo()?),
        End::Close => {
            // The descriptor goes, without an undo by those that hold it.
            forget(pending);
            forget(device);
            close(number)?;
            return Ok(());
        }
        End::CloseDuplicate => {
            forget(pending);
            // SAFETY: The device below has the descriptor open.
            let copy: OwnedFd = dup(unsafe { BorrowedFd::borrow_raw(number) })?;
            drop(copy);
        }
    }
    // The file stays open, also when this returns.
    forget(device);
    Ok(())
}

/// Forks a child that outlives the holder and does that again and again.
fn outlived(shared: &'static Shared, deed: impl Fn(&Shared)) -> anyhow::Result<()> {
    // SAFETY: A holder with such company has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(()),
        ForkResult::Child => {
            until_over(shared, deed);
            raw::end_process(0)
        }
    }
}

/// Makes a process that has the same file table and outlives the holder.
fn share_files(shared: &'static Shared, number: Option<RawFd>) -> anyhow::Result<()> {
    let mut stack = vec![0; STACK_BYTES];
    let body = Box::new(move || {
        until_over(shared, |shared| {
            if let Some(number) = number {
                meddle(shared, number);
            }
        });
        0
    });
    // SAFETY: It has memory of its own, a copy of the one thread that there is, and so its own copy of the stack.
    unsafe { clone(body, &mut stack, CloneFlags::CLONE_FILES, Some(SIGCHLD)) }?;
    Ok(())
}

fn until_over(shared: &Shared, deed: impl Fn(&Shared)) {
    let began = Instant::now();
    while !shared.is_over.load(SeqCst) && began.elapsed() < OUTLIVED_MAX {
        deed(shared);
        sleep(MEDDLE_PAUSE);
    }
}

/// Tries to keep what is not one's own. If that works, the values will tell.
fn meddle(shared: &Shared, number: RawFd) {
    // SAFETY: The descriptor is open, or no longer, and then the call fails.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let _refused = raw::confirm(fd, shared.transaction.load(SeqCst));
}

fn keep_mapped(pages: &Pages) {
    // Read, so that the pages are there.
    let _looked = pages.all();
}
