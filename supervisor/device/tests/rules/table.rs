//! The table and the rules about it.

use crate::*;
use token::{Refusal, Token};

/// What is never written, stated a second time on purpose: ids, and the rule's number.
const DENIED: [(&[(u16, u16)], u32); 4] = [
    (&[(0x8009, 0x800B), (0x8019, 0x8019), (0x8029, 0x8029)], uapi::DSMIL_RULE_QUARANTINE),
    (&[(0x8004, 0x8004)], uapi::DSMIL_RULE_POWER),
    (&[(0x0436, 0x0437), (0xA000, 0xA003)], uapi::DSMIL_RULE_DESTRUCTIVE),
    (
        &[
            (0x0058, 0x0059),
            (0x007D, 0x007D),
            (0x00CD, 0x00D0),
            (0x013A, 0x01FF),
            (0x027D, 0x0284),
            (0x02E3, 0x02E3),
            (0x02EA, 0x02EC),
            (0x02F6, 0x02F6),
            (0x02FF, 0x0302),
            (0x0325, 0x0326),
            (0x0332, 0x0335),
            (0x0350, 0x0350),
            (0x0363, 0x0365),
            (0x0368, 0x0368),
            (0x03F6, 0x03F7),
            (0x0451, 0x0451),
            (0x049E, 0x04A3),
            (0x04E6, 0x04E7),
            (0x4000, 0x7FFF),
            (0x9000, 0x9001),
            (0xA004, 0xBFFF),
            (0xEFF0, 0xEFFF),
        ],
        uapi::DSMIL_RULE_UPSTREAM,
    ),
];

#[test]
fn every_id_has_the_rule_that_the_domain_gives_it() {
    for id in 0..=u16::MAX {
        let ruled = DENIED.iter().find(|(ranges, _)| ranges.iter().any(|(a, b)| (*a..=*b).contains(&id)));
        let wanted = ruled.map_or(uapi::DSMIL_RULE_NONE, |(_, rule)| *rule);
        assert_eq!(token::rule(id), wanted, "{id:#06x}");
    }
}

#[test]
fn window_has_84_devices() {
    let table = table(&(0x7FF0..=0x80FF).map(|id| (id, id, 0)).collect::<Vec<_>>());
    let devices: Vec<_> = table.iter().filter_map(|t| t.device().map(|d| (t.id, d))).collect();
    assert_eq!(devices.len(), 84);
    assert_eq!(devices.first(), Some(&(0x8000, (0, 0))));
    assert_eq!(devices.last(), Some(&(0x806B, (6, 11))));
}

/// A structure of type 0xDA, without its strings.
fn structure(entries: &[(u16, u16, u16)]) -> Vec<u8> {
    let mut bytes = vec![0xDA, 0, 0, 0xDA, 0xF0, 0x0E, 0, 0x93, 0x0D, 0x02, 0x20];
    for (id, location, value) in entries {
        for word in [id, location, value] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

/// The classified table of these entries.
fn table(entries: &[(u16, u16, u16)]) -> Vec<Token> {
    let mut tokens: Vec<_> = token::parse(&structure(entries)).collect();
    let kept = token::classify(&mut tokens);
    tokens.truncate(kept);
    tokens
}

#[test]
fn tables_may_be_empty_or_large() {
    assert!(table(&[]).is_empty());
    // In falling order, and each id a second time, where only its successor should be.
    let entries = (1_u16..=2000).rev().flat_map(|id| [(id, id, 0), (id, id + 1, 1)]);
    let table = table(&entries.collect::<Vec<_>>());
    assert!(table.iter().map(|t| t.id).eq(1..=2000));
    for token in &table {
        let before = if token.id > 1 { token::rule(token.id - 1) } else { uapi::DSMIL_RULE_NONE };
        let denied = [token::rule(token.id), before].iter().any(|rule| *rule != uapi::DSMIL_RULE_NONE);
        let wanted = (token.id, 0, token.id > 1, denied);
        assert_eq!((token.location, token.value, token.shared, token.denied()), wanted, "{:#06x}", token.id);
    }
}

/// Ids close together, denied ones, devices, and the two that are none.
fn id() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => 0x8000_u16..0x8030,
        2 => 0x0430_u16..0x0440,
        1 => Just(0x0451_u16),
        1 => any::<u16>(),
        1 => prop_oneof![Just(0_u16), Just(0xFFFF)],
    ]
}

