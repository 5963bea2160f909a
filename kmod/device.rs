// SPDX-License-Identifier: GPL-2.0-only

//! The node: open, ioctl, close; what a request must look like, and who may change something.

use crate::{
    failure::{
        errno_of,
        failure_of,
        is_blank,
        kernel_failure,
        refuse,
        whole_failure,
        Outcome, //
    },
    glue::{
        self,
        Node, //
    },
    state::{
        Request,
        Shared, //
    },
    transaction::{
        Owner,
        Undone, //
    },
    uapi,
    user::{
        give,
        give_all,
        take,
        take_all,
        take_answerable, //
    },
};
use kernel::{
    fs::{
        file::flags,
        File, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::Arc,
    uaccess::UserPtr,
};

/// Confirms or undoes a transaction on behalf of an owner.
type Settle = fn(&Arc<Shared>, u64, Owner) -> (Undone, Outcome<()>);

/// One open file.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    number: u64,
}

#[vtable]
impl MiscDevice for Handle {
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let shared = Node::shared(misc);
        let number = shared.next_file();
        Ok(KBox::new(Self { shared, number }, GFP_KERNEL)?)
    }

    fn release(handle: KBox<Self>, _file: &File) {
        handle.shared.closed(handle.number, None);
    }

    // Serves 32-bit processes too, through `compat_ptr_ioctl`: no structure differs between them.
    fn ioctl(handle: &Self, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            uapi::DSMIL_IOC_VERSION => handle.version(arg),
            uapi::DSMIL_IOC_INFO => handle.info(arg),
            uapi::DSMIL_IOC_LIST => handle.list(arg),
            uapi::DSMIL_IOC_READ => handle.read(arg),
            uapi::DSMIL_IOC_ALLOW => handle.allow(file, arg),
            uapi::DSMIL_IOC_WRITE => handle.write(file, arg),
            uapi::DSMIL_IOC_CONFIRM => handle.settle(arg, Shared::confirm),
            uapi::DSMIL_IOC_UNDO => handle.settle(arg, Shared::undo),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }
}

impl Handle {
    /// Some process closes a descriptor of the file.
    pub(crate) fn flush(&self) {
        let process = glue::current_process();
        self.shared.closed(self.number, Some(process));
    }

    fn version(&self, arg: UserPtr) -> Result {
        give(
            arg,
            &uapi::dsmil_version {
                abi: uapi::DSMIL_ABI_VERSION,
                reserved: 0,
            },
        )
    }

    fn info(&self, arg: UserPtr) -> Result {
        give(arg, &self.shared.info())
    }

    fn list(&self, arg: UserPtr) -> Result {
        let mut list: uapi::dsmil_list = take(arg)?;
        if list.reserved != 0 || list.count == 0 {
            return Err(EINVAL);
        }
        if list.count > uapi::DSMIL_LIST_MAX {
            return Err(E2BIG);
        }
        let tokens = self
            .shared
            .tokens(list.cursor as usize, list.count as usize)?;
        // Neither overflows: the table has `TOKENS_MAX` entries at most.
        list.count = tokens.len() as u32;
        list.cursor += list.count;
        give_all(list.tokens, &tokens)?;
        give(arg, &list)
    }

    fn read(&self, arg: UserPtr) -> Result {
        let mut read: uapi::dsmil_read = take(arg)?;
        if read.flags != 0 || read.failed != 0 || read.reserved != 0 || read.count == 0 {
            return Err(EINVAL);
        }
        if read.count > uapi::DSMIL_READ_MAX {
            return Err(E2BIG);
        }
        let mut entries: KVec<uapi::dsmil_read_entry> = take_all(read.entries, read.count)?;
        for entry in &mut entries {
            if glue::is_interrupted() {
                return Err(EINTR);
            }
            self.shared.read(entry);
            read.failed += u32::from(entry.error != 0);
        }
        give_all(read.entries, &entries)?;
        give(arg, &read)
    }

    fn allow(&self, file: &File, arg: UserPtr) -> Result {
        // A seal cannot be broken again.
        let mut allow: uapi::dsmil_allow = take_answerable(arg)?;
        let done = may_change(file)
            .and_then(|()| take_ids(&allow))
            .and_then(|ids| self.shared.allow(&ids));
        allow.failure = failure_of(&done);
        give(arg, &allow)?;
        errno_of(done)
    }

    fn write(&self, file: &File, arg: UserPtr) -> Result {
        let mut write: uapi::dsmil_write = take(arg)?;
        let owner = self.owner();
        let mut undo = uapi::DSMIL_UNDO_NONE;
        let done = may_change(file)
            .and_then(|()| take_request(&write))
            .and_then(|request| self.shared.write(request, owner, &mut undo));
        write.undo = undo;
        write.transaction = done.as_ref().map_or(0, |written| written.transaction);
        write.failure = failure_of(&done);
        let told = match &done {
            Ok(written) => give_all(write.entries, &written.entries),
            Err(_) => Ok(()),
        };
        if let Err(fault) = told.and_then(|()| give(arg, &write)) {
            if let Ok(written) = done {
                // Nobody knows the number now, so nobody could settle it.
                self.shared.abandon(written.transaction, owner);
            }
            return Err(fault);
        }
        errno_of(done).map(|_| ())
    }

    fn settle(&self, arg: UserPtr, act: Settle) -> Result {
        // What is confirmed cannot be undone any more.
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
        settle.failure = failure_of(&done);
        give(arg, &settle)?;
        errno_of(done)
    }

    fn owner(&self) -> Owner {
        Owner {
            file: self.number,
            process: glue::current_process(),
        }
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

/// What a write that is well formed asks for; its entries are yet to be checked.
fn take_request(write: &uapi::dsmil_write) -> Outcome<Request> {
    let is_plain =
        write.flags == 0 && write.undo == 0 && write.transaction == 0 && is_blank(&write.failure);
    if !is_plain {
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
    let entries = take_all(write.entries, write.count).map_err(kernel_failure)?;
    Ok(Request {
        entries,
        deadline_ms,
    })
}
