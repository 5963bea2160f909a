// SPDX-License-Identifier: GPL-2.0-only

//! The node: open, ioctl, close, and the copying from and to user space.

use crate::failure::{errno_of, failure_of, is_blank, refuse, Outcome};
use crate::glue::{self, Node};
use crate::state::{may_change, Shared};
use crate::transaction::{Owner, Undone};
use crate::uapi;
use kernel::{
    fs::File,
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    prelude::*,
    sync::Arc,
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
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
        let mut allow: uapi::dsmil_allow = take(arg)?;
        let done = may_change(file).and_then(|()| self.shared.allow(&allow));
        allow.failure = failure_of(&done);
        give(arg, &allow)?;
        errno_of(done)
    }

    fn write(&self, file: &File, arg: UserPtr) -> Result {
        let mut write: uapi::dsmil_write = take(arg)?;
        let owner = self.owner();
        let done = may_change(file).and_then(|()| self.shared.write(&mut write, owner));
        write.failure = failure_of(&done);
        if let Err(fault) = give(arg, &write) {
            // Nobody knows the number now, so nobody could settle it.
            self.shared.abandon(write.transaction, owner);
            return Err(fault);
        }
        errno_of(done)
    }

    fn settle(&self, arg: UserPtr, act: Settle) -> Result {
        let mut settle: uapi::dsmil_settle = take(arg)?;
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

/// The structure at a user address.
pub(crate) fn take<T: FromBytes>(from: UserPtr) -> Result<T> {
    UserSlice::new(from, size_of::<T>()).reader().read()
}

/// Gives a structure back to a user address.
pub(crate) fn give<T: AsBytes>(to: UserPtr, value: &T) -> Result {
    UserSlice::new(to, size_of::<T>()).writer().write(value)
}

/// The `count` structures of an array whose address came as an integer.
pub(crate) fn take_all<T: FromBytes>(from: u64, count: u32) -> Result<KVec<T>> {
    let count = count as usize;
    let mut values = KVec::with_capacity(count, GFP_KERNEL)?;
    let mut reader = UserSlice::new(address(from)?, count * size_of::<T>()).reader();
    for _ in 0..count {
        values.push(reader.read()?, GFP_KERNEL)?;
    }
    Ok(values)
}

/// Gives structures back to an array whose address came as an integer.
pub(crate) fn give_all<T: AsBytes>(to: u64, values: &[T]) -> Result {
    let mut writer = UserSlice::new(address(to)?, size_of_val(values)).writer();
    for value in values {
        writer.write(value)?;
    }
    Ok(())
}

fn address(from: u64) -> Result<UserPtr> {
    Ok(UserPtr::from_addr(from.try_into().map_err(|_| EFAULT)?))
}
