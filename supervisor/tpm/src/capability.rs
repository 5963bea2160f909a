//! What the chip says about itself and what it holds.

use crate::codec::{Reader, Writer};
use crate::link::Link;
use crate::{Error, Identity, code};

/// The most entries that one question asks for; chips have far fewer handles.
const COUNT_MAX: u32 = 64;

// TPM 2.0 Library Part 2, section 7.2: the first handle of each kind.
pub(crate) const FIRST_NV: u32 = 0x0100_0000;
pub(crate) const FIRST_LOADED_SESSION: u32 = 0x0200_0000;
pub(crate) const FIRST_TRANSIENT: u32 = 0x8000_0000;
pub(crate) const FIRST_PERSISTENT: u32 = 0x8100_0000;

// TPM_CAP, Part 2, section 6.12.
const ALGORITHMS: u32 = 0;
const HANDLES: u32 = 1;
const COMMANDS: u32 = 2;
const PCRS: u32 = 5;
const PROPERTIES: u32 = 6;

/// TPM_PT, Part 2, section 6.13.
pub(crate) mod property {
    pub(crate) const FIXED: u32 = 0x100;
    pub(crate) const REVISION: u32 = 0x102;
    pub(crate) const MANUFACTURER: u32 = 0x105;
    pub(crate) const VENDOR_STRINGS: [u32; 4] = [0x106, 0x107, 0x108, 0x109];
    /// How far an orderly counter may be ahead of what the chip has written down of it.
    pub(crate) const ORDERLY_COUNT: u32 = 0x11d;
    pub(crate) const VARIABLE: u32 = 0x200;
    pub(crate) const PERMANENT: u32 = 0x200;
    /// A flag in `PERMANENT`.
    pub(crate) const IN_LOCKOUT: u32 = 1 << 9;
    pub(crate) const COUNTERS_LEFT: u32 = 0x20a;
    pub(crate) const LOCKOUT_COUNTER: u32 = 0x20e;
    pub(crate) const LOCKOUT_MAX: u32 = 0x20f;
    pub(crate) const FIRMWARE_1: u32 = 0x10b;
    pub(crate) const FIRMWARE_2: u32 = 0x10c;
}

/// One answer to TPM2_GetCapability: the list behind its length.
fn ask(link: &mut Link, capability: u32, first: u32, count: u32) -> Result<Vec<u8>, Error> {
    let parameters = Writer::new().u32(capability).u32(first).u32(count);
    let response = link.plain(code::GET_CAPABILITY, &[], &parameters)?;
    let mut reader = Reader::new(&response.parameters);
    match (reader.u8(), reader.u32()) {
        (Some(_), Some(found)) if found == capability => Ok(reader.rest().to_vec()),
        _ => Err(Error::malformed("GetCapability", "not what was asked for")),
    }
}

/// A list of entries that `entry` reads.
fn list<T>(bytes: &[u8], entry: impl Fn(&mut Reader<'_>) -> Option<T>) -> Result<Vec<T>, Error> {
    let mut reader = Reader::new(bytes);
    let count = reader.u32().unwrap_or_default();
    let entries: Option<Vec<T>> = (0..count).map(|_| entry(&mut reader)).collect();
    entries.filter(|_| reader.is_empty()).ok_or_else(|| Error::malformed("GetCapability", "a wrong list"))
}

/// Properties from `first` on: tags and values.
pub(crate) fn properties(link: &mut Link, first: u32, count: u32) -> Result<Vec<(u32, u32)>, Error> {
    let bytes = ask(link, PROPERTIES, first, count)?;
    list(&bytes, |reader| Some((reader.u32()?, reader.u32()?)))
}

pub(crate) fn identity(link: &mut Link) -> Result<Identity, Error> {
    Ok(Identity::from_properties(&properties(link, property::FIXED, 13)?))
}

/// The algorithms that it has.
pub(crate) fn algorithms(link: &mut Link) -> Result<Vec<u16>, Error> {
    let bytes = ask(link, ALGORITHMS, 0, COUNT_MAX)?;
    list(&bytes, |reader| {
        let algorithm = reader.u16()?;
        reader.u32().map(|_attributes| algorithm)
    })
}

/// The hash algorithms of the PCR banks that have registers.
pub(crate) fn banks(link: &mut Link) -> Result<Vec<u16>, Error> {
    let bytes = ask(link, PCRS, 0, COUNT_MAX)?;
    let banks = list(&bytes, |reader| {
        let (algorithm, len) = (reader.u16()?, reader.u8()?);
        Some((algorithm, reader.take(len.into())?.iter().any(|byte| *byte != 0)))
    })?;
    Ok(banks.into_iter().filter(|(_, has_registers)| *has_registers).map(|(bank, _)| bank).collect())
}

/// Whether it has this command.
pub(crate) fn has_command(link: &mut Link, command: u32) -> Result<bool, Error> {
    let bytes = ask(link, COMMANDS, command, 1)?;
    // TPMA_CC: the low half is the number; the first that exists from there on is told.
    Ok(list(&bytes, |reader| reader.u32())?.first().is_some_and(|found| found & 0xffff == command))
}

/// The handles that exist, of the kind that `first` is of.
pub(crate) fn handles(link: &mut Link, first: u32) -> Result<Vec<u32>, Error> {
    let bytes = ask(link, HANDLES, first, COUNT_MAX)?;
    list(&bytes, |reader| reader.u32())
}
