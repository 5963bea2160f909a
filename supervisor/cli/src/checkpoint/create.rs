//! `dsmil checkpoint create`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, count};
use crate::progress::Show;
use crate::session::Context;

/// Takes a checkpoint of tokens and of the configured folders, settings, databases and services, signed by the TPM.
///
/// When the command ends with 0, the checkpoint is durable and signed. A name is 1 to 64 letters, digits, “.”, “_” and “-”,
/// not digits alone, and names one checkpoint.
///
/// A file that the newest checkpoint knows by inode, change time and size is recognised and not read again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint create before
  dsmil checkpoint create before --paranoid")]
pub struct Create {
    /// Its name.
    name: String,
    /// Read every file, and recognise none as unchanged.
    #[arg(long)]
    paranoid: bool,
}

impl Create {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::CreateCheckpoint { name: self.name.clone(), paranoid: self.paranoid };
        let doing = format!("create checkpoint {}", self.name);
        let (answer, behind) = context.connect()?.ask(&doing, command, Show::Phases)?;
        let Answer::Created { checkpoint } = &answer else { return Err(Fault::Unexpected) };
        let mut text = super::table([checkpoint]).to_string();
        if let Some(read) = checkpoint.read {
            let files = count(checkpoint.files, "file", "files");
            text.push_str(&format!("{files}, contents of {read} read\n"));
        }
        output::answer(context.json, &answer, &behind, &text)
    }
}
