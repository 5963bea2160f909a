//! What tests expect of a machine: `expected.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use types::token::TokenId;

use super::description::{Identity, Thermal};
use super::dmi::{self, Reading};
use super::fault::Fault;
use super::table::{Entry, Table};
use super::variant::{self, Variant};
use super::{Error, at, vendor};

/// Version of the file's form.
pub const FORMAT: u32 = 2;

/// A machine as tests see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// [`FORMAT`].
    pub format: u32,
    /// Who the machine says it is.
    pub identity: Identity,
    /// Its thermal zone, in °C.
    pub thermal: Thermal,
    /// The codes by which a value is selected.
    pub selects: Selects,
    /// The class of the laptop's own calls ([`vendor`]).
    pub vendor_class: u16,
    /// Faults that stand from the boot on, as text.
    pub faults: Vec<String>,
    /// What is wrong with the token table on purpose, if anything is.
    pub variant: Option<String>,
    /// The error with which the kernel module must refuse to load, by its name in C.
    pub refused: Option<String>,
    /// The tokens, in the order of the firmware's table, or by id where that is wrong on purpose.
    pub tokens: Vec<Token>,
}

/// The codes by which a value is selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selects {
    /// In force now.
    pub current: u16,
    /// On battery.
    pub battery: u16,
    /// On mains power.
    pub ac: u16,
}

/// The codes as `include/uapi/linux/wmi.h` has them.
pub const SELECTS: Selects = Selects { current: 0, battery: 1, ac: 2 };

/// A token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its id.
    pub id: u16,
    /// The storage behind it.
    pub location: u16,
    /// The value at which it is active.
    pub value: u16,
    /// The location's first current value.
    pub current: u32,
    /// Its first value on battery.
    pub battery: u32,
    /// Its first value on mains power.
    pub ac: u32,
    /// What it is.
    pub name: String,
    /// What its group is about, where it stands in one.
    pub subject: Option<String>,
    /// Group and member, where it is a DSMIL device.
    pub device: Option<Device>,
    /// The firmware has storage at its location; else each read of it fails with status −1.
    pub stored: bool,
    /// Reading it gives anything: the kernel's driver calls some tokens write-only.
    pub readable: bool,
    /// Another token has the same location.
    pub shares_location: bool,
    /// Why the kernel module must not write it, if so.
    pub denied: Option<String>,
}

/// Where a DSMIL device stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The group, 0–6.
    pub group: u16,
    /// The place in the group, 0–11.
    pub member: u16,
}

impl Expected {
    /// What tests expect of a machine that starts with these faults.
    #[must_use]
    pub fn new(table: &Table, faults: &[Fault]) -> Self {
        let mut users = BTreeMap::new();
        for token in table.tokens() {
            *users.entry(token.location).or_insert(0u32) += 1;
        }
        let shared = |token: &Entry| users.get(&token.location).is_some_and(|users| *users > 1);
        Self {
            format: FORMAT,
            identity: table.identity().clone(),
            thermal: table.thermal(),
            selects: SELECTS,
            vendor_class: vendor::CLASS,
            faults: faults.iter().map(Fault::to_string).collect(),
            variant: None,
            refused: None,
            tokens: table.tokens().iter().filter_map(|entry| token(table, entry, shared(entry))).collect(),
        }
    }

    /// What tests expect where the token table reads as it does there, wrong on purpose.
    #[must_use]
    pub fn of(table: &Table, variant: &Variant, reading: &Reading, faults: &[Fault]) -> Self {
        let mut users: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
        for (id, location, _) in &reading.entries {
            users.entry(*location).or_default().insert(*id);
        }
        let shares = |entry: &dmi::Entry| users.get(&entry.1).is_some_and(|users| users.len() > 1);
        let token = |entry: &dmi::Entry| found(table, reading, *entry, shares(entry));
        let tokens = reading.tokens.iter().filter(|_| variant.expect.refused.is_none()).map(token).collect();
        Self {
            variant: Some(variant.about.clone()),
            refused: variant.expect.refused.clone(),
            tokens,
            ..Self::new(table, faults)
        }
    }

    /// Reads `expected.json`.
    ///
    /// # Errors
    ///
    /// - [`Error::File`]: it cannot be read
    /// - [`Error::Expected`]: another build wrote it, or it is damaged
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(at(path))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Expected { path: path.to_owned(), source })
    }

    /// The token with an id.
    #[must_use]
    pub fn token(&self, id: u16) -> Option<&Token> {
        self.tokens.iter().find(|token| token.id == id)
    }
}

fn token(table: &Table, entry: &Entry, shares_location: bool) -> Option<Token> {
    let values = table.storage().get(&entry.location)?;
    Some(Token {
        id: entry.id.0,
        location: entry.location,
        value: entry.value,
        current: values.current,
        battery: values.battery,
        ac: values.ac,
        stored: true,
        readable: is_readable(entry.id.0),
        name: entry.name.clone(),
        subject: entry.subject.clone(),
        device: entry.id.device().map(|at| Device { group: at.group, member: at.member }),
        shares_location,
        denied: table.denied(entry).map(str::to_owned),
    })
}

/// A token of a table that is wrong on purpose.
fn found(table: &Table, reading: &Reading, entry: dmi::Entry, shares_location: bool) -> Token {
    let (id, location, value) = entry;
    let values = table.storage().get(&location);
    let [current, battery, ac] = values.map(|values| values.by_select()).unwrap_or_default();
    Token {
        id,
        location,
        value,
        current,
        battery,
        ac,
        stored: values.is_some(),
        readable: is_readable(id),
        name: String::new(),
        subject: None,
        device: TokenId(id).device().map(|at| Device { group: at.group, member: at.member }),
        shares_location,
        denied: variant::denied(table, reading, entry).map(str::to_owned),
    }
}

/// The kernel's driver calls these write-only (`token_blacklist` of dell-smbios-base.c).
fn is_readable(id: u16) -> bool {
    !(0xA000..=0xBFFF).contains(&id)
}
