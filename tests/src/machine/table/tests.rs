use std::collections::BTreeMap;

use super::*;
use crate::machine::expected::Expected;
use crate::machine::laptop;

/// The smallest machine, with `more` after it.
fn machine(more: &str) -> Result<Table, Error> {
    let text = format!("{}{more}", HEAD);
    Table::new(toml::from_str(&text).unwrap())
}

const HEAD: &str = r#"
[identity]
vendor = "Dell Inc."
product = "P"
family = "F"
sku = "1"
serial = "S"
bios_version = "1"
bios_date = "01/01/2026"
board = "B"
oem_string = "Dell System"
chassis = 10
[calling_interface]
port = 0x0EF0
code = 0
classes = [0, 1, 30]
[thermal]
default_c = 45
active_c = 60
passive_c = 85
hot_c = 95
critical_c = 105
poll_ds = 10
[[storage]]
location = 1
current = 1
tokens = [{ id = 0x04EC, value = 1, name = "WSMT" }]
"#;

fn storage(location: u16, id: u16) -> String {
    format!(
        "[[storage]]\nlocation = {location}\ncurrent = 0\ntokens = [{{ id = {id}, value = 0, name = \"x\" }}]\n"
    )
}

#[track_caller]
fn refused(result: Result<Table, Error>, item: &str, reason: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with(item), "{message}");
    assert!(message.contains(reason), "{message}");
}

#[test]
fn the_smallest_machine_is_valid() {
    assert_eq!(machine("").unwrap().tokens().len(), 1);
    assert_eq!(machine(&storage(2, 0x8000)).unwrap().tokens().len(), 2);
}

#[test]
fn contradictions_are_refused_with_item_and_reason() {
    refused(machine(&storage(2, 0x04EC)), "token 0x04EC", "there twice");
    refused(machine(&storage(1, 0x0123)), "storage 0x0001", "location 0x0001 is there already");
    refused(machine(&storage(0x1000, 0x0123)), "storage 0x1000", "past the last, 0x0FFF");
    refused(machine(&storage(2, 0)), "token 0x0000", "no token");
    refused(machine(&storage(2, 0xFFFF)), "token 0xFFFF", "ends the table");
    for gap in [0x800C, 0x801F, 0x806C, 0x806F] {
        refused(machine(&storage(2, gap)), &format!("token 0x{gap:04X}"), "between two groups");
    }
    refused(
        machine("[[storage]]\nlocation = 2\ncurrent = 0\ntokens = []\n"),
        "storage 0x0002",
        "no token stands on it",
    );
    refused(
        machine("[[never_written]]\nreason = \"power\"\nids = [[5, 4]]\n"),
        "never_written \"power\"",
        "ends before it starts",
    );
}

#[test]
fn groups_are_refused_where_their_lists_differ_or_run_over() {
    let group = |first: u16, location: u16, lists: &str| {
        machine(&format!("[[group]]\nsubject = \"g\"\nfirst = {first}\nlocation = {location}\n{lists}"))
    };
    let two = "value = [1, 1]\ncurrent = [1, 2]\n";
    let table = group(0x0480, 0x20, two).unwrap();
    assert_eq!(table.tokens().last().map(|token| (token.id, token.location)), Some((TokenId(0x0481), 0x21)));
    assert_eq!(table.tokens().last().map(|token| token.name.as_str()), Some("g 1"));
    refused(group(0x0480, 0x20, "value = [1]\ncurrent = [1, 2]\n"), "group 0x0480", "`value` has 1 entries");
    refused(group(0x0480, 0x20, &format!("{two}ac = [1]\n")), "group 0x0480", "`ac` has 1 entries");
    refused(group(0x0480, 0x20, &format!("{two}names = []\n")), "group 0x0480", "`names` has 0 entries");
    refused(group(0x0480, 0x20, "value = []\ncurrent = []\n"), "group 0x0480", "at least one token");
    refused(group(0x0480, 0x01, two), "group 0x0480", "location 0x0001 is there already");
    refused(group(0xFFFF, 0x20, two), "group 0xFFFF", "pass 0xFFFF");
    refused(group(0x0480, 0x0FFF, two), "group 0x0480", "past the last");
    refused(group(0x04EB, 0x20, two), "token 0x04EC", "there twice");
}

#[test]
fn the_head_is_checked() {
    let with = |from: &str, to: &str| {
        assert!(HEAD.contains(from));
        Table::new(toml::from_str(&HEAD.replace(from, to)).unwrap())
    };
    refused(with("0x04EC", "0x04EB"), "token 0x04EC", "missing");
    refused(with("[0, 1, 30]", "[0, 30]"), "calling_interface", "class 1 is missing");
    refused(with("[0, 1, 30]", "[0, 1]"), "calling_interface", "class 30 is missing");
    refused(with("[0, 1, 30]", "[0, 1, 30, 31]"), "calling_interface", "class 31 is past 30");
    refused(with("passive_c = 85", "passive_c = 95"), "thermal", "must rise");
    refused(with("critical_c = 105", "critical_c = 151"), "thermal", "above 150");
    refused(with("poll_ds = 10", "poll_ds = 0"), "thermal", "never reads");
    refused(with("\"P\"", "\"\""), "identity", "`product`");
    refused(with("\"S\"", "\"a\\nb\""), "identity", "`serial`");
    refused(with("\"WSMT\"", "\"é\""), "storage 0x0001, token 0x04EC", "`name`");
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_with_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("machine.toml");
    let check = |more: &str, reason: &str| {
        std::fs::write(&path, format!("{HEAD}{more}")).unwrap();
        let error = Description::read(&path).unwrap_err();
        assert!(error.to_string().contains("machine.toml"), "{error}");
        let Error::Format { source, .. } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains(reason), "{source}");
    };
    check("[[storage]]\nlocation = 2\ncurrent = 0\ncolour = 3\ntokens = []\n", "unknown field `colour`");
    check("[extra]\n", "unknown field `extra`");
    check(&storage(2, 1).replace("id = 1", "id = 65536"), "65536");
    check(&storage(2, 1).replace("id = 1", "id = -1"), "-1");
}

#[test]
fn the_laptop_has_its_devices_families_and_denied_tokens() {
    let expected = Expected::new(&laptop(), &[]);
    let devices: Vec<_> = expected.tokens.iter().filter_map(|token| token.device).collect();
    assert_eq!(devices.len(), 84);
    let second = expected.tokens.iter().filter(|token| (0x0480..=0x04C7).contains(&token.id));
    assert_eq!(second.count(), 72);
    let denied = |id| expected.token(id).unwrap().denied.as_deref();
    for id in [0x8009, 0x800A, 0x800B, 0x8019, 0x8029] {
        assert_eq!(denied(id), Some("quarantine"), "{id:#x}");
    }
    assert_eq!(denied(0x8004), Some("power"));
    assert_eq!(denied(0x0436), Some("destructive"));
    assert_eq!(denied(0x049E), Some("upstream"));
    assert_eq!(denied(0x0452), Some("shared location"));
    assert_eq!(denied(0x8005), None);
    assert_eq!(denied(0x0438), None);
    // Each has a value of its own in each select: a wrong location or select shows.
    let mut users: BTreeMap<u32, u16> = BTreeMap::new();
    for token in expected.tokens.iter().filter(|token| token.device.is_some()) {
        for value in [token.current, token.battery, token.ac] {
            assert_eq!(users.insert(value, token.id), None, "value {value} of {:#06x}", token.id);
        }
    }
}
