//! `dsmil stop`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::session::Context;

/// Stops all agents and runs at once.
///
/// All agents stand still by one write of the kernel's, then all are killed, and every run ends as cancelled. It is done before anything is
/// recorded of it, so that a full or slow disk does not matter. SIGUSR1 to dsmild does the same.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil stop --emergency")]
pub struct Stop {
    /// Really: without it nothing is done.
    #[arg(long, required = true)]
    emergency: bool,
}

impl Stop {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("stop everything", Command::EmergencyStop)?;
        let Answer::Stopped { frozen_us, killed_us, left } = &answer else { return Err(Fault::Unexpected) };
        let ms = |us: &Option<u64>| {
            us.map_or_else(
                || "not in time".to_owned(),
                |us| format!("after {}.{} ms", us / 1_000, us % 1_000 / 100),
            )
        };
        let mut text = format!("all agents stood still {}, and were gone {}\n", ms(frozen_us), ms(killed_us));
        if !left.is_empty() {
            let left: Vec<_> = left.iter().map(ToString::to_string).collect();
            text += &format!("left, in a sleep that nothing interrupts: {}\n", left.join(" "));
        }
        output::answer(context.json, &answer, &behind, &text)?;
        if left.is_empty() { Ok(()) } else { Err(Fault::Failed("some processes are left".to_owned())) }
    }
}
