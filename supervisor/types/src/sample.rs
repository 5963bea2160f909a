//! What telemetry measures.

use crate::unit::MilliCelsius;

/// Slots of a latency histogram: slot n counts latencies of [2ⁿ, 2ⁿ⁺¹) microseconds, slot 0 also those
/// below 1 µs, the last one also everything above (2²⁵ µs are 33 s).
pub const LATENCY_SLOTS: usize = 26;

/// How long tasks of one CPU waited between becoming runnable and running.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LatencyHistogram {
    /// Counts by power of two, see [`LATENCY_SLOTS`].
    pub slots: [u64; LATENCY_SLOTS],
}

impl LatencyHistogram {
    /// Waits counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// The upper edge, in microseconds, of the slot that holds the given percentile (0–100);
    /// none while nothing was counted.
    #[must_use]
    pub fn percentile_us(&self, percent: u8) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (u128::from(count) * u128::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0u128;
        self.slots.iter().zip(1u32..).find_map(|(slot, edge)| {
            seen += u128::from(*slot);
            (seen >= rank).then(|| 1u64 << edge)
        })
    }
}

/// Scheduler latency of every CPU since the probes were loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scheduler {
    /// By CPU number.
    pub cpus: Vec<LatencyHistogram>,
}

/// What a thermal zone reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thermal {
    /// The zone's type, such as `acpitz`.
    pub zone: String,
    /// Its number in `/sys/class/thermal`.
    pub id: i32,
    /// The temperature.
    pub temperature: MilliCelsius,
    /// Whether it is at or above a trip point now; the kernel says so again with every update while it is.
    pub trip: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_name_the_slot() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.percentile_us(50), None);
        histogram.slots[2] = 98;
        histogram.slots[10] = 2;
        assert_eq!(histogram.percentile_us(50), Some(8));
        assert_eq!(histogram.percentile_us(98), Some(8));
        assert_eq!(histogram.percentile_us(99), Some(2048));
        assert_eq!(histogram.percentile_us(100), Some(2048));
    }
}
