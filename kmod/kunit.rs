// SPDX-License-Identifier: GPL-2.0-only

//! The pure rules, tested as the kernel's own compiler and checks build them: they run when the module is loaded into a
//! kernel with KUnit (`make test-sanitize`). The host runs those of the modules below, too, and has properties of all of
//! them: supervisor/device/tests.
//!
//! # Layout
//!
//! One module for the cases of each module of the same name; those of `token` are here.

mod limit;
mod machine;
mod ring;
mod transaction;

use kernel::{
    macros::kunit_tests,
    prelude::*, //
};

use crate::{
    token::{
        self,
        Refusal,
        Token, //
    },
    uapi,
};

/// Header, command address, command code and classes of a token structure.
const HEADER: [u8; 11] = [0xda, 0, 0, 0xda, 0xf0, 0x0e, 0, 0x93, 0x0d, 0x02, 0x20];

/// Id, location, value: a free token, two that share a location, a quarantined one and another at its location, a
/// duplicate of the first and another at the duplicate's location.
const TOKENS: [(u16, u16, u16); 7] = [
    (0x8060, 0x0100, 1),
    (0x8001, 0x0200, 0),
    (0x8002, 0x0200, 1),
    (0x8009, 0x0300, 1),
    (0x1234, 0x0300, 0),
    (0x8060, 0x0400, 1),
    (0x0500, 0x0400, 1),
];

/// A structure's formatted area: [`TOKENS`], with a terminator in their middle and a cut-off entry at their end.
fn structure() -> Result<KVec<u8>> {
    let mut area = KVec::new();
    area.extend_from_slice(&HEADER, GFP_KERNEL)?;
    for (index, (id, location, value)) in TOKENS.iter().enumerate() {
        if index == 2 {
            area.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0], GFP_KERNEL)?;
        }
        for number in [id, location, value] {
            area.extend_from_slice(&number.to_le_bytes(), GFP_KERNEL)?;
        }
    }
    area.extend_from_slice(&[0x07, 0x80, 0x00], GFP_KERNEL)?;
    Ok(area)
}

/// The structure's tokens, parsed and classified.
fn table() -> Result<KVec<Token>> {
    let area = structure()?;
    let mut tokens = KVec::new();
    for token in token::parse(&area) {
        tokens.push(token, GFP_KERNEL)?;
    }
    let length = token::classify(&mut tokens);
    tokens.truncate(length);
    Ok(tokens)
}

#[kunit_tests(dsmil)]
mod tests {
    use super::*;

    #[test]
    fn rules_by_id() {
        for (id, rule) in [
            (0x8008, uapi::DSMIL_RULE_NONE),
            (0x8009, uapi::DSMIL_RULE_QUARANTINE),
            (0x800b, uapi::DSMIL_RULE_QUARANTINE),
            (0x800c, uapi::DSMIL_RULE_NONE),
            (0x8004, uapi::DSMIL_RULE_POWER),
            (0x0436, uapi::DSMIL_RULE_DESTRUCTIVE),
            (0xa003, uapi::DSMIL_RULE_DESTRUCTIVE),
            (0xa004, uapi::DSMIL_RULE_UPSTREAM),
            (0x3fff, uapi::DSMIL_RULE_NONE),
            (0x4000, uapi::DSMIL_RULE_UPSTREAM),
            (0x7fff, uapi::DSMIL_RULE_UPSTREAM),
            (0xffff, uapi::DSMIL_RULE_NONE),
        ] {
            assert_eq!(token::rule(id), rule);
        }
    }

    #[test]
    fn parse_takes_token_structures_only() -> Result {
        let mut area = structure()?;
        assert_eq!(token::parse(&area).count(), TOKENS.len());
        for cut in 0..HEADER.len() {
            assert_eq!(token::parse(area.get(..cut).ok_or(EINVAL)?).count(), 0);
        }
        *area.first_mut().ok_or(EINVAL)? = 0xdb;
        assert_eq!(token::parse(&area).count(), 0);
        Ok(())
    }

    #[test]
    fn classify_sorts_and_denies_whole_locations() -> Result {
        let table = table()?;
        assert!(table.iter().is_sorted_by(|a, b| a.id < b.id));
        assert_eq!(table.len(), TOKENS.len() - 1);
        let rule = |id| token::find(&table, id).map(|token| token.rule);
        assert_eq!(rule(0x8009), Some(uapi::DSMIL_RULE_QUARANTINE));
        assert_eq!(rule(0x1234), Some(uapi::DSMIL_RULE_SHARED_LOCATION));
        assert_eq!(rule(0x8060), Some(uapi::DSMIL_RULE_NONE));
        // The first of two duplicates counts; what shares the other's location shares it still.
        let found = |id| token::find(&table, id).map(|token| (token.location, token.shared));
        assert_eq!(found(0x8060), Some((0x0100, false)));
        assert_eq!(found(0x0500), Some((0x0400, true)));
        Ok(())
    }

    #[test]
    fn allow_names_what_is_wrong() -> Result {
        let table = table()?;
        let allow = |ids: &[u16]| {
            let mut marks = [false; TOKENS.len() - 1];
            token::allow(&table, ids, &mut marks)?;
            Ok::<_, Refusal>(marks.iter().filter(|mark| **mark).count())
        };
        for (id, reason) in [
            (0x9999, uapi::DSMIL_REASON_UNKNOWN),
            (0x8009, uapi::DSMIL_REASON_NEVER_WRITTEN),
            (0x1234, uapi::DSMIL_REASON_NEVER_WRITTEN),
            (0x8060, uapi::DSMIL_REASON_DUPLICATE),
            (0x8001, uapi::DSMIL_REASON_PARTIAL_LOCATION),
        ] {
            assert!(allow(&[0x8060, id]).is_err_and(|refusal| refusal.reason == reason));
        }
        assert_eq!(allow(&[0x8060, 0x8001, 0x8002]), Ok(3));
        assert_eq!(allow(&[]), Ok(0));
        Ok(())
    }

    #[test]
    fn writes_are_refused_until_allowed() -> Result {
        let table = table()?;
        let none = [false; TOKENS.len() - 1];
        let mut marks = none;
        assert!(token::allow(&table, &[0x8060, 0x8001, 0x8002], &mut marks).is_ok());
        let write = |allowed, id, value| token::check_write(&table, allowed, 0, id, value);
        for (allowed, id, value, reason) in [
            (None, 0x9999, 1, uapi::DSMIL_REASON_UNKNOWN),
            (
                Some(&marks[..]),
                0x8009,
                1,
                uapi::DSMIL_REASON_NEVER_WRITTEN,
            ),
            (None, 0x8060, 1, uapi::DSMIL_REASON_NOT_SEALED),
            (Some(&none[..]), 0x8060, 1, uapi::DSMIL_REASON_NOT_ALLOWED),
            (Some(&marks[..]), 0x0500, 1, uapi::DSMIL_REASON_NOT_ALLOWED),
            (Some(&marks[..]), 0x8001, 2, uapi::DSMIL_REASON_VALUE),
        ] {
            assert!(write(allowed, id, value).is_err_and(|refusal| refusal.reason == reason));
        }
        assert_eq!(write(Some(&marks), 0x8060, u32::MAX), Ok(0x0100));
        assert_eq!(write(Some(&marks), 0x8001, 1), Ok(0x0200));
        Ok(())
    }
}
