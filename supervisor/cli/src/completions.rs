//! `dsmil completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::output;

/// Writes a script that completes this command's words in a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil completions bash > /usr/share/bash-completion/completions/dsmil")]
pub struct Completions {
    /// For which shell.
    shell: Shell,
}

impl Completions {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        // By way of memory: the generator panics where its output breaks.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "dsmil", &mut script);
        output::raw(&script)
    }
}
