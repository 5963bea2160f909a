//! The virtual laptop's firmware, past the module: what it stores, counts and gets wrong.
//!
//! By class 30 of the kernel's own Dell driver (tests/src/machine/vendor.rs).

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::libc::{self, c_ulong};

use crate::bench::Fallible;

/// `DELL_WMI_SMBIOS_CMD`, linux/wmi.h.
const COMMAND: c_ulong = 0xc034_5700;
/// Bytes of a request: its length, then 4096 that the firmware sees.
const REQUEST: usize = 4104;
/// Offset of the outputs in it.
const OUTPUTS: usize = 28;
/// The laptop's own class of calls.
const CLASS: u16 = 30;

/// The firmware's device.
pub(crate) struct Laptop(File);

/// A fault of the firmware; the numbers are those of tests/src/machine/fault.rs.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: u32,
    pub(crate) on: u32,
    /// Calls that pass first.
    pub(crate) skip: u32,
    /// Calls that are hit then, 0: all.
    pub(crate) count: u32,
    pub(crate) value: u32,
}

impl Fault {
    pub(crate) const ERROR: u32 = 1;
    pub(crate) const UNSUPPORTED: u32 = 2;
    pub(crate) const IGNORED: u32 = 5;
    pub(crate) const SLOW: u32 = 6;
    pub(crate) const LATE_ERROR: u32 = 7;
    pub(crate) const READS: u32 = 1;
    pub(crate) const WRITES: u32 = 2;

    /// One that hits every call from the first on.
    pub(crate) const fn each(kind: u32, on: u32) -> Self {
        Self { kind, on, skip: 0, count: 0, value: 0 }
    }
}

/// Faults that end with this.
pub(crate) struct Faulty<'a>(&'a Laptop);

impl Drop for Faulty<'_> {
    fn drop(&mut self) {
        let _told_by_the_next_call = self.0.vendor(2, [0; 4]);
    }
}

#[repr(C, align(8))]
struct Request([u8; REQUEST]);

impl Laptop {
    pub(crate) fn open() -> Fallible<Self> {
        Ok(Self(File::open("/dev/wmi/dell-smbios")?))
    }

    /// What the storage of a location holds, for select current.
    pub(crate) fn peek(&self, location: u16) -> Fallible<u32> {
        let [value, ..] = self.vendor(7, [location.into(), 0, 0, 0])?;
        Ok(value)
    }

    /// Changes the storage of a location, for select current.
    pub(crate) fn poke(&self, location: u16, value: u32) -> Fallible<()> {
        self.vendor(8, [location.into(), 0, value, 0]).map(|_| ())
    }

    /// Reads and writes that reached the firmware.
    pub(crate) fn calls(&self) -> Fallible<(u32, u32)> {
        let [reads, writes, _] = self.vendor(4, [0; 4])?;
        Ok((reads, writes))
    }

    /// Has the firmware fail until what comes back is dropped.
    pub(crate) fn fault(&self, fault: Fault) -> Fallible<Faulty<'_>> {
        let head = fault.kind | fault.on << 8 | 0xffff << 16;
        self.vendor(1, [head, fault.skip, fault.count, fault.value])?;
        Ok(Faulty(self))
    }

    /// Sets the administrator password, or takes it away.
    pub(crate) fn password(&self, is_set: bool) -> Fallible<()> {
        self.vendor(9, [is_set.into(), 0, 0, 0]).map(|_| ())
    }

    /// Sets the processor's temperature in tenths of a kelvin; 0: as after the boot.
    pub(crate) fn heat(&self, tenths_kelvin: u32) -> Fallible<()> {
        self.vendor(5, [tenths_kelvin, 0, 0, 0]).map(|_| ())
    }

    fn vendor(&self, select: u16, inputs: [u32; 4]) -> Fallible<[u32; 3]> {
        let mut request = Request([0; REQUEST]);
        let head = u64::try_from(REQUEST)?.to_le_bytes().into_iter().chain(CLASS.to_le_bytes());
        let head = head.chain(select.to_le_bytes()).chain(inputs.into_iter().flat_map(u32::to_le_bytes));
        request.0.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        // SAFETY: The driver reads and writes the bytes of one request.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), COMMAND, &raw mut request) };
        nix::errno::Errno::result(done)?;
        let words = request.0.get(OUTPUTS..).unwrap_or(&[]).as_chunks::<4>().0;
        match *words {
            [status, a, b, c, ..] if status == [0; 4] => Ok([a, b, c].map(u32::from_le_bytes)),
            _ => Err(format!("the laptop refused call {select}").into()),
        }
    }
}
