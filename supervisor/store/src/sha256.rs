//! SHA-256 of many short messages at once, with what the processor has for it.
//!
//! # Layout
//!
//! - `lane`: a message on its way, block by block, and the lanes that are refilled
//! - `avx512`: sixteen messages at once
//! - `avx2`: eight
//! - `sha_ni`: two in turn
//! - `constants`: those of FIPS 180-4
//!
//! A single message is the crate `sha2`'s; so is every one on a processor of another family.
//!
//! Unsafe code is allowed in here alone: calling what a processor has after asking it, and loads and stores of whole
//! registers.

#![expect(unsafe_code, reason = "vector instructions: see the head of this file")]

mod constants;
mod lane;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use std::sync::LazyLock;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use types::hash::Hash;

use lane::{BLOCK_BYTES, Lane, run};

/// How many lanes of AVX-512 must be at work for them to be faster than SHA-NI, two at a time. All sixteen take as long as
/// SHA-NI takes for this many (`make bench BENCH=sha256`).
const AVX512_LEAST: usize = 10;
/// The same where no SHA-NI is there: one message at a time takes most of what a full set of lanes takes.
const AVX512_LEAST_ALONE: usize = 2;
const AVX2_LEAST_ALONE: usize = 3;

/// What hashes: which instructions, and from how many messages on. All give the same hashes.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    name: &'static str,
    wide: Option<Wide>,
    pair: Option<Pair>,
}

/// Many at once, and from how many lanes at work on.
#[derive(Debug, Clone, Copy)]
enum Wide {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512, usize),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2, usize),
}

#[cfg(target_arch = "x86_64")]
type Pair = sha_ni::ShaNi;

/// There is none for this processor.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy)]
enum Pair {}

impl Engine {
    /// The fastest that this processor has.
    pub fn best() -> &'static Self {
        static BEST: LazyLock<Engine> = LazyLock::new(Engine::detect);
        &BEST
    }

    /// Each that this processor has, the plain one last, whether or not it is the fastest: to compare them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![*Self::best()];
        all.extend(Self::parts());
        all.push(Self::PLAIN);
        all
    }

    const PLAIN: Self = Self { name: "sha2", wide: None, pair: None };

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        use avx2::Avx2;
        use avx512::Avx512;
        let pair = Pair::detect();
        let alone = pair.is_none();
        let least = if alone { AVX512_LEAST_ALONE } else { AVX512_LEAST };
        let wide = Avx512::detect().map(|avx512| Wide::Avx512(avx512, least));
        // SHA-NI alone is faster than eight lanes: AVX2 has neither rotation nor logic of three operands.
        let narrower = || Avx2::detect().filter(|_| alone).map(|avx2| Wide::Avx2(avx2, AVX2_LEAST_ALONE));
        Self { name: "best", wide: wide.or_else(narrower), pair }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::PLAIN
    }

    /// Each set of instructions for itself, down to a single message.
    #[cfg(target_arch = "x86_64")]
    fn parts() -> impl Iterator<Item = Self> {
        let wide = |name, wide| Self { name, wide: Some(wide), pair: None };
        let avx512 = avx512::Avx512::detect().map(|avx512| wide("avx512", Wide::Avx512(avx512, 1)));
        let avx2 = avx2::Avx2::detect().map(|avx2| wide("avx2", Wide::Avx2(avx2, 1)));
        let pair = Pair::detect().map(|pair| Self { name: "sha-ni", wide: None, pair: Some(pair) });
        avx512.into_iter().chain(avx2).chain(pair)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn parts() -> impl Iterator<Item = Self> {
        std::iter::empty()
    }

    /// Its name: `best`, `avx512`, `avx2`, `sha-ni` or `sha2`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Appends to `out` the hash of each message with the byte `prefix` before it, in order.
    pub fn hash<'a>(
        &self,
        prefix: u8,
        messages: impl ExactSizeIterator<Item = &'a [u8]>,
        out: &mut Vec<Hash>,
    ) {
        let (start, count) = (out.len(), messages.len());
        if count == 1 {
            // What there is to win costs more than it gives.
            return out.extend(messages.map(|bytes| plain(prefix, bytes)));
        }
        out.resize(start + count, Hash::default());
        let out = out.get_mut(start..).unwrap_or_default();
        let mut lanes = messages.enumerate().map(|(index, bytes)| Lane::new(prefix, bytes, index));
        match self.wide {
            #[cfg(target_arch = "x86_64")]
            Some(Wide::Avx512(avx512, least)) if count >= least => {
                let rest = run(|lanes, count| avx512.compress(lanes, count), least, &mut lanes, out);
                self.narrow(unfinished(rest).chain(lanes), out);
            }
            #[cfg(target_arch = "x86_64")]
            Some(Wide::Avx2(avx2, least)) if count >= least => {
                let rest = run(|lanes, count| avx2.compress(lanes, count), least, &mut lanes, out);
                self.narrow(unfinished(rest).chain(lanes), out);
            }
            _ => self.narrow(lanes, out),
        }
    }

    fn narrow<'a>(&self, mut lanes: impl Iterator<Item = Lane<'a>>, out: &mut [Hash]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(pair) = self.pair {
            let least = sha_ni::LANES;
            let rest = run(|lanes, count| pair.compress(lanes, count), least, &mut lanes, out);
            unfinished(rest).for_each(|lane| single(lane, out));
        }
        lanes.for_each(|lane| single(lane, out));
    }
}

fn unfinished<'a, const N: usize>(lanes: [Lane<'a>; N]) -> impl Iterator<Item = Lane<'a>> {
    lanes.into_iter().filter(|lane| lane.left() > 0)
}

/// The hash of one message by the crate.
pub(crate) fn plain(prefix: u8, message: &[u8]) -> Hash {
    match short(prefix, message) {
        Some(hash) => hash,
        None => Hash(Sha256::new_with_prefix([prefix]).chain_update(message).finalize().into()),
    }
}

/// Up to so many blocks copying a message costs less than further calls of the crate.
const SHORT_BLOCKS: usize = 4;

/// The hash of a message of few blocks: those of the tree's nodes and of small entries. Laid out as a whole it goes to
/// the crate in one call.
fn short(prefix: u8, message: &[u8]) -> Option<Hash> {
    if message.len() > SHORT_BLOCKS * BLOCK_BYTES {
        return None;
    }
    let mut lane = Lane::new(prefix, message, 0);
    let mut blocks = [[0; BLOCK_BYTES]; SHORT_BLOCKS];
    let used = blocks.get_mut(..lane.blocks)?;
    let (first, rest) = used.as_flattened_mut().split_first_mut()?;
    *first = prefix;
    let (text, padding) = rest.split_at_mut_checked(message.len())?;
    text.copy_from_slice(message);
    *padding.first_mut()? = 0x80;
    *padding.last_chunk_mut()? = lane.bits().to_be_bytes();
    compress256(&mut lane.state, used);
    Some(lane.digest())
}

/// Hashes what is left of one message.
fn single(mut lane: Lane<'_>, out: &mut [Hash]) {
    if lane.next == 0 {
        return lane.put(plain(lane.prefix, lane.bytes), out);
    }
    while lane.next < lane.blocks {
        let whole = lane.whole_blocks();
        if whole.is_empty() {
            let mut scratch = [0; BLOCK_BYTES];
            let block = *lane.block(lane.next, &mut scratch);
            compress256(&mut lane.state, &[block]);
            lane.next += 1;
        } else {
            compress256(&mut lane.state, whole);
            lane.next += whole.len();
        }
    }
    lane.finish(out);
}

#[cfg(test)]
mod tests;
