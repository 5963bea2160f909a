//! The ACPI table: its source, made from `firmware.asl` and a machine, and compiling it.

use std::path::Path;
use std::process::Command;

use super::fault::{Fault, Kind, SLOT_BYTES, SLOTS};
use super::table::Table;
use super::vendor::{self, Call};
use super::{Error, at, password, storage};

/// The table's source with `@WORDS@` to fill in.
const TEMPLATE: &str = include_str!("firmware.asl");

/// The storage as the firmware first has it: three banks, one for each select, of little-endian words.
#[must_use]
pub fn banks(table: &Table) -> Vec<u8> {
    let bank = |select: usize| {
        (0..table.cells()).flat_map(move |location| {
            let values = table.storage().get(&location).map(|values| values.by_select());
            values.and_then(|values| values.get(select).copied()).unwrap_or_default().to_le_bytes()
        })
    };
    (0..3).flat_map(bank).collect()
}

/// The table's source for a machine, with faults that stand from the boot on.
///
/// # Errors
///
/// [`Error::Fault`] where there are more faults than the firmware has slots.
pub fn source(table: &Table, faults: &[Fault]) -> Result<String, Error> {
    if let Some(fault) = faults.get(SLOTS) {
        let reason = format!("the firmware takes {SLOTS} faults at most");
        return Err(Error::Fault { spec: fault.to_string(), reason });
    }
    let banks = banks(table);
    let known: Vec<u8> =
        (0..table.cells()).map(|location| u8::from(table.storage().contains_key(&location))).collect();
    let mut slots: Vec<u8> =
        faults.iter().flat_map(|fault| fault.words()).flat_map(u32::to_le_bytes).collect();
    slots.resize(SLOTS * SLOT_BYTES, 0);
    let thermal = table.thermal();
    let temperature = |celsius: u16| hex(decikelvin(celsius));
    let words = [
        ("CELLS", hex(u32::from(table.cells()))),
        ("NVRM_LENGTH", format!("0x{:X}", banks.len())),
        ("NVRM", bytes(&banks)),
        ("KNOW", bytes(&known)),
        ("JOURNAL_PORT", hex(u32::from(storage::PORT))),
        ("JOURNAL_MARK", hex(u32::from(storage::MARK))),
        ("FAULTS_LENGTH", format!("0x{:X}", slots.len())),
        ("FAULTS", bytes(&slots)),
        ("FAULTS_TAKEN", format!("0x{:X}", faults.len())),
        ("KIND_ERROR", kind(Kind::Error)),
        ("KIND_UNSUPPORTED", kind(Kind::Unsupported)),
        ("KIND_GARBAGE", kind(Kind::Garbage)),
        ("KIND_SHORT", kind(Kind::Short)),
        ("KIND_WRITE_IGNORED", kind(Kind::WriteIgnored)),
        ("KIND_SLOW", kind(Kind::Slow)),
        ("KIND_LATE_ERROR", kind(Kind::LateError)),
        ("VENDOR_CLASS", hex(u32::from(vendor::CLASS))),
        ("VENDOR_MAGIC", hex(vendor::MAGIC)),
        ("VENDOR_VERSION", hex(vendor::VERSION)),
        ("VENDOR_IDENTIFY", call(Call::Identify)),
        ("VENDOR_FAULT_ADD", call(Call::FaultAdd)),
        ("VENDOR_FAULT_CLEAR", call(Call::FaultClear)),
        ("VENDOR_FAULT_GET", call(Call::FaultGet)),
        ("VENDOR_CALLS", call(Call::Calls)),
        ("VENDOR_HEAT", call(Call::Heat)),
        ("VENDOR_TEMPERATURE", call(Call::Temperature)),
        ("VENDOR_PEEK", call(Call::Peek)),
        ("VENDOR_POKE", call(Call::Poke)),
        ("VENDOR_PASSWORD", call(Call::Password)),
        ("VENDOR_DUMP", call(Call::Dump)),
        ("PASSWORD_CLASS", hex(u32::from(password::CLASS))),
        ("PASSWORD_PROPERTIES", hex(u32::from(password::PROPERTIES))),
        ("PASSWORD_INSTALLED", hex(u32::from(password::INSTALLED))),
        ("PASSWORD_SET", hex(password::SET)),
        ("PASSWORD_NONE", hex(password::NONE)),
        ("PASSWORD_FORM", hex(password::FORM)),
        ("TEMPERATURE_DEFAULT", temperature(thermal.default_c)),
        ("TEMPERATURE_ACTIVE", temperature(thermal.active_c)),
        ("TEMPERATURE_PASSIVE", temperature(thermal.passive_c)),
        ("TEMPERATURE_HOT", temperature(thermal.hot_c)),
        ("TEMPERATURE_CRITICAL", temperature(thermal.critical_c)),
        ("TEMPERATURE_POLL", hex(u32::from(thermal.poll_ds))),
    ];
    Ok(words
        .into_iter()
        .fold(TEMPLATE.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), &value)))
}

