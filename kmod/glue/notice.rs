// SPDX-License-Identifier: GPL-2.0-only

//! Notices of what happens to the machine: restart and suspend.

use crate::state::{
    Shared,
    Sleep, //
};
use kernel::{
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

extern "C" {
    fn register_reboot_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn unregister_reboot_notifier(block: *mut bindings::notifier_block) -> c_int;
}

/// What a notice is about.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    /// The machine is about to restart, halt or power off.
    Reboot,
    /// The machine is about to suspend, to hibernate or to restore an image, or has come back.
    Sleep,
}

/// A notice that is registered.
///
/// # Invariants
///
/// While `registered` is true `block` is on the chain of `subject`: from the end of `new` until `take_back`, at the latest
/// in `drop`.
#[pin_data(PinnedDrop)]
pub(super) struct Notice {
    subject: Subject,
    shared: Arc<Shared>,
    registered: Atomic<bool>,
    #[pin]
    block: Opaque<bindings::notifier_block>,
}

// SAFETY: The notice may be taken back by another thread than the one that registered it.
unsafe impl Send for Notice {}
// SAFETY: No method gives access to the C structure.
unsafe impl Sync for Notice {}

impl Notice {
    /// Has `shared` told.
    pub(super) fn new(subject: Subject, shared: Arc<Shared>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            subject,
            shared,
            // Seen by nobody if the registration below fails: then there is no notice.
            registered: Atomic::new(true),
            block <- Opaque::try_ffi_init(move |slot: *mut bindings::notifier_block| {
                // SAFETY: The slot is ours to write, and stays where it is until `drop`. A notice that
                // comes early finds the fields above initialised.
                unsafe {
                    slot.write(bindings::notifier_block {
                        notifier_call: Some(notify),
                        next: core::ptr::null_mut(),
                        priority: 0,
                    });
                    to_result(match subject {
                        Subject::Reboot => register_reboot_notifier(slot),
                        Subject::Sleep => bindings::register_pm_notifier(slot),
                    })
                }
            }),
        })
    }
}

impl Notice {
    /// No notice comes any more, and none is being worked on.
    pub(super) fn take_back(&self) {
        if !self.registered.xchg(false, Relaxed) {
            return;
        }
        // SAFETY: By the type's invariants it is registered, and by the exchange nobody else takes it back.
        unsafe {
            match self.subject {
                Subject::Reboot => unregister_reboot_notifier(self.block.get()),
                Subject::Sleep => bindings::unregister_pm_notifier(self.block.get()),
            };
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Notice {
    fn drop(self: Pin<&mut Self>) {
        self.take_back();
    }
}

/// A notice comes. Sleeping is allowed: both chains are blocking ones.
///
/// # Safety
///
/// `block` is that of a [`Notice`].
unsafe extern "C" fn notify(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: By the function's requirements; the chain's lock keeps the notice until this returns.
    let notice = unsafe {
        let field = Opaque::<bindings::notifier_block>::cast_from(block);
        &*container_of!(field.cast_mut(), Notice, block)
    };
    let event = u32::try_from(event).unwrap_or(0);
    let sleep = match (notice.subject, event) {
        (Subject::Reboot, _) => {
            notice.shared.shut_down();
            None
        }
        (Subject::Sleep, bindings::PM_SUSPEND_PREPARE) => Some(Sleep::Suspend),
        (Subject::Sleep, bindings::PM_HIBERNATION_PREPARE) => Some(Sleep::Hibernate),
        (Subject::Sleep, bindings::PM_RESTORE_PREPARE) => Some(Sleep::Restore),
        // All others come afterwards.
        (Subject::Sleep, _) => {
            notice.shared.wakes_up();
            None
        }
    };
    if sleep.is_some_and(|sleep| !notice.shared.falls_asleep(sleep)) {
        return bindings::NOTIFY_BAD as c_int;
    }
    // NOTIFY_DONE
    0
}
