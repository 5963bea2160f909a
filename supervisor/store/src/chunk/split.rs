//! A stream into chunks, at places that its content and the key decide.

use std::io;

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use super::CHUNK_BYTES_MAX;

/// How much is read ahead, in bytes: four of the largest chunks, so that what is left over is rarely moved.
const BUFFER_BYTES: usize = 4 * CHUNK_BYTES_MAX;

/// The sizes that chunks may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Only the last chunk of a stream is smaller.
    pub(super) min: usize,
    /// A power of two.
    pub(super) average: usize,
    /// None is larger.
    pub(super) max: usize,
}

impl Default for Cut {
    fn default() -> Self {
        // Small enough that a change in a large file costs little, large enough that ten gigabytes stay within
        // fifty thousand chunks.
        Self { min: 64 << 10, average: 256 << 10, max: CHUNK_BYTES_MAX }
    }
}

impl Cut {
    /// Whether the chunker works with these sizes: its masks exist for averages from 256 bytes to 4 MiB.
    pub(super) fn is_sane(&self) -> bool {
        let even = [self.min, self.average, self.max].iter().all(|size| size.is_multiple_of(2));
        let ordered = (64..=self.average).contains(&self.min) && self.average <= self.max;
        even && ordered && self.average.is_power_of_two() && (256..=4 << 20).contains(&self.average)
    }
}

/// Cuts what a reader gives into chunks of at most [`CHUNK_BYTES_MAX`] bytes. An empty stream has none.
pub struct Splitter<R> {
    source: R,
    cut: Cut,
    gear: [u64; 256],
    /// Each word of `gear` shifted by one: the cutter looks at two bytes at a time.
    gear_shifted: [u64; 256],
    buffer: Vec<u8>,
    /// What of the buffer is not cut yet.
    start: usize,
    end: usize,
    finished: bool,
}

impl<R: io::Read> Splitter<R> {
    pub(super) fn new(source: R, gear: [u64; 256], cut: &Cut) -> Self {
        Self {
            source,
            cut: *cut,
            gear_shifted: gear.map(|word| word << 1),
            gear,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            finished: false,
        }
    }

    /// The next chunk, or `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// - what the reader fails with
    pub fn next_chunk(&mut self) -> io::Result<Option<&[u8]>> {
        self.fill()?;
        let rest = self.buffer.get(self.start..self.end).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (mask_s, mask_l) = select_masks(self.cut.average, Normalization::Level1);
        let Cut { min, average, max } = self.cut;
        let (gear, gear_shifted) = (&self.gear, &self.gear_shifted);
        let (_, count) =
            cut_gear(rest, min, average, max, mask_s, mask_l, mask_s << 1, mask_l << 1, gear, gear_shifted);
        let chunk = rest.get(..count.max(1)).unwrap_or(rest);
        self.start += chunk.len();
        Ok(Some(chunk))
    }

    /// Reads until the largest chunk is there or the stream ends.
    fn fill(&mut self) -> io::Result<()> {
        if self.finished || self.end - self.start >= self.cut.max {
            return Ok(());
        }
        if self.start + self.cut.max > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < self.cut.max && !self.finished {
            if self.end == self.buffer.len() {
                // It grows in steps, so that a small file never pays for the whole of it.
                self.buffer.resize((self.buffer.len() * 4).clamp(self.cut.min, BUFFER_BYTES), 0);
            }
            let Some(room) = self.buffer.get_mut(self.end..) else { break };
            match self.source.read(room) {
                Ok(0) => self.finished = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
