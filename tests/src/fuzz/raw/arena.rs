//! The memory of the actors' arguments, at fixed addresses.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::libc;

use super::checked;
use crate::fuzz::program::{ACTORS, Place};

/// Where the first actor's arguments go, the distance to the next actor's, to the array's, to the same bytes read-only.
const ARENA_FIRST: u64 = 0x1000_0000;
const ARENA_STRIDE: u64 = 0x0100_0000;
const ARENA_ARRAY: u64 = 0x0010_0000;
const ARENA_READ_ONLY: u64 = 0x0080_0000;
/// Bytes for a structure and for an array: the largest is a snapshot of 12288 entries.
const ARGUMENT_BYTES: usize = 4096;
const ARRAY_BYTES: usize = 80 * 4096;

/// A structure or an array: each lies alone in its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Block {
    Argument,
    Array,
}

impl Block {
    const fn size(self) -> usize {
        match self {
            Self::Argument => ARGUMENT_BYTES,
            Self::Array => ARRAY_BYTES,
        }
    }

    fn base(self, actor: u8) -> u64 {
        let base = ARENA_FIRST + u64::from(actor) * ARENA_STRIDE;
        if self == Self::Array { base + ARENA_ARRAY } else { base }
    }
}

/// Maps the memory for every actor's arguments; forked processes see it too.
///
/// # Errors
///
/// What the kernel said, and if something is there already.
pub(crate) fn make_arenas() -> io::Result<()> {
    for actor in 0..ACTORS {
        for block in [Block::Argument, Block::Array] {
            // SAFETY: The name is a C string.
            let file =
                checked(i64::from(unsafe { libc::memfd_create(c"arguments".as_ptr(), libc::MFD_CLOEXEC) }))?;
            let file = i32::try_from(file).map_err(io::Error::other)?;
            // SAFETY: The descriptor was just made and nobody else has it.
            let file = File::from(unsafe { OwnedFd::from_raw_fd(file) });
            file.set_len(u64::try_from(block.size()).map_err(io::Error::other)?)?;
            for (offset, protection) in
                [(0, libc::PROT_READ | libc::PROT_WRITE), (ARENA_READ_ONLY, libc::PROT_READ)]
            {
                // SAFETY: With MAP_FIXED_NOREPLACE nothing that is mapped is replaced.
                let place = unsafe {
                    libc::mmap(
                        ptr::with_exposed_provenance_mut(address(block.base(actor) + offset)),
                        block.size(),
                        protection,
                        libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
                        file.as_raw_fd(),
                        0,
                    )
                };
                if place == libc::MAP_FAILED {
                    return Err(io::Error::last_os_error());
                }
                place.expose_provenance();
            }
        }
    }
    Ok(())
}

fn address(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Where so many bytes lie: the offset from the block's beginning, so that they end at its end.
fn offset(block: Block, place: Place, length: usize) -> usize {
    let kept = match place {
        // Not one byte too many, or what lies there from before would be taken for ours.
        Place::Cut(bytes) => usize::from(bytes).min(length.saturating_sub(1)),
        Place::Odd => length + 1,
        _ => length,
    };
    block.size().saturating_sub(kept)
}

/// Puts bytes where an actor's argument is, and gives the address to tell the kernel. Only that actor, or somebody who
/// knows that it is idle, may call this.
pub(crate) fn put(actor: u8, block: Block, place: Place, bytes: &[u8]) -> u64 {
    let start = offset(block, place, bytes.len());
    let room = block.size() - start;
    let base = block.base(actor.min(ACTORS - 1));
    let to: *mut u8 = ptr::with_exposed_provenance_mut(address(base) + start);
    let count = bytes.len().min(room);
    // SAFETY: `make_arenas` has mapped `size` bytes at `base` and nothing unmaps them; `start + count` is within. The
    // memory is reached through raw pointers alone, by its actor alone.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
        ptr::write_bytes(to.add(count), 0, room - count);
    }
    let at = base + u64::try_from(start).unwrap_or_default();
    match place {
        Place::Room | Place::Cut(_) | Place::Odd => at,
        Place::ReadOnly => at + ARENA_READ_ONLY,
        Place::Null => 0,
        Place::Kernel => 0xffff_8880_0000_1000,
        Place::Nowhere => 0x0800_0000,
    }
}

/// The bytes that [`put`] placed, as they are now; fewer if some are not accessible.
pub(crate) fn get(actor: u8, block: Block, place: Place, length: usize) -> Vec<u8> {
    let start = offset(block, place, length);
    let count = length.min(block.size() - start);
    let from: *const u8 = ptr::with_exposed_provenance(address(block.base(actor.min(ACTORS - 1))) + start);
    let mut bytes = vec![0; count];
    // SAFETY: As in `put`.
    unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count) };
    bytes
}
