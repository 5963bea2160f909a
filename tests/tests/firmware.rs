//! The program `firmware` as a script uses it.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::machine::expected::Expected;
use tests::machine::smbios;

fn data_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("laptop/latitude-5450.toml")
}

fn command(machine: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firmware"));
    command.arg("--machine").arg(machine).arg("--out").arg(out);
    command
}

fn firmware(machine: &Path, out: &Path, more: &[&str]) -> Output {
    command(machine, out).args(more).output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for word in words {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}

/// The files of a directory with their bytes.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn all_files_are_written_and_the_second_run_changes_none() {
    let out = tempfile::tempdir().unwrap();
    // What an earlier, longer table left.
    fs::write(out.path().join("smbios-da-99.bin"), "old").unwrap();
    succeeds(&firmware(&data_file(), out.path(), &[]));
    let first = files(out.path());
    let names: Vec<_> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "expected.json",
            "qemu.args",
            "smbios-b1.bin",
            "smbios-chassis.bin",
            "smbios-da-00.bin",
            "smbios-da-01.bin",
            "smbios-da-02.bin",
            "smbios-da-03.bin",
            "smbios-da-04.bin",
            "ssdt.aml",
            "ssdt.asl"
        ]
    );
    succeeds(&firmware(&data_file(), out.path(), &[]));
    assert_eq!(files(out.path()), first);
}

#[test]
fn the_arguments_name_files_that_hold_what_is_expected() {
    let out = tempfile::tempdir().unwrap();
    succeeds(&firmware(&data_file(), out.path(), &[]));
    let arguments = fs::read_to_string(out.path().join("qemu.args")).unwrap();
    let named: Vec<&str> = arguments.lines().filter_map(|line| line.strip_prefix("file=")).collect();
    let mut tokens = Vec::new();
    for path in &named {
        let bytes = fs::read(path).unwrap();
        match bytes.first() {
            Some(0xDA) => tokens.extend(smbios::parse(&bytes).unwrap()),
            Some(b'S') => assert!(bytes.starts_with(b"SSDT"), "{path}"),
            kind => assert!(matches!(kind, Some(0xB1 | 3)), "{path}"),
        }
    }
    let expected = Expected::read(&out.path().join("expected.json")).unwrap();
    let listed: Vec<_> =
        expected.tokens.iter().map(|token| (token.id, token.location, token.value)).collect();
    assert_eq!(tokens.into_iter().map(|(id, at, value)| (id.0, at, value)).collect::<Vec<_>>(), listed);
}

#[test]
fn storage_keeps_what_the_firmware_wrote() {
    let out = tempfile::tempdir().unwrap();
    let journal = out.path().join("tokens, of the laptop.bin");
    let storage = ["--storage", journal.to_str().unwrap()];
    let token = || Expected::read(&out.path().join("expected.json")).unwrap().token(0x8005).unwrap().clone();
    succeeds(&firmware(&data_file(), out.path(), &storage));
    assert_eq!(fs::read(&journal).unwrap(), b"");
    let before = token();
    let arguments = fs::read_to_string(out.path().join("qemu.args")).unwrap();
    assert!(arguments.contains("tokens,, of the laptop.bin,append=on"), "{arguments}");
    // Twice the current value, once a location that the data file has not, and a write that a power cut interrupted.
    let [low, high] = before.location.to_le_bytes();
    let record = |value: u8| [0xDA, 0, low, high, value, 0, 0, 0];
    let gone = [0xDA, 0, 0xFF, 0x0F, 1, 0, 0, 0];
    fs::write(&journal, [&record(7)[..], &gone, &record(8), &record(9)[..5]].concat()).unwrap();
    succeeds(&firmware(&data_file(), out.path(), &storage));
    let after = token();
    assert_eq!((after.current, after.battery, after.ac), (8, before.battery, before.ac));
    assert_eq!(fs::read(&journal).unwrap(), record(8));
    fs::write(&journal, [0; 8]).unwrap();
    fails(&firmware(&data_file(), out.path(), &storage), &["tokens, of the laptop.bin", "damaged at byte 0"]);
}

#[test]
fn bad_input_is_named() {
    let out = tempfile::tempdir().unwrap();
    let check = |from: &str, to: &str, words: &[&str]| {
        let text = fs::read_to_string(data_file()).unwrap();
        assert!(text.contains(from), "{from}");
        let machine = out.path().join("broken.toml");
        fs::write(&machine, text.replacen(from, to, 1)).unwrap();
        fails(&firmware(&machine, &out.path().join("out"), &[]), words);
        assert!(!out.path().join("out").exists(), "nothing is written from a bad file");
    };
    check("chassis = 10", "chassis = 300", &["broken.toml", "300"]);
    check("chassis = 10", "chassis = 10\nlegs = 4", &["broken.toml", "unknown field `legs`"]);
    check("id = 0x0439", "id = 0x0438", &["broken.toml", "token 0x0438", "twice"]);
    check("id = 0x04EC", "id = 0x04EE", &["broken.toml", "token 0x04EC", "missing"]);
    fails(&firmware(&out.path().join("none.toml"), out.path(), &[]), &["none.toml", "No such file"]);
    fails(&firmware(&data_file(), out.path(), &["--fault", "explode"]), &["explode", "write-ignored"]);
    fails(&firmware(&data_file(), &data_file(), &[]), &["latitude-5450.toml"]);
}

#[test]
fn a_missing_compiler_is_named() {
    let out = tempfile::tempdir().unwrap();
    let output = command(&data_file(), out.path()).env("PATH", "/nowhere").output().unwrap();
    fails(&output, &["iasl", "acpica-tools"]);
    assert!(!out.path().join("qemu.args").exists());
    let left: Vec<_> = files(out.path()).into_keys().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [] as [&str; 0], "no scratch is left");
}

#[test]
fn a_fault_from_the_boot_on_is_in_the_table_and_expected() {
    let out = tempfile::tempdir().unwrap();
    succeeds(&firmware(
        &data_file(),
        out.path(),
        &["--fault", "slow,value=77,count=1", "--fault", "error,skip=5"],
    ));
    let expected = Expected::read(&out.path().join("expected.json")).unwrap();
    assert_eq!(expected.faults, ["slow,on=any,skip=0,count=1,value=77", "error,on=any,skip=5,count=0"]);
    let aml = fs::read(out.path().join("ssdt.aml")).unwrap();
    let slot = [6, 3, 0xFF, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0, 77, 0, 0, 0, 1, 3, 0xFF, 0xFF, 5];
    assert!(aml.windows(slot.len()).any(|window| window == slot));
}
