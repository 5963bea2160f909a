//! Eight messages at once, 32 bits of a register for each: AVX2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::constants::K;
use super::lane::{BLOCK_BYTES, Lane};

/// How many messages at once.
pub(super) const LANES: usize = 8;

/// That the processor can do it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Hashes the next `count` blocks of each lane.
    pub(super) fn compress(self, lanes: &mut [Lane<'_>; LANES], count: usize) {
        // SAFETY: a value of this type exists only where the processor was asked for the feature.
        unsafe { compress(lanes, count) }
    }
}

#[target_feature(enable = "avx2")]
fn compress(lanes: &mut [Lane<'_>; LANES], count: usize) {
    let mut state = load_states(lanes);
    for step in 0..count {
        let before = state;
        let (mut low, mut high) = load_words(lanes, step);
        for (quarter, [k_low, k_high]) in K.iter().enumerate() {
            if quarter > 0 {
                schedule(&mut low, &high);
                schedule(&mut high, &low);
            }
            rounds(&mut state, &low, k_low);
            rounds(&mut state, &high, k_high);
        }
        for (word, before) in state.iter_mut().zip(before) {
            *word = _mm256_add_epi32(*word, before);
        }
    }
    store_states(lanes, state);
}

/// Eight rounds; behind them each variable is back in its place.
#[inline]
#[target_feature(enable = "avx2")]
fn rounds(state: &mut [__m256i; 8], words: &[__m256i; 8], k: &[u32; 8]) {
    let [a, b, c, d, e, f, g, h] = state;
    let [w0, w1, w2, w3, w4, w5, w6, w7] = words;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = k;
    round((*a, *b, *c, d), (*e, *f, *g, h), *w0, *k0);
    round((*h, *a, *b, c), (*d, *e, *f, g), *w1, *k1);
    round((*g, *h, *a, b), (*c, *d, *e, f), *w2, *k2);
    round((*f, *g, *h, a), (*b, *c, *d, e), *w3, *k3);
    round((*e, *f, *g, h), (*a, *b, *c, d), *w4, *k4);
    round((*d, *e, *f, g), (*h, *a, *b, c), *w5, *k5);
    round((*c, *d, *e, f), (*g, *h, *a, b), *w6, *k6);
    round((*b, *c, *d, e), (*f, *g, *h, a), *w7, *k7);
}

/// One round (FIPS 180-4, 6.2.2); `d` becomes the new `e` and `h` the new `a`.
#[inline]
#[target_feature(enable = "avx2")]
fn round(
    (a, b, c, d): (__m256i, __m256i, __m256i, &mut __m256i),
    (e, f, g, h): (__m256i, __m256i, __m256i, &mut __m256i),
    word: __m256i,
    k: u32,
) {
    let word = _mm256_add_epi32(word, _mm256_set1_epi32(k.cast_signed()));
    let sum = xor(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
    // Where e has a 1 that of f, else that of g.
    let choice = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
    let first = _mm256_add_epi32(_mm256_add_epi32(*h, word), _mm256_add_epi32(sum, choice));
    let sum = xor(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
    let majority = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)));
    *d = _mm256_add_epi32(*d, first);
    *h = _mm256_add_epi32(first, _mm256_add_epi32(sum, majority));
}

/// The eight words that come sixteen after `old`, in its place; `next` are the eight behind `old`.
#[inline]
#[target_feature(enable = "avx2")]
fn schedule(old: &mut [__m256i; 8], next: &[__m256i; 8]) {
    let [w0, w1, w2, w3, w4, w5, w6, w7] = old;
    let [w8, w9, w10, w11, w12, w13, w14, w15] = next;
    *w0 = word(*w0, *w1, *w9, *w14);
    *w1 = word(*w1, *w2, *w10, *w15);
    *w2 = word(*w2, *w3, *w11, *w0);
    *w3 = word(*w3, *w4, *w12, *w1);
    *w4 = word(*w4, *w5, *w13, *w2);
    *w5 = word(*w5, *w6, *w14, *w3);
    *w6 = word(*w6, *w7, *w15, *w4);
    *w7 = word(*w7, *w8, *w0, *w5);
}

