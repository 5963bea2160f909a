// SPDX-License-Identifier: GPL-2.0-only

//! Cases of `ring`; the host runs them too, beside its properties.

use crate::ring::Ring;

/// Slots of the rings.
const SLOTS: usize = 4;

/// A ring into which so many records were put.
fn ring(count: u64) -> Ring {
    let mut ring = Ring::default();
    for _ in 0..count {
        ring.put(SLOTS);
    }
    ring
}

/// What a reader at a position gets: number, slot, lost.
fn next(ring: &Ring, position: u64) -> Option<(u64, usize, u64)> {
    ring.next(position, SLOTS)
        .map(|next| (next.number, next.slot, next.lost))
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(dsmil_ring))]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_with_one_and_slots_come_round() {
        let mut ring = Ring::default();
        assert_eq!(ring.newest(), 0);
        for (number, slot) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 0), (6, 1)] {
            assert_eq!(ring.put(SLOTS), (number, slot));
            assert_eq!(ring.newest(), number);
        }
    }

    #[test]
    fn an_empty_ring_and_one_that_is_read_have_nothing() {
        assert_eq!(next(&ring(0), 0), None);
        assert_eq!(next(&ring(3), 3), None);
    }

    #[test]
    fn a_reader_gets_each_record_in_order() {
        let ring = ring(3);
        assert_eq!(next(&ring, 0), Some((1, 0, 0)));
        assert_eq!(next(&ring, 1), Some((2, 1, 0)));
        assert_eq!(next(&ring, 2), Some((3, 2, 0)));
    }

    #[test]
    fn just_as_many_as_there_are_slots_are_kept() {
        assert_eq!(next(&ring(4), 0), Some((1, 0, 0)));
        assert_eq!(next(&ring(5), 0), Some((2, 1, 1)));
    }

    #[test]
    fn who_is_behind_learns_how_many_are_lost() {
        let ring = ring(11);
        assert_eq!(next(&ring, 2), Some((8, 3, 5)));
        assert_eq!(next(&ring, 8), Some((9, 0, 0)));
    }
}
