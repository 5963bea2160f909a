//! The mapped pages: what is refused, what they hold, and what keeps them.

use std::ffi::c_void;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use device::{Phase, State};
use nix::errno::Errno;
use nix::libc::{self, off_t};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect, munmap};
use types::token::Select;

use crate::bench::{Bench, Fallible, holds, same};
use crate::process::child;
use crate::raw::{raw, read_of, undo, write};
use crate::uapi::*;

/// A mapping of the node, as it comes.
pub(crate) struct Map {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
}

impl Map {
    pub(crate) fn new(file: &File, bytes: u32) -> Fallible<Self> {
        let bytes = NonZeroUsize::new(usize::try_from(bytes)?).ok_or("no pages")?;
        Ok(map(file, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, 0)?)
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance().try_into().unwrap_or(0)
    }

    /// The head, whether or not it is being changed.
    pub(crate) fn head(&self) -> dsmil_page {
        // SAFETY: It is mapped, long enough, aligned, and any bytes are a head. It is only looked at when nothing is
        // going on.
        unsafe { self.start.cast::<dsmil_page>().read_volatile() }
    }

    fn cells(&self, head: &dsmil_page) -> Fallible<Vec<dsmil_cell>> {
        let (at, count) = (usize::try_from(head.cells_offset)?, usize::try_from(head.cells)?);
        holds(at + count * size_of::<dsmil_cell>() <= self.bytes.get(), "cells beyond the end")?;
        let first = self.start.cast::<dsmil_cell>();
        // SAFETY: As in `head`; they lie in the mapping, which was just looked at.
        Ok((0..count).map(|index| unsafe { first.byte_add(at).add(index).read_volatile() }).collect())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: It is this mapping, and nothing refers to it any more.
        let _only_fails_for_other_ranges = unsafe { munmap(self.start, self.bytes.get()) };
    }
}

fn map(
    file: &File,
    bytes: NonZeroUsize,
    access: ProtFlags,
    flags: MapFlags,
    offset: off_t,
) -> Result<Map, Errno> {
    // SAFETY: A mapping of its own, at an address that the kernel chooses.
    let start = unsafe { mmap(None, bytes, access, flags, file, offset) }?;
    Ok(Map { start, bytes })
}

pub(crate) fn check(bench: &mut Bench) {
    refusals(bench);
    contents(bench);
    lives(bench);
}

/// What mapping the node comes to.
fn mapped(
    b: &Bench,
    bytes: usize,
    access: ProtFlags,
    flags: MapFlags,
    offset: off_t,
) -> Fallible<Result<(), Errno>> {
    let bytes = NonZeroUsize::new(bytes).ok_or("nothing to map")?;
    Ok(map(&b.open()?, bytes, access, flags, offset).map(|_| ()))
}

fn refusals(bench: &mut Bench) {
    bench.check("map-other-sizes-and-offsets-einval", |b| {
        let (right, read) = (usize::try_from(b.info()?.page_bytes)?, ProtFlags::PROT_READ);
        for flags in [MapFlags::MAP_SHARED, MapFlags::MAP_PRIVATE] {
            same(mapped(b, right, read, flags, 0)?, Ok(()))?;
            // What is no whole page is made one by mmap itself.
            same(mapped(b, right - 1, read, flags, 0)?, Ok(()))?;
            for (bytes, offset) in [
                (right + 4096, 0),
                (right - 4096, 0),
                (4096, 0),
                (right, 4096),
                (4096, 4096),
                (right, 1 << 30),
            ] {
                let refused = mapped(b, bytes, read, flags, offset)?;
                same((bytes, offset, refused), (bytes, offset, Err(Errno::EINVAL)))?;
            }
        }
        Ok(())
    });
    bench.check("map-for-writing-or-running-eacces", |b| {
        let right = usize::try_from(b.info()?.page_bytes)?;
        let (read, write, run) = (ProtFlags::PROT_READ, ProtFlags::PROT_WRITE, ProtFlags::PROT_EXEC);
        for flags in [MapFlags::MAP_SHARED, MapFlags::MAP_PRIVATE] {
            for access in [read | write, write, read | run, run, read | write | run] {
                same((access, mapped(b, right, access, flags, 0)?), (access, Err(Errno::EACCES)))?;
            }
        }
        // Of a file opened for reading alone as well.
        let (file, bytes) = (File::open(&b.node)?, NonZeroUsize::new(right).ok_or("no pages")?);
        let done = map(&file, bytes, read | write, MapFlags::MAP_SHARED, 0).map(|_| ());
        same(done, Err(Errno::EACCES))?;
        same(map(&file, bytes, read, MapFlags::MAP_SHARED, 0).map(|_| ()), Ok(()))
    });
    bench.check("map-later-for-writing-or-running-eacces", |b| {
        let file = b.open()?;
        let bytes = NonZeroUsize::new(usize::try_from(b.info()?.page_bytes)?).ok_or("no pages")?;
        for flags in [MapFlags::MAP_SHARED, MapFlags::MAP_PRIVATE] {
            let map = map(&file, bytes, ProtFlags::PROT_READ, flags, 0)?;
            for access in [ProtFlags::PROT_WRITE, ProtFlags::PROT_EXEC] {
                let access = ProtFlags::PROT_READ | access;
                // SAFETY: The mapping is ours.
                let changed = unsafe { mprotect(map.start, bytes.get(), access) };
                same((access, changed), (access, Err(Errno::EACCES)))?;
            }
            same(map.head().abi, DSMIL_ABI_VERSION)?;
        }
        Ok(())
    });
    bench.check("map-cannot-grow", |b| {
        let map = Map::new(&b.open()?, b.info()?.page_bytes)?;
        let (old, new) = (map.bytes.get(), map.bytes.get() + 4096);
        // SAFETY: The mapping is ours, and stays where it is if it cannot grow; if it could, it is told below.
        let moved = unsafe { libc::mremap(map.start.as_ptr(), old, new, libc::MREMAP_MAYMOVE) };
        holds(moved == libc::MAP_FAILED, "it has grown")
    });
}

