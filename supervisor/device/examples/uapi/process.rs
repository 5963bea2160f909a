//! Children, and threads without capabilities.

use std::error::Error as StdError;
use std::fs::{File, OpenOptions};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// The node, opened by a thread that has given up its capabilities.
pub(crate) fn open_without_capabilities(node: &str) -> Result<File, Box<dyn StdError>> {
    let node = node.to_owned();
    let opener = std::thread::spawn(move || -> std::io::Result<File> {
        // Version 3 of the header, this thread; then no effective, permitted or inheritable ones.
        let header = [0x2008_0522_u32, 0];
        let none = [0_u32; 6];
        // SAFETY: The kernel reads a header of two words and three sets of two words each.
        let done = unsafe { nix::libc::syscall(nix::libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
        Errno::result(done)?;
        // Without capabilities the node's mode decides, and root owns it.
        OpenOptions::new().read(true).write(true).open(node)
    });
    Ok(opener.join().map_err(|_| "the opening thread died")??)
}

/// A child that runs `body` and exits with 0 if that is true.
pub(crate) fn forked(body: impl FnOnce() -> bool) -> Result<Pid, Errno> {
    // SAFETY: This program has one thread when it forks: the one that opened without capabilities is joined.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = i32::from(!body());
            // SAFETY: Ends the child without running what belongs to the parent.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

/// The exit status of a child.
pub(crate) fn wait(child: Pid) -> Result<i32, Box<dyn StdError>> {
    match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => Ok(status),
        other => Err(format!("{other:?}").into()),
    }
}
