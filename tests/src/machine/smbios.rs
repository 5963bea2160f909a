//! SMBIOS structures, written and parsed back.
//!
//! Type 0xDA, little-endian: 0 type, 1 length (u8), 2 handle, 4 u16 command port, 6 u8 command, 7 u32 announced
//! classes, from 11 on six bytes a token {u16 id, u16 location, u16 value}, last FFFF 0000 0000; two NULs after the
//! length. Types 0, 1, 2 and 11 are QEMU's to write, from its arguments, unless a variant wants to be the last of all.

mod whole;

use types::token::TokenId;

use super::table::Table;
use super::variant::Variant;
use super::{Error, dmi};

/// Tokens in one structure at most: its length, of one byte, is 11 + 6 × (tokens + 1).
pub const STRUCTURE_TOKENS_MAX: usize = 39;

/// Type of a token structure.
const TOKENS: u8 = 0xDA;
/// Bytes before the first token.
const HEAD: usize = 11;
/// Bytes of a token.
const TOKEN: usize = 6;
/// The entry that ends a token structure.
const END: [u8; TOKEN] = [0xFF, 0xFF, 0, 0, 0, 0];

/// Type 0xB1: flags 0 = 2 announces WMI calls; the driver insists on handle 0xB100.
const FLAGS: [u8; 14] = [0xB1, 0x0C, 0x00, 0xB1, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A structure and what its file is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    /// The file's name.
    pub file: String,
    /// The structure with its strings, as QEMU takes it.
    pub bytes: Vec<u8>,
}

/// Why bytes are not a token structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The bytes end too early, or go on after the end.
    #[error("the structure has not the length that it says")]
    Length,
    /// Its type is another.
    #[error("the structure is not of type 0xDA")]
    Type,
    /// The last entry is not the end, or an entry before it is.
    #[error("the end of the tokens is not where the structure ends")]
    End,
}

/// All structures of a machine that QEMU takes as files, with the tokens of a variant where there is one.
///
/// # Errors
///
/// [`Error::Invalid`]: the variant's tokens do not fit.
pub fn structures(table: &Table, variant: Option<&Variant>) -> Result<Vec<Structure>, Error> {
    let tokens = match variant {
        Some(variant) => variant.structures(table)?,
        None => own(table),
    };
    let tokens = tokens
        .into_iter()
        .enumerate()
        .map(|(index, bytes)| Structure { file: format!("smbios-da-{index:02}.bin"), bytes });
    let flags = Structure { file: "smbios-b1.bin".to_owned(), bytes: FLAGS.to_vec() };
    let chassis = Structure { file: "smbios-chassis.bin".to_owned(), bytes: chassis(table) };
    if variant.is_some_and(|variant| variant.last) {
        let others =
            whole::structures(table.identity()).into_iter().map(|(file, bytes)| Structure { file, bytes });
        return Ok(others.chain([flags, chassis]).chain(tokens).collect());
    }
    Ok(tokens.chain([flags, chassis]).collect())
}

/// The machine's tokens in good order.
fn own(table: &Table) -> Vec<Vec<u8>> {
    let tokens: Vec<_> =
        table.tokens().iter().map(|token| (token.id.0, token.location, token.value)).collect();
    let numbered = tokens.chunks(STRUCTURE_TOKENS_MAX).zip(0u8..=u8::MAX);
    numbered.map(|(tokens, index)| token_structure(table, index, tokens, true)).collect()
}

