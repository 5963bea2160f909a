// SPDX-License-Identifier: GPL-2.0-only

//! The node: open, ioctl, read, poll, mmap, close.
//!
//! # Layout
//!
//! - `looking`: the ioctls that change nothing
//! - `changing`: the ioctls that do, and who may use them

mod changing;
mod looking;

use crate::{
    event::Events,
    glue::{
        self,
        Node, //
    },
    machine::Owner,
    state::Shared,
    uapi, //
};
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollTable,
        Arc, //
    },
    transmute::AsBytes,
    uaccess::UserPtr,
};

/// One open file.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    number: u64,
    /// Number of the newest event that was read, or that was there when the file was opened.
    position: Atomic<u64>,
}

#[vtable]
impl MiscDevice for Handle {
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let shared = Node::shared(misc);
        // Allocated first: what is opened is released.
        let place = KBox::new_uninit(GFP_KERNEL)?;
        let position = Atomic::new(shared.events().newest());
        Ok(place.write(Self {
            number: shared.opened(),
            position,
            shared,
        }))
    }

    fn release(handle: KBox<Self>, _file: &File) {
        handle.shared.released(handle.number);
    }

    // Serves 32-bit processes too, through `compat_ptr_ioctl`: no structure differs between them.
    fn ioctl(handle: &Self, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            uapi::DSMIL_IOC_VERSION => handle.version(arg),
            uapi::DSMIL_IOC_INFO => handle.info(arg),
            uapi::DSMIL_IOC_LIST => handle.list(arg),
            uapi::DSMIL_IOC_READ => handle.read(arg),
            uapi::DSMIL_IOC_SNAPSHOT => handle.snapshot(arg),
            uapi::DSMIL_IOC_ALLOW => handle.allow(file, arg),
            uapi::DSMIL_IOC_BEGIN => handle.begin(file, arg),
            uapi::DSMIL_IOC_STAGE => handle.stage(arg),
            uapi::DSMIL_IOC_COMMIT => handle.commit(file, arg),
            uapi::DSMIL_IOC_CONFIRM => handle.settle(cmd, arg, Shared::confirm),
            uapi::DSMIL_IOC_UNDO => handle.settle(cmd, arg, Shared::undo),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }

    fn read_iter(kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let handle = kiocb.file();
        if iov.len() < size_of::<uapi::dsmil_event>() {
            return Err(EINVAL);
        }
        loop {
            let read = handle.take_events(iov)?;
            if read > 0 {
                return Ok(read);
            }
            if glue::is_nonblocking(&kiocb) {
                return Err(EAGAIN);
            }
            handle.events().wait(handle.position.load(Relaxed))?;
        }
    }

    fn mmap(handle: &Self, _file: &File, vma: &VmaNew) -> Result {
        if vma.writable() || vma.executable() {
            return Err(EACCES);
        }
        handle.shared.pages().map(vma)
    }
}

impl Handle {
    /// Some process closes a descriptor of the file.
    pub(crate) fn flush(&self) {
        self.shared.closed(self.number, Some(glue::current_key()));
    }

    /// There is an event to be read; `table` is told of the next.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) -> bool {
        self.events().register(file, table);
        self.events().newest() > self.position.load(Relaxed)
    }

    fn events(&self) -> &Events {
        self.shared.events()
    }

    /// Copies as many events as there are and as there is room for; how many bytes.
    fn take_events(&self, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut read = 0;
        while iov.len() >= size_of::<uapi::dsmil_event>() {
            let position = self.position.load(Relaxed);
            let Some(event) = self.events().next(position) else {
                break;
            };
            // Of two who read through one file at once, one gets it.
            if self
                .position
                .cmpxchg(position, event.number, Relaxed)
                .is_err()
            {
                continue;
            }
            let bytes = event.as_bytes();
            if iov.copy_to_iter(bytes) != bytes.len() {
                // Nobody has it: it is there for the next read, unless another has gone on.
                let _ = self.position.cmpxchg(event.number, position, Relaxed);
                return if read > 0 { Ok(read) } else { Err(EFAULT) };
            }
            read += bytes.len();
        }
        Ok(read)
    }

    /// Whoever is calling, as the owner of a transaction.
    fn owner(&self) -> Owner {
        Owner {
            file: self.number,
            process: glue::current_key(),
        }
    }
}
