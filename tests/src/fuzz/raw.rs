//! The system calls of the fuzzer, and the memory that its processes share.
//!
//! The one unsafe room here. What a program touches has fixed places, so that every process and thread means the same
//! by a number and nothing of the fuzzer itself is in reach: descriptors from [`FILE_FIRST`] on, mappings from
//! [`MAP_FIRST`] on, arguments below 4 GiB (for the calls of 32-bit programs).
//!
//! # Layout
//!
//! - `arena`: where arguments lie
//! - `plain`: structures as bytes
//! - `process`: processes, threads, signals, capabilities
//! - `shared`: what all processes see; coverage
//! - here: the calls on the node

use std::arch::asm;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

mod arena;
mod plain;
mod process;
mod shared;

pub(crate) use arena::{Block, get, make_arenas, put};
pub(crate) use plain::{bytes_of, structure_at};
pub(crate) use process::{
    end, handle_signal, has_compat, interrupted, leave, signal, spawn, strong, thread, wait,
};
pub(crate) use shared::{CELLS, Coverage, Shared};

/// First of the descriptors that programs use.
const FILE_FIRST: i32 = 100;
/// Where the first mapping goes, and the distance to the next.
const MAP_FIRST: u64 = 0x6000_0000_0000;
const MAP_STRIDE: u64 = 0x1000_0000;
const PAGE: usize = 4096;

/// What a system call gave: its result, or a negative error number.
pub(crate) type Answer = i64;

