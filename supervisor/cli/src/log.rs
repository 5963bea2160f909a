//! `dsmil log`
//!
//! - [`note`], [`tail`], [`search`], [`prove`], [`verify`]: its subcommands
//! - [`source`]: where they have the entries from

mod note;
mod prove;
mod search;
mod source;
mod tail;
mod verify;

use clap::Subcommand;

use crate::fault::Fault;
use crate::session::Context;

/// Where the daemon keeps its log unless configured otherwise.
const DIR: &str = "/var/lib/dsmil/log";

/// The log of everything that was asked, decided and done.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil log tail -f
  dsmil log search --fact denied --since 2h
  dsmil log note --kind build.end all is well
  dsmil log prove 4711 --out entry.tlog-proof
  dsmil log verify")]
pub enum Log {
    Note(note::Note),
    Tail(tail::Tail),
    Search(search::Search),
    Prove(prove::Prove),
    VerifyProof(prove::VerifyProof),
    Verify(verify::Verify),
}

impl Log {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Note(note) => note.run(context),
            Self::Tail(tail) => tail.run(context),
            Self::Search(search) => search.run(context),
            Self::Prove(prove) => prove.run(context),
            Self::VerifyProof(verify) => verify.run(context),
            Self::Verify(verify) => verify.run(context),
        }
    }
}
