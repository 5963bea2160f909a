//! Token tables that are wrong on purpose: one data file each, `laptop/tables/NAME.toml`.
//!
//! A file says what stands in the firmware's table in place of, or behind, the machine's own tokens, and in `expect` what
//! must come of it. That is said by whoever wrote the file; [`super::dmi`] reads the same from the bytes, and the
//! kernel module must find it in the laptop.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use types::token::TokenId;

use super::Error;
use super::description::read_toml;
use super::dmi::{self, Reading};
use super::smbios::{self, STRUCTURE_TOKENS_MAX};
use super::table::{LOCATION_MAX, Table, Values};

/// A table that is wrong on purpose.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What is wrong, in a sentence.
    pub about: String,
    /// The machine's own tokens come first, in good order.
    #[serde(default = "yes")]
    pub machine: bool,
    /// Nothing else of the firmware stands behind these structures.
    #[serde(default)]
    pub last: bool,
    /// Tokens in good order, as many as wanted.
    pub fill: Option<Fill>,
    /// Structures, each as it stands.
    #[serde(default)]
    pub structure: Vec<Shape>,
    /// What must come of it.
    pub expect: Stated,
}

/// Tokens with consecutive ids, each with value 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// How many.
    pub count: u16,
    /// The first id.
    pub first: u16,
    /// The first location.
    pub location: u16,
    /// So many locations, then from the first again.
    pub locations: u16,
}

/// A structure of type 0xDA.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Id, location, value of each entry.
    #[serde(default)]
    pub entries: Vec<dmi::Entry>,
    /// The entry that ends the tokens stands behind them.
    #[serde(default = "yes")]
    pub end: bool,
    /// The formatted area is cut to so many bytes, and its header says so.
    pub bytes: Option<u8>,
    /// The header says this length, whatever there is.
    pub length: Option<u8>,
}

/// What must come of a table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// The error with which the module refuses to load, by its name in C.
    pub refused: Option<String>,
    /// Tokens beside the machine's own.
    #[serde(default)]
    pub more: usize,
    /// Tokens that exist and are not denied.
    #[serde(default)]
    pub free: Vec<u16>,
    /// Tokens that exist and are denied, by reason.
    #[serde(default)]
    pub denied: BTreeMap<String, Vec<u16>>,
    /// Tokens that exist and share a location.
    #[serde(default)]
    pub shared: Vec<u16>,
    /// Tokens that exist and share no location.
    #[serde(default)]
    pub alone: Vec<u16>,
    /// Ids that no token has.
    #[serde(default)]
    pub absent: Vec<u16>,
    /// Location and value of tokens.
    #[serde(default)]
    pub entries: Vec<dmi::Entry>,
}

const fn yes() -> bool {
    true
}

impl Variant {
    /// Reads a data file.
    ///
    /// # Errors
    ///
    /// - [`Error::File`]: it cannot be read, or is larger than 1 MiB
    /// - [`Error::Format`]: it is not TOML of this form
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_toml(path)
    }

    /// Gives storage to every location that the variant names, with values of its own in each select.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a location is past the last, or the ids or entries do not fit.
    pub fn furnish(&self, table: &mut Table) -> Result<(), Error> {
        let listed = self.structure.iter().flat_map(|shape| &shape.entries).copied();
        for (id, location, _) in listed.chain(self.fill()?) {
            if location > LOCATION_MAX {
                let reason = format!("location 0x{location:04X} is past the last, 0x{LOCATION_MAX:04X}");
                return Err(Error::invalid(format!("token {}", TokenId(id)), reason));
            }
            let value = |bank: u32| bank << 16 | u32::from(location);
            table.furnish(location, Values { current: value(1), battery: value(2), ac: value(3) });
        }
        if let Some(shape) = self.structure.iter().find(|shape| shape.entries.len() > STRUCTURE_TOKENS_MAX) {
            let reason = format!("{} entries in one, at most {STRUCTURE_TOKENS_MAX}", shape.entries.len());
            return Err(Error::invalid("structure", reason));
        }
        Ok(())
    }

    /// The token structures, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: there are more than 256, or the filling passes the last id.
    pub fn structures(&self, table: &Table) -> Result<Vec<Vec<u8>>, Error> {
        let machine = table.tokens().iter().filter(|_| self.machine);
        let machine: Vec<_> = machine.map(|token| (token.id.0, token.location, token.value)).collect();
        let fill: Vec<_> = self.fill()?.collect();
        let good = machine.chunks(STRUCTURE_TOKENS_MAX).chain(fill.chunks(STRUCTURE_TOKENS_MAX));
        let good =
            good.map(|entries| Shape { entries: entries.to_vec(), end: true, bytes: None, length: None });
        let shapes: Vec<_> = good.chain(self.structure.iter().cloned()).collect();
        if shapes.len() > 256 {
            return Err(Error::invalid("structure", format!("{} of them, at most 256", shapes.len())));
        }
        let numbered = shapes.iter().zip(0u8..=u8::MAX);
        Ok(numbered.map(|(shape, index)| shape.bytes(table, index)).collect())
    }

    fn fill(&self) -> Result<impl Iterator<Item = dmi::Entry> + use<>, Error> {
        let fill = self.fill.unwrap_or(Fill { count: 0, first: 1, location: 0, locations: 1 });
        let Fill { count, first, location, locations } = fill;
        let last = u32::from(first) + u32::from(count);
        if locations == 0 || last > 0xFFFF || u32::from(location) + u32::from(locations) > 0x1_0000 {
            return Err(Error::invalid("fill", "no locations, or its ids or locations pass 0xFFFF"));
        }
        let entry = move |number: u16| {
            let place = location.saturating_add(number.checked_rem(locations).unwrap_or(0));
            (first.saturating_add(number), place, 1)
        };
        Ok((0..count).map(entry))
    }

    /// What the bytes of a firmware's structures come to, if that is what the variant states.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first token that is otherwise than stated, or says that a structure which the
    /// kernel needs is lost.
    pub fn check(&self, table: &Table, bytes: &[u8]) -> Result<Reading, Error> {
        let reading = Reading::new(bytes);
        for needed in [0xB1, 3] {
            if !reading.types.contains(&needed) {
                let reason =
                    format!("the structure of type 0x{needed:02X} is lost: then no laptop is left to test");
                return Err(Error::invalid("structure", reason));
            }
        }
        let refused = reading.is_too_long().then_some("E2BIG");
        if refused != self.expect.refused.as_deref() {
            return Err(Error::invalid("expect", format!("`refused`: by its bytes it is {refused:?}")));
        }
        let machine = if self.machine { table.tokens().len() } else { 0 };
        let more = reading.tokens.len().saturating_sub(machine);
        if refused.is_none() && more != self.expect.more {
            return Err(Error::invalid("expect", format!("`more`: by its bytes it is {more}")));
        }
        self.expect.tokens().try_for_each(|stated| check_token(table, &reading, stated))?;
        Ok(reading)
    }
}

