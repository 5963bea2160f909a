// SPDX-License-Identifier: GPL-2.0-only

//! Calls to the firmware, all of them through dell-smbios, and the questions about the machine below.
//!
//! An unsafe room: with `glue` the only file that may hold unsafe code and foreign declarations.
//!
//! # Invariants
//!
//! - The class of a call is read (0) or write (1), and once a write has failed the question for an
//!   administrator password (10, select 3), which sets nothing; nothing else.
//! - A call is given the token's location, never its id.
//! - All functions may sleep.

use crate::{
    token::{
        self,
        Token, //
    },
    transaction::{
        self,
        Fault, //
    },
    uapi,
};
use core::ptr;
use kernel::{
    bindings,
    device::Device,
    prelude::*, //
};

/// Class of a call that reads a token (CLASS_TOKEN_READ in linux/wmi.h).
const CLASS_READ: u16 = 0;
/// Class of a call that writes a token (CLASS_TOKEN_WRITE in linux/wmi.h).
const CLASS_WRITE: u16 = 1;
/// Class of the calls about the administrator password (CLASS_ADMIN_PROP in linux/wmi.h).
const CLASS_ADMIN: u16 = 10;
/// Select of its properties (SELECT_ADMIN_PROP in linux/wmi.h).
const SELECT_PROPERTIES: u16 = 3;
/// Bits of the properties' first word that say whether a password is set.
const PASSWORD_STATE: u32 = 0xf;
/// Among these, a password that is set, and one that only the administrator may change.
const PASSWORD_SET: [u32; 2] = [0, 2];
/// What the status holds before the call: firmware that does not answer leaves it, and zero would say
/// "success, value zero".
const STATUS_NO_ANSWER: i32 = -3;
/// Most entries taken from the firmware's tables; real machines have some 1,500.
const TOKENS_MAX: usize = 4096;
// A table may be allowed as a whole.
const _: () = assert!(TOKENS_MAX == uapi::DSMIL_ALLOW_MAX as usize);

/// `struct dmi_header`, include/linux/dmi.h. Packed: structures lie in the table without alignment.
#[repr(C, packed)]
struct DmiHeader {
    kind: u8,
    length: u8,
    handle: u16,
}

/// `struct calling_interface_token`, drivers/platform/x86/dell/dell-smbios.h.
#[repr(C)]
struct SmbiosToken {
    id: u16,
    location: u16,
    value: u16,
}

/// `struct calling_interface_buffer`, include/uapi/linux/wmi.h.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Buffer {
    class: u16,
    select: u16,
    input: [u32; 4],
    output: [u32; 4],
}

const _: () = assert!(core::mem::size_of::<Buffer>() == 36);

extern "C" {
    fn dell_smbios_call(buffer: *mut Buffer) -> c_int;
    fn dell_smbios_error(value: c_int) -> c_int;
    fn dell_smbios_find_token(id: c_int) -> *const SmbiosToken;
    fn dmi_walk(
        decode: unsafe extern "C" fn(*const DmiHeader, *mut c_void),
        private: *mut c_void,
    ) -> c_int;
}

/// Way to the firmware; has no state of its own, dell-smbios serialises the calls.
pub(crate) struct Smbios;

impl transaction::Firmware for Smbios {
    fn read(&mut self, location: u16, select: u8) -> core::result::Result<u32, Fault> {
        call(CLASS_READ, select.into(), location, 0)
    }

    fn write(&mut self, location: u16, select: u8, value: u32) -> core::result::Result<(), Fault> {
        call(CLASS_WRITE, select.into(), location, value).map(|_| ())
    }

    // libsmbios' smi_password.c and fwupd read the answer so. Zero means that one is set: a back end that
    // is dead must not be asked, and `call` tells that apart.
    fn has_password(&mut self) -> bool {
        call(CLASS_ADMIN, SELECT_PROPERTIES, 0, 0)
            .is_ok_and(|properties| PASSWORD_SET.contains(&(properties & PASSWORD_STATE)))
    }

    // Nobody but a commit is stopped.
    fn stop(&mut self) -> Option<u32> {
        None
    }
}