/// A structure of at most [`STRUCTURE_TOKENS_MAX`] entries and, where wanted, the one that ends them.
pub(super) fn token_structure(table: &Table, index: u8, entries: &[dmi::Entry], end: bool) -> Vec<u8> {
    let entries = entries.iter().take(STRUCTURE_TOKENS_MAX);
    let body = entries.flat_map(|(id, at, value)| [*id, *at, *value].into_iter().flat_map(u16::to_le_bytes));
    let body: Vec<u8> = body.chain(END.into_iter().filter(|_| end)).collect();
    let length = u8::try_from(HEAD + body.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![TOKENS, length, index, 0xDA];
    bytes.extend(table.port().to_le_bytes());
    bytes.push(table.code());
    bytes.extend(table.classes().to_le_bytes());
    bytes.extend(body);
    bytes.extend([0, 0]);
    bytes
}

/// The tokens of a structure: id, location, value.
///
/// # Errors
///
/// [`Malformed`] where the bytes are not one token structure with its two NULs.
pub fn parse(bytes: &[u8]) -> Result<Vec<(TokenId, u16, u16)>, Malformed> {
    let [kind, length, ..] = bytes else { return Err(Malformed::Length) };
    if *kind != TOKENS {
        return Err(Malformed::Type);
    }
    let (structure, strings) = bytes.split_at_checked(usize::from(*length)).ok_or(Malformed::Length)?;
    let body = structure.get(HEAD..).ok_or(Malformed::Length)?;
    if strings != [0, 0] || body.len() % TOKEN != 0 {
        return Err(Malformed::Length);
    }
    let mut entries: Vec<_> = body.chunks_exact(TOKEN).collect();
    if entries.pop() != Some(&END) || entries.contains(&END.as_slice()) {
        return Err(Malformed::End);
    }
    let words = entries.into_iter().filter_map(|entry| match entry {
        [a, b, c, d, e, f] => Some((
            TokenId(u16::from_le_bytes([*a, *b])),
            u16::from_le_bytes([*c, *d]),
            u16::from_le_bytes([*e, *f]),
        )),
        _ => None,
    });
    Ok(words.collect())
}

/// Type 3, whole: QEMU's own says "other" where a notebook is due. String 1 the vendor, 2 the serial number.
fn chassis(table: &Table) -> Vec<u8> {
    let identity = table.identity();
    let mut bytes = vec![0x03, 0x16, 0x00, 0x03, 0x01, identity.chassis, 0x00, 0x02, 0x00];
    // Boot-up, power and thermal state safe, security none; nothing of the rest.
    bytes.extend([0x03, 0x03, 0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for text in [&identity.vendor, &identity.serial] {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::machine::laptop;

    fn token_structures(table: &Table) -> Vec<Vec<u8>> {
        let structures = structures(table, None).unwrap().into_iter().map(|structure| structure.bytes);
        structures.filter(|bytes| bytes[0] == TOKENS).collect()
    }

    #[test]
    fn every_token_of_the_laptop_stands_in_the_structures_once() {
        let table = laptop();
        let read: Vec<_> = token_structures(&table).iter().flat_map(|bytes| parse(bytes).unwrap()).collect();
        let written: Vec<_> =
            table.tokens().iter().map(|token| (token.id, token.location, token.value)).collect();
        assert_eq!(read, written);
        let ids: BTreeSet<_> = read.iter().map(|(id, ..)| id).collect();
        assert_eq!(ids.len(), read.len());
    }

    #[test]
    fn heads_are_as_the_kernel_reads_them() {
        let table = laptop();
        let structures = token_structures(&table);
        let handles: BTreeSet<[u8; 2]> = structures.iter().map(|bytes| [bytes[2], bytes[3]]).collect();
        assert_eq!(handles.len(), structures.len(), "handles are unique");
        for bytes in &structures {
            assert_eq!(bytes.len(), usize::from(bytes[1]) + 2, "length and two NULs");
            assert_eq!(bytes[4..7], [0xF0, 0x0E, 0x00], "command port and code");
            // What a Latitude announces, and class 30.
            assert_eq!(u32::from_le_bytes([bytes[7], bytes[8], bytes[9], bytes[10]]), 0x2002_0D93 | 1 << 30);
        }
    }

    #[test]
    fn the_chassis_is_a_notebook_of_the_vendor() {
        let bytes = chassis(&laptop());
        assert_eq!((bytes[0], bytes[1], bytes[5]), (3, 0x16, 10));
        assert_eq!(bytes[0x16..], *b"Dell Inc.\0DSMIL01\0\0");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            tokens in proptest::collection::vec((1..0xFFFFu16, any::<u16>(), any::<u16>()), 1..=STRUCTURE_TOKENS_MAX),
            index: u8,
        ) {
            let bytes = token_structure(&laptop(), index, &tokens, true);
            prop_assert!(bytes.len() <= 257);
            prop_assert_eq!(bytes.len(), usize::from(bytes[1]) + 2);
            let read: Vec<_> = parse(&bytes).unwrap().into_iter().map(|(id, at, value)| (id.0, at, value)).collect();
            prop_assert_eq!(read, tokens);
            // No shorter or longer piece is taken for a structure.
            prop_assert!(parse(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(parse(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
        }
    }
}
