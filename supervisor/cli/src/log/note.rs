//! `dsmil log note`

use std::io::Read as _;

use api::wire::{Answer, NOTE_BYTES_MAX, convert};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::session::Context;

/// Records a fact of your own in the log.
///
/// The log keeps who told it: user and process, as the kernel attests them. The answer comes when the note is durable, and
/// is its place in the log. What a note may hold, and how much a user may tell in an hour, is in the daemon's
/// configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log note moved to the new desk
  dsmil log note --kind backup.done 42 files
  make 2>&1 | tail -c 8000 | dsmil log note --kind build.end -")]
pub struct Note {
    /// What it tells of: small letters, digits, “.”, “_” and “-”.
    #[arg(long, default_value = "note")]
    kind: String,
    /// What is told, words joined by spaces; “-” alone reads it from the standard input, where it may be any bytes.
    #[arg(required = true)]
    text: Vec<String>,
}

impl Note {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = convert::note(self.kind.clone(), self.content()?);
        let (answer, behind) = context.ask("record the note", command)?;
        let Answer::Noted { index } = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, &format!("noted as entry {index}\n"))
    }

    fn content(&self) -> Result<Vec<u8>, Fault> {
        if self.text != ["-"] {
            return Ok(self.text.join(" ").into_bytes());
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = std::io::stdin().lock().take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Fault::Failed(format!("cannot read the standard input: {error}")))?;
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(Fault::Usage(format!("a note has at most {NOTE_BYTES_MAX} bytes, and more came in")));
        }
        Ok(bytes)
    }
}
