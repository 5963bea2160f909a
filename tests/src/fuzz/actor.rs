//! One actor: does what it is told, operation by operation, as a process or as a thread.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::libc;

use super::known::Known;
use super::program::{Access, Body, Call, Ioctl, Length, Op, Program, Which};
use super::raw::{self, Answer, Block, Coverage, Shared};
use super::request::{self, Now, Request};
use super::uapi::*;

/// The command that ends an actor's loop.
pub(crate) const STOP: u32 = u32::MAX;

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Done {
    /// Its place in the program.
    pub(crate) index: u32,
    /// The actor's slot.
    pub(crate) slot: u32,
    /// The result, or a negative error number.
    pub(crate) answer: Answer,
    /// `enum dsmil_reason` as it was written back, where it was.
    pub(crate) reason: u32,
    /// Bits of [`Done`]'s constants.
    pub(crate) flags: u32,
    /// READ: errors of single entries, as bits by error number; COMMIT: `enum dsmil_undo`.
    pub(crate) detail: u64,
}

impl Done {
    /// It was not tried: the actor is not there, or it would wait for ever.
    pub(crate) const SKIPPED: u32 = 1;
    /// What was written back contradicts the result.
    pub(crate) const WRONG: u32 = 2;
    /// Bytes on a pipe: fewer than PIPE_BUF, so that records never mix.
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let words = [self.index, self.slot, self.reason, self.flags];
        let mut bytes = [0; Self::BYTES];
        let all = words.into_iter().flat_map(u32::to_le_bytes);
        let all = all.chain(self.answer.to_le_bytes()).chain(self.detail.to_le_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self {
            index: word(0),
            slot: word(4),
            reason: word(8),
            flags: word(12),
            answer: long(16).cast_signed(),
            detail: long(24),
        }
    }
}

/// What every actor knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    pub(crate) shared: &'static Shared,
    pub(crate) known: &'static Known,
    /// Bytes of the module's mapped pages.
    pub(crate) page_bytes: u32,
    pub(crate) compat: bool,
    /// The kernel's allocations may be made to fail.
    pub(crate) fail: bool,
}

/// An actor.
#[derive(Debug)]
pub(crate) struct Actor {
    common: Common,
    slot: u8,
    coverage: Option<Coverage>,
    fail: Option<File>,
    node: CString,
}

impl Actor {
    /// The actor of this thread.
    pub(crate) fn new(slot: u8, common: Common) -> Self {
        let path = format!("/proc/self/task/{}/fail-nth", raw::thread());
        let fail = if common.fail { File::options().write(true).open(path).ok() } else { None };
        let node = CString::new("/dev/dsmil").unwrap_or_default();
        Self { common, slot, coverage: Coverage::of_this_thread(), fail, node }
    }

    pub(crate) fn has_coverage(&self) -> bool {
        self.coverage.is_some()
    }

    pub(crate) fn can_fail(&self) -> bool {
        self.fail.is_some()
    }

    /// For [`super::conduct`], which knows what the module says after it was loaded.
    pub(crate) fn set_common(&mut self, common: Common) {
        self.common = common;
    }

    /// Does what comes through a pipe until [`STOP`] or its end; each result goes into another pipe.
    pub(crate) fn serve(&mut self, program: &Program, mut commands: &File, mut results: &File) {
        let mut command = [0; 4];
        loop {
            match commands.read_exact(&mut command) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            let index = u32::from_le_bytes(command);
            let Some(op) = usize::try_from(index).ok().and_then(|index| program.0.get(index)) else { return };
            let done = self.run(index, op);
            if results.write_all(&done.to_bytes()).is_err() {
                return;
            }
        }
    }

    /// Does one operation.
    pub(crate) fn run(&mut self, index: u32, op: &Op) -> Done {
        let mut done = Done { index, slot: u32::from(self.slot), ..Done::default() };
        // A pause is the library's, which takes a failing copy for a mistake of its own.
        let may_fail = !matches!(op.call, Call::Wait { .. });
        let armed = op.fail > 0 && may_fail && self.arm(op.fail);
        self.act(op, &mut done, armed);
        if armed {
            self.arm(0);
        }
        if let Some(coverage) = &self.coverage {
            coverage.drain(self.common.shared);
        }
        done
    }

    fn arm(&self, count: u8) -> bool {
        self.fail.as_ref().is_some_and(|file| file.write_at(count.to_string().as_bytes(), 0).is_ok())
    }

