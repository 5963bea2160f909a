//! `dsmil man`

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::output;

/// Writes the manual page, or with a folder the pages of all subcommands into it.
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "Examples:
  dsmil man | man -l -
  dsmil man /usr/share/man/man1"
)]
pub struct Man {
    /// The folder; it is made if it is not there.
    dir: Option<PathBuf>,
}

impl Man {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        match &self.dir {
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(Fault::Output)?;
                output::raw(&page)
            }
            Some(dir) => std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(Arguments::command(), dir))
                .map_err(|error| {
                    Fault::Failed(format!("cannot write pages into {}: {error}", dir.display()))
                }),
        }
    }
}
