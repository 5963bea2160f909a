//! The three clocks that an input carries.

/// The kernel's random id of one boot (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BootId(pub [u8; 16]);

/// One moment by all clocks that matter.
///
/// CLOCK_BOOTTIME orders and measures within a boot, the wall clock is for people: it may jump.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Time {
    /// The boot in which it was read.
    pub boot: BootId,
    /// CLOCK_BOOTTIME, nanoseconds; counts suspend.
    pub boottime_ns: u64,
    /// CLOCK_REALTIME, nanoseconds since 1970, UTC.
    pub wall_ns: i64,
}
