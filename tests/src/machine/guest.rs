//! The laptop's firmware seen from inside the laptop: calls through the kernel's Dell driver, and the raw latch.
//!
//! The one unsafe room of this crate.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::fault::{Fault, SLOTS};
use super::vendor::{self, Call};
use super::{Error, at};

/// The device of the kernel's Dell driver.
pub const DEVICE: &str = "/dev/wmi/dell-smbios";
/// The device of all I/O ports; an offset is a port.
pub const PORTS: &str = "/dev/port";
/// Port of the temperature's latch, 32 bits.
const LATCH: u64 = 0xE0;
/// Bytes of a request: its length, u64, then the firmware's buffer.
const REQUEST: usize = 4104;
/// Where the firmware's buffer has its inputs, as an offset in a request.
const INPUTS: usize = 8 + 4;
/// Where it has its outputs.
const OUTPUTS: usize = 8 + 0x14;

/// What the driver's ioctl takes: `struct dell_wmi_smbios_buffer` with the 4096 bytes of this firmware.
#[repr(C, align(8))]
struct Request([u8; REQUEST]);

mod raw {
    use super::Request;

    // DELL_WMI_SMBIOS_CMD: the number tells the size of the structure's head, 52 bytes, not that of the request.
    nix::ioctl_readwrite_bad!(call, nix::request_code_readwrite!(b'W', 0, 52), Request);
}

/// The outputs of a call; the first is its status.
pub type Outputs = [u32; 4];

/// The firmware, called through the kernel's Dell driver.
#[derive(Debug)]
pub struct Firmware {
    file: File,
}

impl Firmware {
    /// Opens the driver's device.
    ///
    /// # Errors
    ///
    /// [`Error::File`]: it is not there (no `dell-smbios`, or without its WMI back end), or its requests are not of
    /// 4104 bytes.
    pub fn open() -> Result<Self, Error> {
        let path = Path::new(DEVICE);
        let mut file = File::open(path).map_err(at(path))?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(at(path))?;
        if u64::from_le_bytes(length) != 4104 {
            let message = "its requests have another length than 4104 bytes: not the virtual laptop";
            return Err(at(path)(io::Error::other(message)));
        }
        Ok(Self { file })
    }

    /// A call: class 0 reads, 1 writes; the select code; up to four inputs.
    ///
    /// # Errors
    ///
    /// [`Error::File`]: the driver refused the call (EINVAL: its filter), or the reply was short (ENODATA). What the
    /// firmware says is in the outputs.
    pub fn call(&self, class: u16, select: u16, inputs: [u32; 4]) -> Result<Outputs, Error> {
        let mut outputs = [0; 4];
        outputs.iter_mut().zip(self.words(class, select, inputs)?).for_each(|(to, from)| *to = from);
        Ok(outputs)
    }

    /// The words of a reply, from the first output on.
    fn words(&self, class: u16, select: u16, inputs: [u32; 4]) -> Result<Vec<u32>, Error> {
        let mut request = Request([0; REQUEST]);
        let head = (REQUEST as u64).to_le_bytes().into_iter();
        let head = head.chain(class.to_le_bytes()).chain(select.to_le_bytes());
        let head = head.chain(inputs.into_iter().flat_map(u32::to_le_bytes));
        debug_assert_eq!(INPUTS + 16, OUTPUTS);
        request.0.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        // SAFETY: the driver reads and writes as many bytes as it told when the device was opened, which are those
        // of a `Request`; any byte values are valid there; the descriptor is open and the pointer valid for
        // the call alone.
        unsafe { raw::call(self.file.as_raw_fd(), &raw mut request) }
            .map_err(|errno| at(Path::new(DEVICE))(errno.into()))?;
        let words = request.0.get(OUTPUTS..).unwrap_or_default().chunks_exact(4);
        Ok(words.map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect())
    }

    /// The whole storage, past all faults, and how many words each select has: the value of a location is the word
    /// at select × words + location.
    ///
    /// # Errors
    ///
    /// [`Error::File`]: as for [`Firmware::call`], and where the firmware refused.
    pub fn storage(&self) -> Result<(Vec<u32>, usize), Error> {
        let mut storage = Vec::new();
        loop {
            let first = u32::try_from(storage.len()).unwrap_or(u32::MAX);
            let reply = self.words(vendor::CLASS, Call::Dump.select(), [first, 0, 0, 0])?;
            let [0, bytes, cells, whole, words @ ..] = reply.as_slice() else {
                return Err(at(Path::new(DEVICE))(io::Error::other(
                    "the firmware refused to show its storage",
                )));
            };
            let count = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
            storage.extend(words.iter().take(count));
            if storage.len() * 4 >= usize::try_from(*whole).unwrap_or(0) || count == 0 {
                return Ok((storage, usize::try_from(*cells).unwrap_or(0)));
            }
        }
    }

    /// One of the laptop's own calls: the outputs after the status.
    ///
    /// # Errors
    ///
    /// [`Error::File`]: as for [`Firmware::call`], and where the firmware refused.
    pub fn vendor(&self, call: Call, inputs: [u32; 4]) -> Result<[u32; 3], Error> {
        match self.call(vendor::CLASS, call.select(), inputs)? {
            [0, a, b, c] => Ok([a, b, c]),
            [status, ..] => {
                let message = format!("the firmware refused {call:?} with status {}", status.cast_signed());
                Err(at(Path::new(DEVICE))(io::Error::other(message)))
            }
        }
    }

    /// The faults that stand, by slot.
    ///
    /// # Errors
    ///
    /// As for [`Firmware::vendor`].
    pub fn faults(&self) -> Result<Vec<Fault>, Error> {
        let mut faults = Vec::new();
        for slot in (0u32..).take(SLOTS) {
            let [head, ..] = self.vendor(Call::FaultGet, [slot, 0, 0, 0])?;
            let [skip, count, value] = self.vendor(Call::FaultGet, [slot, 1, 0, 0])?;
            faults.extend(Fault::from_words([head, skip, count, value]));
        }
        Ok(faults)
    }
}

/// Puts a temperature into the latch by its port, in tenths of a kelvin; 0 for the default. The zone shows
/// it when the kernel polls next. The kernel writes the bytes one by one: for a moment the latch holds a mixture.
///
/// # Errors
///
/// [`Error::File`]: the ports are out of reach (not root, or the kernel is locked down).
pub fn heat_by_port(decikelvin: u32) -> Result<(), Error> {
    let path = Path::new(PORTS);
    let file = OpenOptions::new().write(true).open(path).map_err(at(path))?;
    file.write_all_at(&decikelvin.to_le_bytes(), LATCH).map_err(at(path))
}
