//! `dsmil checkpoint guard`: what `mount` starts beside itself.

use std::path::PathBuf;

use clap::Args;
use view::point::Point;

use crate::fault::Fault;

/// Waits for the end of its standard input, then unmounts.
#[derive(Debug, Args)]
pub struct Guard {
    /// Where it is mounted.
    folder: PathBuf,
    /// What the mount's source is called.
    source: String,
}

impl Guard {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        let point = Point { folder: self.folder.clone(), source: self.source.clone() };
        view::guard::watch(&point)
            .map_err(|error| Fault::Failed(format!("cannot unmount {}: {error}", self.folder.display())))
    }
}