/// Few locations, so that many are shared.
fn entries() -> impl Strategy<Value = Vec<(u16, u16, u16)>> {
    vec((id(), 0_u16..24, 0_u16..4), 0..40)
}

/// A table, and a list of ids of which most are in it.
fn table_and_ids() -> impl Strategy<Value = (Vec<(u16, u16, u16)>, Vec<u16>)> {
    entries().prop_flat_map(|entries| {
        let ids: BTreeSet<u16> = table(&entries).iter().filter(|t| !t.denied()).map(|t| t.id).collect();
        let ids: Vec<u16> = ids.into_iter().collect();
        let length = ids.len();
        let chosen = prop_oneof![Just(ids.clone()), subsequence(ids, 0..=length)].prop_shuffle();
        let odd = prop_oneof![6 => Just(None), 1 => id().prop_map(Some)];
        (Just(entries), chosen, odd).prop_map(|(entries, mut ids, odd)| {
            ids.extend(odd);
            (entries, ids)
        })
    })
}

fn is_real(id: u16) -> bool {
    id != 0 && id != 0xFFFF
}

proptest! {
    #[test]
    fn any_bytes_parse_to_what_they_hold(bytes in vec(any::<u8>(), 0..300)) {
        let tokens = token::parse(&bytes).count();
        prop_assert!(tokens <= bytes.len().saturating_sub(11) / 6);
        if bytes.first() != Some(&0xDA) {
            prop_assert_eq!(tokens, 0);
        }
    }

    #[test]
    fn parsed_tokens_are_those_of_the_structure(entries in entries(), cut in 0_usize..6) {
        let mut bytes = structure(&entries);
        bytes.extend(std::iter::repeat_n(0xAA, cut));
        let found: Vec<_> = token::parse(&bytes).map(|t| (t.id, t.location, t.value)).collect();
        let wanted: Vec<_> = entries.into_iter().filter(|e| is_real(e.0)).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn classified_table_is_what_the_rules_say(entries in entries()) {
        let table = table(&entries);
        let entries: Vec<_> = entries.into_iter().filter(|e| is_real(e.0)).collect();
        let ids: BTreeSet<u16> = entries.iter().map(|e| e.0).collect();
        prop_assert_eq!(table.iter().map(|t| t.id).collect::<Vec<_>>(), ids.into_iter().collect::<Vec<_>>());
        for token in &table {
            let first = entries.iter().find(|e| e.0 == token.id).unwrap();
            prop_assert_eq!((token.location, token.value), (first.1, first.2));
            // Duplicates that were dropped count too: their location is just as real.
            let there: BTreeSet<u16> = entries.iter().filter(|e| e.1 == token.location).map(|e| e.0).collect();
            let denied = there.iter().any(|id| token::rule(*id) != uapi::DSMIL_RULE_NONE);
            prop_assert_eq!(token.denied(), denied);
            prop_assert_eq!(token.shared, there.len() > 1);
            let rule = token::rule(token.id);
            let by_location = denied && rule == uapi::DSMIL_RULE_NONE;
            prop_assert_eq!(token.rule, if by_location { uapi::DSMIL_RULE_SHARED_LOCATION } else { rule });
        }
    }

    #[test]
    fn only_a_whole_and_harmless_list_is_allowed((entries, ids) in table_and_ids()) {
        let table = table(&entries);
        let mut marks = vec![false; table.len()];
        let set: BTreeSet<u16> = ids.iter().copied().collect();
        let known = |id: &u16| table.iter().find(|t| t.id == *id);
        let harmless = ids.iter().all(|id| known(id).is_some_and(|t| !t.denied()));
        let locations: BTreeSet<u16> = ids.iter().filter_map(|id| known(id).map(|t| t.location)).collect();
        let whole = table.iter().all(|t| !locations.contains(&t.location) || set.contains(&t.id));
        let wanted = harmless && whole && set.len() == ids.len();

        let allowed = token::allow(&table, &ids, &mut marks);
        prop_assert_eq!(allowed.is_ok(), wanted, "{:?}", allowed);
        for (token, marked) in table.iter().zip(marks).filter(|_| wanted) {
            prop_assert_eq!(marked, set.contains(&token.id));
            prop_assert!(!(marked && token.denied()));
        }
    }

    #[test]
    fn only_what_is_allowed_is_written(
        (entries, ids) in table_and_ids(), id in id(), value in 0_u32..6, sealed: bool,
    ) {
        let table = table(&entries);
        let mut marks = vec![false; table.len()];
        let allowed = sealed && token::allow(&table, &ids, &mut marks).is_ok();
        // Half of the time one that could be written.
        let id = ids.first().copied().filter(|_| value % 2 == 0).unwrap_or(id);
        let checked = token::check_write(&table, allowed.then_some(&marks[..]), 7, id, value);
        let Some(token) = token::find(&table, id) else {
            prop_assert_eq!(checked, Err(Refusal::entry(uapi::DSMIL_REASON_UNKNOWN, 7, id)));
            return Ok(());
        };
        let values: BTreeMap<u16, BTreeSet<u32>> = table.iter().fold(BTreeMap::new(), |mut map, t| {
            map.entry(t.location).or_insert_with(BTreeSet::new).insert(u32::from(t.value));
            map
        });
        let fits = !token.shared || values[&token.location].contains(&value);
        let reason = checked.err().map(|refusal| refusal.reason);
        let wanted = if token.denied() {
            Some(uapi::DSMIL_REASON_NEVER_WRITTEN)
        } else if !allowed {
            Some(uapi::DSMIL_REASON_NOT_SEALED)
        } else if !ids.contains(&id) {
            Some(uapi::DSMIL_REASON_NOT_ALLOWED)
        } else if !fits {
            Some(uapi::DSMIL_REASON_VALUE)
        } else {
            None
        };
        prop_assert_eq!(reason, wanted);
        if wanted.is_none() {
            prop_assert_eq!(checked, Ok(token.location));
        }
    }

    #[test]
    fn where_a_token_stands_does_not_depend_on_where_the_search_begins(
        entries in entries(), id in id(), near in proptest::option::of(0_usize..50),
    ) {
        let table = table(&entries);
        let found = table.iter().position(|token| token.id == id);
        prop_assert_eq!(token::position_near(&table, id, near), found);
        prop_assert_eq!(token::position(&table, id), found);
    }

    #[test]
    fn exported_flags_agree_with_the_token(entries in entries(), writable: bool) {
        for token in &table(&entries) {
            let exported = token.export(writable);
            prop_assert_eq!((exported.id, exported.location, exported.value), (token.id, token.location, token.value));
            let has = |flag| exported.flags & flag != 0;
            prop_assert_eq!(has(uapi::DSMIL_TOKEN_DENIED), u32::from(exported.rule) != uapi::DSMIL_RULE_NONE);
            prop_assert_eq!(has(uapi::DSMIL_TOKEN_WRITABLE), writable);
            prop_assert_eq!(has(uapi::DSMIL_TOKEN_READABLE), !(0xA000..=0xBFFF).contains(&token.id));
            prop_assert_eq!(has(uapi::DSMIL_TOKEN_DEVICE), exported.group != 0xFF);
            prop_assert_eq!(exported.group == 0xFF, exported.member == 0xFF);
        }
    }
}
