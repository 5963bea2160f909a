// SPDX-License-Identifier: GPL-2.0-only

//! What all open files share: the firmware's table, its allow-list and the one transaction.
//!
//! # Layout
//!
//! - `table`: the tokens, and what may be written
//! - `reading`: values, from the firmware and from the cache
//! - `calls`: calls to the firmware that are seen by cache, counters and events
//! - `change`: begin, stage, commit, confirm, undo
//! - `ending`: undoing, whatever asks for it
//! - `watch`: the temperature
//! - `report`: counts and states, for information and debugfs
//!
//! # Lock order
//!
//! 1. `Shared::state`, held over the firmware calls of a commit or an undo
//! 2. dell-smbios' own
//! 3. `Shared::limits`, `Shared::board`, `Shared::events`: spin locks, none of them held with another
//!
//! Reading values, information and events take only the last two, so that a slow commit holds up a reader no
//! more than the firmware itself does. A snapshot waits until nothing is being written, without a lock and until
//! a signal comes. The closing of the transaction's file, suspend and reboot do wait for a
//! commit, which they have stop at its next entry: `Shared::leaving`, `Shared::sleeping` and `Shared::closing` are
//! set before the lock is taken. Who may not do anything about the transaction anyhow is told so without it. No lock is held while something is copied from or to user space.

#[forbid(unsafe_code)]
mod calls;
#[forbid(unsafe_code)]
mod change;
#[forbid(unsafe_code)]
mod ending;
#[forbid(unsafe_code)]
mod reading;
#[forbid(unsafe_code)]
mod report;
#[forbid(unsafe_code)]
mod table;
#[forbid(unsafe_code)]
mod watch;

pub(crate) use ending::Sleep;
pub(crate) use reading::Age;

use crate::{
    board::Board,
    counters::Counters,
    event::Events,
    firmware,
    glue::{
        Pages,
        Process,
        Who, //
    },
    limit::Bucket,
    machine::Machine,
    token::Token,
    transaction::Entry,
    uapi, //
};
use kernel::{
    impl_has_delayed_work, new_delayed_work, new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLock, //
    },
    workqueue::DelayedWork,
};

/// The module's one transaction.
struct State {
    machine: Machine,
    entries: KVec<Entry>,
    /// Who began it, for as long as they can do something about it.
    process: Option<Process>,
    who: Who,
    /// Keeps the module loaded while an undo is being retried.
    hold: Option<crate::glue::ModuleReference>,
}

/// The state, while nobody else changes it.
type StateGuard<'a> = Guard<'a, State, MutexBackend>;

/// How often the firmware may be called.
pub(crate) struct Limits {
    /// Reads on behalf of readers.
    pub(crate) read: Bucket,
    /// Committed entries.
    pub(crate) write: Bucket,
}

/// What all open files share.
#[pin_data]
pub(crate) struct Shared {
    module: &'static ThisModule,
    /// Files opened so far: the number of the newest.
    files: Atomic<u64>,
    /// Files that are open.
    present: Atomic<u32>,
    /// When the temperature was looked at last.
    looked: Atomic<i64>,
    /// Number of the file that holds the transaction, 0: none.
    holder: Atomic<u64>,
    /// The process that owns it, as [`Process::key`].
    owner: Atomic<usize>,
    /// Number of the file that the owner is closing: what is being committed through it goes back.
    leaving: Atomic<u64>,
    /// The machine goes to sleep, as [`Sleep`] from 1 on; 0: it is awake. What sleep would undo is not begun, and
    /// goes back if it is being committed.
    sleeping: Atomic<u32>,
    /// The machine or the module goes down: nothing new begins, and what is being committed goes back.
    closing: Atomic<bool>,
    tokens: KVVec<Token>,
    /// The tokens as the interface shows them before the seal.
    listed: KVVec<uapi::dsmil_token>,
    /// What does not change.
    facts: report::Facts,
    /// There once the allow-list is sealed.
    allowed: SetOnce<table::Allowed>,
    counters: Counters,
    #[pin]
    state: Mutex<State>,
    #[pin]
    limits: SpinLock<Limits>,
    #[pin]
    board: Board,
    #[pin]
    events: Events,
    #[pin]
    due: DelayedWork<Shared, { Shared::DUE }>,
    #[pin]
    watch: DelayedWork<Shared, { Shared::WATCH }>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self, 0> for Shared { self.due }
    impl HasDelayedWork<Self, 1> for Shared { self.watch }
}

impl Shared {
    /// The work that undoes what is due.
    pub(crate) const DUE: u64 = 0;
    /// The work that looks at the temperature.
    pub(crate) const WATCH: u64 = 1;

    /// Reads the firmware's table; nothing is writable and nothing pending.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and those of [`firmware::tokens`].
    pub(crate) fn new(module: &'static ThisModule, limits: Limits) -> Result<Arc<Self>> {
        let tokens = firmware::tokens()?;
        let facts = report::Facts::of(&tokens, &limits);
        pr_info!(
            "{} tokens, {} of them devices\n",
            tokens.len(),
            facts.devices
        );
        let board = Board::new(&tokens)?;
        let listed = table::list_of(&tokens, &[])?;
        let shared = Arc::pin_init(
            try_pin_init!(Self {
                module,
                files: Atomic::new(0),
                present: Atomic::new(0),
                looked: Atomic::new(0),
                holder: Atomic::new(0),
                owner: Atomic::new(0),
                leaving: Atomic::new(0),
                sleeping: Atomic::new(0),
                closing: Atomic::new(false),
                tokens,
                listed,
                facts,
                allowed: SetOnce::new(),
                counters: Counters::new(),
                state <- new_mutex!(State {
                    machine: Machine::new(),
                    entries: KVec::new(),
                    process: None,
                    who: Who::default(),
                    hold: None,
                }, "dsmil::Shared::state"),
                limits <- new_spinlock!(limits, "dsmil::Shared::limits"),
                board <- board,
                events <- Events::new(),
                due <- new_delayed_work!("dsmil::Shared::due"),
                watch <- new_delayed_work!("dsmil::Shared::watch"),
            }),
            GFP_KERNEL,
        )?;
        // So that who asks first is told something.
        shared.look();
        Ok(shared)
    }

    /// A file is opened; its number, never 0.
    pub(crate) fn opened(self: &Arc<Self>) -> u64 {
        if self.present.fetch_add(1, Relaxed) == 0 {
            self.look_soon();
        }
        self.files.fetch_add(1, Relaxed) + 1
    }

    /// A file is closed for good.
    pub(crate) fn released(self: &Arc<Self>, file: u64) {
        self.closed(file, None);
        self.present.fetch_sub(1, Relaxed);
    }

    /// What has happened.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// The memory that may be mapped.
    pub(crate) fn pages(&self) -> &Pages {
        self.board.pages()
    }
}
