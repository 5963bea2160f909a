//! Measured quantities.

use std::fmt;

/// A temperature in thousandths of a degree Celsius, as the kernel's thermal zones give it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MilliCelsius(pub i32);

impl MilliCelsius {
    /// From here on the owner is warned.
    pub const WARNING: Self = Self(85_000);
    /// From here on it is critical.
    pub const CRITICAL: Self = Self(95_000);

    /// A working sensor in a laptop gives more than −40 °C and less than 150 °C; anything else says
    /// nothing about the machine and counts as unsafe.
    #[must_use]
    pub const fn is_plausible(self) -> bool {
        -40_000 < self.0 && self.0 < 150_000
    }
}

impl fmt::Display for MilliCelsius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let tenths = (self.0.unsigned_abs() + 50) / 100;
        write!(f, "{sign}{}.{} °C", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_shown_to_a_tenth() {
        assert_eq!(MilliCelsius(90_000).to_string(), "90.0 °C");
        assert_eq!(MilliCelsius(45_160).to_string(), "45.2 °C");
        assert_eq!(MilliCelsius(-5_500).to_string(), "-5.5 °C");
        assert!(!MilliCelsius(-273_200).is_plausible());
    }
}
