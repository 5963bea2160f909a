//! Token storage that outlives the laptop: a journal of the firmware's writes.
//!
//! The firmware sends each write to a debug port that QEMU appends to a file on the host at once. Before the next
//! boot the program `firmware` folds the journal into the values that the firmware starts with, and shortens
//! it. So a value survives a power cut from the moment at which the write is answered, as it does on a real board.
//! A reset inside one run of QEMU brings back the values of that run's start: start QEMU with `-no-reboot` and write
//! the firmware anew.
//!
//! A record has eight bytes, little-endian: u8 mark 0xDA, u8 select, u16 location, u32 value. A tail shorter than a
//! record is a write that the power cut interrupted: it did not happen.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::table::Table;
use super::{Error, at};

/// The debug port.
pub const PORT: u16 = 0x0E90;
/// First byte of a record.
pub const MARK: u8 = 0xDA;
/// Bytes of a record.
const RECORD: usize = 8;
/// Largest journal that is read: 4 million writes in one boot.
const JOURNAL_BYTES_MAX: u64 = 32 << 20;

/// The last value that a journal has for each location and select code.
type Written = BTreeMap<(u16, u8), u32>;

/// Folds a journal into a machine's values and shortens it; a missing file is an empty journal.
///
/// # Errors
///
/// [`Error::File`]: the journal cannot be read or replaced, is larger than 32 MiB, or is damaged.
pub fn load(table: &mut Table, journal: &Path) -> Result<(), Error> {
    let bytes = match fs::metadata(journal) {
        Ok(metadata) if metadata.len() > JOURNAL_BYTES_MAX => {
            let message = format!("the journal is larger than {JOURNAL_BYTES_MAX} bytes; remove it");
            return Err(at(journal)(io::Error::other(message)));
        }
        Ok(_) => fs::read(journal).map_err(at(journal))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(at(journal)(error)),
    };
    let written = parse(&bytes).map_err(|offset| {
        let message = format!("damaged at byte {offset}; remove it to start from the data file's values");
        at(journal)(io::Error::other(message))
    })?;
    // What a later data file no longer has is dropped with the next shortening.
    let kept: Written = written
        .into_iter()
        .filter(|((location, select), value)| table.store(*location, *select, *value))
        .collect();
    super::output::replace(journal, &encode(&kept))
}

/// The last values of a journal, or the offset of a damaged record.
fn parse(bytes: &[u8]) -> Result<Written, usize> {
    let record = |(index, record): (usize, &[u8])| match record {
        [MARK, select @ 0..=2, a, b, c, d, e, f] => {
            Ok(((u16::from_le_bytes([*a, *b]), *select), u32::from_le_bytes([*c, *d, *e, *f])))
        }
        _ => Err(index * RECORD),
    };
    bytes.chunks_exact(RECORD).enumerate().map(record).collect()
}

fn encode(written: &Written) -> Vec<u8> {
    let record = |((location, select), value): (&(u16, u8), &u32)| {
        [MARK, *select].into_iter().chain(location.to_le_bytes()).chain(value.to_le_bytes())
    };
    written.iter().flat_map(record).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_complete_write_stands(
            writes in proptest::collection::vec((any::<u16>(), 0..3u8, any::<u32>()), 0..50),
            cut in 0..8usize,
        ) {
            let mut bytes: Vec<u8> = Vec::new();
            for (location, select, value) in &writes {
                bytes.extend(encode(&Written::from([((*location, *select), *value)])));
            }
            // One more, interrupted.
            let last = encode(&Written::from([((0, 0), 0xFFFF_FFFF)]));
            bytes.extend(&last[..cut]);
            let expected: Written = writes.into_iter().map(|(at, select, value)| ((at, select), value)).collect();
            prop_assert_eq!(parse(&bytes), Ok(expected.clone()));
            prop_assert_eq!(parse(&encode(&expected)), Ok(expected));
        }

        #[test]
        fn no_journal_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn damage_is_named_by_its_offset() {
        let mut bytes = encode(&Written::from([((1, 0), 5), ((2, 1), 6)]));
        bytes[9] = 3;
        assert_eq!(parse(&bytes), Err(8));
    }
}
