//! The only place that asks for the time.

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};
use types::time::{BootId, Time};

/// Reads the clocks of one boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: BootId,
}

impl Clock {
    /// Finds out which boot this is.
    pub fn new() -> anyhow::Result<Self> {
        let path = "/proc/sys/kernel/random/boot_id";
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let id = u128::from_str_radix(&digits, 16).with_context(|| format!("{path} holds {text:?}"))?;
        Ok(Self { boot: BootId(id.to_be_bytes()) })
    }

    /// Now, by all clocks.
    pub fn now(&self) -> Time {
        // Neither clock can fail on Linux; a zero would only look like 1970.
        let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).map(nanoseconds).unwrap_or_default();
        Time { boot: self.boot, boottime_ns: boottime.try_into().unwrap_or_default(), wall_ns: wall_ns() }
    }
}

/// The time of day, nanoseconds since 1970.
pub fn wall_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map(nanoseconds).unwrap_or_default()
}

fn nanoseconds(time: nix::sys::time::TimeSpec) -> i64 {
    time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
}

/// Nanoseconds since this boot, those that the machine has slept included.
pub fn boottime_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(nanoseconds).unwrap_or_default().try_into().unwrap_or_default()
}
