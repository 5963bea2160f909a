// SPDX-License-Identifier: GPL-2.0-only

//! What all open files share: the firmware's table, its allow-list and the one transaction.
//!
//! # Layout
//!
//! - `table`: the tokens, their values, and what may be written
//! - `change`: write, confirm, undo, and what else ends a change
//! - `deadline`: undoing, when it is due and when it failed
//!
//! # Lock order
//!
//! 1. `Shared::state`, held over the firmware calls of a commit or an undo
//! 2. `Shared::table`, held briefly
//! 3. dell-smbios' own
//!
//! Reading values takes only the second and the third, so that a slow commit holds up a reader no more
//! than the firmware itself does. Information, the closing of a file and a reboot do wait for a commit.
//! No lock is held while something is copied from or to user space.

#[forbid(unsafe_code)]
mod change;
#[forbid(unsafe_code)]
mod deadline;
#[forbid(unsafe_code)]
mod table;

pub(crate) use change::Request;

use crate::{
    firmware,
    glue::{
        self,
        ModuleReference, //
    },
    transaction::{
        Entry,
        Machine,
        Phase, //
    },
    uapi,
};
use kernel::{
    impl_has_delayed_work, new_delayed_work, new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::NSEC_PER_MSEC,
    workqueue::DelayedWork,
};
use table::Table;

/// The module's one transaction.
struct State {
    machine: Machine,
    entries: KVec<Entry>,
    generation: u64,
    /// The machine or the module goes down: nothing new begins.
    closing: bool,
    /// Keeps the module loaded while an undo is being retried.
    hold: Option<ModuleReference>,
}

/// What all open files share.
#[pin_data]
pub(crate) struct Shared {
    module: &'static ThisModule,
    files: Atomic<u64>,
    #[pin]
    state: Mutex<State>,
    #[pin]
    table: Mutex<Table>,
    #[pin]
    work: DelayedWork<Shared>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Shared { self.work }
}

impl Shared {
    /// Reads the firmware's table; nothing is writable and nothing pending.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Arc<Self>> {
        let tokens = firmware::tokens()?;
        let devices = tokens.iter().filter(|t| t.device().is_some()).count();
        pr_info!("{} tokens, {} of them devices\n", tokens.len(), devices);
        Arc::pin_init(
            pin_init!(Self {
                module,
                files: Atomic::new(0),
                state <- new_mutex!(State {
                    machine: Machine::new(),
                    entries: KVec::new(),
                    generation: 0,
                    closing: false,
                    hold: None,
                }),
                table <- new_mutex!(Table {
                    tokens,
                    sealed: false,
                }),
                work <- new_delayed_work!("dsmil::Shared::work"),
            }),
            GFP_KERNEL,
        )
    }

    /// A number for a file that is being opened, never 0.
    pub(crate) fn next_file(&self) -> u64 {
        self.files.fetch_add(1, Relaxed) + 1
    }

    /// Counts, limits and states.
    pub(crate) fn info(&self) -> uapi::dsmil_info {
        let mut info = uapi::dsmil_info {
            abi: uapi::DSMIL_ABI_VERSION,
            backend: firmware::backend(),
            lockdown: glue::lockdown(),
            list_max: uapi::DSMIL_LIST_MAX,
            read_max: uapi::DSMIL_READ_MAX,
            allow_max: uapi::DSMIL_ALLOW_MAX,
            write_max: uapi::DSMIL_WRITE_MAX,
            deadline_min_ms: uapi::DSMIL_DEADLINE_MIN_MS,
            deadline_default_ms: uapi::DSMIL_DEADLINE_DEFAULT_MS,
            deadline_max_ms: uapi::DSMIL_DEADLINE_MAX_MS,
            ..Default::default()
        };
        if firmware::is_virtual() {
            info.flags |= uapi::DSMIL_INFO_HYPERVISOR;
        }
        self.table.lock().describe(&mut info);
        self.state.lock().describe(&mut info);
        info
    }
}

impl State {
    /// Fills in what is about the transaction.
    fn describe(&self, info: &mut uapi::dsmil_info) {
        let machine = &self.machine;
        info.generation = self.generation;
        info.transaction = machine.number();
        info.outcome = machine.outcome();
        info.left = machine.left();
        match machine.phase() {
            Phase::Idle => info.state = uapi::DSMIL_STATE_IDLE,
            Phase::Pending { .. } => {
                info.state = uapi::DSMIL_STATE_PENDING;
                let remaining = machine.due_in(deadline::now()).unwrap_or(0) / NSEC_PER_MSEC;
                info.remaining_ms = remaining.try_into().unwrap_or(u32::MAX);
            }
            Phase::Undoing { attempts, .. } => {
                info.state = uapi::DSMIL_STATE_UNDOING;
                info.attempts = attempts;
            }
        }
    }
}
