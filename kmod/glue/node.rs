// SPDX-License-Identifier: GPL-2.0-only

//! The registered node, with the operations that `MiscDevice` has not.

use super::{
    disarm,
    notice::{
        Notice,
        Subject, //
    },
};
use crate::{
    device::Handle,
    state::Shared, //
};
use kernel::{
    bindings, container_of,
    debugfs::{
        Dir,
        File as DebugFile, //
    },
    error::to_result,
    fs::File,
    miscdevice::{
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::{
        poll::PollTable,
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// Owner and group may read and write; a udev rule gives the group its name.
const NODE_MODE: bindings::umode_t = 0o660;

/// The registered node and notices, the files in debugfs, and the state behind them.
///
/// # Invariants
///
/// `misc` is registered from the end of `new` until `drop`; `fops` and `shared` outlive that.
#[pin_data(PinnedDrop)]
pub(crate) struct Node {
    shared: Arc<Shared>,
    fops: bindings::file_operations,
    #[pin]
    reboot: Notice,
    #[pin]
    sleep: Notice,
    #[pin]
    counters: DebugFile<Arc<Shared>>,
    #[pin]
    state: DebugFile<Arc<Shared>>,
    // After what the callbacks use.
    #[pin]
    misc: Opaque<bindings::miscdevice>,
}

// SAFETY: The node may be deregistered by another thread than the one that registered it.
unsafe impl Send for Node {}
// SAFETY: No method gives access to the C structures.
unsafe impl Sync for Node {}

impl Node {
    /// Registers `/dev/dsmil`.
    pub(crate) fn new(
        module: &'static ThisModule,
        shared: Arc<Shared>,
    ) -> impl PinInit<Self, Error> {
        let raw = MiscDeviceOptions { name: c"dsmil" }.into_raw::<Handle>();
        // SAFETY: `into_raw` points `fops` at a constant.
        let inherited = unsafe { *raw.fops };
        let fops = bindings::file_operations {
            // Linux 7.2 leaves it null, so that the module could go away under an open file.
            owner: module.as_ptr(),
            flush: Some(flush),
            poll: Some(poll),
            ..inherited
        };
        let debugfs = Dir::new(c"dsmil");
        try_pin_init!(&this in Self {
            fops,
            reboot <- Notice::new(Subject::Reboot, shared.clone()),
            sleep <- Notice::new(Subject::Sleep, shared.clone()),
            counters <- debugfs.read_callback_file(c"counters", shared.clone(), &|shared, f| {
                shared.write_counters(f)
            }),
            state <- debugfs.read_callback_file(c"state", shared.clone(), &|shared, f| {
                shared.write_state(f)
            }),
            shared,
            misc <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: The slot is ours to write and stays where it is until `drop`; `fops` lies in
                // the same allocation and was initialised above.
                unsafe {
                    let mut misc = raw;
                    misc.fops = &raw const (*this.as_ptr()).fops;
                    misc.mode = NODE_MODE;
                    slot.write(misc);
                    to_result(bindings::misc_register(slot))
                }
            }),
        })
    }

    /// The state behind the node that is being opened.
    pub(crate) fn shared(misc: &MiscDeviceRegistration<Handle>) -> Arc<Shared> {
        // SAFETY: Every `miscdevice` with `Handle`'s operations is the `misc` of a `Node`, and the node
        // is registered while a file of it is being opened.
        let node = unsafe {
            let field = Opaque::<bindings::miscdevice>::cast_from(misc.as_raw());
            &*container_of!(field.cast_mut(), Node, misc)
        };
        node.shared.clone()
    }
}

#[pinned_drop]
impl PinnedDrop for Node {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type's invariants.
        unsafe { bindings::misc_deregister(self.misc.get()) };
        // First of all, since a notice may put the work on its queue again.
        self.reboot.take_back();
        self.sleep.take_back();
        // Nothing is pending without an open file, and an undo that is being retried holds the module:
        // only a forced unload finds something here.
        self.shared.shut_down();
        disarm::<{ Shared::DUE }>(&self.shared);
        disarm::<{ Shared::WATCH }>(&self.shared);
    }
}

/// Some process closes a descriptor of a file of the node.
///
/// # Safety
///
/// `file` is an open file of the node.
unsafe extern "C" fn flush(file: *mut bindings::file, _owner: bindings::fl_owner_t) -> c_int {
    // SAFETY: The file is open, so `open` has stored a handle that `release` has not taken yet.
    let handle = unsafe { <KBox<Handle> as ForeignOwnable>::borrow((*file).private_data) };
    handle.flush();
    0
}

/// Which of reading and writing would not wait.
///
/// # Safety
///
/// `file` is an open file of the node, `table` is null or a poll table.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By the function's requirements; there is a handle, as in `flush`.
    let (handle, file, table) = unsafe {
        (
            <KBox<Handle> as ForeignOwnable>::borrow((*file).private_data),
            File::from_raw_file(file),
            PollTable::from_raw(table),
        )
    };
    if handle.poll(file, &table) {
        bindings::POLLIN | bindings::POLLRDNORM
    } else {
        0
    }
}
