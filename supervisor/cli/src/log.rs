//! `dsmil log`
//!
//! - [`note`], [`tail`], [`search`], [`show`], [`prove`], [`verify`], [`export`], [`salvage`], [`archive`]: its subcommands
//! - [`source`]: where they have the entries from; [`certified`]: the TPM's word on how many there were; [`clock`]: whether
//!   their clock went back

mod archive;
mod certified;
mod clock;
mod export;
mod note;
mod prove;
mod salvage;
mod search;
mod show;
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
  dsmil log show 4711
  dsmil log note --kind build.end all is well
  dsmil log prove 4711 --out entry.tlog-proof
  dsmil log verify")]
pub enum Log {
    Note(note::Note),
    Tail(tail::Tail),
    Search(search::Search),
    Show(show::Show),
    Prove(prove::Prove),
    VerifyProof(prove::VerifyProof),
    Verify(verify::Verify),
    Export(export::Export),
    Salvage(salvage::Salvage),
    Archive(archive::Archive),
}

impl Log {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Note(note) => note.run(context),
            Self::Tail(tail) => tail.run(context),
            Self::Search(search) => search.run(context),
            Self::Show(show) => show.run(context),
            Self::Prove(prove) => prove.run(context),
            Self::VerifyProof(verify) => verify.run(context),
            Self::Verify(verify) => verify.run(context),
            Self::Export(export) => export.run(context),
            Self::Salvage(salvage) => salvage.run(context),
            Self::Archive(archive) => archive.run(context),
        }
    }
}
