//! A process that ends a mount where the one that serves it was killed.
//!
//! The kernel keeps a mount whose process is gone: whoever looks into the folder gets “transport endpoint is not connected”, until somebody unmounts it. So
//! a second process waits at a pipe for the end of the first, whatever it comes by.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::SigSet;

use crate::point::Point;

/// The process that guards; it is let go when this is dropped, and then finds nothing to do.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts this program again with these arguments, the folder and the source: it has to call [`watch`].
    pub(crate) fn start(point: &Point, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).arg("--").arg(&point.folder).arg(&point.source);
        // In a group of its own: Ctrl-C is for the first process.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // It has no more to do than to look at a list.
        self.child.wait().ok();
    }
}

/// What the guarding process does: waits until the standard input is hung up, then ends the mount if it is still there.
///
/// # Errors
///
/// As [`Point::detach`].
pub fn watch(point: &Point) -> io::Result<()> {
    // Whoever ends a whole service ends the first process with it, and this one follows.
    SigSet::all().thread_block()?;
    let mut byte = [0];
    while io::stdin().lock().read(&mut byte)? > 0 {}
    point.detach()
}
