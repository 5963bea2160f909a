//! A description resolved and checked: every token with its location, every location with its values.

use std::collections::{BTreeMap, BTreeSet};

use types::token::{DSMIL_FIRST, DSMIL_GROUPS, DSMIL_STRIDE, TokenId};

use super::Error;
use super::description::{Description, Group, Identity, NeverWritten, Storage, Thermal};
use super::vendor;

/// Highest location: it bounds the firmware's storage.
pub const LOCATION_MAX: u16 = 0x0FFF;
/// Tokens of a machine at most: what 256 SMBIOS structures hold, and more than any Dell has.
pub const TOKENS_MAX: usize = 2048;
/// Without this token the kernel's driver does not believe in WMI calls (`WSMT_EN_TOKEN`).
const REQUIRED: TokenId = TokenId(0x04EC);
/// Longest text, in characters.
const TEXT_MAX: usize = 64;
/// Temperatures that a data file may name, in °C.
const TEMPERATURE_C_MAX: u16 = 150;

/// Three initial values of a location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Values {
    /// In force now.
    pub current: u32,
    /// On battery.
    pub battery: u32,
    /// On mains power.
    pub ac: u32,
}

impl Values {
    /// The values by select code, as `include/uapi/linux/wmi.h` numbers them: SELECT_TOKEN_STD 0,
    /// SELECT_TOKEN_BAT 1, SELECT_TOKEN_AC 2.
    #[must_use]
    pub const fn by_select(self) -> [u32; 3] {
        [self.current, self.battery, self.ac]
    }
}

/// A token of the firmware's table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its id.
    pub id: TokenId,
    /// The storage behind it.
    pub location: u16,
    /// The value at which it is active.
    pub value: u16,
    /// What it is.
    pub name: String,
    /// What its group is about, where it stands in one.
    pub subject: Option<String>,
}

/// A machine, checked.
///
/// # Invariants
///
/// Ids are unique, neither 0 nor 0xFFFF; locations are at most [`LOCATION_MAX`]; every token's location has values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    identity: Identity,
    thermal: Thermal,
    port: u16,
    code: u8,
    classes: u32,
    never_written: Vec<NeverWritten>,
    tokens: Vec<Entry>,
    storage: BTreeMap<u16, Values>,
}

impl Table {
    /// Resolves and checks a description.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first item that is wrong, why, and what is allowed.
    pub fn new(description: Description) -> Result<Self, Error> {
        let Description { identity, calling_interface, thermal, never_written, storage, group } = description;
        check_identity(&identity)?;
        check_thermal(thermal)?;
        check_never_written(&never_written)?;
        let mut table = Self {
            identity,
            thermal,
            port: calling_interface.port,
            code: calling_interface.code,
            classes: classes(&calling_interface.classes)?,
            never_written,
            tokens: Vec::new(),
            storage: BTreeMap::new(),
        };
        for storage in storage {
            table.add_storage(storage)?;
        }
        for group in group {
            table.add_group(group)?;
        }
        table.check_tokens()?;
        Ok(table)
    }

    /// Who the machine says it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its thermal zone.
    #[must_use]
    pub const fn thermal(&self) -> Thermal {
        self.thermal
    }

    /// The SMI command port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The SMI command.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// The classes of calls that the firmware announces, one bit each.
    #[must_use]
    pub const fn classes(&self) -> u32 {
        self.classes
    }

    /// The tokens, in the order of the firmware's table.
    #[must_use]
    pub fn tokens(&self) -> &[Entry] {
        &self.tokens
    }

    /// The locations with their initial values.
    #[must_use]
    pub const fn storage(&self) -> &BTreeMap<u16, Values> {
        &self.storage
    }

    /// Locations of a bank: one more than the highest.
    #[must_use]
    pub fn cells(&self) -> u16 {
        self.storage.last_key_value().map_or(0, |(location, _)| location.saturating_add(1))
    }

