//! What a single value means, as YAML's core schema has it.

use std::fmt;
use std::str::FromStr;

/// A whole number that is not negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Count(pub u32);

/// A text that is no [`Count`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotACount;

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NotACount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a whole number")
    }
}

impl FromStr for Count {
    type Err = NotACount;

    fn from_str(text: &str) -> Result<Self, NotACount> {
        text.parse().map(Self).map_err(|_| NotACount)
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag(pub bool);

/// A text that is no [`Flag`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAFlag;

impl fmt::Display for NotAFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is neither true nor false")
    }
}

impl FromStr for Flag {
    type Err = NotAFlag;

    fn from_str(text: &str) -> Result<Self, NotAFlag> {
        text.parse().map(Self).map_err(|_| NotAFlag)
    }
}

/// The kinds of a single value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in any form of the core schema.
    Number,
    /// Any other text.
    Text,
}

impl Meaning {
    /// What a value's text means; in quotes it is always a text.
    #[must_use]
    pub fn of(text: &str, is_plain: bool) -> Self {
        match text {
            _ if !is_plain => Self::Text,
            _ if is_null(text) => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ if is_number(text) => Self::Number,
            _ => Self::Text,
        }
    }
}

/// A plain scalar that means nothing, as YAML's core schema has it.
#[must_use]
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A number of the core schema: decimal, `0o`, `0x`, a float, an infinity, or none of a number.
fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!whole.is_empty() || !part.is_empty())
        && all_digits(whole)
        && all_digits(part)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for number in ["0", "-12", "+1", "0o17", "0xfF", "1.", ".5", "1.5e-3", "-.inf", ".nan", "1e9"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "-", ".", "e5", "1e", "0x", "1_000", "1.2.3", "12a", "0o8", "Infinity"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
