//! The laptop's own calls: class 30 of the calling interface.
//!
//! No real machine has them. Class 30 is the highest that the kernel's driver lets through
//! (`dell_smbios_call_filter`: not above 30, announced by the firmware, not on its lists, so the caller
//! needs CAP_SYS_RAWIO). Root in the guest reaches them through `/dev/wmi/dell-smbios`.
//!
//! All answer `out[0]` = 0, −1 (refused) or −2 (no such call); none is counted or hit by faults.

/// The class of calls.
pub const CLASS: u16 = 30;

/// `out[1]` of [`Call::Identify`]: "DSVL", little-endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"DSVL");

/// `out[2]` of [`Call::Identify`].
pub const VERSION: u32 = 3;

/// The calls; the number is the select code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Call {
    /// Out: [`MAGIC`], [`VERSION`].
    Identify = 0,
    /// In: the four words of [`super::fault::Fault::words`]. Out: the slot. Refused where all slots are taken.
    FaultAdd = 1,
    /// Frees all slots.
    FaultClear = 2,
    /// In: slot, 0 or 1. Out: its words 0–2 or 1–3, of head (0: free), calls still to skip, calls still to hit (0: for
    /// ever), value. Refused past the last slot.
    FaultGet = 3,
    /// Out: read calls, write calls, faults applied since the boot.
    Calls = 4,
    /// In: temperature in tenths of a kelvin, 0 for the default. Notifies the thermal zone.
    Heat = 5,
    /// Out: the zone's temperature in tenths of a kelvin, the latch behind it.
    Temperature = 6,
    /// In: location, select. Out: the value in storage, past all faults.
    Peek = 7,
    /// In: location, select, value to put in storage, past all faults.
    Poke = 8,
    /// In: 1 sets the administrator password, 0 takes it away ([`super::password`]). Refused: anything else.
    Password = 9,
    /// In: first word. Out: bytes that follow the outputs, words of one select, bytes of the whole storage; then the
    /// storage's words from there on, as many as there is room for: select 0 by location, then 1, then 2. Refused past
    /// the end.
    Dump = 10,
}

impl Call {
    /// The select code.
    #[must_use]
    pub const fn select(self) -> u16 {
        match self {
            Self::Identify => 0,
            Self::FaultAdd => 1,
            Self::FaultClear => 2,
            Self::FaultGet => 3,
            Self::Calls => 4,
            Self::Heat => 5,
            Self::Temperature => 6,
            Self::Peek => 7,
            Self::Poke => 8,
            Self::Password => 9,
            Self::Dump => 10,
        }
    }
}
