//! A file that is appended to past the page cache (`O_DIRECT`).
//!
//! Written once and flushed at once, a log gains nothing from the cache: the copy into it, its pages and its writing back cost more than
//! everything else in a commit. What is appended goes to the device in whole blocks instead, the last one filled up with zeros, and
//! is written again with the next append. Nothing new is risked by that: the cache, too, writes a block again that was changed.
//!
//! Reads, and writes that are not whole blocks, take the ordinary way; the kernel keeps both views the same. Where a file system
//! has no such way, everything takes the ordinary one.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use nix::libc::O_DIRECT;

use super::File;
use crate::bytes::{length, size};

/// What offsets, lengths and memory are aligned to: no file system and no device in use asks for more.
pub(crate) const BLOCK: usize = 4096;

/// The way past the cache.
pub(crate) trait Direct: Send + Sync + fmt::Debug {
    /// Writes whole blocks that lie in aligned memory.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: it takes no such blocks, and nothing was written
    fn write_blocks(&self, offset: u64, blocks: &[u8]) -> io::Result<()>;
}

impl Direct for fs::File {
    fn write_blocks(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.write_all_at(blocks, offset)
    }
}

/// An open file with both ways to it.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: Box<dyn File>,
    direct: Box<dyn Direct>,
    /// The direct way was refused: it is not tried again.
    refused: AtomicBool,
    tail: Mutex<Tail>,
}

impl BlockFile {
    /// Opens the direct way beside the ordinary one; gives the file back where there is none.
    pub(crate) fn open(path: &Path, file: fs::File) -> Result<Self, fs::File> {
        let direct = fs::OpenOptions::new().write(true).custom_flags(O_DIRECT).open(path);
        match direct {
            Ok(direct) => Ok(Self::over(Box::new(file), Box::new(direct))),
            Err(_) => Err(file),
        }
    }

    /// Of both ways to one file.
    pub(crate) fn over(file: Box<dyn File>, direct: Box<dyn Direct>) -> Self {
        Self { file, direct, refused: AtomicBool::new(false), tail: Mutex::default() }
    }

    /// Writes whole blocks; false where the file system does not take them.
    fn write_blocks(&self, offset: u64, blocks: &[u8]) -> io::Result<bool> {
        match self.direct.write_blocks(offset, blocks) {
            // Refused before anything is written: another alignment is asked for, or none will do.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.refused.store(true, Relaxed);
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    fn is_direct(&self) -> bool {
        !self.refused.load(Relaxed)
    }
}

impl File for BlockFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn expect(&self, offset: u64, length: u64) {
        self.file.expect(offset, length);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).forget();
        let is_whole = is_aligned(offset)
            && bytes.len().is_multiple_of(BLOCK)
            && bytes.as_ptr().addr().is_multiple_of(BLOCK);
        if is_whole && self.is_direct() && self.write_blocks(offset, bytes)? {
            return Ok(());
        }
        self.file.write_at(offset, bytes)
    }

    fn append_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let padded = (offset + length(bytes.len())).next_multiple_of(length(BLOCK));
        // Blocks must not make the file longer: what is behind its end is not ours to say.
        if !self.is_direct() || padded > self.file.len()? {
            tail.forget();
            return self.file.write_at(offset, bytes);
        }
        tail.load(&*self.file, offset)?;
        let (start, blocks) = tail.with(bytes);
        if !self.write_blocks(start, blocks)? {
            tail.forget();
            return self.file.write_at(offset, bytes);
        }
        tail.advance(bytes.len());
        Ok(())
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.allocate(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        // Of the file, whichever way it was written.
        self.file.sync()
    }
}

/// The last block as far as it is written, in aligned memory, and room for what comes.
#[derive(Debug, Default)]
struct Tail {
    memory: Vec<u8>,
    /// Where the block begins in the file; none while it is not known.
    start: Option<u64>,
    /// How much of it is written.
    filled: usize,
}

impl Tail {
    fn forget(&mut self) {
        self.start = None;
    }

    /// Makes sure that the bytes before `offset` in its block are here.
    fn load(&mut self, file: &dyn File, offset: u64) -> io::Result<()> {
        let filled = size(offset % length(BLOCK));
        let start = offset - length(filled);
        if self.start == Some(start) && self.filled == filled {
            return Ok(());
        }
        self.forget();
        self.reserve(BLOCK);
        if file.read_at(start, self.room(filled))? < filled {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.start, self.filled) = (Some(start), filled);
        Ok(())
    }

