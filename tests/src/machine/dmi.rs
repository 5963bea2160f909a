//! The SMBIOS table read from its bytes, as it must be understood when it is wrong.
//!
//! Written from the rules below and not from the kernel module's code, so that each holds the other to them:
//!
//! 1. A structure's formatted area is as long as its header says; its strings end at the next two NULs. Less than four
//!    bytes end the table; a structure that does not end inside the table does not count (SMBIOS, and `dmi_scan.c`).
//! 2. An entry is six whole bytes behind the head of 11. Ids 0 and FFFF are no tokens; FFFF ends nothing.
//! 3. The kernel's Dell driver takes all entries but the last, whatever that is, of structures of 17 bytes and more.
//!    Of an id that comes twice the first counts.
//! 4. A token exists where driver and table agree on its first entry. A driver that drops the first entry of an
//!    id and has another leaves its location in doubt, so that id does not exist.
//! 5. Whatever stood at a location counts there, also an entry that became no token: denied for one, denied for all.
//! 6. More than [`ENTRIES_MAX`] tokens are too many: a table cut short would not know all shared locations.

use std::collections::BTreeMap;

/// Most tokens that the kernel module takes, duplicates counted.
pub const ENTRIES_MAX: usize = 4096;
/// Type of a token structure.
const TOKENS: u8 = 0xDA;
/// Bytes before the first entry.
const HEAD: usize = 11;
/// Bytes of an entry.
const ENTRY: usize = 6;
/// Below this the driver does not look at a structure.
const DRIVER_BYTES_MIN: usize = HEAD + ENTRY;

/// An entry: id, location, value.
pub type Entry = (u16, u16, u16);

/// What a table's bytes say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The tokens that exist, by id.
    pub tokens: Vec<Entry>,
    /// Every entry that is a token's, in order, also those that came to nothing.
    pub entries: Vec<Entry>,
    /// The types of the structures, in order.
    pub types: Vec<u8>,
}

impl Reading {
    /// Reads a table: its structures with their strings, one after the other.
    #[must_use]
    pub fn new(table: &[u8]) -> Self {
        let areas = areas(table);
        let types = areas.iter().filter_map(|area| area.first().copied()).collect();
        let structures = areas.into_iter().filter(|area| area.first() == Some(&TOKENS));
        let (mut entries, mut driver): (Vec<Entry>, _) = (Vec::new(), BTreeMap::new());
        for area in structures {
            let whole: Vec<Entry> =
                area.get(HEAD..).unwrap_or_default().chunks_exact(ENTRY).filter_map(entry).collect();
            if area.len() >= DRIVER_BYTES_MIN {
                for taken in whole.iter().take(whole.len().saturating_sub(1)) {
                    driver.entry(taken.0).or_insert(*taken);
                }
            }
            entries.extend(whole.into_iter().filter(|(id, ..)| !matches!(*id, 0 | u16::MAX)));
        }
        let mut first = BTreeMap::new();
        for entry in &entries {
            first.entry(entry.0).or_insert(*entry);
        }
        let tokens = first.into_values().filter(|entry| driver.get(&entry.0) == Some(entry)).collect();
        Self { tokens, entries, types }
    }

    /// The ids that ever stood at a location.
    pub fn at(&self, location: u16) -> impl Iterator<Item = u16> + '_ {
        self.entries.iter().filter(move |entry| entry.1 == location).map(|entry| entry.0)
    }

    /// The table is more than the kernel module takes.
    #[must_use]
    pub const fn is_too_long(&self) -> bool {
        self.entries.len() > ENTRIES_MAX
    }
}

/// The formatted areas of a table's structures.
fn areas(table: &[u8]) -> Vec<&[u8]> {
    let mut areas = Vec::new();
    let mut rest = table;
    while let [_, length, _, _, ..] = rest {
        let Some((area, after)) = rest.split_at_checked(usize::from(*length)).filter(|_| *length >= 4) else {
            break;
        };
        let Some(end) = after.windows(2).position(|pair| pair == [0, 0]) else { break };
        areas.push(area);
        rest = after.get(end + 2..).unwrap_or_default();
    }
    areas
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    match *bytes {
        [a, b, c, d, e, f] => {
            Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]), u16::from_le_bytes([e, f])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machine::laptop;
    use crate::machine::smbios::structures;

    #[test]
    fn the_laptop_reads_as_it_was_written() {
        let table = laptop();
        let structures = structures(&table, None).unwrap();
        let bytes: Vec<u8> = structures.into_iter().flat_map(|structure| structure.bytes).collect();
        let reading = Reading::new(&bytes);
        let mut written: Vec<Entry> =
            table.tokens().iter().map(|token| (token.id.0, token.location, token.value)).collect();
        assert_eq!(reading.entries, written);
        written.sort_unstable();
        assert_eq!(reading.tokens, written);
        assert_eq!(reading.types, [0xDA, 0xDA, 0xDA, 0xDA, 0xDA, 0xB1, 3]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let reading = Reading::new(&bytes);
            prop_assert!(reading.tokens.len() <= reading.entries.len());
        }
    }
}
