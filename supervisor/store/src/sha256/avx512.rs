//! Sixteen messages at once, 32 bits of a register for each: AVX-512 F and BW, and BMI2.

use std::arch::x86_64::{
    __m512i, _bzhi_u64, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_epi32, _mm512_castsi256_si512,
    _mm512_castsi512_si256, _mm512_extracti64x4_epi64, _mm512_inserti64x4, _mm512_loadu_si512,
    _mm512_mask_mov_epi8, _mm512_mask_set1_epi8, _mm512_mask_set1_epi64, _mm512_maskz_loadu_epi8,
    _mm512_permutex2var_epi64, _mm512_ror_epi32, _mm512_set_epi64, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_shuffle_epi8, _mm512_shuffle_i64x2, _mm512_srli_epi32, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::constants::K;
use super::lane::{BLOCK_BYTES, Lane};

/// How many messages at once.
pub(super) const LANES: usize = 16;

/// Truth tables of `vpternlogd`: of three bits, the exclusive or, the choice by the first between the others, and the
/// majority.
const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// That the processor can do it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("bmi2");
        has.then_some(Self(()))
    }

    /// Hashes the next `count` blocks of each lane.
    pub(super) fn compress(self, lanes: &mut [Lane<'_>; LANES], count: usize) {
        // SAFETY: a value of this type exists only where the processor was asked for all three features.
        unsafe { compress(lanes, count) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,bmi2")]
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
            *word = _mm512_add_epi32(*word, before);
        }
    }
    store_states(lanes, state);
}

/// Eight rounds; behind them each variable is back in its place.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounds(state: &mut [__m512i; 8], words: &[__m512i; 8], k: &[u32; 8]) {
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
#[target_feature(enable = "avx512f")]
fn round(
    (a, b, c, d): (__m512i, __m512i, __m512i, &mut __m512i),
    (e, f, g, h): (__m512i, __m512i, __m512i, &mut __m512i),
    word: __m512i,
    k: u32,
) {
    let word = _mm512_add_epi32(word, _mm512_set1_epi32(k.cast_signed()));
    let sum = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<6>(e),
        _mm512_ror_epi32::<11>(e),
        _mm512_ror_epi32::<25>(e),
    );
    let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
    let first = _mm512_add_epi32(_mm512_add_epi32(*h, word), _mm512_add_epi32(sum, choice));
    let sum = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<2>(a),
        _mm512_ror_epi32::<13>(a),
        _mm512_ror_epi32::<22>(a),
    );
    let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
    *d = _mm512_add_epi32(*d, first);
    *h = _mm512_add_epi32(first, _mm512_add_epi32(sum, majority));
}

/// The eight words that come sixteen after `old`, in its place; `next` are the eight behind `old`.
#[inline]
#[target_feature(enable = "avx512f")]
fn schedule(old: &mut [__m512i; 8], next: &[__m512i; 8]) {
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
#[target_feature(enable = "avx512f")]
fn word(w16: __m512i, w15: __m512i, w7: __m512i, w2: __m512i) -> __m512i {
    let small = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<7>(w15),
        _mm512_ror_epi32::<18>(w15),
        _mm512_srli_epi32::<3>(w15),
    );
    let large = _mm512_ternarylogic_epi32::<XOR>(
        _mm512_ror_epi32::<17>(w2),
        _mm512_ror_epi32::<19>(w2),
        _mm512_srli_epi32::<10>(w2),
    );
    _mm512_add_epi32(_mm512_add_epi32(w16, w7), _mm512_add_epi32(small, large))
}

/// The words 0 to 7 and 8 to 15 of one block of each lane, `step` blocks from the next.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn load_words(lanes: &[Lane<'_>; LANES], step: usize) -> ([__m512i; 8], [__m512i; 8]) {
    let (mut low, mut high) = ([_mm512_set1_epi32(0); 8], [_mm512_set1_epi32(0); 8]);
    let (first, second) = lanes.split_at(LANES / 2);
    for ((low, high), (first, second)) in low.iter_mut().zip(&mut high).zip(first.iter().zip(second)) {
        let (first, second) = (load_block(first, step), load_block(second, step));
        *low = _mm512_inserti64x4::<1>(first, _mm512_castsi512_si256(second));
        *high = _mm512_shuffle_i64x2::<0xee>(first, second);
    }
    (transpose(low), transpose(high))
}