fn call(class: u16, select: u16, location: u16, value: u32) -> core::result::Result<u32, Fault> {
    let mut buffer = Buffer {
        class,
        select,
        input: [u32::from(location), value, 0, 0],
        output: [STATUS_NO_ANSWER as u32, 0, 0, 0],
    };
    // SAFETY: The buffer has the layout that dell-smbios expects, and lives through the call.
    let sent = unsafe { dell_smbios_call(&mut buffer) };
    if sent != 0 {
        return Err(Fault {
            error: sent.saturating_abs(),
            status: 0,
        });
    }
    let [status, result, ..] = buffer.output;
    // SAFETY: A pure function of its argument.
    let error = unsafe { dell_smbios_error(status as c_int) };
    if error != 0 {
        return Err(Fault {
            error: error.saturating_abs(),
            status: status as i32,
        });
    }
    Ok(result)
}

/// What `dmi_walk` collects.
struct Walk {
    // Too large for contiguous memory to be had for sure.
    tokens: KVVec<Token>,
    result: Result,
}

/// The firmware's token table, classified.
///
/// # Errors
///
/// - `E2BIG`: more than [`TOKENS_MAX`] entries. A table cut short would not know all shared locations.
/// - `ENOMEM`, `ENXIO` (no SMBIOS).
pub(crate) fn tokens() -> Result<KVVec<Token>> {
    let mut walk = Walk {
        tokens: KVVec::new(),
        result: Ok(()),
    };
    // SAFETY: `dmi_walk` hands `collect` structures that end before the table does, and the pointer to
    // `walk`, which lives through the call and is not used by anybody else during it.
    kernel::error::to_result(unsafe { dmi_walk(collect, (&raw mut walk).cast()) })?;
    walk.result?;
    let kept = token::classify(&mut walk.tokens);
    walk.tokens.truncate(kept);
    // What dell-smbios does not offer does not exist here either.
    walk.tokens.retain(|token| is_offered(token));
    Ok(walk.tokens)
}

/// Collects the tokens of one structure.
///
/// # Safety
///
/// `header` starts a structure whose formatted area can be read, `private` points to a [`Walk`] that
/// nobody else uses meanwhile.
unsafe extern "C" fn collect(header: *const DmiHeader, private: *mut c_void) {
    // SAFETY: By the function's requirements.
    let (walk, length) = unsafe { (&mut *private.cast::<Walk>(), usize::from((*header).length)) };
    // SAFETY: By the function's requirements: the formatted area is `length` bytes, header included.
    let structure = unsafe { core::slice::from_raw_parts(header.cast::<u8>(), length) };
    for token in token::parse(structure) {
        if walk.result.is_err() {
            return;
        }
        walk.result = if walk.tokens.len() < TOKENS_MAX {
            walk.tokens.push(token, GFP_KERNEL).map_err(Error::from)
        } else {
            pr_err!("more than {TOKENS_MAX} tokens in the firmware's table\n");
            Err(E2BIG)
        };
    }
}

/// dell-smbios has the very same token.
fn is_offered(token: &Token) -> bool {
    // SAFETY: The function looks through a table that does not change while dell-smbios is loaded, and
    // it stays loaded because this module uses its symbols.
    let found = unsafe { dell_smbios_find_token(c_int::from(token.id)) };
    // SAFETY: The pointer is null or points into that table.
    unsafe { found.as_ref() }
        .is_some_and(|found| found.location == token.location && found.value == token.value)
}

/// The back ends of dell-smbios that were there when the module was loaded.
///
/// dell-smbios does not say which it has; so this looks for what they register.
///
/// # Invariants
///
/// `device` is null or a device that this holds a reference to, and `driver` then what was bound to it.
pub(crate) struct Backend {
    device: *mut bindings::device,
    driver: *mut bindings::device_driver,
    smm: bool,
}

// SAFETY: A reference to a device belongs to no thread.
unsafe impl Send for Backend {}
// SAFETY: Nothing but the device's `driver` is read, and that atomically.
unsafe impl Sync for Backend {}

