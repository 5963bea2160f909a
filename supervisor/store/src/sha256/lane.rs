//! Messages on their way through lanes: cut into blocks, padded, and put where a lane becomes free.

use types::hash::Hash;

use super::constants::INITIAL;

/// The unit that SHA-256 works on, in bytes.
pub(super) const BLOCK_BYTES: usize = 64;
pub(super) type Block = [u8; BLOCK_BYTES];

/// A message of which some blocks are hashed: one byte of prefix and then `bytes`, neither copied nor joined.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a> {
    pub(super) prefix: u8,
    pub(super) bytes: &'a [u8],
    pub(super) state: [u32; 8],
    /// The next block to be hashed.
    pub(super) next: usize,
    /// How many blocks it has, with padding; 0 for a lane without a message.
    pub(super) blocks: usize,
    /// Where its hash goes.
    index: usize,
}

impl<'a> Lane<'a> {
    pub(super) fn new(prefix: u8, bytes: &'a [u8], index: usize) -> Self {
        // Behind the message at least the bit 1 and eight bytes of length.
        let blocks = (1 + bytes.len() + 1 + 8).div_ceil(BLOCK_BYTES);
        Self { prefix, bytes, state: INITIAL, next: 0, blocks, index }
    }

    pub(super) const IDLE: Self =
        Self { prefix: 0, bytes: &[], state: INITIAL, next: 0, blocks: 0, index: 0 };

    /// How many blocks are not hashed yet.
    pub(super) fn left(&self) -> usize {
        self.blocks.saturating_sub(self.next)
    }

    /// The block `at`, if it has neither prefix nor padding in it.
    #[inline]
    pub(super) fn whole(&self, at: usize) -> Option<&'a Block> {
        self.bytes.get((at * BLOCK_BYTES).checked_sub(1)?..)?.first_chunk()
    }

    /// All blocks from the next one on that have neither prefix nor padding in them.
    pub(super) fn whole_blocks(&self) -> &'a [Block] {
        let from = (self.next * BLOCK_BYTES).checked_sub(1);
        from.and_then(|from| self.bytes.get(from..)).unwrap_or_default().as_chunks().0
    }

    /// The length of prefix and bytes, in bits.
    pub(super) fn bits(&self) -> u64 {
        (crate::bytes::length(self.bytes.len()) + 1) * 8
    }

    /// What is special about the block `at`: its prefix, and where its padding begins.
    pub(super) fn edge(&self, at: usize) -> Edge {
        let (begin, total) = (at * BLOCK_BYTES, self.bytes.len() + 1);
        Edge {
            prefix: (at == 0).then_some(self.prefix),
            end: total.saturating_sub(begin).min(BLOCK_BYTES),
            one: total.checked_sub(begin).filter(|place| *place < BLOCK_BYTES),
            bits: (at + 1 == self.blocks).then(|| self.bits()),
        }
    }

    /// The block `at`; made in `scratch` where it has prefix or padding in it.
    #[inline]
    pub(super) fn block<'b>(&'b self, at: usize, scratch: &'b mut Block) -> &'b Block {
        match self.whole(at) {
            Some(block) => block,
            None => {
                self.make(at, scratch);
                scratch
            }
        }
    }

    fn make(&self, at: usize, block: &mut Block) {
        let edge = self.edge(at);
        *block = [0; BLOCK_BYTES];
        let skip = usize::from(edge.prefix.is_some());
        if let (Some(prefix), [first, ..]) = (edge.prefix, &mut *block) {
            *first = prefix;
        }
        let from = self.bytes.get((at * BLOCK_BYTES).saturating_sub(1)..).unwrap_or_default();
        if let Some(to) = block.get_mut(skip..edge.end)
            && let Some(from) = from.get(..to.len())
        {
            to.copy_from_slice(from);
        }
        if let Some(byte) = edge.one.and_then(|place| block.get_mut(place)) {
            *byte = 0x80;
        }
        if let (Some(bits), Some(end)) = (edge.bits, block.last_chunk_mut()) {
            *end = bits.to_be_bytes();
        }
    }

    /// Gives its hash if its last block is hashed.
    pub(super) fn finish(&self, out: &mut [Hash]) {
        if self.left() == 0 {
            self.put(self.digest(), out);
        }
    }

    pub(super) fn put(&self, hash: Hash, out: &mut [Hash]) {
        if let Some(place) = out.get_mut(self.index) {
            *place = hash;
        }
    }

    pub(super) fn digest(&self) -> Hash {
        let mut hash = Hash::default();
        let (words, _) = hash.0.as_chunks_mut();
        words.iter_mut().zip(self.state).for_each(|(to, word)| *to = word.to_be_bytes());
        hash
    }
}

/// See [`Lane::edge`].
pub(super) struct Edge {
    /// What the block begins with, if it is the first.
    pub(super) prefix: Option<u8>,
    /// How many bytes of it are of prefix and message.
    pub(super) end: usize,
    /// Where the bit 1 behind the message goes, if here.
    pub(super) one: Option<usize>,
    /// The length for its last eight bytes, if it is the last.
    pub(super) bits: Option<u64>,
}

/// Hashes what `messages` gives, `N` at a time, each lane refilled when its message ends, for as long as at least `least`
/// lanes are at work. Returns the lanes; those with something [`left`](Lane::left) are to be hashed on.
#[inline]
pub(super) fn run<'a, const N: usize>(
    compress: impl Fn(&mut [Lane<'a>; N], usize),
    least: usize,
    messages: &mut impl Iterator<Item = Lane<'a>>,
    out: &mut [Hash],
) -> [Lane<'a>; N] {
    let mut lanes = [Lane::IDLE; N];
    loop {
        let (mut busy, mut count) = (0, usize::MAX);
        for lane in &mut lanes {
            if lane.left() == 0 {
                *lane = messages.next().unwrap_or(Lane::IDLE);
            }
            if lane.left() > 0 {
                busy += 1;
                count = count.min(lane.left());
            }
        }
        if busy < least.max(1) {
            break;
        }
        compress(&mut lanes, count);
        for lane in lanes.iter_mut().filter(|lane| lane.blocks > 0) {
            lane.next += count;
            lane.finish(out);
        }
    }
    lanes
}
