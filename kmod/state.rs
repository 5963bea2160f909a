// SPDX-License-Identifier: GPL-2.0-only

//! What all open files share: the firmware's table, its allow-list and the one transaction.
//!
//! Lock order:
//!
//! 1. `Shared::state`, held over the firmware calls of a commit or an undo
//! 2. `Shared::table`, held briefly
//! 3. dell-smbios' own
//!
//! Reading values takes only the second and the third, so that a slow commit holds up nobody more than
//! the firmware itself does.

use crate::device::{give_all, take_all};
use crate::failure::{
    entry_failure, is_blank, kernel_failure, refusal_failure, refuse, whole_failure, Outcome,
};
use crate::firmware::{self, Smbios};
use crate::glue::{self, ModuleReference};
use crate::token::{self, Refusal, Token};
use crate::transaction::{self, Entry, Firmware, Machine, Owner, Phase, Progress, Undone};
use crate::uapi;
use kernel::{
    fs::{
        file::flags,
        File, //
    },
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
    time::{
        BootTime,
        ClockSource,
        NSEC_PER_MSEC, //
    },
    workqueue::{
        DelayedWork,
        WorkItem, //
    },
};

/// Longest sleep of the work, in milliseconds: its timer stands still in suspend, the deadline does not,
/// so after a resume this is how late it can be.
const WORK_SLICE_MS: i64 = 1000;

/// The firmware's table and its allow-list.
struct Table {
    tokens: KVec<Token>,
    sealed: bool,
}