    /// Why a token must not be written, if so; "shared location" where only a neighbour on its location is denied.
    #[must_use]
    pub fn denied(&self, token: &Entry) -> Option<&str> {
        let neighbours = || self.tokens.iter().filter(|other| other.location == token.location);
        self.listed(token.id)
            .or_else(|| neighbours().find_map(|other| self.listed(other.id)).map(|_| "shared location"))
    }

    /// Gives a location storage where it has none.
    pub(super) fn furnish(&mut self, location: u16, values: Values) {
        self.storage.entry(location).or_insert(values);
    }

    /// Puts a value in place of a location's initial one; says whether the machine has that location and select.
    pub(super) fn store(&mut self, location: u16, select: u8, value: u32) -> bool {
        let Some(values) = self.storage.get_mut(&location) else { return false };
        match select {
            0 => values.current = value,
            1 => values.battery = value,
            2 => values.ac = value,
            _ => return false,
        }
        true
    }

    /// The rule that names an id, if one does.
    pub(super) fn listed(&self, id: TokenId) -> Option<&str> {
        let has =
            |rule: &&NeverWritten| rule.ids.iter().any(|(first, last)| (*first..=*last).contains(&id.0));
        self.never_written.iter().find(has).map(|rule| rule.reason.as_str())
    }

    fn add_location(&mut self, item: &str, location: u16, values: Values) -> Result<(), Error> {
        if location > LOCATION_MAX {
            let reason = format!("location 0x{location:04X} is past the last, 0x{LOCATION_MAX:04X}");
            return Err(Error::invalid(item, reason));
        }
        if self.storage.insert(location, values).is_some() {
            let reason = format!("location 0x{location:04X} is there already; one item for each location");
            return Err(Error::invalid(item, reason));
        }
        Ok(())
    }

    fn add_storage(&mut self, storage: Storage) -> Result<(), Error> {
        let Storage { location, current, ac, battery, tokens } = storage;
        let item = format!("storage 0x{location:04X}");
        if tokens.is_empty() {
            return Err(Error::invalid(item, "no token stands on it; remove it or list its tokens"));
        }
        let values = Values { current, battery: battery.unwrap_or(current), ac: ac.unwrap_or(current) };
        self.add_location(&item, location, values)?;
        for token in tokens {
            check_text(&format!("{item}, token {}", TokenId(token.id)), "name", &token.name)?;
            self.tokens.push(Entry {
                id: TokenId(token.id),
                location,
                value: token.value,
                name: token.name,
                subject: None,
            });
        }
        Ok(())
    }

    fn add_group(&mut self, group: Group) -> Result<(), Error> {
        let item = format!("group {}", TokenId(group.first));
        check_text(&item, "subject", &group.subject)?;
        let count = group.current.len();
        let lengths = [
            ("value", Some(group.value.len())),
            ("ac", group.ac.as_ref().map(Vec::len)),
            ("battery", group.battery.as_ref().map(Vec::len)),
            ("names", group.names.as_ref().map(Vec::len)),
        ];
        for (list, length) in lengths {
            if length.is_some_and(|length| length != count) {
                let length = length.unwrap_or_default();
                return Err(Error::invalid(
                    item,
                    format!("`{list}` has {length} entries, `current` has {count}"),
                ));
            }
        }
        if count == 0 {
            return Err(Error::invalid(item, "`current` is empty; a group has at least one token"));
        }
        let Group { subject, first, location, value, current, ac, battery, names } = group;
        let battery = battery.unwrap_or_else(|| current.clone());
        let ac = ac.unwrap_or_else(|| current.clone());
        let names = names.unwrap_or_else(|| vec![String::new(); count]);
        let rows = value.into_iter().zip(current).zip(battery).zip(ac).zip(names);
        for (member, ((((value, current), battery), ac), name)) in (0u16..=u16::MAX).zip(rows) {
            let past = || Error::invalid(&*item, "its ids or locations pass 0xFFFF");
            let id = TokenId(first.checked_add(member).ok_or_else(past)?);
            let location = location.checked_add(member).ok_or_else(past)?;
            let name = if name.is_empty() { format!("{subject} {member}") } else { name };
            check_text(&format!("{item}, token {id}"), "name", &name)?;
            self.add_location(&item, location, Values { current, battery, ac })?;
            self.tokens.push(Entry { id, location, value, name, subject: Some(subject.clone()) });
        }
        Ok(())
    }

