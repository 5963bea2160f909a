//! Children that tell what went wrong in them, and descriptors sent from one to another.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::bench::{Check, Fallible};

/// Longest that a child is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child process, killed when this is dropped.
pub(crate) struct Child {
    pid: Pid,
    /// Where it writes what it has to say; the other end is our own words to it.
    line: UnixStream,
    is_over: bool,
}

/// A child that runs `body`.
pub(crate) fn child(body: impl FnOnce() -> Check) -> Fallible<Child> {
    speaking(|_| body())
}

/// A child that runs `body` with a line to its parent.
pub(crate) fn speaking(body: impl FnOnce(&mut UnixStream) -> Check) -> Fallible<Child> {
    let (line, mut theirs) = UnixStream::pair()?;
    line.set_read_timeout(Some(PATIENCE))?;
    // SAFETY: This program has one thread when it forks: others are joined where they are made.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Child { pid: child, line, is_over: false }),
        ForkResult::Child => {
            drop(line);
            let done = body(&mut theirs).map_err(|why| theirs.write_all(why.to_string().as_bytes()));
            // SAFETY: Ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
    }
}

impl Child {
    /// Waits for its end, and gives what went wrong.
    pub(crate) fn end(mut self) -> Check {
        let status = self.wait()?;
        if status == WaitStatus::Exited(self.pid, 0) {
            return Ok(());
        }
        let mut said = String::new();
        self.line.read_to_string(&mut said)?;
        Err(format!("in the child: {said} {status:?}").into())
    }

    /// Waits for one byte from it.
    pub(crate) fn hear(&mut self) -> Check {
        let mut byte = [0];
        self.line.read_exact(&mut byte).map_err(|why| format!("the child is silent: {why}"))?;
        if byte == *b"." {
            return Ok(());
        }
        let mut said = String::new();
        self.line.read_to_string(&mut said)?;
        Err(format!("in the child: {}{said}", char::from(byte[0])).into())
    }

    /// A number that it tells.
    pub(crate) fn number(&mut self) -> Fallible<i32> {
        let mut bytes = [0; 4];
        self.line.read_exact(&mut bytes)?;
        Ok(i32::from_le_bytes(bytes))
    }

    /// A longer one.
    pub(crate) fn long(&mut self) -> Fallible<u64> {
        let mut bytes = [0; 8];
        self.line.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Lets it go on.
    pub(crate) fn tell(&mut self) -> Check {
        Ok(self.line.write_all(b".")?)
    }

    pub(crate) fn kill(mut self) -> Check {
        kill(self.pid, Signal::SIGKILL)?;
        self.wait().map(|_| ())
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    fn wait(&mut self) -> Fallible<WaitStatus> {
        let status = waitpid(self.pid, None)?;
        self.is_over = true;
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_over {
            let _may_be_gone = kill(self.pid, Signal::SIGKILL);
            let _may_be_gone = waitpid(self.pid, None);
        }
    }
}

/// In a child: tells its parent that it has come so far.
pub(crate) fn tell(line: &mut UnixStream) -> Check {
    Ok(line.write_all(b".")?)
}

/// In a child: waits until it may go on.
pub(crate) fn hear(line: &mut UnixStream) -> Check {
    Ok(line.read_exact(&mut [0])?)
}

/// A child that sleeps until it is killed, with the files open that this process has; with the very same table of
/// files, if it shares that.
pub(crate) fn sleeper(shares_table: bool) -> Result<Pid, Errno> {
    cloned(shares_table, || {
        loop {
            // SAFETY: Waits for a signal.
            unsafe { libc::pause() };
        }
    })
}

/// A child that shares this process's table of files, and closes one of them.
pub(crate) fn closer(file: &File) -> Result<Pid, Errno> {
    // SAFETY: Whoever has the file leaks it.
    cloned(true, || unsafe {
        libc::close(file.as_raw_fd());
    })
}

fn cloned(shares_table: bool, body: impl FnOnce()) -> Result<Pid, Errno> {
    let flags = i64::from(libc::SIGCHLD | if shares_table { libc::CLONE_FILES } else { 0 });
    // SAFETY: Like fork: the child has memory of its own, and runs nothing but what follows.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, 0_u64, 0_u64) })?;
    if pid == 0 {
        body();
        // SAFETY: As in `speaking`.
        unsafe { libc::_exit(0) };
    }
    Ok(Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?))
}

/// Sends a descriptor of the file.
pub(crate) fn send(line: &UnixStream, file: &File) -> Check {
    let descriptors = [file.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(line.as_raw_fd(), &[IoSlice::new(b".")], &rights, MsgFlags::empty(), None)?;
    Ok(())
}

/// Receives one.
pub(crate) fn receive(line: &UnixStream) -> Fallible<OwnedFd> {
    use std::os::fd::FromRawFd;
    let (mut byte, mut room) = ([0], nix::cmsg_space!([i32; 1]));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(line.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            let descriptor = descriptors.first().copied().ok_or("no descriptor came")?;
            // SAFETY: It has just been made for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    Err("no descriptor came".into())
}