/// The module's one transaction.
struct State {
    machine: Machine,
    entries: KVec<Entry>,
    generation: u64,
    /// The machine goes down: nothing new begins.
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
        {
            let table = self.table.lock();
            let count = |test: fn(&Token) -> bool| table.tokens.iter().filter(|t| test(t)).count();
            info.tokens = table.tokens.len() as u32;
            info.devices = count(|token| token.device().is_some()) as u32;
            info.writable = count(|token| token.writable) as u32;
            if table.sealed {
                info.flags |= uapi::DSMIL_INFO_SEALED;
            }
        }
        let state = self.state.lock();
        let machine = &state.machine;
        info.generation = state.generation;
        info.transaction = machine.number();
        info.outcome = machine.outcome();
        info.left = machine.left();
        match machine.phase() {
            Phase::Idle => info.state = uapi::DSMIL_STATE_IDLE,
            Phase::Pending { .. } => {
                info.state = uapi::DSMIL_STATE_PENDING;
                let remaining = machine.due_in(now()).unwrap_or(0) / NSEC_PER_MSEC;
                info.remaining_ms = remaining.try_into().unwrap_or(u32::MAX);
            }
            Phase::Undoing { attempts, .. } => {
                info.state = uapi::DSMIL_STATE_UNDOING;
                info.attempts = attempts;
            }
        }
        info
    }

    pub(crate) fn read(&self, entry: &mut uapi::dsmil_read_entry) {
        let is_plain =
            entry.reserved == 0 && entry.value == 0 && entry.error == 0 && entry.status == 0;
        *entry = uapi::dsmil_read_entry {
            id: entry.id,
            select: entry.select,
            ..Default::default()
        };
        let is_select = u32::from(entry.select) <= uapi::DSMIL_SELECT_AC;
        let place = token::find(&self.table.lock().tokens, entry.id)
            .map(|token| (token.location, token.readable()));
        let error = match place {
            _ if !is_plain || !is_select => EINVAL,
            None => ENOENT,
            Some((_, false)) => EACCES,
            Some((location, true)) => match Smbios.read(location, entry.select) {
                Ok(value) => {
                    entry.value = value;
                    return;
                }
                Err(fault) => {
                    entry.status = fault.status;
                    entry.error = fault.error;
                    return;
                }
            },
        };
        entry.error = -error.to_errno();
    }

    pub(crate) fn allow(&self, allow: &uapi::dsmil_allow) -> Outcome<()> {
        if allow.flags != 0 || !is_blank(&allow.failure) {
            return refuse(uapi::DSMIL_REASON_RESERVED);
        }
        if allow.count > uapi::DSMIL_ALLOW_MAX {
            return Err(whole_failure(uapi::DSMIL_REASON_COUNT, E2BIG));
        }
        let ids: KVec<u16> = take_all(allow.ids, allow.count).map_err(kernel_failure)?;
        let mut table = self.table.lock();
        if table.sealed {
            return refuse(uapi::DSMIL_REASON_SEALED);
        }
        token::allow(&mut table.tokens, &ids).map_err(|refusal| refusal_failure(&refusal))?;
        table.sealed = true;
        pr_info!("sealed, {} tokens may be written\n", ids.len());
        Ok(())
    }

    pub(crate) fn write(
        self: &Arc<Self>,
        write: &mut uapi::dsmil_write,
        owner: Owner,
    ) -> Outcome<()> {
        if write.flags != 0
            || write.undo != 0
            || write.transaction != 0
            || !is_blank(&write.failure)
        {
            return refuse(uapi::DSMIL_REASON_RESERVED);
        }
        if write.count == 0 {
            return refuse(uapi::DSMIL_REASON_COUNT);
        }
        if write.count > uapi::DSMIL_WRITE_MAX {
            return Err(whole_failure(uapi::DSMIL_REASON_COUNT, E2BIG));
        }
        let deadline_ms = match write.deadline_ms {
            0 => uapi::DSMIL_DEADLINE_DEFAULT_MS,
            ms @ uapi::DSMIL_DEADLINE_MIN_MS..=uapi::DSMIL_DEADLINE_MAX_MS => ms,
            _ => return refuse(uapi::DSMIL_REASON_DEADLINE),
        };
        let mut wanted: KVec<uapi::dsmil_write_entry> =
            take_all(write.entries, write.count).map_err(kernel_failure)?;
        let entries = self.check(&wanted)?;

        let mut state = self.state.lock();
        if state.closing {
            return refuse(uapi::DSMIL_REASON_BUSY);
        }
        state.machine.may_begin().or_else(refuse)?;
        state.entries = entries;
        let committed = transaction::commit(&mut Smbios, &mut state.entries);
        if let Err(failure) = committed {
            write.undo = self.roll_back(&mut state, owner);
            return Err(entry_failure(&failure, &state.entries));
        }
        state.generation += 1;
        let deadline = now().saturating_add(i64::from(deadline_ms) * NSEC_PER_MSEC);
        let number = state.machine.committed(owner, deadline);
        for (entry, done) in wanted.iter_mut().zip(&state.entries) {
            entry.old = done.old;
        }
        if let Err(fault) = give_all(write.entries, &wanted) {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_FAILED);
            return Err(kernel_failure(fault));
        }
        write.transaction = number;
        self.arm(&state);
        Ok(())
    }

    /// Everything that can be refused before the firmware is asked.
    fn check(&self, wanted: &[uapi::dsmil_write_entry]) -> Outcome<KVec<Entry>> {
        let mut entries =
            KVec::with_capacity(wanted.len(), GFP_KERNEL).map_err(|e| kernel_failure(e.into()))?;
        let table = self.table.lock();
        for (index, entry) in wanted.iter().enumerate() {
            let expects = u32::from(entry.flags) & uapi::DSMIL_WRITE_EXPECTED != 0;
            let is_plain = u32::from(entry.flags) & !uapi::DSMIL_WRITE_EXPECTED == 0
                && entry.old == 0
                && (expects || entry.expected == 0);
            let refused = if !is_plain {
                Err(uapi::DSMIL_REASON_RESERVED)
            } else if u32::from(entry.select) > uapi::DSMIL_SELECT_AC {
                Err(uapi::DSMIL_REASON_SELECT)
            } else {
                Ok(())
            };
            let location = refused
                .map_err(|reason| Refusal::entry(reason, index, entry.id))
                .and_then(|()| {
                    token::check_write(&table.tokens, table.sealed, index, entry.id, entry.value)
                })
                .map_err(|refusal| refusal_failure(&refusal))?;
            let entry = Entry {
                id: entry.id,
                location,
                select: entry.select,
                new: entry.value,
                expected: expects.then_some(entry.expected),
                old: 0,
                progress: Progress::Untouched,
            };
            entries
                .push(entry, GFP_KERNEL)
                .map_err(|e| kernel_failure(e.into()))?;
        }
        if let Some(index) = transaction::duplicate(&entries) {
            let id = entries.get(index).map_or(0, |entry| entry.id);
            let refusal = Refusal::entry(uapi::DSMIL_REASON_DUPLICATE, index, id);
            return Err(refusal_failure(&refusal));
        }
        Ok(entries)
    }

    /// Undoes a commit that failed; returns `DSMIL_UNDO_*`.
    fn roll_back(self: &Arc<Self>, state: &mut State, owner: Owner) -> u32 {
        let written = |entry: &Entry| entry.progress != Progress::Untouched;
        if !state.entries.iter().any(written) {
            return uapi::DSMIL_UNDO_NONE;
        }
        state.machine.failed(owner);
        let undone = self.undo_now(state, uapi::DSMIL_OUTCOME_FAILED);
        if undone.failure.is_some() {
            uapi::DSMIL_UNDO_RETRYING
        } else if undone.left > 0 {
            uapi::DSMIL_UNDO_LEFT
        } else {
            uapi::DSMIL_UNDO_DONE
        }
    }

    pub(crate) fn confirm(self: &Arc<Self>, number: u64, owner: Owner) -> (Undone, Outcome<()>) {
        let mut state = self.state.lock();
        self.expire(&mut state);
        let done = state.machine.may_settle(number, owner).or_else(refuse);
        if done.is_ok() {
            state.machine.confirmed();
        }
        (Undone::default(), done)
    }

    pub(crate) fn undo(self: &Arc<Self>, number: u64, owner: Owner) -> (Undone, Outcome<()>) {
        let mut state = self.state.lock();
        self.expire(&mut state);
        if let Err(reason) = state.machine.may_settle(number, owner) {
            return (Undone::default(), refuse(reason));
        }
        let undone = self.undo_now(&mut state, uapi::DSMIL_OUTCOME_UNDONE);
        let done = match undone.failure {
            Some(failure) => Err(entry_failure(&failure, &state.entries)),
            None => Ok(()),
        };
        (undone, done)
    }

    /// Undoes a transaction whose number did not reach its owner.
    pub(crate) fn abandon(self: &Arc<Self>, number: u64, owner: Owner) {
        let mut state = self.state.lock();
        if state.machine.may_settle(number, owner).is_ok() {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_FAILED);
        }
    }

    /// A file is closed by a process, or for good (`None`).
    pub(crate) fn closed(self: &Arc<Self>, file: u64, process: Option<i32>) {
        let mut state = self.state.lock();
        if state.machine.closes(file, process) {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_CLOSED);
        }
    }

    /// The machine goes down.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.closing = true;
        if state.machine.phase() != Phase::Idle {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_SHUTDOWN);
        }
    }

    /// Undoes what is due, whether or not the work has come round to it.
    fn expire(self: &Arc<Self>, state: &mut State) {
        if state.machine.due_in(now()) == Some(0) {
            self.undo_now(state, uapi::DSMIL_OUTCOME_EXPIRED);
        }
    }

    fn undo_now(self: &Arc<Self>, state: &mut State, outcome: u32) -> Undone {
        let undone = transaction::undo(&mut Smbios, &mut state.entries);
        state.generation += 1;
        state.machine.undone(&undone, outcome, now());
        if let Some(failure) = undone.failure {
            let id = state.entries.get(failure.index).map_or(0, |entry| entry.id);
            pr_err!("undo of token {:#06x} failed, will be retried\n", id);
            if state.hold.is_none() {
                state.hold = ModuleReference::take(self.module);
            }
        } else {
            let number = state.machine.number();
            let Undone { undone, left, .. } = undone;
            pr_info!("change {number} undone: {undone} values back, {left} left to others\n");
            state.hold = None;
        }
        self.arm(state);
        undone
    }

    /// Has the work come round when something is due.
    fn arm(self: &Arc<Self>, state: &State) {
        if let Some(delay) = state.machine.due_in(now()) {
            let delay_ms = (delay / NSEC_PER_MSEC + 1).min(WORK_SLICE_MS);
            glue::arm(self.clone(), delay_ms as u32);
        }
    }

    /// A number for a file that is being opened, never 0.
    pub(crate) fn next_file(&self) -> u64 {
        self.files.fetch_add(1, Relaxed) + 1
    }

    /// The table's tokens from `start` on, `count` at most, as the interface shows them.
    pub(crate) fn tokens(&self, start: usize, count: usize) -> Result<KVec<uapi::dsmil_token>> {
        let mut tokens = KVec::with_capacity(count, GFP_KERNEL)?;
        let table = self.table.lock();
        for token in table.tokens.get(start..).ok_or(EINVAL)?.iter().take(count) {
            tokens.push(token.export(), GFP_KERNEL)?;
        }
        Ok(tokens)
    }
}

impl WorkItem for Shared {
    type Pointer = Arc<Shared>;

    fn run(this: Arc<Shared>) {
        let mut state = this.state.lock();
        this.expire(&mut state);
        this.arm(&state);
    }
}

/// Now, on the clock of the deadlines.
fn now() -> i64 {
    BootTime::ktime_get()
}

/// What every change needs: a file opened for writing by an administrator, a kernel not locked down.
pub(crate) fn may_change(file: &File) -> Outcome<()> {
    if !matches!(
        file.flags() & flags::O_ACCMODE,
        flags::O_WRONLY | flags::O_RDWR
    ) {
        return refuse(uapi::DSMIL_REASON_READ_ONLY_FILE);
    }
    if !glue::opener_is_admin(file) {
        return refuse(uapi::DSMIL_REASON_CAPABILITY);
    }
    if glue::lockdown() != uapi::DSMIL_LOCKDOWN_NONE {
        return refuse(uapi::DSMIL_REASON_LOCKED_DOWN);
    }
    Ok(())
}
