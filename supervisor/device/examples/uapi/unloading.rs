//! Loading, unloading and restart: what keeps the module in, what its parameters come to, and its last deeds.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt as _;
use std::thread::sleep;
use std::time::Duration;

use device::Device;
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, pause};
use types::token::{Change, Select, TokenId};

use crate::bench::{Check, Fallible, Tally, holds, same, until};
use crate::laptop::{Fault, Laptop};
use crate::mapping::Map;
use crate::process::{Child, hear, speaking, tell};
use crate::raw::{raw, whole, write};
use crate::uapi::*;

/// What somebody who was refused in time writes there, and how many of them try: the machine goes down soon after.
const WITNESS: TokenId = TokenId(0x8061);
const SHUT_DOWN: u32 = 0x0c10_51d6;
const WITNESSES: usize = 2;
/// Where the module lies in the laptop.
const MODULE: &str = "/usr/lib/modules/dsmil.ko";
/// Between two attempts to begin: they must not keep the machine from going down.
const PAUSE: Duration = Duration::from_micros(300);
/// Writes are not limited.
const UNLIMITED: &str = "read_rate=0 write_rate=0";
/// A device that no rule denies, which these checks may write.
const TOKEN: TokenId = TokenId(0x8060);

fn unload(flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: The kernel reads a name.
    Errno::result(unsafe { libc::syscall(libc::SYS_delete_module, c"dsmil".as_ptr(), flags) }).map(|_| ())
}

fn load(parameters: &str) -> Fallible<Result<(), Errno>> {
    let (file, parameters) = (File::open(MODULE)?, CString::new(parameters)?);
    // SAFETY: The kernel reads a file and a string.
    let done = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
    Ok(Errno::result(done).map(|_| ()))
}

fn info(node: &str) -> Fallible<dsmil_info> {
    let mut info = dsmil_info::default();
    raw(&File::open(node)?, DSMIL_IOC_INFO, &mut info)?;
    Ok(info)
}

/// Somebody who has the node open in some way, and says when that is so.
fn holder(node: &str, hold: fn(File) -> Check) -> Fallible<Child> {
    let node = node.to_owned();
    let mut child = speaking(move |line| {
        hold(OpenOptions::new().read(true).write(true).open(node)?)?;
        tell(line)?;
        hear(line)
    })?;
    child.hear()?;
    Ok(child)
}

fn location_of(node: &str, id: TokenId) -> Fallible<u16> {
    let tokens = Device::open(node)?.tokens()?;
    Ok(tokens.iter().find(|t| t.id == id).ok_or("no such token")?.location)
}

/// A change of a token's storage.
fn change(laptop: &Laptop, node: &str) -> Fallible<(Change, u16, u32)> {
    let location = location_of(node, TOKEN)?;
    let old = laptop.peek(location)?;
    Ok((Change { id: TOKEN, select: Select::Current, value: old ^ 1, expected: None }, location, old))
}

/// Leaves a change pending for as long as this process lives.
fn leave_pending(file: File) -> Check {
    let device = Device::from(std::os::fd::OwnedFd::from(file.try_clone()?));
    device.allow(&[TOKEN])?;
    // Closing a descriptor would undo what follows, so this one is closed first.
    drop(device);
    let change = Change { id: TOKEN, select: Select::Current, value: 4711, expected: None };
    write(&file, &[change], 600_000)?;
    std::mem::forget(file);
    Ok(())
}

/// The module is loaded, and nobody has its node open; it is loaded again at the end.
pub(crate) fn check(tally: &mut Tally) {
    tally.check("unload-while-open-refused", |node| {
        kept_by(node, |file| {
            std::mem::forget(file);
            Ok(())
        })
    });
    tally.check("unload-while-mapped-refused", |node| {
        kept_by(node, |file| {
            let mut info = dsmil_info::default();
            raw(&file, DSMIL_IOC_INFO, &mut info)?;
            std::mem::forget(Map::new(&file, info.page_bytes)?);
            Ok(())
        })
    });
    tally.check("unload-while-pending-refused", |node| {
        let laptop = Laptop::open()?;
        let (_, location, old) = change(&laptop, node)?;
        let owner = holder(node, leave_pending)?;
        same(unload(libc::O_NONBLOCK), Err(Errno::EWOULDBLOCK))?;
        same((info(node)?.state, laptop.peek(location)?), (DSMIL_STATE_PENDING, 4711))?;
        owner.kill()?;
        same((info(node)?.state, laptop.peek(location)?), (DSMIL_STATE_IDLE, old))
    });
    tally.check("reload-forgets-the-seal", |node| {
        holds(info(node)?.flags & DSMIL_INFO_SEALED != 0, "not sealed before")?;
        same(unload(libc::O_NONBLOCK), Ok(()))?;
        holds(!std::path::Path::new(node).exists(), "the node is still there")?;
        holds(!std::path::Path::new("/sys/kernel/debug/dsmil").exists(), "debugfs is still there")?;
        same(load(UNLIMITED)?, Ok(()))?;
        let info = info(node)?;
        same((info.flags & DSMIL_INFO_SEALED, info.transaction, info.generation), (0, 0, 0))
    });
    tally.check("unload-while-undoing-refused", undoing);
    tally.check("loaded-twice-eexist", |_| same(load(UNLIMITED)?, Err(Errno::EEXIST)));
    parameters(tally);
}

