//! What is bounded: the rate of calls, the events that are kept, the temperature's thresholds.

use crate::*;
use limit::Bucket;
use ring::Ring;

const SECOND: i64 = time::NSEC_PER_SEC;
const MILLISECOND: i64 = time::NSEC_PER_MSEC;

proptest! {
    #[test]
    fn no_span_of_time_sees_more_than_burst_and_rate(
        rate in 1_u32..2_000, burst in 1_u32..500, asks in vec((1_u32..600, 0_i64..2_000_000_000), 1..60),
    ) {
        let mut bucket = Bucket::new(rate, burst);
        let mut now = 7;
        let mut taken: Vec<(i64, u32)> = Vec::new();
        for (count, pause) in asks {
            now += pause;
            if bucket.take(count, now).is_ok() {
                taken.push((now, count));
            }
            for first in 0..taken.len() {
                let span = now - taken[first].0;
                let all: u64 = taken[first..].iter().map(|(_, count)| u64::from(*count)).sum();
                // A request larger than the bucket is served from a full one, and paid for afterwards.
                let excess = taken[first..].iter().map(|(_, c)| c.saturating_sub(burst)).max().unwrap_or(0);
                let rated = i128::from(span) * i128::from(rate) / i128::from(SECOND);
                let rated = u64::try_from(rated).unwrap() + 1;
                // The period is rounded down to a nanosecond.
                let slack = rated / 1_000 + 1;
                prop_assert!(all <= u64::from(burst) + u64::from(excess) + rated + slack);
            }
        }
    }

    #[test]
    fn what_is_refused_is_served_after_the_wait_and_not_before(
        rate in 1_u32..2_000, burst in 1_u32..500, count in 1_u32..600, now in 0_i64..SECOND,
    ) {
        let mut bucket = Bucket::new(rate, burst);
        prop_assert_eq!(bucket.take(count, now), Ok(()), "a full bucket serves anything");
        while bucket.take(1, now).is_ok() {}
        let Err(wait) = bucket.clone().take(count, now) else { unreachable!() };
        prop_assert!(wait > 0);
        let before = now + (i64::from(wait) - 1) * MILLISECOND - 1;
        prop_assert!(bucket.clone().take(count, before).is_err());
        prop_assert_eq!(bucket.take(count, now + i64::from(wait) * MILLISECOND), Ok(()));
    }

    #[test]
    fn what_is_given_back_was_never_taken(rate in 1_u32..2_000, burst in 1_u32..500, count in 1_u32..600) {
        let mut bucket = Bucket::new(rate, burst);
        bucket.take(1, 0).unwrap();
        let before = bucket;
        if bucket.take(count, 0).is_ok() {
            bucket.give_back(count);
        }
        prop_assert_eq!(bucket, before);
    }

    #[test]
    fn a_rate_of_zero_lifts_the_limit(burst in 0_u32..9, counts in vec(any::<u32>(), 0..20)) {
        let mut bucket = Bucket::new(0, burst);
        prop_assert_eq!((bucket.rate(), bucket.burst()), (0, burst.max(1)));
        for count in counts {
            prop_assert_eq!(bucket.take(count, 0), Ok(()));
        }
    }

    #[test]
    fn each_reader_gets_each_record_once_in_order_or_knows_that_it_is_lost(
        slots in 1_usize..20, turns in vec((0_usize..3, 0_u32..30), 1..60),
    ) {
        let mut ring = Ring::default();
        let mut memory = vec![0_u64; slots];
        let mut readers = [0_u64; 2];
        for (who, times) in turns {
            for _ in 0..times {
                match readers.get_mut(who) {
                    None => {
                        let (number, slot) = ring.put(slots);
                        memory[slot] = number;
                        prop_assert_eq!(ring.newest(), number);
                    }
                    Some(position) => match ring.next(*position, slots) {
                        None => prop_assert_eq!(*position, ring.newest()),
                        Some(next) => {
                            prop_assert_eq!(memory[next.slot], next.number);
                            prop_assert_eq!(next.number, *position + next.lost + 1);
                            let is_needed = next.lost == 0 || next.number + slots as u64 == ring.newest() + 1;
                            prop_assert!(is_needed, "no more is lost than was overwritten");
                            *position = next.number;
                        }
                    },
                }
            }
        }
    }

    #[test]
    fn a_level_changes_at_its_threshold_and_not_for_less(temperatures in vec(-60_000_i32..140_000, 1..60)) {
        let mut level = uapi::DSMIL_HEAT_UNKNOWN;
        for temperature in temperatures {
            level = heat::level(level, Some(temperature));
            let (from, below) = match level {
                uapi::DSMIL_HEAT_UNKNOWN => {
                    prop_assert!(!(-40_000..=125_000).contains(&temperature));
                    continue;
                }
                uapi::DSMIL_HEAT_NORMAL => (-40_000, 85_000),
                uapi::DSMIL_HEAT_WARNING => (83_000, 95_000),
                uapi::DSMIL_HEAT_CRITICAL => (93_000, 100_000),
                uapi::DSMIL_HEAT_EMERGENCY => (98_000, 125_001),
                _ => unreachable!(),
            };
            prop_assert!((from..below).contains(&temperature), "{} at {}", level, temperature);
        }
    }
}

#[test]
fn a_temperature_that_sways_about_a_threshold_is_told_once() {
    let mut level = heat::level(uapi::DSMIL_HEAT_UNKNOWN, Some(84_999));
    assert_eq!(level, uapi::DSMIL_HEAT_NORMAL);
    for temperature in [85_000, 84_000, 85_500, 83_000] {
        level = heat::level(level, Some(temperature));
        assert_eq!(level, uapi::DSMIL_HEAT_WARNING);
    }
    assert_eq!(heat::level(level, Some(82_999)), uapi::DSMIL_HEAT_NORMAL);
    assert_eq!(heat::level(level, None), uapi::DSMIL_HEAT_UNKNOWN, "missing is never safe");
}
