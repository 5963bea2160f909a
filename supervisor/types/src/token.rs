//! Firmware tokens, and the DSMIL devices among them.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// First token of the DSMIL window.
pub const DSMIL_FIRST: u16 = 0x8000;
/// Groups of devices in the DSMIL window.
pub const DSMIL_GROUPS: u16 = 7;
/// Distance between the first tokens of two neighbouring groups.
pub const DSMIL_STRIDE: u16 = 0x10;
/// Devices in a group; the four ids up to the next group are not devices.
pub const DSMIL_GROUP_SIZE: u16 = 12;

/// A token's id in the firmware's table (SMBIOS type 0xDA).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenId(pub u16);

impl TokenId {
    /// The device that this token is, if it lies in the DSMIL window and not in a gap between groups.
    #[must_use]
    pub const fn device(self) -> Option<Position> {
        let Some(offset) = self.0.checked_sub(DSMIL_FIRST) else {
            return None;
        };
        let (group, member) = (offset / DSMIL_STRIDE, offset % DSMIL_STRIDE);
        if group < DSMIL_GROUPS && member < DSMIL_GROUP_SIZE {
            Some(Position { group, member })
        } else {
            None
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

impl FromStr for TokenId {
    type Err = ParseIntError;

    /// Reads `0x8000`, or decimal without the prefix.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => u16::from_str_radix(hex, 16),
            None => text.parse(),
        }
        .map(Self)
    }
}

/// Where a DSMIL device stands: group 0–6, member 0–11.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// The group, 0–6.
    pub group: u16,
    /// The place in the group, 0–11.
    pub member: u16,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.member)
    }
}

/// Which of a location's values is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Select {
    /// The value in force now.
    #[default]
    Current,
    /// The value on mains power.
    Ac,
    /// The value on battery.
    Battery,
}

impl Select {
    /// The select of a code, if it is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Current),
            1 => Some(Self::Battery),
            2 => Some(Self::Ac),
            _ => None,
        }
    }

    /// The firmware's code (SELECT_TOKEN_STD, _BAT and _AC in include/uapi/linux/wmi.h).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Current => 0,
            Self::Battery => 1,
            Self::Ac => 2,
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Ac => "ac",
            Self::Battery => "battery",
        })
    }
}

/// Why the kernel module never writes a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Denied {
    /// In the quarantine: wipe, recovery, hidden memory, network kill, communications blackout.
    Quarantine,
    /// Switches the machine off on some Dell models.
    Power,
    /// Destroys data or manufacturing state.
    Destructive,
    /// Denied to user space by the upstream driver as well.
    Upstream,
    /// Its location is also that of a denied token.
    SharedLocation,
    /// A rule that this build does not know, newer in the module.
    Other(u8),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantine => f.write_str("quarantine"),
            Self::Power => f.write_str("power"),
            Self::Destructive => f.write_str("destructive"),
            Self::Upstream => f.write_str("upstream"),
            Self::SharedLocation => f.write_str("shared location"),
            Self::Other(rule) => write!(f, "rule {rule}"),
        }
    }
}

/// A token as the firmware's table has it, with what the kernel module says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The storage behind it, possibly shared with other tokens.
    pub location: u16,
    /// The value at which this token counts as active: a constant of the table, not the present value.
    pub table_value: u16,
    /// Why it is never written, if so.
    pub denied: Option<Denied>,
    /// On the machine's sealed allow-list.
    pub writable: bool,
    /// Another token has the same location.
    pub shares_location: bool,
}

/// What one location holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The token through which it was read.
    pub id: TokenId,
    /// Which value.
    pub select: Select,
    /// The location's value, as the firmware gave it.
    pub value: u32,
}

/// One location's value to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The token through which it is written.
    pub id: TokenId,
    /// Which value.
    pub select: Select,
    /// The value to write.
    pub value: u32,
    /// The value that must stand there now; anything else refuses the write.
    pub expected: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_has_84_devices_and_24_gaps() {
        let devices = (0x8000..=0x806B).filter(|id| TokenId(*id).device().is_some()).count();
        assert_eq!(devices, 84);
        assert_eq!((0x8000..=0x806B).count() - devices, 24);
        assert_eq!(TokenId(0x806B).device(), Some(Position { group: 6, member: 11 }));
        assert_eq!(TokenId(0x806C).device(), None);
        assert_eq!(TokenId(0x7FFF).device(), None);
        assert_eq!(TokenId(0x8070).device(), None);
    }

    #[test]
    fn ids_read_back_as_written() {
        for id in [0, 0x0480, 0x8000, 0xFFFF] {
            assert_eq!(TokenId(id).to_string().parse(), Ok(TokenId(id)));
        }
        assert!("0x10000".parse::<TokenId>().is_err());
        assert!("".parse::<TokenId>().is_err());
    }
}
