//! Token tables that are wrong on purpose: each comes to what its file states, and nothing else.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use tests::machine::description::Description;
use tests::machine::dmi::Reading;
use tests::machine::expected::Expected;
use tests::machine::smbios;
use tests::machine::table::Table;
use tests::machine::variant::Variant;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn machine() -> Table {
    Table::new(Description::read(&here("laptop/latitude-5450.toml")).unwrap()).unwrap()
}

fn bytes(table: &Table, variant: &Variant) -> Vec<u8> {
    let structures = smbios::structures(table, Some(variant)).unwrap();
    structures.into_iter().flat_map(|structure| structure.bytes).collect()
}

/// A variant of a text, with its machine and its bytes.
fn variant(text: &str) -> Result<(Table, Variant, Vec<u8>), String> {
    let variant: Variant = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut table = machine();
    variant.furnish(&mut table).map_err(|error| error.to_string())?;
    let bytes = bytes(&table, &variant);
    Ok((table, variant, bytes))
}

fn checked(text: &str) -> Result<Expected, String> {
    let (table, variant, bytes) = variant(text)?;
    let reading = variant.check(&table, &bytes).map_err(|error| error.to_string())?;
    Ok(Expected::of(&table, &variant, &reading, &[]))
}

#[test]
fn every_table_comes_to_what_its_file_states() {
    let mut names = Vec::new();
    for entry in fs::read_dir(here("laptop/tables")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let variant = Variant::read(&path).unwrap();
        let mut table = machine();
        variant.furnish(&mut table).unwrap();
        let bytes = bytes(&table, &variant);
        let reading = variant.check(&table, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = Expected::of(&table, &variant, &reading, &[]);
        // Whatever is wrong behind them, the machine's own tokens stay what they are; sharing can only add to denial.
        for own in Expected::new(&table, &[]).tokens.iter().filter(|_| variant.machine) {
            let found = expected.token(own.id).unwrap_or_else(|| panic!("{name}: {own:?} is lost"));
            assert_eq!((found.location, found.value, found.current), (own.location, own.value, own.current));
            assert!(found.denied.is_some() || own.denied.is_none(), "{name}: {own:?} became writable");
            assert!(found.shares_location || !own.shares_location, "{name}: {own:?}");
        }
        names.push(name);
    }
    names.sort();
    let all = [
        "cut-token",
        "duplicates",
        "end-inside",
        "head-only",
        "id-zero",
        "length-long",
        "length-past-end",
        "length-short",
        "length-zero",
        "no-end",
        "no-structure",
        "no-tokens",
        "shared",
        "tokens-2000",
        "tokens-4096",
        "tokens-4097",
    ];
    assert_eq!(names, all);
}

#[test]
fn what_is_stated_and_does_not_hold_is_refused_by_name() {
    let two =
        "about = \"x\"\n[[structure]]\nentries = [[0x2001, 0x0F01, 1], [0x0058, 0x0F02, 1]]\n[expect]\n";
    assert!(checked(&format!("{two}more = 2\n")).is_ok());
    let check = |expect: &str, words: &[&str]| {
        let error = checked(&format!("{two}{expect}\n")).unwrap_err();
        words.iter().for_each(|word| assert!(error.contains(word), "{expect}: {error}"));
    };
    check("more = 1", &["`more`", "it is 2"]);
    check("more = 2\nrefused = \"E2BIG\"", &["`refused`", "None"]);
    check("more = 2\nfree = [0x0058]", &["token 0x0058", "upstream"]);
    check("more = 2\nabsent = [0x2001]", &["token 0x2001", "Absent"]);
    check("more = 2\nshared = [0x2001]", &["token 0x2001", "shares false"]);
    check("more = 2\nalone = [0x2003]", &["token 0x2003", "None"]);
    check("more = 2\ndenied = { power = [0x0058] }", &["token 0x0058", "upstream"]);
    check("more = 2\nentries = [[0x2001, 0x0F01, 2]]", &["token 0x2001", "0F01"]);
}

#[test]
fn tables_that_cannot_be_built_are_refused_by_name() {
    let check = |text: &str, words: &[&str]| {
        let error = checked(&format!("about = \"x\"\n{text}\n[expect]\n")).unwrap_err();
        words.iter().for_each(|word| assert!(error.contains(word), "{text}: {error}"));
    };
    check("[[structure]]\nentries = [[1, 0x1000, 1]]", &["token 0x0001", "past the last"]);
    check("[fill]\ncount = 2\nfirst = 0xFFFE\nlocation = 1\nlocations = 1", &["fill", "pass 0xFFFF"]);
    check("[fill]\ncount = 2\nfirst = 1\nlocation = 1\nlocations = 0", &["fill", "no locations"]);
    let many = vec!["[1, 1, 1]"; 40].join(", ");
    check(&format!("[[structure]]\nentries = [{many}]"), &["structure", "40 entries"]);
    check("[[structure]]\nlength = 256", &["256"]);
    check("[[structure]]\ncolour = 1", &["unknown field `colour`"]);
    // What the kernel's driver needs stands behind these bytes and is not found any more.
    check("[[structure]]\nlength = 0", &["structure", "0xB1", "lost"]);
}

/// Bytes of a token structure that says `length` and holds `entries`.
fn structure(length: usize, entries: &[[u16; 3]]) -> Vec<u8> {
    let mut bytes = vec![0xDA, u8::try_from(length).unwrap(), 1, 0xDA, 0xF0, 0x0E, 0, 0x93, 0x0D, 2, 0x60];
    bytes.extend(entries.iter().flatten().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0, 0]);
    bytes
}

#[test]
fn the_last_entry_is_the_end_whatever_it_is() {
    let entries = [[0x2001, 0x0101, 1], [0x2002, 0x0102, 1]];
    let reading = Reading::new(&structure(23, &entries));
    assert_eq!(reading.tokens, [(0x2001, 0x0101, 1)]);
    assert_eq!(reading.entries.len(), 2);
    let reading = Reading::new(&structure(17, &entries[..1]));
    assert_eq!((reading.tokens.len(), reading.entries.len()), (0, 1));
}

#[test]
fn a_structure_that_runs_off_the_table_does_not_count() {
    let good = structure(29, &[[0x2001, 0x0101, 1], [0x2002, 0x0102, 1], [0xFFFF, 0, 0]]);
    assert_eq!(Reading::new(&good).tokens.len(), 2);
    for length in [30, 31, 32, 255] {
        let off = structure(length, &[[0x2003, 0x0103, 1], [0x2004, 0x0104, 1], [0xFFFF, 0, 0]]);
        let reading = Reading::new(&[&good[..], &off].concat());
        assert_eq!(reading.entries.len(), 2, "length {length}");
    }
    // A header of less than four bytes ends the table before what follows.
    let reading = Reading::new(&[&structure(3, &[]), &good[..]].concat());
    assert_eq!(reading.types, [0u8; 0]);
}

#[test]
fn the_limit_counts_duplicates() {
    let many = |count: usize| {
        let entries = vec![[0x2001, 0x0101, 1]; 32];
        let whole = structure(11 + 32 * 6, &entries);
        let rest = structure(11 + 6 * (count % 32), &entries[..count % 32]);
        Reading::new(&[vec![whole; count / 32].concat(), rest].concat())
    };
    assert!(!many(4096).is_too_long());
    assert!(many(4097).is_too_long());
}
