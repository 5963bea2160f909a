//! Two messages in turn, with the processor's instructions for SHA-256: with one alone it waits for results most of the
//! time.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::constants::K;
use super::lane::{BLOCK_BYTES, Block, Lane};

/// How many messages at once.
pub(super) const LANES: usize = 2;

/// That the processor can do it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShaNi(());

impl ShaNi {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")).then_some(Self(()))
    }

    /// Hashes the next `count` blocks of each lane.
    pub(super) fn compress(self, lanes: &mut [Lane<'_>; LANES], count: usize) {
        // SAFETY: a value of this type exists only where the processor was asked for both features.
        unsafe { compress(lanes, count) }
    }
}

#[target_feature(enable = "sha,sse4.1")]
fn compress(lanes: &mut [Lane<'_>; LANES], count: usize) {
    let [first, second] = lanes;
    let (mut one, mut two) = (load_state(&first.state), load_state(&second.state));
    for step in 0..count {
        let before = (one, two);
        let mut scratch = [[0; BLOCK_BYTES]; LANES];
        let [first_scratch, second_scratch] = &mut scratch;
        let mut words = (
            load_words(first.block(first.next + step, first_scratch)),
            load_words(second.block(second.next + step, second_scratch)),
        );
        for (quarter, k) in K.iter().enumerate() {
            if quarter > 0 {
                schedule(&mut words.0);
                schedule(&mut words.1);
            }
            let k = k.as_flattened().as_chunks().0;
            for ((k, word), other) in k.iter().zip(words.0).zip(words.1) {
                rounds(&mut one, word, k);
                rounds(&mut two, other, k);
            }
        }
        one.add(&before.0);
        two.add(&before.1);
    }
    store_state(&one, &mut first.state);
    store_state(&two, &mut second.state);
}

/// The variables in the order that the instructions want.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

impl State {
    #[inline]
    #[target_feature(enable = "sse2")]
    fn add(&mut self, other: &Self) {
        self.abef = _mm_add_epi32(self.abef, other.abef);
        self.cdgh = _mm_add_epi32(self.cdgh, other.cdgh);
    }
}

/// Four rounds.
#[inline]
#[target_feature(enable = "sha")]
fn rounds(state: &mut State, words: __m128i, k: &[u32; 4]) {
    let [k0, k1, k2, k3] = k.map(u32::cast_signed);
    let words = _mm_add_epi32(words, _mm_set_epi32(k3, k2, k1, k0));
    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, words);
    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0x0e>(words));
}

/// The next sixteen words of the schedule.
#[inline]
#[target_feature(enable = "sha,ssse3")]
fn schedule(words: &mut [__m128i; 4]) {
    let [w0, w1, w2, w3] = words;
    *w0 = next(*w0, *w1, *w2, *w3);
    *w1 = next(*w1, *w2, *w3, *w0);
    *w2 = next(*w2, *w3, *w0, *w1);
    *w3 = next(*w3, *w0, *w1, *w2);
}

/// Four words out of the sixteen before them.
#[inline]
#[target_feature(enable = "sha,ssse3")]
fn next(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(sum, w3)
}

/// The words of a block, in the processor's order of bytes.
#[inline]
#[target_feature(enable = "ssse3")]
fn load_words(block: &Block) -> [__m128i; 4] {
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut words = [_mm_setzero_si128(); 4];
    for (word, part) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        // SAFETY: it is 16 bytes; this load wants no alignment.
        *word = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(part.as_ptr().cast()) }, swap);
    }
    words
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn load_state(state: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn store_state(from: &State, state: &mut [u32; 8]) {
    let feba = _mm_shuffle_epi32::<0x1b>(from.abef);
    let dchg = _mm_shuffle_epi32::<0xb1>(from.cdgh);
    let halves = [_mm_blend_epi16::<0xf0>(feba, dchg), _mm_alignr_epi8::<8>(dchg, feba)];
    for (to, half) in state.as_chunks_mut::<4>().0.iter_mut().zip(halves) {
        // SAFETY: it is 16 bytes; this store wants no alignment.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), half) };
    }
}
