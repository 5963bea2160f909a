// SPDX-License-Identifier: GPL-2.0-only

//! Cases of `limit`; the host runs them too, beside its properties.

use crate::{
    limit::{
        Bucket,
        BURST_MAX,
        RATE_MAX, //
    },
    time::NSEC_PER_SEC, //
};

#[cfg_attr(not(test), kernel::macros::kunit_tests(dsmil_limit))]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(10, 3);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, 0), Ok(()));
        }
        assert_eq!(bucket.take(1, 0), Err(100));
        assert_eq!(bucket.take(3, 0), Err(300));
        assert_eq!(bucket.take(1, NSEC_PER_SEC / 10 - 1), Err(1));
        assert_eq!(bucket.take(1, NSEC_PER_SEC / 10), Ok(()));
    }

    #[test]
    fn more_than_the_bucket_holds_leaves_a_debt() {
        let mut bucket = Bucket::new(10, 3);
        assert_eq!(bucket.take(5, 0), Ok(()));
        assert_eq!(bucket.take(1, 0), Err(300));
        assert_eq!(bucket.take(5, 0), Err(500));
        assert_eq!(bucket.take(5, NSEC_PER_SEC / 2), Ok(()));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut bucket = Bucket::new(10, 3);
        assert_eq!(bucket.take(3, 0), Ok(()));
        bucket.give_back(2);
        assert_eq!(bucket.take(2, 0), Ok(()));
        assert_eq!(bucket.take(1, 0), Err(100));
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let mut bucket = Bucket::new(10, 3);
        assert_eq!(bucket.take(3, 0), Ok(()));
        let later = 100 * NSEC_PER_SEC;
        assert_eq!(bucket.take(3, later), Ok(()));
        assert_eq!(bucket.take(1, later), Err(100));
    }

    #[test]
    fn rates_and_bursts_are_cut_and_zero_lifts_the_limit() {
        let largest = Bucket::new(u32::MAX, u32::MAX);
        assert_eq!((largest.rate(), largest.burst()), (RATE_MAX, BURST_MAX));
        let mut free = Bucket::new(0, 0);
        assert_eq!((free.rate(), free.burst()), (0, 1));
        for _ in 0..9 {
            assert_eq!(free.take(u32::MAX, 0), Ok(()));
        }
    }
}