/// What is stated of one id.
#[derive(Clone, Copy, Debug)]
enum Claim<'a> {
    Free,
    Denied(&'a str),
    Shared,
    Alone,
    Absent,
    Entry(dmi::Entry),
}

impl Stated {
    fn tokens(&self) -> impl Iterator<Item = (u16, Claim<'_>)> {
        let all = |ids: &'_ [u16], claim| ids.iter().map(move |id| (*id, claim)).collect::<Vec<_>>();
        let denied = self.denied.iter().flat_map(move |(reason, ids)| all(ids, Claim::Denied(reason)));
        let plain = [
            all(&self.free, Claim::Free),
            all(&self.shared, Claim::Shared),
            all(&self.alone, Claim::Alone),
            all(&self.absent, Claim::Absent),
        ];
        let entries = self.entries.iter().map(|entry| (entry.0, Claim::Entry(*entry)));
        plain.into_iter().flatten().chain(denied).chain(entries)
    }
}

fn check_token(table: &Table, reading: &Reading, (id, claim): (u16, Claim<'_>)) -> Result<(), Error> {
    let entry = reading.tokens.iter().find(|entry| entry.0 == id).copied();
    let denied = || entry.and_then(|entry| denied(table, reading, entry));
    let shares = || entry.is_some_and(|entry| reading.at(entry.1).any(|other| other != id));
    let holds = match claim {
        Claim::Absent => entry.is_none(),
        Claim::Free => entry.is_some() && denied().is_none(),
        Claim::Denied(reason) => denied() == Some(reason),
        Claim::Shared => shares(),
        Claim::Alone => entry.is_some() && !shares(),
        Claim::Entry(stated) => entry == Some(stated),
    };
    let found = || {
        format!("{claim:?} is stated; by the bytes: {entry:04X?}, denied {:?}, shares {}", denied(), shares())
    };
    if holds { Ok(()) } else { Err(Error::invalid(format!("token {}", TokenId(id)), found())) }
}

/// Why a token of such a table must not be written, if so.
pub(super) fn denied<'a>(
    table: &'a Table,
    reading: &Reading,
    (id, location, _): dmi::Entry,
) -> Option<&'a str> {
    let neighbour = || reading.at(location).any(|other| table.listed(TokenId(other)).is_some());
    table.listed(TokenId(id)).or_else(|| neighbour().then_some("shared location"))
}

impl Shape {
    fn bytes(&self, table: &Table, index: u8) -> Vec<u8> {
        let mut bytes = smbios::token_structure(table, index, &self.entries, self.end);
        if let Some(cut) = self.bytes {
            bytes.truncate(usize::from(cut));
            bytes.extend([0, 0]);
        }
        if let (Some(length), Some(place)) = (self.length.or(self.bytes), bytes.get_mut(1)) {
            *place = length;
        }
        bytes
    }
}
