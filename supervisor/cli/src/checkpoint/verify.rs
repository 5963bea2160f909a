//! `dsmil checkpoint verify`

use api::client;
use api::wire::{Answer, Code, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, bytes, count};
use crate::progress::Show;
use crate::session::Context;

/// Checks a checkpoint: its signature, and every byte that it refers to.
///
/// Exit code 7 says that it does not hold; the message names what is damaged, or what could not be read.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil checkpoint verify before")]
pub struct Verify {
    /// Its name or number.
    #[arg(value_name = "NAME|NUMBER")]
    which: String,
}

impl Verify {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::VerifyCheckpoint { which: self.which.clone() };
        let doing = format!("verify checkpoint {}", self.which);
        let (answer, behind) = context.connect()?.ask(&doing, command, Show::Phases).map_err(damaged)?;
        let Answer::Verified { number, entries, bytes: size, key } = &answer else {
            return Err(Fault::Unexpected);
        };
        let text = format!(
            "checkpoint {number} holds: {}, {} of content, signed with key {}\n",
            count(*entries, "entry", "entries"),
            bytes(*size),
            output::clean(key)
        );
        output::answer(context.json, &answer, &behind, &text)
    }
}

/// A checkpoint that could not be verified is not to be relied upon, whatever kept it from being verified.
fn damaged(fault: Fault) -> Fault {
    match fault {
        Fault::Client(client::Error::Refused { code: Code::Failed, message }) => {
            Fault::Damaged { message, damage: None }
        }
        other => other,
    }
}