fn kept_by(node: &str, hold: fn(File) -> Check) -> Check {
    let holder = holder(node, hold)?;
    same(unload(libc::O_NONBLOCK), Err(Errno::EWOULDBLOCK))?;
    same(info(node)?.abi, DSMIL_ABI_VERSION)?;
    holder.kill()
}

/// Nobody has it open any more, but an undo is still to come.
fn undoing(node: &str) -> Check {
    let laptop = Laptop::open()?;
    let (_, location, old) = change(&laptop, node)?;
    let owner = holder(node, leave_pending)?;
    let fault = laptop.fault(Fault::each(Fault::ERROR, Fault::WRITES))?;
    owner.kill()?;
    same(info(node)?.state, DSMIL_STATE_UNDOING)?;
    same(unload(libc::O_NONBLOCK), Err(Errno::EWOULDBLOCK))?;
    drop(fault);
    until("the undo", || Ok(info(node)?.state == DSMIL_STATE_IDLE))?;
    same(laptop.peek(location)?, old)?;
    same(unload(libc::O_NONBLOCK), Ok(()))?;
    same(load(UNLIMITED)?, Ok(()))
}

fn parameters(tally: &mut Tally) {
    tally.check("parameters-out-of-range-are-cut", |node| {
        for (parameters, wanted) in [
            ("", (1000, 2048, 32, 512)),
            ("read_burst=0 write_burst=0", (1000, 1, 32, 1)),
            ("read_burst=65536 write_burst=65537", (1000, 65_536, 32, 65_536)),
            ("read_rate=4294967295 write_rate=1000000001", (1_000_000_000, 2048, 1_000_000_000, 512)),
            ("read_rate=0 write_rate=0 read_burst=7", (0, 7, 0, 512)),
        ] {
            same(unload(libc::O_NONBLOCK), Ok(()))?;
            same((parameters, load(parameters)?), (parameters, Ok(())))?;
            let info = info(node)?;
            let found = (info.read_rate, info.read_burst, info.write_rate, info.write_burst);
            same((parameters, found), (parameters, wanted))?;
        }
        Ok(())
    });
    tally.check("parameters-of-no-number-refused", |_| {
        same(unload(libc::O_NONBLOCK), Ok(()))?;
        for bad in ["read_rate=-1", "read_rate=4294967296", "write_burst=many", "write_rate="] {
            let done = load(bad)?;
            holds(matches!(done, Err(Errno::EINVAL | Errno::ERANGE)), format!("{bad}: {done:?}"))?;
        }
        same(load(UNLIMITED)?, Ok(()))
    });
}

/// Unloads by force while a change is pending: the old value comes back, and the mapped pages, which outlive the module, say why. What
/// has the node open then must never run again, so only a new boot mends what is left.
pub(crate) fn force(tally: &mut Tally) {
    tally.check("unload-by-force-undoes", forced);
    tally.check("unload-by-force-says-what-it-leaves", |node| {
        // The first check has unloaded it, if this kernel does that.
        if load(UNLIMITED)? == Err(Errno::EEXIST) {
            return Ok(());
        }
        let laptop = Laptop::open()?;
        let (_, location, old) = change(&laptop, node)?;
        let (owner, _) = pending_for_ever(node)?;
        let fault = laptop.fault(Fault::each(Fault::ERROR, Fault::WRITES))?;
        std::mem::forget(owner);
        same(unload(libc::O_NONBLOCK | libc::O_TRUNC), Ok(()))?;
        drop(fault);
        same(laptop.peek(location)?, 4711)?;
        laptop.poke(location, old)?;
        let log = std::process::Command::new("dmesg").output()?.stdout;
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| line.contains("dsmil: ")).ok_or("the log says nothing")?;
        holds(last.contains("is not undone: 1 values may stay"), format!("the log's last word is: {last}"))
    });
}

