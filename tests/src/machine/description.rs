//! The data file's format: what a machine's firmware tables say, in TOML.
//!
//! Unknown keys are refused. Numbers may be written in hexadecimal.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, at};

/// Largest data file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Who the machine says it is.
    pub identity: Identity,
    /// How its firmware is called.
    pub calling_interface: CallingInterface,
    /// Its thermal zone.
    pub thermal: Thermal,
    /// Which tokens the kernel module must never write: what tests hold against it.
    #[serde(default)]
    pub never_written: Vec<NeverWritten>,
    /// Locations and the ordinary tokens on them.
    #[serde(default)]
    pub storage: Vec<Storage>,
    /// Groups of tokens with consecutive ids on consecutive locations.
    #[serde(default)]
    pub group: Vec<Group>,
}

/// Who the machine says it is (SMBIOS types 0, 1, 2, 3, 11). Texts: 1–64 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Vendor of firmware, system, board and chassis.
    pub vendor: String,
    /// The system's product name.
    pub product: String,
    /// The system's family.
    pub family: String,
    /// The system's SKU.
    pub sku: String,
    /// Serial number (service tag).
    pub serial: String,
    /// Version of the BIOS.
    pub bios_version: String,
    /// Date of the BIOS, as SMBIOS writes it: MM/DD/YYYY.
    pub bios_date: String,
    /// The board's product name.
    pub board: String,
    /// The OEM string by which the kernel knows a Dell.
    pub oem_string: String,
    /// Kind of chassis, SMBIOS type 3 offset 5 (10: notebook).
    pub chassis: u8,
}

/// How the firmware is called (head of SMBIOS type 0xDA).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallingInterface {
    /// I/O address of the SMI command port.
    pub port: u16,
    /// The SMI command.
    pub code: u8,
    /// The classes of calls that the firmware announces, each 0–30.
    pub classes: Vec<u8>,
}

/// A thermal zone. Temperatures in °C.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thermal {
    /// What the zone shows until somebody heats it.
    pub default_c: u16,
    /// The fan runs from here on (`_AC0`).
    pub active_c: u16,
    /// Passive cooling from here on (`_PSV`).
    pub passive_c: u16,
    /// Hot from here on (`_HOT`).
    pub hot_c: u16,
    /// The kernel switches the machine off here (`_CRT`).
    pub critical_c: u16,
    /// The kernel reads the zone so often, in tenths of a second (`_TZP`).
    pub poll_ds: u16,
}

/// A reason for which tokens are never written, with their ids.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeverWritten {
    /// The reason, in the words of `types::token::Denied`.
    pub reason: String,
    /// Ranges of ids, first and last.
    pub ids: Vec<(u16, u16)>,
}

/// A location and the ordinary tokens on it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// The location.
    pub location: u16,
    /// Its first current value.
    pub current: u32,
    /// Its first value on mains power; `current` where absent.
    pub ac: Option<u32>,
    /// Its first value on battery; `current` where absent.
    pub battery: Option<u32>,
    /// The tokens on it, in the order of the firmware's table.
    pub tokens: Vec<Named>,
}

/// An ordinary token.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its id.
    pub id: u16,
    /// The value at which it is active.
    pub value: u16,
    /// What it is.
    pub name: String,
}

/// Tokens with consecutive ids on consecutive locations; all lists have one length.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What the group is about.
    pub subject: String,
    /// The first id.
    pub first: u16,
    /// The first location.
    pub location: u16,
    /// The value at which each token is active.
    pub value: Vec<u16>,
    /// The first current value of each location.
    pub current: Vec<u32>,
    /// The first values on mains power; `current` where absent.
    pub ac: Option<Vec<u32>>,
    /// The first values on battery; `current` where absent.
    pub battery: Option<Vec<u32>>,
    /// Names; where absent or empty a token is named after its group and place.
    pub names: Option<Vec<String>>,
}

impl Description {
    /// Reads a data file.
    ///
    /// # Errors
    ///
    /// - [`Error::File`]: it cannot be read, or is larger than 1 MiB
    /// - [`Error::Format`]: it is not TOML of this form
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_toml(path)
    }
}

/// Reads a data file of this or another form.
pub(super) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::metadata(path).map_err(at(path))?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("{bytes} bytes are too many for a machine, at most {FILE_BYTES_MAX}");
        return Err(at(path)(std::io::Error::other(message)));
    }
    let text = fs::read_to_string(path).map_err(at(path))?;
    toml::from_str(&text).map_err(|source| Error::Format { path: path.to_owned(), source: Box::new(source) })
}