impl Backend {
    /// Looks for them.
    pub(crate) fn find() -> Self {
        let mut found = Self {
            device: ptr::null_mut(),
            driver: ptr::null_mut(),
            smm: false,
        };
        // SAFETY: The platform bus is always there; `find_wmi` takes the pointer to be a `Backend`.
        unsafe {
            bindings::bus_for_each_dev(
                &raw const bindings::platform_bus_type,
                ptr::null_mut(),
                (&raw mut found).cast(),
                Some(find_wmi),
            );
        }
        // SAFETY: As above; the name is a C string.
        let smm = unsafe {
            bindings::bus_find_device(
                &raw const bindings::platform_bus_type,
                ptr::null_mut(),
                c"dell-smbios.1".as_char_ptr().cast(),
                Some(bindings::device_match_name),
            )
        };
        found.smm = !smm.is_null();
        // SAFETY: `bus_find_device` took a reference for us, if it found something.
        unsafe { bindings::put_device(smm) };
        found
    }

    /// The one that dell-smbios calls now, as `DSMIL_BACKEND_*`: WMI as long as its driver is bound.
    pub(crate) fn now(&self) -> u32 {
        let is_bound = || {
            // SAFETY: By the type's invariants a device that is not null is there; the field is written in one piece.
            let driver = unsafe { (&raw const (*self.device).driver).read_volatile() };
            driver == self.driver
        };
        if !self.device.is_null() && is_bound() {
            uapi::DSMIL_BACKEND_WMI
        } else if self.smm {
            uapi::DSMIL_BACKEND_SMM
        } else {
            uapi::DSMIL_BACKEND_NONE
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants; null is allowed.
        unsafe { bindings::put_device(self.device) };
    }
}

/// For each platform device, its child, and its child's child: the WMI back end is bound to a grandchild
/// (PNP0C14 → wmi_bus → GUID). Returns nonzero to stop.
///
/// # Safety
///
/// `device` is a device, `found` points to a [`Backend`] whose device is null.
unsafe extern "C" fn find_wmi(device: *mut bindings::device, found: *mut c_void) -> c_int {
    // SAFETY: By the function's requirements.
    unsafe { bindings::device_for_each_child(device, found, Some(find_wmi_child)) }
}

/// For a child of a platform device, its children, if it is a WMI bus.
///
/// # Safety
///
/// As [`find_wmi`].
unsafe extern "C" fn find_wmi_child(device: *mut bindings::device, found: *mut c_void) -> c_int {
    // SAFETY: By the function's requirements, a device that is there for the duration of this call.
    let child: &Device = unsafe { Device::from_raw(device) };
    if !child.name().to_bytes().starts_with(b"wmi_bus-") {
        return 0;
    }
    // SAFETY: By the function's requirements.
    unsafe { bindings::device_for_each_child(device, found, Some(find_wmi_grandchild)) }
}

/// For a WMI device, whether dell-smbios' driver is bound to it.
///
/// # Safety
///
/// As [`find_wmi`].
unsafe extern "C" fn find_wmi_grandchild(
    device: *mut bindings::device,
    found: *mut c_void,
) -> c_int {
    // SAFETY: By the function's requirements. The mutex is what `device_lock` takes: a driver is bound
    // and unbound under it, so a bound one, also one of another module, stays until it is unlocked.
    let (driver, is_bound) = unsafe {
        let lock = &raw mut (*device).mutex;
        bindings::mutex_lock(lock);
        let driver = (*device).driver;
        let is_bound =
            !driver.is_null() && CStr::from_char_ptr((*driver).name).to_bytes() == b"dell-smbios";
        bindings::mutex_unlock(lock);
        (driver, is_bound)
    };
    if !is_bound {
        return 0;
    }
    // SAFETY: By the function's requirements. The walk holds the device until the reference is taken.
    unsafe {
        let found = found.cast::<Backend>();
        (*found).device = bindings::get_device(device);
        (*found).driver = driver;
    }
    1
}

/// The processor says that a hypervisor runs it (CPUID leaf 1, ECX bit 31).
pub(crate) fn is_virtual() -> bool {
    // SAFETY: Every x86-64 processor has CPUID and leaf 1.
    let leaf = unsafe { core::arch::x86_64::__cpuid(1) };
    leaf.ecx & (1 << 31) != 0
}