/// A block of a lane, its words in the processor's order of bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn load_block(lane: &Lane<'_>, step: usize) -> __m512i {
    let at = lane.next + step;
    let bytes = match lane.whole(at) {
        // SAFETY: 64 bytes are there to be read; this load wants no alignment.
        Some(block) => unsafe { _mm512_loadu_si512(block.as_ptr().cast()) },
        None => load_edge(lane, at),
    };
    const SWAP: [i64; 2] = [0x0405_0607_0001_0203, 0x0c0d_0e0f_0809_0a0b];
    let [even, odd] = SWAP;
    _mm512_shuffle_epi8(bytes, _mm512_set_epi64(odd, even, odd, even, odd, even, odd, even))
}

/// A block with prefix or padding: only the bytes of the message are read, into their places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn load_edge(lane: &Lane<'_>, at: usize) -> __m512i {
    let edge = lane.edge(at);
    let mut block = _mm512_set1_epi32(0);
    let mask = _bzhi_u64(u64::MAX, u32::try_from(edge.end).unwrap_or(0)) & !u64::from(edge.prefix.is_some());
    // Without a byte to read the address may be one that faults, which takes the processor long to suppress.
    if mask != 0 {
        let from = lane.bytes.as_ptr().wrapping_add(at * BLOCK_BYTES).wrapping_sub(1);
        // SAFETY: bytes whose bit in the mask is clear are not accessed. The others have their places in the block between
        // the prefix (place 0 of the first block) and `edge.end`, so they are bytes of the message.
        block = unsafe { _mm512_maskz_loadu_epi8(mask, from.cast()) };
    }
    if let Some(prefix) = edge.prefix {
        block = _mm512_mask_set1_epi8(block, 1, prefix.cast_signed());
    }
    if let Some(place) = edge.one {
        block = _mm512_mask_mov_epi8(block, 1 << place, _mm512_set1_epi8(i8::MIN));
    }
    if let Some(bits) = edge.bits {
        block = _mm512_mask_set1_epi64(block, 0x80, bits.swap_bytes().cast_signed());
    }
    block
}

/// The variables a to h of all lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_states(lanes: &[Lane<'_>; LANES]) -> [__m512i; 8] {
    let mut rows = [_mm512_set1_epi32(0); 8];
    let (first, second) = lanes.split_at(LANES / 2);
    for (row, (first, second)) in rows.iter_mut().zip(first.iter().zip(second)) {
        // SAFETY: both are 32 bytes; these loads want no alignment.
        let [first, second] =
            [first, second].map(|lane| unsafe { _mm256_loadu_si256(lane.state.as_ptr().cast()) });
        *row = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
    }
    transpose(rows)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_states(lanes: &mut [Lane<'_>; LANES], state: [__m512i; 8]) {
    let (first, second) = lanes.split_at_mut(LANES / 2);
    for (row, (first, second)) in transpose(state).into_iter().zip(first.iter_mut().zip(second)) {
        // SAFETY: both are 32 bytes; these stores want no alignment.
        unsafe {
            _mm256_storeu_si256(first.state.as_mut_ptr().cast(), _mm512_castsi512_si256(row));
            _mm256_storeu_si256(second.state.as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(row));
        }
    }
}

/// Rows of words to columns, in each half of the registers for itself: row n has words of lane n, and in its upper half
/// those of lane n + 8; column n has word n of each lane. Done twice, all is as before.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 8]) -> [__m512i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let pair = |x, y| (_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
    let ((a0, a2), (a1, a3), (a4, a6), (a5, a7)) = (pair(r0, r1), pair(r2, r3), pair(r4, r5), pair(r6, r7));
    let pair = |x, y| (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    // Each has four words of a column in each quarter: those of the lanes 0 to 3 or 4 to 7.
    let ((b0, b1), (b2, b3), (b4, b5), (b6, b7)) = (pair(a0, a1), pair(a2, a3), pair(a4, a5), pair(a6, a7));
    let lower = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    let upper = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    let pair = |x, y| (_mm512_permutex2var_epi64(x, lower, y), _mm512_permutex2var_epi64(x, upper, y));
    let ((c0, c4), (c1, c5), (c2, c6), (c3, c7)) = (pair(b0, b4), pair(b1, b5), pair(b2, b6), pair(b3, b7));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}
