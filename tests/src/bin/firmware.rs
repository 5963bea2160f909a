//! Writes the firmware of a virtual laptop from its data file.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tests::machine::description::Description;
use tests::machine::fault::Fault;
use tests::machine::table::Table;
use tests::machine::variant::Variant;
use tests::machine::{output, storage};

/// Writes the firmware of a virtual laptop from its data file: SMBIOS structures, ACPI table, QEMU's arguments,
/// and what tests expect.
#[derive(Parser)]
#[command(name = "firmware")]
struct Arguments {
    /// The data file that describes the machine.
    #[arg(long, value_name = "FILE")]
    machine: PathBuf,
    /// The directory to write into; made where missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A data file that says how the token table is wrong on purpose.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A fault that stands from the boot on: KIND[,on=read|write|any][,skip=S][,count=N][,value=V][,location=L];
    /// kinds: error, unsupported, garbage, short, write-ignored, slow, late-error; count 0 is for ever.
    #[arg(long, value_name = "SPEC")]
    fault: Vec<Fault>,
    /// Keeps the tokens' values from boot to boot in this file. Write the firmware anew before each start of QEMU,
    /// which needs `-no-reboot`.
    #[arg(long, value_name = "FILE")]
    storage: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firmware: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let description = Description::read(&arguments.machine)?;
    let mut table = Table::new(description).with_context(|| arguments.machine.display().to_string())?;
    let variant = arguments.table.as_deref().map(Variant::read).transpose()?;
    if let (Some(variant), Some(path)) = (&variant, &arguments.table) {
        variant.furnish(&mut table).with_context(|| path.display().to_string())?;
    }
    let journal = arguments.storage.as_deref();
    if let Some(journal) = journal {
        storage::load(&mut table, journal)?;
    }
    let written = output::write(&table, variant.as_ref(), &arguments.fault, journal, &arguments.out);
    // What a variant states and its bytes do not hold is a matter of its file.
    written.with_context(|| arguments.table.as_ref().unwrap_or(&arguments.out).display().to_string())?;
    Ok(())
}
