//! A question on the terminal before something is changed.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use crate::fault::Fault;

/// Longest answer to a question, bytes.
const REPLY_MAX: u64 = 64;

/// Whether there is somebody to ask.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; anything but yes is an error that says that nothing was changed. The text must have gone through
/// [`crate::output::clean`].
pub fn confirm(text: &str) -> Result<(), Fault> {
    let mut err = io::stderr().lock();
    let asked = err.write_all(format!("{text} [y/N] ").as_bytes()).and_then(|()| err.flush());
    let mut reply = String::new();
    let read = asked.and_then(|()| io::stdin().lock().take(REPLY_MAX).read_line(&mut reply));
    match read {
        Ok(_) if matches!(reply.trim(), "y" | "Y" | "yes" | "Yes" | "YES") => Ok(()),
        Ok(_) => Err(Fault::Failed("not confirmed, so nothing was changed".to_owned())),
        Err(error) => Err(Fault::Failed(format!("cannot ask: {error}; nothing was changed"))),
    }
}
