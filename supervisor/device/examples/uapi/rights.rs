//! Who may change something: the file's mode and its opener's capability.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};

use crate::bench::{Bench, Check, Fallible, same};
use crate::process::{child, receive, send};
use crate::raw::{ALL, allow_of, commit_of, raw, refused, settle_of, stage_of, whole};
use crate::uapi::*;

/// A user without rights: nobody.
const USER: libc::uid_t = 65534;

/// The node, opened by a thread that has given up its capabilities.
pub(crate) fn open_without_capabilities(node: &str) -> Fallible<File> {
    opened_after(node, |_| {
        // Version 3 of the header, this thread; then no effective, permitted or inheritable ones.
        let (header, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
        // SAFETY: The kernel reads a header of two words and three sets of two words each.
        Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(|_| ())
    })
}

/// The node, opened by a thread that has become another user, in the node's group.
pub(crate) fn open_as_user(node: &str) -> Fallible<File> {
    opened_after(node, |group| {
        let (none, user) = (std::ptr::null::<libc::gid_t>(), USER);
        // SAFETY: System calls on plain numbers, which change this thread alone: the C library's functions would
        // change all.
        unsafe {
            Errno::result(libc::syscall(libc::SYS_setgroups, 0, none))?;
            Errno::result(libc::syscall(libc::SYS_setresgid, group, group, group))?;
            Errno::result(libc::syscall(libc::SYS_setresuid, user, user, user)).map(|_| ())
        }
    })
}

fn opened_after(node: &str, change: fn(libc::gid_t) -> Result<(), Errno>) -> Fallible<File> {
    let node = node.to_owned();
    let opener = std::thread::spawn(move || -> io::Result<File> {
        change(std::fs::metadata(&node)?.gid())?;
        OpenOptions::new().read(true).write(true).open(node)
    });
    Ok(opener.join().map_err(|_| "the opening thread died")??)
}

/// The node, opened by root of a user namespace of its own.
fn open_in_namespace(node: &str) -> Fallible<File> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let node = node.to_owned();
    child(move || {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        std::fs::write("/proc/self/uid_map", "0 0 1")?;
        send(&theirs, &OpenOptions::new().read(true).write(true).open(node)?)
    })?
    .end()?;
    Ok(File::from(receive(&ours)?))
}

/// Everything that changes something is refused so, and the rest is not.
fn looks_only(b: &Bench, file: &File, wanted: dsmil_failure) -> Check {
    refused(file, DSMIL_IOC_ALLOW, allow_of(&[b.token()?.0]), wanted)?;
    refused(file, DSMIL_IOC_BEGIN, dsmil_begin::default(), wanted)?;
    refused(file, DSMIL_IOC_COMMIT, commit_of(1), wanted)?;
    // These need to be the owner, which such a file cannot be.
    let none = whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION);
    let nothing = [dsmil_stage_entry { id: b.token()?.0, ..Default::default() }];
    refused(file, DSMIL_IOC_STAGE, stage_of(u64::MAX, &nothing), none)?;
    refused(file, DSMIL_IOC_CONFIRM, settle_of(u64::MAX), none)?;
    refused(file, DSMIL_IOC_UNDO, settle_of(u64::MAX), none)?;
    same(b.info_through(file)?.flags & DSMIL_INFO_SEALED, 0)?;
    let mut entries = [dsmil_read_entry { id: b.token()?.0, ..Default::default() }];
    raw(file, DSMIL_IOC_READ, &mut crate::raw::read_of(&mut entries))?;
    same(entries.map(|entry| entry.error), [0])
}

/// While nothing is sealed yet.
pub(crate) fn check(bench: &mut Bench) {
    bench.check("read-only-file-ebadf", |b| {
        let wanted = whole(Errno::EBADF, DSMIL_REASON_READ_ONLY_FILE);
        looks_only(b, &File::open(&b.node)?, wanted)
    });
    bench.check("opener-without-capability-eperm", |b| {
        // Our own capabilities count for nothing: what counts is who opened.
        let wanted = whole(Errno::EPERM, DSMIL_REASON_CAPABILITY);
        looks_only(b, &open_without_capabilities(&b.node)?, wanted)
    });
    bench.check("opener-of-another-user-eperm", |b| {
        looks_only(b, &open_as_user(&b.node)?, whole(Errno::EPERM, DSMIL_REASON_CAPABILITY))
    });
    bench.check("opener-in-a-user-namespace-eperm", |b| {
        looks_only(b, &open_in_namespace(&b.node)?, whole(Errno::EPERM, DSMIL_REASON_CAPABILITY))
    });
    bench.check("write-only-file-changes-but-gives-no-events", |b| {
        let file = OpenOptions::new().write(true).open(&b.node)?;
        let unsealed = whole(Errno::EPERM, DSMIL_REASON_NOT_SEALED);
        refused(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), unsealed)?;
        same(nix::unistd::read(&file, &mut [0; 72]), Err(Errno::EBADF))
    });
    bench.check("opened-as-path-gives-nothing", |b| {
        let flags = nix::fcntl::OFlag::O_PATH;
        let file = File::from(nix::fcntl::open(b.node.as_str(), flags, nix::sys::stat::Mode::empty())?);
        for number in ALL {
            crate::raw::refuses(&file, number, [0_u64; 64], Errno::EBADF)?;
        }
        Ok(())
    });
    bench.check("privileges-dropped-after-opening", |b| {
        // The file keeps its opener's right: refused for another reason than the missing capability.
        let file = b.open()?;
        let refused_so = std::thread::scope(|scope| {
            let dropped = scope.spawn(|| -> Result<(), String> {
                let none = [0_u32; 6];
                // SAFETY: As in `open_without_capabilities`.
                let done =
                    unsafe { libc::syscall(libc::SYS_capset, [0x2008_0522_u32, 0].as_ptr(), none.as_ptr()) };
                Errno::result(done).map_err(|errno| errno.to_string())?;
                let unsealed = whole(Errno::EPERM, DSMIL_REASON_NOT_SEALED);
                let done = refused(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), unsealed);
                done.map(|_| ()).map_err(|why| why.to_string())
            });
            dropped.join().map_err(|_| "the thread died".to_owned())
        });
        Ok(refused_so??)
    });
}