fn answer(result: i64) -> Answer {
    if result == -1 {
        i64::from(-io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    } else {
        result
    }
}

fn checked(result: i64) -> io::Result<i64> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The descriptor that a program means by a number.
pub(crate) fn descriptor(file: u8) -> i32 {
    FILE_FIRST + i32::from(file)
}

/// Opens a path as a program's descriptor.
pub(crate) fn open(path: &CString, flags: i32, file: u8) -> Answer {
    // SAFETY: The path is a C string.
    let opened = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
    if opened < 0 {
        return answer(-1);
    }
    // SAFETY: dup2 and close of a descriptor that was just made, and of one that belongs to the program.
    unsafe {
        let result = libc::dup2(opened, descriptor(file));
        let result = answer(i64::from(result));
        libc::close(opened);
        result
    }
}

/// close() of a program's descriptor.
pub(crate) fn close(file: u8) -> Answer {
    // SAFETY: The number belongs to the program; no Rust object owns it.
    answer(i64::from(unsafe { libc::close(descriptor(file)) }))
}

/// dup2() of program's descriptors.
pub(crate) fn dup(from: u8, to: u8) -> Answer {
    // SAFETY: Both numbers belong to the program.
    answer(i64::from(unsafe { libc::dup2(descriptor(from), descriptor(to)) }))
}

/// Closes every descriptor from a number on, those of programs and what their processes have left in a shared table.
pub(crate) fn close_from(first: i32) {
    let first = libc::c_uint::try_from(first).unwrap_or(libc::c_uint::MAX);
    // SAFETY: The caller has opened what it keeps before, below that number, and dropped what it made since.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// The lowest number that no open descriptor has.
///
/// # Errors
///
/// What the kernel said.
pub(crate) fn first_free() -> io::Result<i32> {
    Ok(File::open("/dev/null")?.as_raw_fd())
}

/// ioctl() on a program's descriptor, with an address that may be anything.
pub(crate) fn ioctl(file: u8, command: u32, argument: u64) -> Answer {
    // SAFETY: What this driver writes, it writes at `argument` and at the addresses in the structure there; these are
    // the actor's argument memory, which no Rust object lies in, or addresses where nothing can be written.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, descriptor(file), command, argument) };
    answer(result)
}

/// The same by the system call of 32-bit programs.
pub(crate) fn ioctl_compat(file: u8, command: u32, argument: u64) -> Answer {
    let mut result: u64 = 54;
    let argument = u32::try_from(argument & 0xffff_ffff).unwrap_or_default();
    // SAFETY: As `ioctl`; the kernel keeps all registers but eax and, in older versions, r8 to r11.
    unsafe {
        asm!(
            "xchg {file:r}, rbx",
            "int 0x80",
            "xchg {file:r}, rbx",
            file = inout(reg) u64::try_from(descriptor(file)).unwrap_or_default() => _,
            inout("rax") result,
            in("rcx") u64::from(command),
            in("rdx") u64::from(argument),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let low = u32::try_from(result & 0xffff_ffff).unwrap_or_default();
    i64::from(low.cast_signed())
}

/// read() from a program's descriptor to an address that may be anything.
pub(crate) fn read(file: u8, to: u64, bytes: u32) -> Answer {
    // SAFETY: As `ioctl`: what is written, is written to the actor's argument memory or nowhere.
    answer(unsafe {
        libc::syscall(libc::SYS_read, descriptor(file), to, usize::try_from(bytes).unwrap_or(0))
    })
}

/// poll() for everything; the answer is what came.
pub(crate) fn poll(file: u8, ms: u8) -> Answer {
    let mut one = libc::pollfd { fd: descriptor(file), events: !0x2000, revents: 0 };
    // SAFETY: One element, which lives through the call.
    match answer(i64::from(unsafe { libc::poll(&raw mut one, 1, i32::from(ms)) })) {
        1 => i64::from(one.revents),
        other => other,
    }
}

/// Waits through an epoll of its own.
pub(crate) fn epoll(file: u8, ms: u8) -> Answer {
    // SAFETY: The descriptor made here is closed here; the events live through the calls.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        if epoll < 0 {
            return answer(-1);
        }
        let mut event = libc::epoll_event { events: u32::MAX >> 5, u64: 7 };
        let mut result =
            answer(i64::from(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, descriptor(file), &raw mut event)));
        if result == 0 {
            result = answer(i64::from(libc::epoll_wait(epoll, &raw mut event, 1, i32::from(ms))));
        }
        libc::close(epoll);
        result
    }
}

/// mmap() of a program's descriptor at the place for that mapping; replaces what is there.
pub(crate) fn map(file: u8, map: u8, bytes: u64, protection: u8, private: bool, offset: u64) -> Answer {
    let sharing = if private { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
    // SAFETY: The place is the program's alone, and longer mappings than the distance between two are not asked for.
    answer(unsafe {
        libc::syscall(
            libc::SYS_mmap,
            MAP_FIRST + u64::from(map) * MAP_STRIDE,
            bytes.min(MAP_STRIDE),
            libc::c_int::from(protection & 7),
            sharing | libc::MAP_FIXED,
            descriptor(file),
            offset,
        )
    })
}

/// mprotect() of the first page of a mapping.
pub(crate) fn protect(map: u8, protection: u8) -> Answer {
    let place = MAP_FIRST + u64::from(map) * MAP_STRIDE;
    // SAFETY: The place is the program's alone.
    answer(unsafe { libc::syscall(libc::SYS_mprotect, place, PAGE, libc::c_int::from(protection & 7)) })
}

/// munmap() of a mapping.
pub(crate) fn unmap(map: u8) -> Answer {
    // SAFETY: The place is the program's alone.
    answer(unsafe { libc::syscall(libc::SYS_munmap, MAP_FIRST + u64::from(map) * MAP_STRIDE, MAP_STRIDE) })
}

/// Looks at eight bytes of a mapping through the kernel, which says EFAULT where a plain load would end the process.
pub(crate) fn touch(map: u8, offset: u32) -> Answer {
    let place = MAP_FIRST + u64::from(map) * MAP_STRIDE + u64::from(offset);
    let mut pipe = [0; 2];
    // SAFETY: The descriptors made here are closed here; write() checks the address itself.
    unsafe {
        if libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) < 0 {
            return answer(-1);
        }
        let [from, to] = pipe;
        let result = answer(libc::syscall(libc::SYS_write, to, place, 8_usize));
        libc::close(from);
        libc::close(to);
        result
    }
}

/// File operations that the node need not have.
pub(crate) fn other(file: u8, which: super::program::Other) -> Answer {
    use super::program::Other;
    let file = descriptor(file);
    // SAFETY: The buffers live through the calls.
    answer(unsafe {
        match which {
            Other::Write => {
                let byte = [1_u8; 8];
                i64::try_from(libc::write(file, byte.as_ptr().cast(), byte.len())).unwrap_or(-1)
            }
            Other::Seek => libc::lseek(file, 8, libc::SEEK_SET),
            Other::Sync => i64::from(libc::fsync(file)),
            Other::Truncate => i64::from(libc::ftruncate(file, 0)),
            Other::Flags => i64::from(libc::fcntl(file, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)),
            Other::Fdinfo => {
                let path = CString::new(format!("/proc/self/fdinfo/{file}")).unwrap_or_default();
                let opened = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                if opened < 0 {
                    -1
                } else {
                    let mut text = [0_u8; 512];
                    let count = libc::read(opened, text.as_mut_ptr().cast(), text.len());
                    libc::close(opened);
                    i64::try_from(count).unwrap_or(-1)
                }
            }
        }
    })
}

/// True if a read() that finds nothing would wait.
pub(crate) fn would_wait(file: u8) -> bool {
    // SAFETY: No memory is passed.
    let flags = unsafe { libc::fcntl(descriptor(file), libc::F_GETFL) };
    flags >= 0 && flags & libc::O_NONBLOCK == 0 && poll(file, 0) & i64::from(libc::POLLIN) == 0
}
