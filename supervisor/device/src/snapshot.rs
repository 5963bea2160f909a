//! Values with their ages, and all of them at one moment.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::errno::Errno;
use types::token::{Change, Select, Token, TokenId};

use crate::uapi::{self, dsmil_read_entry};
use crate::{Error, Undo};

/// How old a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Each value fresh from the firmware.
    Fresh,
    /// A cached value no older than this will do, in whole milliseconds.
    AtMost(Duration),
    /// Cached values alone, whatever their age; the firmware is not called.
    Any,
}

impl Age {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Fresh => 0,
            // Rounded down, so that nothing older than asked for comes back.
            Self::AtMost(age) => {
                u32::try_from(age.as_millis()).unwrap_or(u32::MAX).min(uapi::DSMIL_AGE_ANY - 1)
            }
            Self::Any => uapi::DSMIL_AGE_ANY,
        }
    }
}

/// What a location held some time ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// The location's value, as the firmware gave it.
    pub value: u32,
    /// Since the firmware gave it; zero: during this call.
    pub age: Duration,
}

/// Every readable token's values, with nothing written by the module in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The module's generation, which stood at the beginning and at the end.
    pub generation: u64,
    /// When it began: CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
    /// One for each readable token and each select that was asked for, in ascending order of ids, then of the
    /// selects' codes.
    pub entries: Vec<Entry>,
}

/// One value of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The token.
    pub id: TokenId,
    /// Which value.
    pub select: Select,
    /// What it held, or [`Error::NotCached`], [`Error::Firmware`].
    pub held: Result<Aged, Error>,
}

impl Snapshot {
    /// What it says of one value, if anything.
    #[must_use]
    pub fn get(&self, id: TokenId, select: Select) -> Option<&Entry> {
        let wanted = (id, select.code());
        let found = self.entries.binary_search_by_key(&wanted, |entry| (entry.id, entry.select.code()));
        found.ok().and_then(|index| self.entries.get(index))
    }

    /// Values of tokens that may be written, one for each location and select: a location's tokens hold the same.
    /// `tokens` is in ascending order of ids.
    pub(crate) fn writable(&self, tokens: &[Token]) -> Vec<Change> {
        let mut seen = BTreeSet::new();
        let mut changes = Vec::new();
        for entry in &self.entries {
            let token = tokens.binary_search_by_key(&entry.id, |token| token.id).ok();
            let (Some(token), Ok(held)) = (token.and_then(|index| tokens.get(index)), &entry.held) else {
                continue;
            };
            if token.writable && seen.insert((token.location, entry.select)) {
                changes.push(Change {
                    id: entry.id,
                    select: entry.select,
                    value: held.value,
                    expected: None,
                });
            }
        }
        changes
    }
}

/// The module's answer about one value.
pub(crate) fn aged(id: TokenId, entry: &dsmil_read_entry) -> Result<Aged, Error> {
    if entry.error == 0 {
        return Ok(Aged { value: entry.value, age: Duration::from_nanos(entry.age_ns) });
    }
    Err(match Errno::from_raw(entry.error) {
        Errno::ENOENT => Error::Unknown(id),
        Errno::EACCES => Error::NotReadable(id),
        Errno::ENODATA if entry.status == 0 => Error::NotCached(id),
        source => Error::Firmware { id, source, status: entry.status, undo: Undo::NotNeeded },
    })
}

/// The entries of a snapshot. One with a select that this build does not know was not asked for.
pub(crate) fn entries(entries: &[dsmil_read_entry]) -> Vec<Entry> {
    let known = entries.iter().filter_map(|entry| {
        let (id, select) = (TokenId(entry.id), Select::from_code(entry.select)?);
        Some(Entry { id, select, held: aged(id, entry) })
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_never_longer_than_asked() {
        assert_eq!(Age::Fresh.number(), 0);
        assert_eq!(Age::AtMost(Duration::from_micros(1999)).number(), 1);
        assert_eq!(Age::AtMost(Duration::MAX).number(), u32::MAX - 1);
        assert_eq!(Age::Any.number(), uapi::DSMIL_AGE_ANY);
    }

    #[test]
    fn what_is_brought_back_is_writable_readable_and_once_for_each_location() {
        let token = |id, location, writable| Token {
            id: TokenId(id),
            location,
            table_value: 1,
            denied: None,
            writable,
            shares_location: false,
        };
        let raw =
            |id, select, value, error| dsmil_read_entry { id, select, value, error, ..Default::default() };
        let answers = [
            raw(1, 0, 7, 0),
            raw(1, 2, 8, 0),
            raw(2, 0, 7, 0),
            raw(3, 0, 9, 0),
            raw(4, 0, 0, i32::from(Errno::ENODATA as u16)),
            raw(5, 9, 1, 0),
        ];
        let snapshot = Snapshot { generation: 0, time_ns: 0, entries: entries(&answers) };
        // 2 is at the location of 1, 3 may not be written, 4 was never read, 5 has a strange select.
        let tokens = [token(1, 10, true), token(2, 10, true), token(3, 11, false), token(4, 12, true)];
        let changes = snapshot.writable(&tokens);
        let found: Vec<_> = changes.iter().map(|c| (c.id.0, c.select, c.value)).collect();
        assert_eq!(found, [(1, Select::Current, 7), (1, Select::Ac, 8)]);
        assert_eq!(snapshot.entries.len(), 5);
        assert_eq!(
            snapshot.get(TokenId(4), Select::Current).map(|e| e.held.clone()),
            Some(Err(Error::NotCached(TokenId(4))))
        );
        assert_eq!(snapshot.get(TokenId(1), Select::Battery), None);
    }
}
