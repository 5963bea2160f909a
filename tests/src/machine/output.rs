//! The files of a machine and their atomic writing.
//!
//! | file | what |
//! |---|---|
//! | `smbios-da-NN.bin`, `smbios-b1.bin`, `smbios-chassis.bin`, `smbios-type-N.bin` | one SMBIOS structure each |
//! | `ssdt.asl`, `ssdt.aml` | the ACPI table, source and compiled |
//! | `qemu.args` | QEMU's arguments, one on each line, with absolute paths (bash: `mapfile -t args < qemu.args`) |
//! | `expected.json` | what tests expect ([`super::expected::Expected`]) |
//!
//! Each file is whole at any time: it is written beside its place and renamed. `qemu.args` comes last, so where
//! it is, all it names is there.

use std::fs;
use std::io;
use std::path::Path;

use super::description::Identity;
use super::expected::Expected;
use super::fault::Fault;
use super::smbios::{self, Structure};
use super::table::Table;
use super::variant::Variant;
use super::{Error, at, ssdt, storage};

/// Writes all files of a machine into a directory, which is made where it is missing. With a variant the token table is
/// the one it describes. With a journal ([`storage`]), which must be there, QEMU appends the firmware's writes to it.
///
/// # Errors
///
/// [`Error`] names the file or the program that failed; files written before stay.
pub fn write(
    table: &Table,
    variant: Option<&Variant>,
    faults: &[Fault],
    journal: Option<&Path>,
    directory: &Path,
) -> Result<(), Error> {
    let structures = smbios::structures(table, variant)?;
    let expected = expected(table, variant, &structures, faults)?;
    fs::create_dir_all(directory).map_err(at(directory))?;
    let directory = &fs::canonicalize(directory).map_err(at(directory))?;
    let text = line(directory)?;
    let journal = journal.map(fs::canonicalize).transpose().map_err(at(directory))?;
    let journal = journal.as_deref().map(line).transpose()?;
    for Structure { file, bytes } in &structures {
        replace(&directory.join(file), bytes)?;
    }
    remove_stale(directory, &structures)?;
    write_ssdt(directory, &ssdt::source(table, faults)?)?;
    let mut expected = serde_json::to_vec_pretty(&expected)
        .map_err(|error| at(&directory.join("expected.json"))(error.into()))?;
    expected.push(b'\n');
    replace(&directory.join("expected.json"), &expected)?;
    let whole = variant.is_some_and(|variant| variant.last);
    let identity = if whole { Vec::new() } else { identity(table.identity()) };
    let mut arguments = [identity, arguments(&structures, text, journal)].concat().join("\n");
    arguments.push('\n');
    replace(&directory.join("qemu.args"), arguments.as_bytes())
}

/// What tests expect; a variant must come to what it states.
fn expected(
    table: &Table,
    variant: Option<&Variant>,
    structures: &[Structure],
    faults: &[Fault],
) -> Result<Expected, Error> {
    let Some(variant) = variant else { return Ok(Expected::new(table, faults)) };
    let bytes: Vec<u8> = structures.iter().flat_map(|structure| structure.bytes.clone()).collect();
    let reading = variant.check(table, &bytes)?;
    Ok(Expected::of(table, variant, &reading, faults))
}

/// QEMU's arguments for the structures that it writes by itself.
fn identity(identity: &Identity) -> Vec<String> {
    let vendor = escape(&identity.vendor);
    [
        option(format!(
            "type=0,vendor={vendor},version={},date={}",
            escape(&identity.bios_version),
            escape(&identity.bios_date)
        )),
        option(format!(
            "type=1,manufacturer={vendor},product={},serial={},sku={},family={}",
            escape(&identity.product),
            escape(&identity.serial),
            escape(&identity.sku),
            escape(&identity.family)
        )),
        option(format!(
            "type=2,manufacturer={vendor},product={},serial={}",
            escape(&identity.board),
            escape(&identity.serial)
        )),
        option(format!("type=11,value={}", escape(&identity.oem_string))),
    ]
    .concat()
}

fn option(value: String) -> [String; 2] {
    ["-smbios".to_owned(), value]
}

/// QEMU's arguments for a machine whose files lie in a directory.
fn arguments(structures: &[Structure], directory: &str, journal: Option<&str>) -> Vec<String> {
    let mut arguments = Vec::new();
    let directory = escape(directory);
    for structure in structures {
        arguments.extend(option(format!("file={directory}/{}", structure.file)));
    }
    arguments.extend(["-acpitable".to_owned(), format!("file={directory}/ssdt.aml")]);
    arguments.extend(["-device".to_owned(), "pc-testdev".to_owned()]);
    if let Some(journal) = journal {
        let file = format!("file,id=tokens,path={},append=on", escape(journal));
        let port = format!("isa-debugcon,iobase=0x{:X},chardev=tokens", storage::PORT);
        arguments.extend(["-chardev".to_owned(), file, "-device".to_owned(), port]);
    }
    arguments
}

/// QEMU splits its values at commas; a doubled one stands for itself.
fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

/// Structures of an earlier, longer table would not be named by `qemu.args`, but would mislead a reader.
fn remove_stale(directory: &Path, structures: &[Structure]) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with("smbios-") && name.ends_with(".bin"));
        if ours && !structures.iter().any(|structure| *structure.file == *name) {
            fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

/// Compiles in a directory of its own, so that a source and a table that do not belong together never meet.
///
/// The table comes first: a source that is there has its table beside it, and need not be compiled again.
fn write_ssdt(directory: &Path, source: &str) -> Result<(), Error> {
    let (asl, aml) = (directory.join("ssdt.asl"), directory.join("ssdt.aml"));
    if aml.is_file() && fs::read(&asl).is_ok_and(|there| there == source.as_bytes()) {
        return Ok(());
    }
    if asl.try_exists().map_err(at(&asl))? {
        // An old source must not stand beside the new table if this is interrupted.
        fs::remove_file(&asl).map_err(at(&asl))?;
    }
    let scratch = &directory.join(format!(".iasl.{}", std::process::id()));
    fs::create_dir_all(scratch).map_err(at(scratch))?;
    let compiled = compile(scratch, source);
    fs::remove_dir_all(scratch).map_err(at(scratch))?;
    replace(&aml, &compiled?)?;
    replace(&asl, source.as_bytes())
}

fn compile(scratch: &Path, source: &str) -> Result<Vec<u8>, Error> {
    let asl = scratch.join("ssdt.asl");
    fs::write(&asl, source).map_err(at(&asl))?;
    ssdt::compile(scratch, "ssdt")?;
    let aml = scratch.join("ssdt.aml");
    fs::read(&aml).map_err(at(&aml))
}

/// A path as a line of `qemu.args`.
fn line(path: &Path) -> Result<&str, Error> {
    path.to_str().filter(|text| !text.contains(['\n', '\r'])).ok_or_else(|| {
        let message = "the path must be UTF-8 without line breaks: it stands in the lines of qemu.args";
        at(path)(io::Error::other(message))
    })
}

/// Puts a file in its place whole; leaves it alone where it already has these bytes.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(at(path))
}