    fn act(&self, op: &Op, done: &mut Done, armed: bool) {
        done.answer = match &op.call {
            Call::Open { file, access, nonblock, weak } => {
                let access = match access {
                    Access::Read => libc::O_RDONLY,
                    Access::Write => libc::O_WRONLY,
                    Access::Both => libc::O_RDWR,
                };
                let flags = access | if *nonblock { libc::O_NONBLOCK } else { 0 };
                if *weak {
                    raw::strong(false);
                }
                let answer = raw::open(&self.node, flags, *file);
                if *weak {
                    raw::strong(true);
                }
                answer
            }
            Call::Close { file } => raw::close(*file),
            Call::Dup { from, to } => raw::dup(*from, *to),
            Call::Ioctl(ioctl) => return self.ioctl(ioctl, done, armed),
            Call::Events { file, bytes, to } => {
                // Who is waited for must not wait for something that nobody does.
                if (!op.later || self.slot == 0) && raw::would_wait(*file) {
                    done.flags |= Done::SKIPPED;
                    return;
                }
                let room = usize::try_from(*bytes).unwrap_or(0).min(64 << 10);
                let to = raw::put(self.slot, Block::Array, *to, &vec![0; room]);
                let read = || raw::read(*file, to, *bytes);
                // Another thread may take the events since, and nobody would interrupt the fuzzer itself.
                if self.slot == 0 { raw::interrupted(read) } else { read() }
            }
            Call::Poll { file, ms, epoll: false } => raw::poll(*file, *ms),
            Call::Poll { file, ms, epoll: true } => raw::epoll(*file, *ms),
            Call::Map { file, map, length, protection, private, offset } => {
                let bytes = match length {
                    Length::Exact => self.common.page_bytes,
                    Length::Bytes(bytes) => *bytes,
                };
                raw::map(*file, *map, u64::from(bytes), *protection, *private, u64::from(*offset) * 4096)
            }
            Call::Protect { map, protection } => raw::protect(*map, *protection),
            Call::Unmap { map } => raw::unmap(*map),
            Call::Touch { map, offset } => raw::touch(*map, *offset),
            Call::Other { file, which } => raw::other(*file, *which),
            Call::Wait { ms } => {
                std::thread::sleep(Duration::from_millis(u64::from(*ms)));
                0
            }
            Call::Exit if self.slot != 0 => raw::leave(),
            Call::Exit
            | Call::Spawn { .. }
            | Call::Kill { .. }
            | Call::Signal { .. }
            | Call::Fault { .. }
            | Call::ClearFaults
            | Call::Poke { .. }
            | Call::Heat { .. } => {
                done.flags |= Done::SKIPPED;
                return;
            }
        };
    }

    fn ioctl(&self, ioctl: &Ioctl, done: &mut Done, armed: bool) {
        let shared = self.common.shared;
        let index = usize::try_from(done.index).unwrap_or(usize::MAX);
        let mut request = request::request(ioctl, self);
        if let (Some(number), Some(place)) = (request::transaction(&request), shared.transaction.get(index)) {
            place.store(number, Ordering::SeqCst);
        }
        let array = raw::put(self.slot, Block::Array, ioctl.array, &request.array);
        if let Some(pointer) = request.pointer.and_then(|at| request.argument.get_mut(at..at + 8)) {
            pointer.copy_from_slice(&array.to_le_bytes());
        }
        let argument = raw::put(self.slot, Block::Argument, ioctl.at, &request.argument);
        let stage = shared.stage.get(index);
        stage.inspect(|stage| stage.store(1, Ordering::SeqCst));
        done.answer = if ioctl.compat && self.common.compat {
            raw::ioctl_compat(ioctl.file, request.command, argument)
        } else {
            raw::ioctl(ioctl.file, request.command, argument)
        };
        self.look(ioctl, &request, done, armed);
        stage.inspect(|stage| stage.store(2, Ordering::SeqCst));
    }

    /// Looks at what was written back.
    fn look(&self, ioctl: &Ioctl, request: &Request, done: &mut Done, armed: bool) {
        if !request::is_answered(ioctl.at) || matches!(ioctl.body, Body::Raw { .. }) {
            return;
        }
        let back = raw::get(self.slot, Block::Argument, ioctl.at, request.argument.len());
        if let Some(failure) = request::failure(request.command, &back) {
            done.reason = failure.reason;
            let errno = -i64::from(failure.error);
            let told = failure.reason != DSMIL_REASON_NONE;
            let is_wrong = match done.answer {
                0 => told || failure.error != 0,
                answer if answer == -i64::from(libc::EFAULT) => false,
                // A descriptor that is not open never came to the module.
                answer if answer == -i64::from(libc::EBADF) && !told => false,
                answer => !told || errno != answer,
            };
            // What was turned on the way in may be left as it is, and an injected failure may hit the way out.
            if is_wrong && !armed && ioctl.flip.is_none() {
                done.flags |= Done::WRONG;
            }
        }
        match request.command {
            DSMIL_IOC_BEGIN if done.answer == 0 => {
                let number = request::begun(&back).unwrap_or(0);
                self.common.shared.latest.store(number, Ordering::SeqCst);
                let own = self.common.shared.own.get(usize::from(self.slot));
                own.inspect(|own| own.store(number, Ordering::SeqCst));
            }
            DSMIL_IOC_READ if done.answer == 0 && request::is_answered(ioctl.array) => {
                let array = raw::get(self.slot, Block::Array, ioctl.array, request.array.len());
                done.detail = request::entry_errors(&back, &array);
            }
            DSMIL_IOC_COMMIT if done.answer < 0 => {
                done.detail =
                    super::raw::structure_at::<dsmil_commit>(&back, 0).map_or(0, |commit| commit.undo.into());
            }
            _ => {}
        }
    }
}

impl Now for Actor {
    fn transaction(&self, which: Which) -> u64 {
        let shared = self.common.shared;
        match which {
            Which::Latest => shared.latest.load(Ordering::SeqCst),
            Which::Own => shared.own.get(usize::from(self.slot)).map_or(0, |own| own.load(Ordering::SeqCst)),
            Which::Number(number) => number,
        }
    }

    fn before(&self, id: u16, select: u8) -> u32 {
        let cell = self.common.known.location(id).map(|location| (location, select));
        let place = cell.and_then(|cell| self.common.known.place(cell));
        let value = place.and_then(|place| self.common.shared.before.get(place));
        value.map_or(0, |value| value.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_the_pipe() {
        let done = Done { index: 7, slot: 3, answer: -22, reason: 16, flags: 3, detail: u64::MAX - 5 };
        assert_eq!(Done::from_bytes(&done.to_bytes()), done);
    }
}