    fn check_tokens(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for Entry { id, .. } in &self.tokens {
            let item = format!("token {id}");
            if id.0 == 0 || id.0 == u16::MAX {
                return Err(Error::invalid(item, "0x0000 means no token and 0xFFFF ends the table"));
            }
            let window = DSMIL_FIRST..DSMIL_FIRST + DSMIL_GROUPS * DSMIL_STRIDE;
            if window.contains(&id.0) && id.device().is_none() {
                return Err(Error::invalid(item, "it lies between two groups of the DSMIL window"));
            }
            if !seen.insert(*id) {
                return Err(Error::invalid(item, "it is there twice; ids are unique"));
            }
        }
        if !seen.contains(&REQUIRED) {
            let reason = "it is missing; without it the kernel's driver does not use WMI calls";
            return Err(Error::invalid(format!("token {REQUIRED}"), reason));
        }
        if seen.len() > TOKENS_MAX {
            return Err(Error::invalid(
                "tokens",
                format!("{} are too many, at most {TOKENS_MAX}", seen.len()),
            ));
        }
        Ok(())
    }
}

fn check_text(item: &str, field: &str, text: &str) -> Result<(), Error> {
    let fine = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.trim().is_empty() || text.len() > TEXT_MAX || !text.chars().all(fine) {
        let reason = format!("`{field}` is {text:?}; it takes 1 to {TEXT_MAX} printable ASCII characters");
        return Err(Error::invalid(item, reason));
    }
    Ok(())
}

fn check_identity(identity: &Identity) -> Result<(), Error> {
    let texts = [
        ("vendor", &identity.vendor),
        ("product", &identity.product),
        ("family", &identity.family),
        ("sku", &identity.sku),
        ("serial", &identity.serial),
        ("bios_version", &identity.bios_version),
        ("bios_date", &identity.bios_date),
        ("board", &identity.board),
        ("oem_string", &identity.oem_string),
    ];
    texts.into_iter().try_for_each(|(field, text)| check_text("identity", field, text))
}

fn check_thermal(thermal: Thermal) -> Result<(), Error> {
    let Thermal { default_c, active_c, passive_c, hot_c, critical_c, poll_ds } = thermal;
    if !(default_c < active_c && active_c < passive_c && passive_c < hot_c && hot_c < critical_c) {
        let reason = "default_c, active_c, passive_c, hot_c and critical_c must rise in this order";
        return Err(Error::invalid("thermal", reason));
    }
    if critical_c > TEMPERATURE_C_MAX {
        return Err(Error::invalid("thermal", format!("critical_c is above {TEMPERATURE_C_MAX}")));
    }
    if poll_ds == 0 {
        return Err(Error::invalid(
            "thermal",
            "poll_ds is 0: then the kernel never reads the zone by itself",
        ));
    }
    Ok(())
}

fn check_never_written(rules: &[NeverWritten]) -> Result<(), Error> {
    for rule in rules {
        check_text("never_written", "reason", &rule.reason)?;
        if let Some((first, last)) = rule.ids.iter().find(|(first, last)| first > last) {
            let reason = format!("range [0x{first:04X}, 0x{last:04X}] ends before it starts");
            return Err(Error::invalid(format!("never_written \"{}\"", rule.reason), reason));
        }
    }
    Ok(())
}

fn classes(classes: &[u8]) -> Result<u32, Error> {
    let item = "calling_interface";
    let mut mask = 0;
    for class in classes {
        if *class > 30 {
            return Err(Error::invalid(item, format!("class {class} is past 30, the last that Linux calls")));
        }
        mask |= 1 << class;
    }
    for needed in [0, 1, vendor::CLASS] {
        if mask & (1 << needed) == 0 {
            return Err(Error::invalid(
                item,
                format!("class {needed} is missing; 0 reads, 1 writes, 30 is the laptop's"),
            ));
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests;