/// Tenths of a kelvin, rounded as ACPI has it: 0 °C are 2732.
#[must_use]
pub fn decikelvin(celsius: u16) -> u32 {
    u32::from(celsius) * 10 + 2732
}

/// Compiles `DIR/FILE.asl` to `DIR/FILE.aml`.
///
/// # Errors
///
/// - [`Error::NoCompiler`]: `iasl` is not there
/// - [`Error::Compiler`]: it refused the source
pub fn compile(directory: &Path, stem: &str) -> Result<(), Error> {
    let path = directory.join(stem).with_extension("asl");
    // -ve: report errors only.
    let output = Command::new("iasl")
        .args(["-ve", "-p", stem])
        .arg(format!("{stem}.asl"))
        .current_dir(directory)
        .output()
        .map_err(Error::NoCompiler)?;
    let aml = path.with_extension("aml");
    if !output.status.success() || !aml.try_exists().map_err(at(&aml))? {
        let log = [output.stdout, output.stderr].concat();
        return Err(Error::Compiler { path, log: String::from_utf8_lossy(&log).into_owned() });
    }
    Ok(())
}

fn hex(number: u32) -> String {
    format!("0x{number:X}")
}

fn kind(kind: Kind) -> String {
    hex(u32::from(kind.code()))
}

fn call(call: Call) -> String {
    hex(u32::from(call.select()))
}

/// The bytes of a buffer, up to the last that is not zero: ACPI fills the rest with zeros.
fn bytes(bytes: &[u8]) -> String {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let line = |line: &[u8]| {
        let line: Vec<String> = line.iter().map(|byte| format!("0x{byte:02X}")).collect();
        format!("                {}", line.join(", "))
    };
    let lines: Vec<String> = bytes.get(..used).unwrap_or(bytes).chunks(16).map(line).collect();
    lines.join(",\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::expected::{Expected, SELECTS};
    use crate::machine::laptop;

    /// The bytes of a named buffer in the source, without its trailing zeros.
    fn buffer(source: &str, name: &str) -> Vec<u8> {
        let (_, rest) = source.split_once(&format!("Name ({name}, Buffer")).unwrap();
        let (_, rest) = rest.split_once('{').unwrap();
        let (list, _) = rest.split_once('}').unwrap();
        let byte = |text: &str| u8::from_str_radix(text.trim().strip_prefix("0x").unwrap(), 16).unwrap();
        list.split(',').map(byte).collect()
    }

    #[test]
    fn the_storage_that_the_table_starts_with_is_what_tests_expect() {
        let table = laptop();
        let expected = Expected::new(&table, &[]);
        let source = source(&table, &[]).unwrap();
        let (storage, known) = (buffer(&source, "NVRM"), buffer(&source, "KNOW"));
        // The table addresses cells so: select times cells of a bank, plus location, times four.
        let cells = usize::from(table.cells());
        assert!(source.contains(&format!("(((Arg0 * 0x{cells:X}) + Arg1) << 0x02)")));
        let cell = |select: u16, location: u16| {
            let at = (usize::from(select) * cells + usize::from(location)) * 4;
            let byte = |at: usize| storage.get(at).copied().unwrap_or(0);
            u32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)])
        };
        for token in &expected.tokens {
            assert_eq!(cell(SELECTS.current, token.location), token.current, "{token:?}");
            assert_eq!(cell(SELECTS.battery, token.location), token.battery, "{token:?}");
            assert_eq!(cell(SELECTS.ac, token.location), token.ac, "{token:?}");
            assert_eq!(known[usize::from(token.location)], 1, "{token:?}");
        }
        let locations: std::collections::BTreeSet<u16> =
            expected.tokens.iter().map(|token| token.location).collect();
        assert_eq!(known.iter().filter(|known| **known == 1).count(), locations.len());
    }

    #[test]
    fn faults_stand_in_the_slots_from_the_boot_on() {
        let fault: Fault = "slow,skip=2,count=3,value=4,location=0x0105".parse().unwrap();
        let source = source(&laptop(), &[fault]).unwrap();
        let slots = buffer(&source, "FLTS");
        let mut expected: Vec<u8> = vec![6, 3, 0x05, 0x01, 2, 0, 0, 0, 3, 0, 0, 0, 4];
        expected.resize(slots.len(), 0);
        assert_eq!(slots, expected);
    }

    #[test]
    fn more_faults_than_slots_are_refused() {
        let fault: Fault = "error".parse().unwrap();
        assert!(source(&laptop(), &[fault; SLOTS]).is_ok());
        assert!(source(&laptop(), &[fault; SLOTS + 1]).unwrap_err().to_string().contains("8 faults at most"));
    }

    #[test]
    fn no_word_of_the_template_is_left_open() {
        let source = source(&laptop(), &[]).unwrap();
        assert_eq!(source.matches('@').count(), 0);
    }
}