    /// The blocks that hold the tail and these bytes, and where they go.
    fn with(&mut self, bytes: &[u8]) -> (u64, &[u8]) {
        let (filled, end) = (self.filled, self.filled + bytes.len());
        let whole = end.next_multiple_of(BLOCK);
        self.reserve(whole);
        let start = self.start.unwrap_or_default();
        let room = self.room(whole);
        for (to, from) in [(filled..end, bytes), (end..whole, &[0; BLOCK])] {
            if let Some(to) = room.get_mut(to) {
                to.copy_from_slice(from.get(..to.len()).unwrap_or_default());
            }
        }
        (start, room)
    }

    /// So many more bytes are written; what is in the last block stays.
    fn advance(&mut self, bytes: usize) {
        let end = self.filled + bytes;
        let filled = end % BLOCK;
        let room = self.room(end);
        room.copy_within(end - filled.., 0);
        self.start = self.start.map(|start| start + length(end - filled));
        self.filled = filled;
    }

    /// Aligned memory of this length.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let shift = shift(&self.memory);
        self.memory.get_mut(shift..shift + bytes).unwrap_or_default()
    }

    /// More memory, if it must be; what is filled moves along.
    fn reserve(&mut self, bytes: usize) {
        if self.memory.len() >= bytes + BLOCK {
            return;
        }
        let filled = self.filled.min(self.memory.len().saturating_sub(BLOCK));
        let kept = self.room(filled).to_vec();
        self.memory = vec![0; bytes.next_power_of_two() + BLOCK];
        self.room(kept.len()).copy_from_slice(&kept);
    }
}

fn is_aligned(offset: u64) -> bool {
    offset.is_multiple_of(length(BLOCK))
}

/// How far from its beginning memory is aligned.
fn shift(memory: &[u8]) -> usize {
    let address = memory.as_ptr().addr();
    address.next_multiple_of(BLOCK) - address
}

/// Zeros that can be written past the page cache.
#[derive(Debug)]
pub(crate) struct Zeros(Vec<u8>);

impl Zeros {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(vec![0; bytes + BLOCK])
    }

    pub(crate) fn get(&self) -> &[u8] {
        let shift = shift(&self.0);
        self.0.get(shift..shift + self.0.len() - BLOCK).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Beside the test's program: what holds the tree has O_DIRECT, which /tmp may not have.
    fn tempdir() -> tempfile::TempDir {
        tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    /// A file of zeros of some blocks, and one that is told the same by plain writes.
    fn file(dir: &tempfile::TempDir, blocks: usize) -> (BlockFile, Vec<u8>) {
        let path = dir.path().join("file");
        let zeros = vec![0; blocks * BLOCK];
        fs::write(&path, &zeros).unwrap();
        let open = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        (BlockFile::open(&path, open).expect("the tests' file system has O_DIRECT"), zeros)
    }

    proptest! {
        #[test]
        fn appends_of_any_sizes_and_plain_writes_between_them_leave_what_was_written(
            steps in prop::collection::vec((0..3_u8, 1..3 * BLOCK, any::<u8>()), 1..24),
        ) {
            let dir = tempdir();
            let (file, mut model) = file(&dir, 24);
            let mut offset = 0;
            for (kind, bytes, fill) in steps {
                let bytes = vec![fill; bytes.min(model.len() - offset)];
                // A plain write somewhere before the end, as repairs do.
                if kind == 0 {
                    let at = offset / 2;
                    let bytes = &bytes[..bytes.len().min(offset - at)];
                    File::write_at(&file, at as u64, bytes).unwrap();
                    model[at..at + bytes.len()].copy_from_slice(bytes);
                } else {
                    file.append_at(offset as u64, &bytes).unwrap();
                    model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    offset += bytes.len();
                }
                let mut seen = vec![0; model.len()];
                File::read_at(&file, 0, &mut seen).unwrap();
                prop_assert!(seen == model, "after {offset} bytes");
            }
            file.sync().unwrap();
            prop_assert_eq!(File::len(&file).unwrap(), model.len() as u64);
        }
    }

    #[test]
    fn the_direct_way_is_really_taken() {
        let dir = tempdir();
        let (file, _) = file(&dir, 4);
        file.append_at(0, &[1; 100]).unwrap();
        File::write_at(&file, 4096, Zeros::new(BLOCK).get()).unwrap();
        assert!(file.is_direct());
        assert_eq!(file.tail.lock().unwrap().start, None);
        file.append_at(100, &[2; 5000]).unwrap();
        assert_eq!(file.tail.lock().unwrap().start, Some(4096));
    }

    #[test]
    fn a_file_is_never_made_longer_by_filling_up() {
        let dir = tempdir();
        let (file, _) = file(&dir, 1);
        file.append_at(0, &[1; 4000]).unwrap();
        file.append_at(4000, &[2; 200]).unwrap();
        assert_eq!(File::len(&file).unwrap(), 4200);
    }
}
