//! The same ioctls as a 32-bit program makes them: no structure differs, and pointers have 32 bits.

use std::arch::asm;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::memory::Area;
use crate::raw::{ALL, allow_of, commit_of, entry, raw, read_of, settle_of, stage_of, staged, whole};
use crate::uapi::*;

/// `__NR_ioctl` of i386, arch/x86/entry/syscalls/syscall_32.tbl.
const IOCTL: u64 = 54;

/// One ioctl through the kernel's entry for 32-bit programs; `argument` lies below 4 GiB.
fn raw32(file: &File, number: u32, argument: u64) -> Fallible<Result<(), Errno>> {
    let result: u64;
    let descriptor = u64::try_from(file.as_raw_fd())?;
    // SAFETY: `int 0x80` takes the number in eax and the arguments in ebx, ecx and edx, gives its result in eax
    // and may lose r8 to r11. rbx is the compiler's own, so it is swapped in and out. The call writes no more than
    // the structure at `argument`, as the 64-bit one does.
    unsafe {
        asm!(
            "xchg {descriptor}, rbx",
            "int 0x80",
            "xchg {descriptor}, rbx",
            descriptor = inout(reg) descriptor => _,
            inlateout("rax") IOCTL => result,
            in("rcx") u64::from(number),
            in("rdx") argument,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    let result = u32::try_from(result & 0xffff_ffff)?.cast_signed();
    Ok(if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(()) })
}

/// One structure as a 32-bit program passes it; what comes back.
fn passed<T: Copy>(file: &File, number: u32, argument: T) -> Fallible<(Result<(), Errno>, T)> {
    let area = Area::low(argument)?;
    holds(area.address() < 1 << 32, "no memory below 4 GiB")?;
    Ok((raw32(file, number, area.address())?, area.copy()))
}

/// While nothing is sealed; seals nothing.
pub(crate) fn before(bench: &mut Bench) {
    bench.check("compat-looking", |b| {
        let file = b.open()?;
        let (done, version) = passed(&file, DSMIL_IOC_VERSION, dsmil_version::default())?;
        same((done, version.abi), (Ok(()), DSMIL_ABI_VERSION))?;
        let (done, info) = passed(&file, DSMIL_IOC_INFO, dsmil_info::default())?;
        same((done, info.tokens, info.page_bytes), (Ok(()), b.info()?.tokens, b.info()?.page_bytes))?;
        let tokens = Area::low([dsmil_token::default(); 4])?;
        let list = dsmil_list { count: 4, tokens: tokens.address(), ..Default::default() };
        let (done, list) = passed(&file, DSMIL_IOC_LIST, list)?;
        same((done, list.count, list.cursor), (Ok(()), 4, 4))?;
        let ids = tokens.copy::<[dsmil_token; 4]>().map(|token| token.id);
        same(
            Some(ids.as_slice()),
            b.tokens.get(..4).map(|t| t.iter().map(|t| t.id.0).collect::<Vec<_>>()).as_deref(),
        )
    });
    bench.check("compat-values", |b| {
        let (file, id) = (b.open()?, b.token()?);
        let entries = Area::low([dsmil_read_entry { id: id.0, ..Default::default() }])?;
        let read = dsmil_read { entries: entries.address(), ..read_of(&mut [dsmil_read_entry::default()]) };
        let (done, read) = passed(&file, DSMIL_IOC_READ, read)?;
        same((done, read.failed), (Ok(()), 0))?;
        same(entries.copy::<dsmil_read_entry>().value, b.stored(id)?)?;
        let snapshot = dsmil_snapshot { count: 1, selects: 1, ..Default::default() };
        let (done, snapshot) = passed(&file, DSMIL_IOC_SNAPSHOT, snapshot)?;
        let found = (done, snapshot.failure.reason, snapshot.failure.found);
        same(found, (Err(Errno::ENOSPC), DSMIL_REASON_ROOM, b.info()?.readable))
    });
    bench.check("compat-refusals", |b| {
        let file = b.open()?;
        let unknown = Area::low([b.absent()?.0])?;
        let allow = dsmil_allow { ids: unknown.address(), ..allow_of(&[0]) };
        let (done, allow) = passed(&file, DSMIL_IOC_ALLOW, allow)?;
        same(done, Err(Errno::ENOENT))?;
        same(allow.failure, entry(Errno::ENOENT, DSMIL_REASON_UNKNOWN, 0, b.absent()?))?;
        same(passed(&file, DSMIL_IOC_VERSION + 1, [0_u64; 32])?.0, Err(Errno::ENOTTY))?;
        for number in ALL {
            same((number, raw32(&file, number, 8)?), (number, Err(Errno::EFAULT)))?;
            same((number, raw32(&file, number, 0xffff_f000)?), (number, Err(Errno::EFAULT)))?;
        }
        Ok(())
    });
}

/// While a list is sealed.
pub(crate) fn check(bench: &mut Bench) {
    bench.check("compat-changing", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let number = change_by_32_bits(b, &file)?;
        same(b.stored(change.id)?, change.value)?;
        let (done, settle) = passed(&file, DSMIL_IOC_UNDO, settle_of(number))?;
        same((done, settle.undone, b.stored(change.id)?), (Ok(()), 1, old))?;
        // The other end, and what is refused after it.
        let number = change_by_32_bits(b, &file)?;
        same(passed(&file, DSMIL_IOC_CONFIRM, settle_of(number))?.0, Ok(()))?;
        same(b.stored(change.id)?, change.value)?;
        let (done, settle) = passed(&file, DSMIL_IOC_CONFIRM, settle_of(number))?;
        same(done, Err(Errno::ESRCH))?;
        same(settle.failure, whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION))?;
        b.laptop.poke(b.location(change.id)?, old)
    });
}

fn change_by_32_bits(b: &Bench, file: &File) -> Fallible<u64> {
    let (change, old) = b.flip(b.token()?)?;
    let (done, begin) = passed(file, DSMIL_IOC_BEGIN, dsmil_begin::default())?;
    same(done, Ok(()))?;
    let entries = Area::low([staged(&change)])?;
    let stage = dsmil_stage { entries: entries.address(), ..stage_of(begin.transaction, &[staged(&change)]) };
    let (done, stage) = passed(file, DSMIL_IOC_STAGE, stage)?;
    same((done, stage.staged), (Ok(()), 1))?;
    let values = Area::low(0_u32)?;
    let commit = dsmil_commit { count: 1, old: values.address(), ..commit_of(begin.transaction) };
    same(passed(file, DSMIL_IOC_COMMIT, commit)?.0, Ok(()))?;
    same(values.copy::<u32>(), old)?;
    Ok(begin.transaction)
}

/// The seal, by a 32-bit program.
pub(crate) fn sealed(b: &Bench, ids: &[u16]) -> Check {
    let mut room = [0_u16; 64];
    room.iter_mut().zip(ids).for_each(|(to, from)| *to = *from);
    let area = Area::low(room)?;
    let allow = dsmil_allow { ids: area.address(), ..allow_of(ids) };
    let (done, allow) = passed(&b.open()?, DSMIL_IOC_ALLOW, allow)?;
    same((done, allow.failure.index), (Ok(()), DSMIL_NO_INDEX))?;
    let mut info = dsmil_info::default();
    raw(&b.open()?, DSMIL_IOC_INFO, &mut info)?;
    same(info.writable, u32::try_from(ids.len())?)
}