/// Somebody with a change pending who never does anything again, and where they have the pages mapped.
fn pending_for_ever(node: &str) -> Fallible<(Child, u64)> {
    let path = node.to_owned();
    let mut owner = speaking(move |line| {
        // Whoever waits for the end of our output must not wait for this process.
        let nowhere = File::options().write(true).open("/dev/null")?;
        dup2_stdout(&nowhere)?;
        dup2_stderr(&nowhere)?;
        let map = Map::new(&OpenOptions::new().read(true).open(&path)?, info(&path)?.page_bytes)?;
        leave_pending(OpenOptions::new().read(true).write(true).open(path)?)?;
        tell(line)?;
        line.write_all(&map.address().to_le_bytes())?;
        loop {
            pause();
        }
    })?;
    owner.hear()?;
    let pages = owner.long()?;
    Ok((owner, pages))
}

fn forced(node: &str) -> Check {
    let laptop = Laptop::open()?;
    let (_, location, old) = change(&laptop, node)?;
    let (owner, pages) = pending_for_ever(node)?;
    let memory = File::open(format!("/proc/{}/mem", owner.pid()))?;
    same(laptop.peek(location)?, 4711)?;
    let head = |memory: &File| -> Fallible<(u32, u32)> {
        let word = |offset: usize| -> Fallible<u32> {
            let mut word = [0; 4];
            memory.read_exact_at(&mut word, pages + u64::try_from(offset)?)?;
            Ok(u32::from_le_bytes(word))
        };
        Ok((word(offset_of!(dsmil_page, state))?, word(offset_of!(dsmil_page, outcome))?))
    };
    same(head(&memory)?, (DSMIL_STATE_PENDING, DSMIL_OUTCOME_NONE))?;
    let done = unload(libc::O_NONBLOCK | libc::O_TRUNC);
    if done == Err(Errno::EWOULDBLOCK) {
        println!("   this kernel does not unload by force");
        return owner.kill();
    }
    std::mem::forget(owner);
    same((done, laptop.peek(location)?), (Ok(()), old))?;
    same(head(&memory)?, (DSMIL_STATE_IDLE, DSMIL_OUTCOME_SHUTDOWN))
}

/// Restarts the machine while a change is pending. FILE then has locations, a line each, and what they must hold after the boot: the old
/// value, and what was written to the firmware, past the module, by somebody who was refused because the machine goes down.
pub(crate) fn restart(node: &str, file: &str) -> Check {
    let laptop = Laptop::open()?;
    let (_, location, old) = change(&laptop, node)?;
    let witness = location_of(node, WITNESS)?;
    laptop.poke(witness, 0)?;
    // On one processor, so that who comes first does not depend on which of them the emulator runs.
    let mut first = CpuSet::new();
    first.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &first)?;
    let witnessing = |_| {
        let node = node.to_owned();
        speaking(move |line| {
            let (file, laptop) = (OpenOptions::new().read(true).write(true).open(&node)?, Laptop::open()?);
            hear(line)?;
            before_others()?;
            closing(&node, &file)?;
            laptop.poke(witness, SHUT_DOWN)
        })
    };
    let mut witnesses = (0..WITNESSES).map(witnessing).collect::<Fallible<Vec<_>>>()?;
    leave_pending(OpenOptions::new().read(true).write(true).open(node)?)?;
    // Only now: they begin whatever they may.
    witnesses.iter_mut().try_for_each(Child::tell)?;
    // They live as long as this machine does.
    std::mem::forget(witnesses);
    same((info(node)?.state, laptop.peek(location)?), (DSMIL_STATE_PENDING, 4711))?;
    std::fs::write(file, format!("{location} {old}\n{witness} {SHUT_DOWN}\n"))?;
    nix::unistd::sync();
    // SAFETY: Takes a number. Comes back only if it is refused.
    Errno::result(unsafe { libc::reboot(libc::RB_AUTOBOOT) })?;
    Err("the machine goes on".into())
}

/// This process runs before all ordinary ones, among them the one that takes the machine down.
fn before_others() -> Check {
    let real_time = libc::sched_param { sched_priority: 50 };
    // SAFETY: The kernel reads one structure.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const real_time) })?;
    Ok(())
}

/// Tries to begin until that is refused because the machine goes down; then what was pending is undone, and it is said why.
fn closing(node: &str, file: &File) -> Check {
    let busy = whole(Errno::EBUSY, DSMIL_REASON_BUSY);
    let wanted = whole(Errno::ESHUTDOWN, DSMIL_REASON_CLOSING);
    loop {
        let mut begin = dsmil_begin::default();
        let done = raw(file, DSMIL_IOC_BEGIN, &mut begin);
        if begin.failure == busy {
            sleep(PAUSE);
            continue;
        }
        same((done, begin.failure, begin.transaction), (Err(Errno::ESHUTDOWN), wanted, 0))?;
        // Refused perhaps before what is pending was undone.
        while info(node)?.state != DSMIL_STATE_IDLE {
            sleep(PAUSE);
        }
        return same(info(node)?.outcome, DSMIL_OUTCOME_SHUTDOWN);
    }
}
