// SPDX-License-Identifier: GPL-2.0-only

//! What the `kernel` crate lacks.
//!
//! An unsafe room, like `firmware`, with everything below it.
//!
//! # Layout
//!
//! - `node`: the node's owner, mode, `flush` and `poll`
//! - `notice`: restart and suspend
//! - `pages`: memory that user space may map
//! - `process`: who asks, and whether they are still there
//! - `plain`: the structures of the interface as plain old data
//! - here: the opener's capability, lockdown, temperature, delayed work that can be cancelled

mod copy;
mod node;
mod notice;
mod pages;
mod plain;
mod process;

pub(crate) use copy::{
    fill_array,
    give_array,
    take_array, //
};
pub(crate) use node::Node;
pub(crate) use pages::Pages;
pub(crate) use process::{
    current_key,
    Process,
    Who, //
};

use crate::{
    state::Shared,
    uapi, //
};
use kernel::{
    bindings, container_of,
    error::from_err_ptr,
    fs::{
        File,
        Kiocb, //
    },
    prelude::*,
    sync::Arc,
    task::Task,
    time::{
        BootTime,
        ClockSource, //
    },
    types::ForeignOwnable,
    workqueue::{
        HasWork,
        Work,
        WorkItem, //
    },
};

/// `struct thermal_zone_device`, of which this module knows nothing.
#[repr(C)]
struct ThermalZone {
    _private: [u8; 0],
}

extern "C" {
    fn thermal_zone_get_zone_by_name(name: *const c_char) -> *mut ThermalZone;
    fn thermal_zone_device(zone: *mut ThermalZone) -> *mut c_void;
    fn thermal_zone_get_temp(zone: *mut ThermalZone, temperature: *mut c_int) -> c_int;
}

/// Thermal zones of the processor, the best first: its own sensor, then what the firmware says.
const ZONES: [&CStr; 2] = [c"x86_pkg_temp", c"acpitz"];

/// Takes the work of `shared` off the queue and waits until it runs no longer.
///
/// Not under a lock that the work takes.
fn disarm<const ID: u64>(shared: &Arc<Shared>)
where
    Shared: HasWork<Shared, ID> + WorkItem<ID>,
{
    let raw = Arc::as_ptr(shared);
    // SAFETY: The pointer is valid, and each work of a `Shared` lies in a `delayed_work`.
    let was_queued = unsafe {
        let work = Work::raw_get(<Shared as HasWork<Shared, ID>>::raw_get_work(
            raw.cast_mut(),
        ));
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

/// A signal waits for the running task.
pub(crate) fn is_interrupted() -> bool {
    kernel::current!().signal_pending()
}

/// The running task is killed: it never gets back to user space (`fatal_signal_pending`, which is inline).
pub(crate) fn is_killed() -> bool {
    const KILL: c_ulong = 1 << (bindings::SIGKILL - 1);
    // SAFETY: The running task is there; the word is read in one piece.
    let pending = unsafe {
        let task = Task::current_raw();
        (&raw const (*task).pending.signal.sig[0]).read_volatile()
    };
    pending & KILL != 0 && is_interrupted()
}

/// Now, on the clock of all times in the interface: CLOCK_BOOTTIME in nanoseconds.
pub(crate) fn now() -> i64 {
    BootTime::ktime_get()
}

/// Reading must not wait.
pub(crate) fn is_nonblocking<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>) -> bool {
    // SAFETY: The call is under way, and holds its file.
    unsafe {
        let file = (*kiocb.as_raw()).ki_filp;
        (*file).f_flags & bindings::O_NONBLOCK != 0
    }
}

/// The processor's temperature in thousandths of a degree Celsius, if there is a sensor that gives one.
pub(crate) fn temperature() -> Option<i32> {
    ZONES.into_iter().find_map(zone_temperature)
}

fn zone_temperature(name: &CStr) -> Option<i32> {
    // SAFETY: The name is a C string.
    let zone = unsafe { thermal_zone_get_zone_by_name(name.as_char_ptr().cast()) };
    let zone = from_err_ptr(zone).ok().filter(|zone| !zone.is_null())?;
    let mut temperature = 0;
    // SAFETY: The function above gives no reference, to any of its callers: that the zone is still there
    // here rests on its driver not being unbound in this very moment, by root. The reference to its device
    // then holds up the end of the zone (thermal_zone_device_unregister waits for it) until it is put.
    let done = unsafe {
        let device = bindings::get_device(thermal_zone_device(zone).cast());
        let done = thermal_zone_get_temp(zone, &mut temperature);
        bindings::put_device(device);
        done
    };
    (done == 0).then_some(temperature)
}