fn contents(bench: &mut Bench) {
    bench.check("map-head-and-cells-are-described", |b| {
        let map = Map::new(&b.open()?, b.info()?.page_bytes)?;
        let (head, info) = (map.head(), b.info()?);
        same((head.abi, head.sequence % 2, head.reserved), (DSMIL_ABI_VERSION, 0, [0; 6]))?;
        same((head.cells_offset, head.cell_bytes, head.cells), (128, 16, 3 * info.tokens))?;
        let cells = map.cells(&head)?;
        let wanted = b.tokens.iter().flat_map(|t| (0..3).map(|select| (t.id.0, select, 0)));
        same(cells.iter().map(|c| (c.id, c.select, c.reserved)).collect::<Vec<_>>(), wanted.collect())
    });
    bench.check("map-agrees-with-information", |b| {
        let (file, change) = (b.open()?, b.flip(b.token()?)?.0);
        let map = Map::new(&file, b.info()?.page_bytes)?;
        agrees(b, &map)?;
        let number = write(&file, &[change], 20_000)?;
        let head = agrees(b, &map)?;
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
        let now = u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?;
        let remains = head.deadline_ns.saturating_sub(now);
        holds((15_000_000_000..=20_000_000_000).contains(&remains), format!("{remains} ns remain"))?;
        undo(&file, number)?;
        same(agrees(b, &map)?.deadline_ns, 0)
    });
    bench.check("map-values-are-the-cache", |b| {
        let (file, id) = (b.open()?, b.second()?);
        let (map, pages) = (Map::new(&file, b.info()?.page_bytes)?, b.device.map()?);
        let mut entries = [dsmil_read_entry { id: id.0, select: 2, ..Default::default() }];
        raw(&file, DSMIL_IOC_READ, &mut read_of(&mut entries))?;
        let value = entries.map(|e| e.value);
        let cell =
            map.cells(&map.head())?.into_iter().find(|c| (c.id, c.select) == (id.0, 2)).ok_or("no cell")?;
        same(([cell.value], cell.time_ns > 0), (value, true))?;
        let found = pages.find(id, Select::Ac).ok_or("no such cell")?;
        let cached = pages.get(found)?.ok_or("never read")?;
        same((cached.value, cached.time_ns), (cell.value, cell.time_ns))?;
        let copy = pages.all()?;
        same(copy.values.len(), map.cells(&map.head())?.iter().filter(|c| c.time_ns != 0).count())?;
        let info = b.device.info()?;
        same((copy.state.generation, copy.state.transaction), (info.generation, info.transaction))?;
        same((copy.state.phase, info.state), (Phase::Idle, State::Idle))
    });
    bench.check("map-shows-what-is-written-and-undone", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let pages = b.device.map()?;
        let cell = pages.find(change.id, Select::Current).ok_or("no such cell")?;
        b.value(change.id)?;
        let before = pages.get(cell)?.ok_or("never read")?;
        let number = write(&file, &[change], 0)?;
        let during = pages.get(cell)?.ok_or("no value")?;
        undo(&file, number)?;
        let after = pages.get(cell)?.ok_or("no value")?;
        same((before.value, during.value, after.value), (old, change.value, old))?;
        holds(before.time_ns < during.time_ns && during.time_ns < after.time_ns, "times do not grow")
    });
}

/// The head says what the information says.
fn agrees(b: &Bench, map: &Map) -> Fallible<dsmil_page> {
    let (head, info) = (map.head(), b.info()?);
    same(head.sequence % 2, 0)?;
    same((head.state, head.outcome, head.entries), (info.state, info.outcome, info.entries))?;
    same((head.generation, head.transaction), (info.generation, info.transaction))?;
    same((head.events, head.attempts, head.left), (info.events, info.attempts, info.left))?;
    same((head.heat, head.temperature_mc), (info.heat, info.temperature_mc))?;
    Ok(head)
}

fn lives(bench: &mut Bench) {
    bench.check("map-outlives-the-file-and-is-inherited", |b| {
        let file = b.open()?;
        let map = Map::new(&file, b.info()?.page_bytes)?;
        drop(file);
        let (before, (change, _)) = (map.head(), b.flip(b.token()?)?);
        let file = b.open()?;
        undo(&file, write(&file, &[change], 0)?)?;
        same(map.head().generation, before.generation + 4)?;
        // A child sees what happens after the fork.
        let inherits = child(|| {
            undo(&file, write(&file, &[change], 0)?)?;
            same(map.head().generation, before.generation + 8)
        })?;
        inherits.end()
    });
    bench.check("map-is-still-consistent-while-it-changes", |b| {
        let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
        let pages = b.device.map()?;
        let cell = pages.find(change.id, Select::Current).ok_or("no such cell")?;
        let writer = child(move || {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(node)?;
            (0..20).try_for_each(|_| undo(&file, write(&file, &[change], 0)?).map(|_| ()))
        })?;
        let mut looks = 0;
        while looks < 2000 {
            // In a consistent look an open or idle state has an even generation.
            let state = pages.state()?;
            let is_writing = state.generation % 2 != 0;
            holds(!is_writing || matches!(state.phase, Phase::Open | Phase::Pending), format!("{state:?}"))?;
            if let Some(cached) = pages.get(cell)? {
                holds([old, change.value].contains(&cached.value), format!("{cached:?}"))?;
            }
            looks += 1;
        }
        writer.end()
    });
}
