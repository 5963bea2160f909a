//! Whether the wall clock went back while the log was written.
//!
//! Facts carry the time of day and the time since the boot, which nobody can set. Who sets the clock back to make facts look older
//! changes what is between the two. It is no damage of the log: clocks are also set right.

use serde::Serialize;
use types::time::Time;

/// Slewing a clock changes it by less between two facts, nanoseconds.
const SLEW_NS: i64 = 500_000_000;

/// What was seen of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SetBack {
    /// How often.
    pub times: u64,
    /// The first entry after the first time.
    pub entry: u64,
    /// By how much then, at least, nanoseconds.
    pub by_ns: i64,
}

/// Looks at one fact after the other.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<Time>,
    found: Option<SetBack>,
}

impl Clock {
    /// The next fact's time.
    pub fn see(&mut self, entry: u64, now: Time) {
        if let Some(by_ns) = self.last.and_then(|last| went_back(last, now)) {
            let found = self.found.get_or_insert(SetBack { times: 0, entry, by_ns });
            found.times += 1;
        }
        self.last = Some(now);
    }

    /// What was seen; nothing where it never went back.
    pub const fn found(&self) -> Option<SetBack> {
        self.found
    }
}

fn went_back(last: Time, now: Time) -> Option<i64> {
    let passed_ns = if last.boot == now.boot {
        let passed = i128::from(now.boottime_ns) - i128::from(last.boottime_ns);
        i64::try_from(passed).unwrap_or_default()
    } else {
        // How long the machine was off is not known.
        0
    };
    let by_ns = last.wall_ns.saturating_add(passed_ns).saturating_sub(now.wall_ns);
    (by_ns > SLEW_NS).then_some(by_ns)
}

#[cfg(test)]
mod tests {
    use types::time::BootId;

    use super::*;

    const S: i64 = 1_000_000_000;

    fn time(boot: u8, boottime_s: u64, wall_s: i64) -> Time {
        Time { boot: BootId([boot; 16]), boottime_ns: boottime_s * 1_000_000_000, wall_ns: wall_s * S }
    }

    fn found(times: &[Time]) -> Option<SetBack> {
        let mut clock = Clock::default();
        (0..).zip(times).for_each(|(entry, time)| clock.see(entry, *time));
        clock.found()
    }

    #[test]
    fn time_that_passes_and_clocks_that_are_set_forward_are_fine() {
        assert_eq!(found(&[time(1, 10, 100), time(1, 20, 110), time(1, 30, 500), time(2, 1, 501)]), None);
    }

    #[test]
    fn a_clock_that_is_set_back_is_found_also_where_facts_still_ascend() {
        // Sixty seconds passed, and the clock shows ten more.
        let times = [time(1, 0, 100), time(1, 60, 110), time(1, 70, 60)];
        assert_eq!(found(&times), Some(SetBack { times: 2, entry: 1, by_ns: 50 * S }));
    }

    #[test]
    fn over_a_boot_only_the_order_tells() {
        assert_eq!(found(&[time(1, 50, 100), time(2, 1, 100)]), None);
        assert_eq!(
            found(&[time(1, 50, 100), time(2, 1, 40)]),
            Some(SetBack { times: 1, entry: 1, by_ns: 60 * S })
        );
    }
}
