// SPDX-License-Identifier: GPL-2.0-only

//! What the `kernel` crate lacks: the node's owner, mode and `flush`, a reboot notice, the opener's
//! capability, lockdown, delayed work that can be cancelled, and plain-old-data marks.
//!
//! An unsafe room, see `firmware`.

use crate::{
    device::Handle,
    state::Shared,
    uapi, //
};
use kernel::{
    bindings, container_of,
    error::to_result,
    fs::File,
    miscdevice::{
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::Arc,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    workqueue::{
        HasWork,
        Work, //
    },
};

extern "C" {
    fn register_reboot_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn unregister_reboot_notifier(block: *mut bindings::notifier_block) -> c_int;
}

/// Owner and group may read and write; a udev rule gives the group its name.
const NODE_MODE: bindings::umode_t = 0o660;

/// The registered node and reboot notice, and the state behind them.
///
/// # Invariants
///
/// `misc` is registered from the end of `new` until `drop`; `fops` and `shared` outlive that.
#[pin_data(PinnedDrop)]
pub(crate) struct Node {
    shared: Arc<Shared>,
    fops: bindings::file_operations,
    #[pin]
    reboot: Opaque<bindings::notifier_block>,
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
            ..inherited
        };
        try_pin_init!(&this in Self {
            shared,
            fops,
            reboot <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                // SAFETY: The slot is ours to write, and stays where it is until `drop`.
                unsafe {
                    slot.write(bindings::notifier_block {
                        notifier_call: Some(reboot),
                        next: core::ptr::null_mut(),
                        priority: 0,
                    });
                    // An early notice is served: `shared` is initialised above.
                    to_result(register_reboot_notifier(slot))
                }
            }),
            misc <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: The slot is ours to write and stays where it is until `drop`; `fops` lies in
                // the same allocation and was initialised above. If it fails, the notice goes again.
                unsafe {
                    let mut misc = raw;
                    misc.fops = &raw const (*this.as_ptr()).fops;
                    misc.mode = NODE_MODE;
                    slot.write(misc);
                    to_result(bindings::misc_register(slot)).inspect_err(|_| {
                        let block = Opaque::cast_into(&raw const (*this.as_ptr()).reboot);
                        unregister_reboot_notifier(block);
                    })
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
        // SAFETY: By the type's invariants both are registered.
        unsafe {
            bindings::misc_deregister(self.misc.get());
            unregister_reboot_notifier(self.reboot.get());
        }
        // Nothing is pending without an open file, and an undo that is being retried holds the module:
        // only a forced unload finds something here.
        self.shared.shut_down();
        disarm(&self.shared);
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

/// The machine is about to restart, halt or power off.
///
/// # Safety
///
/// `block` is the `reboot` field of a `Node`.
unsafe extern "C" fn reboot(
    block: *mut bindings::notifier_block,
    _event: c_ulong,
    _command: *mut c_void,
) -> c_int {
    // SAFETY: By the function's requirements; the notice is taken back before the node goes.
    let node = unsafe {
        let field = Opaque::<bindings::notifier_block>::cast_from(block);
        &*container_of!(field.cast_mut(), Node, reboot)
    };
    node.shared.shut_down();
    // NOTIFY_DONE
    0
}

/// Takes the work of `shared` off the queue and waits until it runs no longer.
///
/// Not under a lock that the work takes.
fn disarm(shared: &Arc<Shared>) {
    let raw = Arc::as_ptr(shared);
    // SAFETY: The pointer is valid, and the work of a `Shared` lies in a `delayed_work`.
    let was_queued = unsafe {
        let work = Work::raw_get(<Shared as HasWork<Shared>>::raw_get_work(raw.cast_mut()));
        bindings::cancel_delayed_work_sync(container_of!(work, bindings::delayed_work, work))
    };
    if was_queued {
        // SAFETY: The queue held a reference that it will now not hand to the work.
        drop(unsafe { Arc::from_raw(raw) });
    }
}

/// A reference to this module, which keeps it loaded.
pub(crate) struct ModuleReference(*mut bindings::module);

// SAFETY: The count may be changed by any thread.
unsafe impl Send for ModuleReference {}

impl ModuleReference {
    /// Nothing if the module is going away already.
    pub(crate) fn take(module: &'static ThisModule) -> Option<Self> {
        // SAFETY: The module is there: its code runs.
        unsafe { bindings::try_module_get(module.as_ptr()) }.then(|| Self(module.as_ptr()))
    }
}

impl Drop for ModuleReference {
    fn drop(&mut self) {
        // SAFETY: Taken in `take`. What runs here is waited for before the module goes: a file holds its
        // own reference, the reboot notice is taken back under its chain's lock, `disarm` waits for the
        // work.
        unsafe { bindings::module_put(self.0) };
    }
}

/// Who opened the file has CAP_SYS_ADMIN in the initial user namespace.
pub(crate) fn opener_is_admin(file: &File) -> bool {
    // SAFETY: The file is open, and the initial namespace is there for ever.
    unsafe {
        bindings::file_ns_capable(
            file.as_ptr(),
            &raw mut bindings::init_user_ns,
            bindings::CAP_SYS_ADMIN as c_int,
        )
    }
}

/// The kernel's lockdown mode, as `DSMIL_LOCKDOWN_*`. A locked-down kernel logs that it was asked.
pub(crate) fn lockdown() -> u32 {
    let is_refused = |reason| {
        // SAFETY: Takes any reason below LOCKDOWN_CONFIDENTIALITY_MAX.
        unsafe { bindings::security_locked_down(reason) != 0 }
    };
    if !is_refused(bindings::lockdown_reason_LOCKDOWN_DEV_MEM) {
        uapi::DSMIL_LOCKDOWN_NONE
    } else if !is_refused(bindings::lockdown_reason_LOCKDOWN_KCORE) {
        uapi::DSMIL_LOCKDOWN_INTEGRITY
    } else {
        uapi::DSMIL_LOCKDOWN_CONFIDENTIALITY
    }
}

/// Thread group of the running task, in the initial namespace.
pub(crate) fn current_process() -> i32 {
    // SAFETY: The running task is there, and the number of its thread group does not change.
    unsafe { (*kernel::task::Task::current_raw()).tgid }
}

/// A signal waits for the running task.
pub(crate) fn is_interrupted() -> bool {
    kernel::current!().signal_pending()
}

/// Size of the field that `_field` gives, which is plain old data itself.
#[allow(dead_code, reason = "rustc 1.85 does not count its uses in `const _`")]
const fn size_of_field<S, F: FromBytes + AsBytes>(_field: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Marks structures of the interface as plain old data. Fails to compile if one has padding, through
/// which memory of the kernel would leak, or a field that is not named here.
macro_rules! plain {
    ($($name:ident { $($field:ident)* })*) => {$(
        const _: () = assert!(
            size_of::<uapi::$name>() == 0 $(+ size_of_field(|s: &uapi::$name| &s.$field))*
        );
        // SAFETY: So are all fields: every bit pattern is valid, and there is no interior mutability.
        unsafe impl FromBytes for uapi::$name {}
        // SAFETY: The fields fill it, so there is no padding; there is no interior mutability.
        unsafe impl AsBytes for uapi::$name {}
    )*};
}

plain! {
    dsmil_failure { reason index id rule status found error }
    dsmil_version { abi reserved }
    dsmil_info {
        abi flags backend lockdown tokens devices writable list_max read_max allow_max write_max
        deadline_min_ms deadline_default_ms deadline_max_ms generation transaction state outcome
        remaining_ms attempts left reserved
    }
    dsmil_token { id location value rule flags group member reserved }
    dsmil_list { cursor count tokens reserved }
    dsmil_read { count flags entries failed reserved }
    dsmil_read_entry { id select reserved value error status }
    dsmil_allow { count flags ids failure }
    dsmil_write { count flags entries deadline_ms undo transaction failure }
    dsmil_write_entry { id select flags value expected old }
    dsmil_settle { transaction flags undone left reserved failure }
}
