//! Amounts as people write them: `64MiB`, `30s`, `150%`. Whole numbers with a unit; what is shown reads back.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bytes(pub u64);

/// A time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Milliseconds(pub u64);

/// A share of processors, in percent of one core: `200%` is two whole cores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cpu(pub u32);

/// Why a text is not an amount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotAnAmount {
    /// It does not begin with a whole number.
    NoNumber,
    /// A number stands alone; these are the units.
    NoUnit(&'static str),
    /// The number is followed by something that is no unit; these are.
    UnknownUnit(String, &'static str),
    /// More than can be counted.
    TooLarge,
}

impl fmt::Display for NotAnAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber => f.write_str("does not begin with a whole number"),
            Self::NoUnit(units) => write!(f, "has no unit: one of {units}"),
            Self::UnknownUnit(unit, units) => {
                write!(f, "has the unknown unit “{unit}”: a whole number is followed by one of {units}")
            }
            Self::TooLarge => f.write_str("is larger than can be counted"),
        }
    }
}

impl std::error::Error for NotAnAmount {}

/// Units from the largest, each with what it is worth.
type Units = &'static [(&'static str, u64)];

const BYTES: Units = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const BYTES_NAMES: &str = "B, KiB, MiB, GiB, TiB";
const TIMES: Units = &[("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
const TIMES_NAMES: &str = "ms, s, min, h";
const PERCENT_NAMES: &str = "%";

/// The number that a text begins with, and what follows it.
fn number(text: &str) -> Result<(u64, &str), NotAnAmount> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(NotAnAmount::NoNumber);
    }
    // Only the size can be wrong with digits.
    Ok((digits.parse().map_err(|_| NotAnAmount::TooLarge)?, unit))
}

fn amount(text: &str, units: Units, names: &'static str) -> Result<u64, NotAnAmount> {
    let (count, unit) = number(text)?;
    if unit.is_empty() {
        return Err(NotAnAmount::NoUnit(names));
    }
    let (_, worth) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| NotAnAmount::UnknownUnit(unit.to_owned(), names))?;
    count.checked_mul(*worth).ok_or(NotAnAmount::TooLarge)
}

/// Writes an amount in the largest unit that loses nothing.
fn show(f: &mut fmt::Formatter<'_>, amount: u64, units: Units) -> fmt::Result {
    let fits = units.iter().find(|(_, worth)| amount != 0 && amount.is_multiple_of(*worth));
    let (name, worth) = fits.or(units.last()).unwrap_or(&("", 1));
    write!(f, "{}{name}", amount / worth)
}

impl FromStr for Bytes {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        amount(text, BYTES, BYTES_NAMES).map(Self)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, BYTES)
    }
}

impl FromStr for Milliseconds {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        amount(text, TIMES, TIMES_NAMES).map(Self)
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, TIMES)
    }
}

impl FromStr for Cpu {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        match number(text)? {
            (percent, "%") => u32::try_from(percent).map(Self).map_err(|_| NotAnAmount::TooLarge),
            (_, "") => Err(NotAnAmount::NoUnit(PERCENT_NAMES)),
            (_, unit) => Err(NotAnAmount::UnknownUnit(unit.to_owned(), PERCENT_NAMES)),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_in_their_largest_unit() {
        for (text, bytes) in [("0B", 0), ("1B", 1), ("1023B", 1023), ("64MiB", 64 << 20), ("3TiB", 3 << 40)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!("2048KiB".parse::<Bytes>().unwrap().to_string(), "2MiB");
        assert_eq!("90s".parse::<Milliseconds>().unwrap().to_string(), "90s");
        assert_eq!("120000ms".parse::<Milliseconds>().unwrap().to_string(), "2min");
        assert_eq!("150%".parse::<Cpu>().unwrap().to_string(), "150%");
        for amount in [u64::MAX, 1, 999, 1 << 40] {
            assert_eq!(Bytes(amount).to_string().parse(), Ok(Bytes(amount)));
            assert_eq!(Milliseconds(amount).to_string().parse(), Ok(Milliseconds(amount)));
        }
    }

    #[test]
    fn what_is_wrong_is_said_exactly() {
        let unknown = |unit: &str, units| NotAnAmount::UnknownUnit(unit.to_owned(), units);
        for (text, why) in [
            ("", NotAnAmount::NoNumber),
            ("MiB", NotAnAmount::NoNumber),
            ("-1B", NotAnAmount::NoNumber),
            ("64", NotAnAmount::NoUnit(BYTES_NAMES)),
            ("64MB", unknown("MB", BYTES_NAMES)),
            ("1.5GiB", unknown(".5GiB", BYTES_NAMES)),
            ("64 MiB", unknown(" MiB", BYTES_NAMES)),
            ("99999999999999999999B", NotAnAmount::TooLarge),
            ("18446744073709551615KiB", NotAnAmount::TooLarge),
        ] {
            assert_eq!(text.parse::<Bytes>(), Err(why), "{text:?}");
        }
        assert_eq!("30".parse::<Milliseconds>(), Err(NotAnAmount::NoUnit(TIMES_NAMES)));
        assert_eq!("30m".parse::<Milliseconds>(), Err(unknown("m", TIMES_NAMES)));
        assert_eq!("0.5".parse::<Cpu>(), Err(unknown(".5", PERCENT_NAMES)));
        assert_eq!("4294967296%".parse::<Cpu>(), Err(NotAnAmount::TooLarge));
    }
}
