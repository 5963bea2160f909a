//! Fuzzes `/dev/dsmil` from inside the virtual laptop, as root.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use ::tests::fuzz::arms;
use ::tests::fuzz::drive::{self, Options};
use anyhow::Context as _;
use clap::Parser;

/// Fuzzes /dev/dsmil from inside the virtual laptop, as root: it loads and unloads the module itself.
#[derive(Parser)]
#[command(name = "laptop-fuzz")]
struct Arguments {
    /// Everything is chosen from this number and from what was reached so far.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after so many sequences.
    #[arg(long, default_value_t = u64::MAX)]
    sequences: u64,
    /// Ends after so many operations.
    #[arg(long, default_value_t = 1_000_000)]
    ops: u64,
    /// Runs one sequence and prints what each operation gave: a FILE with its text, or SEED:INDEX of a blind run.
    #[arg(long)]
    replay: Option<String>,
    /// The module.
    #[arg(long, default_value = "/usr/lib/modules/dsmil.ko")]
    module: PathBuf,
    /// What the laptop's description says.
    #[arg(long, default_value = "/usr/lib/laptop/expected.json")]
    expected: PathBuf,
    /// Fails if an end that needs no set-up of its own was not reached.
    #[arg(long)]
    require_arms: bool,
    /// Calls of the firmware that a sequence may take, roughly, on average: fewer where they are slow, as with a sanitizing kernel.
    #[arg(long, default_value_t = 60)]
    calls: u32,
    /// Runs some last sequences on a locked-down kernel; there is no way back before the next boot.
    #[arg(long)]
    lockdown: bool,
    /// Runs nothing: looks at what several runs said, in these files, and fails if all of them together have left out an end.
    #[arg(long, num_args = 1..)]
    union: Vec<PathBuf>,
}

/// Whether these runs have reached every end together.
fn have_reached_all(files: &[PathBuf]) -> anyhow::Result<()> {
    let read = |file: &PathBuf| std::fs::read_to_string(file).with_context(|| file.display().to_string());
    let said = files.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let missing = arms::missing_in(said.iter().flat_map(|said| said.lines()));
    println!("{} of {} ends were reached", arms::wanted() - missing.len(), arms::wanted());
    anyhow::ensure!(missing.is_empty(), "ends that were not reached: {}", missing.join(", "));
    Ok(())
}

fn main() -> ExitCode {
    let Arguments { seed, sequences, ops, replay, module, expected, require_arms, calls, lockdown, union } =
        Arguments::parse();
    let options = Options { seed, sequences, ops, replay, module, expected, require_arms, calls, lockdown };
    let done = if union.is_empty() { drive::run(&options) } else { have_reached_all(&union) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("laptop-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
