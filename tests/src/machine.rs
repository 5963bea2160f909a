//! The virtual laptop's firmware: from one data file to SMBIOS structures, an ACPI table, the arguments of QEMU
//! and what tests expect.
//!
//! # Layout
//!
//! - [`description`]: the data file's format, and reading it
//! - [`table`]: the description resolved: every token, every location; all validation
//! - [`fault`]: faults of the firmware, as text and as the firmware's words
//! - [`password`]: the BIOS administrator password
//! - [`vendor`]: the laptop's own calls, which no real machine has
//! - [`storage`]: token storage that outlives the laptop
//! - [`smbios`]: SMBIOS structures, written and parsed back
//! - [`variant`]: token tables that are wrong on purpose
//! - [`dmi`]: the SMBIOS table read from its bytes, by rules of its own
//! - [`ssdt`]: the ACPI table's source, and compiling it
//! - [`expected`]: what tests expect of a machine
//! - [`output`]: the files of a machine and their atomic writing
//! - [`guest`]: the firmware seen from inside the laptop
//!
//! # Invariants
//!
//! - All outputs come from one [`table::Table`], so they cannot drift from each other.
//! - A `Table` is valid: ids and locations are unique, every token has a location with three initial values. What is wrong
//!   on purpose stands in a `Variant` beside it.
//! - The same input gives the same bytes.

use std::io;
use std::path::PathBuf;

pub mod description;
pub mod dmi;
pub mod expected;
pub mod fault;
#[expect(unsafe_code, reason = "the kernel's driver is reached by an ioctl with a buffer of our own")]
pub mod guest;
pub mod output;
pub mod password;
pub mod smbios;
pub mod ssdt;
pub mod storage;
pub mod table;
pub mod variant;
pub mod vendor;

/// Why no firmware was written, or none could be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data file is not TOML of the documented form.
    #[error("{path} does not describe a machine")]
    Format {
        /// The data file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// `expected.json` is not what this build writes.
    #[error("{path} is of another build; write it anew with the program `firmware`")]
    Expected {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The data file contradicts itself or the formats that are written from it.
    #[error("{item}: {reason}")]
    Invalid {
        /// The item of the data file.
        item: String,
        /// What is wrong with it and what is allowed.
        reason: String,
    },
    /// A fault specification cannot be understood.
    #[error("fault `{spec}`: {reason}")]
    Fault {
        /// The specification as given.
        spec: String,
        /// What is wrong with it and what is allowed.
        reason: String,
    },
    /// The ACPI compiler is not there or does not start.
    #[error("cannot start iasl; install the ACPI compiler (Debian and Ubuntu: package acpica-tools)")]
    NoCompiler(#[source] io::Error),
    /// The ACPI compiler refused the table.
    #[error("iasl refused {path}:\n{log}")]
    Compiler {
        /// The table's source.
        path: PathBuf,
        /// What the compiler wrote.
        log: String,
    },
}

impl Error {
    /// An [`Error::Invalid`].
    pub(crate) fn invalid(item: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { item: item.into(), reason: reason.into() }
    }
}

/// Adds the file or directory to a system error.
pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::File { path: path.to_owned(), source }
}

/// The laptop of the data file.
#[cfg(test)]
fn laptop() -> table::Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/laptop/latitude-5450.toml");
    let description = description::Description::read(std::path::Path::new(path)).unwrap();
    table::Table::new(description).unwrap()
}
