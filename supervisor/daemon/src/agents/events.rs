//! What wakes the driver, and what it reads then.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use rustix::event::epoll;

/// What an event of epoll is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u64);

impl Token {
    /// The helper's socket.
    pub const HELPER: Self = Self(u64::MAX);
    /// Somebody has something for the driver.
    pub const WAKE: Self = Self(u64::MAX - 1);

    /// The low bits: which pipe.
    pub const STDIN: u64 = 0;
    /// Its stdout.
    pub const STDOUT: u64 = 1;
    /// Its stderr.
    pub const STDERR: u64 = 2;

    /// An agent's stdin can be written.
    pub const fn stdin(instance: u64) -> Self {
        Self(instance << 2 | Self::STDIN)
    }

    /// It has said something.
    pub const fn stdout(instance: u64) -> Self {
        Self(instance << 2 | Self::STDOUT)
    }

    /// It has written something to its owner.
    pub const fn stderr(instance: u64) -> Self {
        Self(instance << 2 | Self::STDERR)
    }

    /// As epoll carries it.
    pub const fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(self.0)
    }
}

/// What a read brought.
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// There is nothing now.
    Nothing,
    /// There will be nothing any more.
    End,
}

/// Reads what is there.
pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Read {
    loop {
        match nix::unistd::read(fd, buffer) {
            Ok(0) => return Read::End,
            Ok(count) => return Read::Bytes(count),
            Err(Errno::EAGAIN) => return Read::Nothing,
            Err(Errno::EINTR) => {}
            Err(_) => return Read::End,
        }
    }
}
