//! `dsmil-agent`: the ready agents. One program; its arguments say which role it plays and what it does in it.
//!
//! # Layout
//!
//! - [`desk`]: the agent's side of the protocol; [`task`]: what a role sees of it
//! - [`role`]: the roles; [`input`], [`options`], [`fault`]: what they are given, and why there is no result
//! - [`definitions`]: writes the files of the 80 agents; [`table`]: which they are; [`manual`]: their description
//!
//! # Invariants
//!
//! - Nothing of what a task is given chooses a program, a host, or a folder outside of those in the arguments, which are part of
//!   the approved file.
//! - Every list, text and number of what is read has a bound; what was left out is told.

mod definitions;

mod desk;

mod fault;

mod input;

mod manual;

mod options;

mod role;

mod table;

mod task;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).peekable();
    let done = match words.peek().map(String::as_str) {
        Some("definitions") => definitions::write(words.skip(1)),
        Some("manual") => manual::print(),
        None | Some("--help" | "-h") => Err(USAGE.to_owned()),
        Some(_) => role::work(words).and_then(|(work, tasks)| desk::Desk::serve(work, tasks)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dsmil-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "use:
  dsmil-agent ROLE ACT [OPTION…]                is an agent: it speaks JSON lines on stdin and stdout
  dsmil-agent echo                              answers with what it is given
  dsmil-agent definitions DIR [--program PATH] [--folder PATH]
                                                writes the files of the ready agents into DIR
  dsmil-agent manual                            prints what all of them do";
