// SPDX-License-Identifier: GPL-2.0-only

//! How often the firmware may be called: a bucket that fills at a steady rate.
//!
//! Pure like `token`. Kept as the virtual time at which the bucket would be full again, so that there is one
//! number and nothing to refill.
//!
//! # Invariants
//!
//! - Over any span of time no more is taken than burst + rate × span, but for one request larger than the
//!   burst, which is served from a full bucket alone and paid for afterwards.
//! - What is given back was taken before.

use crate::time::{
    NSEC_PER_MSEC,
    NSEC_PER_SEC, //
};

/// Highest rate, per second: a nanosecond for each.
pub(crate) const RATE_MAX: u32 = 1_000_000_000;
/// Largest burst: with the lowest rate it takes 18 hours to fill.
pub(crate) const BURST_MAX: u32 = 65_536;

/// A limit of so many per second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    rate: u32,
    burst: u32,
    /// Nanoseconds in which one comes in; 0: not limited.
    period: i64,
    /// When the bucket is full again, in nanoseconds.
    full_at: i64,
}

impl Bucket {
    /// A full bucket. A rate of 0 lifts the limit; values beyond the largest are cut.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        let rate = rate.min(RATE_MAX);
        let period = match rate {
            0 => 0,
            rate => NSEC_PER_SEC / i64::from(rate),
        };
        Self {
            rate,
            burst: burst.clamp(1, BURST_MAX),
            period,
            full_at: i64::MIN,
        }
    }

    /// How many come in per second, 0: not limited.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// How many it holds.
    pub(crate) fn burst(&self) -> u32 {
        self.burst
    }

    /// Takes `count` at the time `now`, or takes nothing and says in how many milliseconds they will be there.
    pub(crate) fn take(&mut self, count: u32, now: i64) -> Result<(), u32> {
        if self.period == 0 || count == 0 {
            return Ok(());
        }
        let full_at = self.full_at.max(now);
        // More than the bucket holds is served when it is full.
        let missing = i64::from(count.min(self.burst)) * self.period;
        let room = i64::from(self.burst) * self.period;
        let wait = full_at.saturating_add(missing) - now.saturating_add(room);
        if wait > 0 {
            let wait_ms = (wait - 1) / NSEC_PER_MSEC + 1;
            return Err(wait_ms.try_into().unwrap_or(u32::MAX));
        }
        self.full_at = full_at.saturating_add(i64::from(count) * self.period);
        Ok(())
    }

    /// Gives back `count` that were taken and not used.
    pub(crate) fn give_back(&mut self, count: u32) {
        self.full_at = self.full_at.saturating_sub(i64::from(count) * self.period);
    }
}
