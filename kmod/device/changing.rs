// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls that change something: allow, begin, stage, commit, confirm, undo.

use super::Handle;
use crate::{
    failure::{
        errno_of,
        failure_of,
        is_blank,
        kernel_failure,
        refuse,
        unless_fault,
        whole_failure,
        Outcome, //
    },
    glue,
    machine::{
        Owner,
        Terms, //
    },
    state::Shared,
    time::NSEC_PER_MSEC,
    transaction::Undone,
    uapi,
    user::{
        give,
        give_all,
        take_all,
        take_answerable, //
    },
};
use kernel::{
    fs::{
        file::flags,
        File, //
    },
    prelude::*,
    sync::Arc,
    uaccess::UserPtr,
};

/// Confirms or undoes a transaction on behalf of an owner.
type Settle = fn(&Arc<Shared>, u64, Owner) -> (Undone, Outcome<()>);

// What these do cannot always be taken back, so each first makes sure that its answer can be given. If it cannot be given all
// the same in the end, since the memory was taken away meanwhile, what can be taken back is, and told by `EFAULT`; what
// cannot is told by what the ioctl returns.
impl Handle {
    pub(super) fn allow(&self, file: &File, arg: UserPtr) -> Result {
        let mut allow: uapi::dsmil_allow = take_answerable(arg)?;
        let ids = unless_fault(may_change(file).and_then(|()| take_ids(&allow)))?;
        let done = ids.and_then(|ids| self.shared.allow(&ids));
        allow.failure = self.told(uapi::DSMIL_IOC_ALLOW, &done);
        let _nobody_wants_it = give(arg, &allow);
        errno_of(done)
    }

    pub(super) fn begin(&self, file: &File, arg: UserPtr) -> Result {
        let mut begin: uapi::dsmil_begin = take_answerable(arg)?;
        let done = may_change(file)
            .and_then(|()| terms(&begin))
            .and_then(|terms| self.shared.begin(self.number, terms));
        begin.transaction = done.as_ref().map_or(0, |number| *number);
        begin.failure = self.told(uapi::DSMIL_IOC_BEGIN, &done);
        give(arg, &begin).inspect_err(|_| {
            // Nobody knows the number now, so nobody could settle it.
            self.shared.abandon(begin.transaction, self.owner());
        })?;
        errno_of(done).map(|_| ())
    }

    pub(super) fn stage(&self, arg: UserPtr) -> Result {
        let mut stage: uapi::dsmil_stage = take_answerable(arg)?;
        let done = unless_fault(take_stage(&stage))?
            .and_then(|entries| self.shared.stage(stage.transaction, self.owner(), &entries));
        stage.staged = done.as_ref().map_or(0, |staged| *staged);
        stage.failure = self.told(uapi::DSMIL_IOC_STAGE, &done);
        let _nobody_wants_it = give(arg, &stage);
        errno_of(done).map(|_| ())
    }

    pub(super) fn commit(&self, file: &File, arg: UserPtr) -> Result {
        let mut commit: uapi::dsmil_commit = take_answerable(arg)?;
        let (number, owner) = (commit.transaction, self.owner());
        let mut undo = uapi::DSMIL_UNDO_NONE;
        let done = may_change(file)
            .and_then(|()| check_commit(&commit))
            .and_then(|()| self.shared.commit(number, owner, commit.count, &mut undo));
        commit.undo = undo;
        commit.failure = self.told(uapi::DSMIL_IOC_COMMIT, &done);
        let told = match &done {
            Ok(old) if commit.count != 0 => give_all(commit.old, old),
            _ => Ok(()),
        };
        if let Err(fault) = told.and_then(|()| give(arg, &commit)) {
            if done.is_ok() {
                // The old values that were asked for are not known.
                self.shared.abandon(number, owner);
            }
            return Err(fault);
        }
        errno_of(done).map(|_| ())
    }

    pub(super) fn settle(&self, command: u32, arg: UserPtr, act: Settle) -> Result {
        let mut settle: uapi::dsmil_settle = take_answerable(arg)?;
        let is_plain = settle.flags == 0
            && settle.undone == 0
            && settle.left == 0
            && settle.reserved == 0
            && is_blank(&settle.failure);
        let (undone, done) = if is_plain {
            act(&self.shared, settle.transaction, self.owner())
        } else {
            (Undone::default(), refuse(uapi::DSMIL_REASON_RESERVED))
        };
        settle.undone = undone.undone;
        settle.left = undone.left;
        settle.failure = self.told(command, &done);
        let _nobody_wants_it = give(arg, &settle);
        errno_of(done)
    }

    /// What an ioctl gives back as its failure, after a refusal was made an event.
    fn told<T>(&self, command: u32, done: &Outcome<T>) -> uapi::dsmil_failure {
        if let Err(failure) = done {
            self.shared.tell_refused(command, failure);
        }
        failure_of(done)
    }
}

/// What every change needs: a file opened for writing by an administrator, a kernel not locked down.
fn may_change(file: &File) -> Outcome<()> {
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

/// The ids of an allow-list that is well formed.
fn take_ids(allow: &uapi::dsmil_allow) -> Outcome<KVec<u16>> {
    if allow.flags != 0 || !is_blank(&allow.failure) {
        return refuse(uapi::DSMIL_REASON_RESERVED);
    }
    if allow.count > uapi::DSMIL_ALLOW_MAX {
        return Err(whole_failure(uapi::DSMIL_REASON_COUNT, E2BIG));
    }
    take_all(allow.ids, allow.count).map_err(kernel_failure)
}

/// What a beginning that is well formed asks for.
fn terms(begin: &uapi::dsmil_begin) -> Outcome<Terms> {
    let is_plain = begin.flags & !uapi::DSMIL_BEGIN_UNDO_ON_SUSPEND == 0
        && begin.transaction == 0
        && is_blank(&begin.failure);
    if !is_plain {
        return refuse(uapi::DSMIL_REASON_RESERVED);
    }
    let deadline_ms = match begin.deadline_ms {
        0 => uapi::DSMIL_DEADLINE_DEFAULT_MS,
        ms @ uapi::DSMIL_DEADLINE_MIN_MS..=uapi::DSMIL_DEADLINE_MAX_MS => ms,
        _ => return refuse(uapi::DSMIL_REASON_DEADLINE),
    };
    Ok(Terms {
        period: i64::from(deadline_ms) * NSEC_PER_MSEC,
        undo_on_suspend: begin.flags & uapi::DSMIL_BEGIN_UNDO_ON_SUSPEND != 0,
    })
}

/// The entries of a stage that is well formed; they are yet to be checked.
fn take_stage(stage: &uapi::dsmil_stage) -> Outcome<KVec<uapi::dsmil_stage_entry>> {
    let is_plain =
        stage.flags == 0 && stage.staged == 0 && stage.reserved == 0 && is_blank(&stage.failure);
    if !is_plain {
        return refuse(uapi::DSMIL_REASON_RESERVED);
    }
    if stage.count == 0 {
        return refuse(uapi::DSMIL_REASON_COUNT);
    }
    if stage.count > uapi::DSMIL_STAGE_MAX {
        return Err(whole_failure(uapi::DSMIL_REASON_COUNT, E2BIG));
    }
    take_all(stage.entries, stage.count).map_err(kernel_failure)
}

fn check_commit(commit: &uapi::dsmil_commit) -> Outcome<()> {
    let is_plain =
        commit.flags == 0 && commit.undo == 0 && commit.reserved == 0 && is_blank(&commit.failure);
    if is_plain {
        Ok(())
    } else {
        refuse(uapi::DSMIL_REASON_RESERVED)
    }
}