/// A word of the schedule out of those 16, 15, 7 and 2 before it.
#[inline]
#[target_feature(enable = "avx2")]
fn word(w16: __m256i, w15: __m256i, w7: __m256i, w2: __m256i) -> __m256i {
    let small = xor(rotate::<7, 25>(w15), rotate::<18, 14>(w15), _mm256_srli_epi32::<3>(w15));
    let large = xor(rotate::<17, 15>(w2), rotate::<19, 13>(w2), _mm256_srli_epi32::<10>(w2));
    _mm256_add_epi32(_mm256_add_epi32(w16, w7), _mm256_add_epi32(small, large))
}

/// To the right by `BY`; `REST` is 32 less that.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const BY: i32, const REST: i32>(x: __m256i) -> __m256i {
    const { assert!(BY + REST == 32) };
    _mm256_or_si256(_mm256_srli_epi32::<BY>(x), _mm256_slli_epi32::<REST>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    _mm256_xor_si256(x, _mm256_xor_si256(y, z))
}

/// The words 0 to 7 and 8 to 15 of one block of each lane, `step` blocks from the next.
#[inline]
#[target_feature(enable = "avx2")]
fn load_words(lanes: &[Lane<'_>; LANES], step: usize) -> ([__m256i; 8], [__m256i; 8]) {
    let swap = _mm256_set_epi64x(
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
    );
    let (mut low, mut high) = ([_mm256_set1_epi32(0); 8], [_mm256_set1_epi32(0); 8]);
    for ((low, high), lane) in low.iter_mut().zip(&mut high).zip(lanes) {
        let mut scratch = [0; BLOCK_BYTES];
        let (halves, _) = lane.block(lane.next + step, &mut scratch).as_chunks::<32>();
        for (to, half) in [low, high].into_iter().zip(halves) {
            // SAFETY: it is 32 bytes; this load wants no alignment.
            *to = _mm256_shuffle_epi8(unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }, swap);
        }
    }
    (transpose(low), transpose(high))
}

/// The variables a to h of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn load_states(lanes: &[Lane<'_>; LANES]) -> [__m256i; 8] {
    // SAFETY: each is 32 bytes; this load wants no alignment.
    transpose(lanes.each_ref().map(|lane| unsafe { _mm256_loadu_si256(lane.state.as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_states(lanes: &mut [Lane<'_>; LANES], state: [__m256i; 8]) {
    for (lane, row) in lanes.iter_mut().zip(transpose(state)) {
        // SAFETY: it is 32 bytes; this store wants no alignment.
        unsafe { _mm256_storeu_si256(lane.state.as_mut_ptr().cast(), row) };
    }
}

/// Rows of words to columns: row n has the words of lane n, column n has word n of each lane. Done twice, all is as before.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let pair = |x, y| (_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
    let ((a0, a2), (a1, a3), (a4, a6), (a5, a7)) = (pair(r0, r1), pair(r2, r3), pair(r4, r5), pair(r6, r7));
    let pair = |x, y| (_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
    // Each has four words of a column in each half: those of the lanes 0 to 3 or 4 to 7.
    let ((b0, b1), (b2, b3), (b4, b5), (b6, b7)) = (pair(a0, a1), pair(a2, a3), pair(a4, a5), pair(a6, a7));
    let pair = |x, y| (_mm256_permute2x128_si256::<0x20>(x, y), _mm256_permute2x128_si256::<0x31>(x, y));
    let ((c0, c4), (c1, c5), (c2, c6), (c3, c7)) = (pair(b0, b4), pair(b1, b5), pair(b2, b6), pair(b3, b7));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}
