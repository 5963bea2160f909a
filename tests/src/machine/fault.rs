//! Faults of the firmware, as text and as the firmware's words.
//!
//! As text: `KIND[,on=read|write|any][,skip=S][,count=N][,value=V][,location=L]`, for example
//! `write-ignored,skip=1,count=2`. Of the calls that match (class and location), S pass, then N are hit;
//! N = 0 hits for ever. Several faults may stand side by side; each counts its own calls.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// Faults that stand side by side at most: slots in the firmware.
pub const SLOTS: usize = 8;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 16;
/// Longest slow call, in milliseconds: the kernel's AML interpreter ends a loop after 30 s.
pub const SLOW_MS_MAX: u32 = 20_000;
/// Shorter than this a reply is short, in bytes.
pub const REPLY_BYTES: u32 = 4096;
/// The location that stands for any.
const ANY_LOCATION: u16 = 0xFFFF;

/// What goes wrong; the number is the firmware's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Status −1, nothing done.
    Error,
    /// Status −2, nothing done.
    Unsupported,
    /// Status `value` (0x5A5A5A5A where absent), nothing done.
    Garbage,
    /// The call is done and the reply cut to `value` bytes (20 where absent: no outputs).
    Short,
    /// A write answers 0 and does not stick.
    WriteIgnored,
    /// The call is done after `value` milliseconds (1000 where absent).
    Slow,
    /// The call is done and answers −1.
    LateError,
}

/// All kinds, in the order of their codes from 1.
pub const KINDS: [Kind; 7] = [
    Kind::Error,
    Kind::Unsupported,
    Kind::Garbage,
    Kind::Short,
    Kind::WriteIgnored,
    Kind::Slow,
    Kind::LateError,
];

impl Kind {
    /// The firmware's code; 0 is a free slot.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Unsupported => 2,
            Self::Garbage => 3,
            Self::Short => 4,
            Self::WriteIgnored => 5,
            Self::Slow => 6,
            Self::LateError => 7,
        }
    }

    /// The kind of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.code() == code)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Unsupported => "unsupported",
            Self::Garbage => "garbage",
            Self::Short => "short",
            Self::WriteIgnored => "write-ignored",
            Self::Slow => "slow",
            Self::LateError => "late-error",
        }
    }

    /// The value where none is given, and those allowed; none where the kind takes no value.
    fn values(self) -> Option<(u32, std::ops::RangeInclusive<u32>)> {
        match self {
            Self::Garbage => Some((0x5A5A_5A5A, 1..=u32::MAX)),
            Self::Short => Some((20, 0..=REPLY_BYTES - 1)),
            Self::Slow => Some((1000, 1..=SLOW_MS_MAX)),
            Self::Error | Self::Unsupported | Self::WriteIgnored | Self::LateError => None,
        }
    }
}

/// Which calls a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Both.
    Any,
}

impl On {
    /// One bit for each class: bit 0 read, bit 1 write.
    const fn mask(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Any => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Any => "any",
        }
    }

    const fn from_mask(mask: u8) -> Option<Self> {
        match mask {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            3 => Some(Self::Any),
            _ => None,
        }
    }
}

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    kind: Kind,
    on: On,
    location: Option<u16>,
    skip: u32,
    count: u32,
    value: u32,
}

impl Fault {
    /// The fault as the firmware's slot: head (kind, classes, location), skip, count, value.
    #[must_use]
    pub fn words(self) -> [u32; 4] {
        let [low, high] = self.location.unwrap_or(ANY_LOCATION).to_le_bytes();
        let head = u32::from_le_bytes([self.kind.code(), self.on.mask(), low, high]);
        [head, self.skip, self.count, self.value]
    }

    /// The fault of a slot; none where the slot is free or holds what this build does not know.
    #[must_use]
    pub fn from_words([head, skip, count, value]: [u32; 4]) -> Option<Self> {
        let [kind, mask, low, high] = head.to_le_bytes();
        let location = Some(u16::from_le_bytes([low, high])).filter(|at| *at != ANY_LOCATION);
        Some(Self { kind: Kind::from_code(kind)?, on: On::from_mask(mask)?, location, skip, count, value })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},on={},skip={},count={}", self.kind.name(), self.on.name(), self.skip, self.count)?;
        if self.kind.values().is_some() {
            write!(f, ",value={}", self.value)?;
        }
        match self.location {
            Some(location) => write!(f, ",location=0x{location:04X}"),
            None => Ok(()),
        }
    }
}

/// A number, `0x` for hexadecimal.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Fault { spec: spec.to_owned(), reason };
        let mut parts = spec.split(',');
        let name = parts.next().unwrap_or_default();
        let kind = KINDS.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            wrong(format!("no kind `{name}`; there are {}", KINDS.map(Kind::name).join(", ")))
        })?;
        // Whatever only makes sense for a write never hits a read by default.
        let on = if kind == Kind::WriteIgnored { On::Write } else { On::Any };
        let mut fault = Self { kind, on, location: None, skip: 0, count: 0, value: 0 };
        let mut value = None;
        for part in parts {
            let (key, text) =
                part.split_once('=').ok_or_else(|| wrong(format!("`{part}` is not KEY=VALUE")))?;
            let number = || number(text).ok_or_else(|| wrong(format!("`{text}` is not a number of 32 bits")));
            match key {
                "on" => {
                    fault.on = [On::Read, On::Write, On::Any]
                        .into_iter()
                        .find(|on| on.name() == text)
                        .ok_or_else(|| wrong(format!("on={text}: it is read, write or any")))?;
                }
                "skip" => fault.skip = number()?,
                "count" => fault.count = number()?,
                "value" => value = Some(number()?),
                "location" => {
                    let location = u16::try_from(number()?).ok().filter(|at| *at != ANY_LOCATION);
                    fault.location =
                        Some(location.ok_or_else(|| wrong("a location is at most 0xFFFE".to_owned()))?);
                }
                _ => {
                    return Err(wrong(format!("no key `{key}`; there are on, skip, count, value, location")));
                }
            }
        }
        if kind == Kind::WriteIgnored && fault.on != On::Write {
            return Err(wrong("only writes can be ignored".to_owned()));
        }
        fault.value = match (kind.values(), value) {
            (None, None) => 0,
            (None, Some(_)) => return Err(wrong(format!("{name} takes no value"))),
            (Some((default, _)), None) => default,
            (Some((_, allowed)), Some(value)) if allowed.contains(&value) => value,
            (Some((_, allowed)), Some(value)) => {
                return Err(wrong(format!(
                    "value {value} is not in {}..={}",
                    allowed.start(),
                    allowed.end()
                )));
            }
        };
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_specification_becomes_the_words_of_a_slot() {
        let check = |spec: &str, words| assert_eq!(spec.parse::<Fault>().unwrap().words(), words, "{spec}");
        check("error", [0xFFFF_0301, 0, 0, 0]);
        check("write-ignored,skip=1,count=2", [0xFFFF_0205, 1, 2, 0]);
        check("slow,on=read,value=250,location=0x0105", [0x0105_0106, 0, 0, 250]);
        check("garbage", [0xFFFF_0303, 0, 0, 0x5A5A_5A5A]);
        check("short,count=1", [0xFFFF_0304, 0, 1, 20]);
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let check = |spec: &str, reason: &str| {
            let message = spec.parse::<Fault>().unwrap_err().to_string();
            assert!(message.contains(reason), "{spec}: {message}");
        };
        check("", "no kind");
        check("explode", "no kind `explode`; there are error, unsupported");
        check("error,value=3", "takes no value");
        check("slow,value=20001", "not in 1..=20000");
        check("short,value=4096", "not in 0..=4095");
        check("garbage,value=0", "not in");
        check("error,skip", "not KEY=VALUE");
        check("error,skip=-1", "not a number");
        check("error,often=1", "no key `often`");
        check("error,on=sometimes", "read, write or any");
        check("write-ignored,on=read", "only writes");
        check("error,location=0xFFFF", "at most 0xFFFE");
    }

    proptest! {
        #[test]
        fn text_and_words_say_the_same(
            kind in proptest::sample::select(KINDS.to_vec()),
            on in proptest::sample::select(vec![On::Read, On::Write, On::Any]),
            location in proptest::option::of(0..0xFFFFu16),
            skip: u32,
            count: u32,
            seed: u32,
        ) {
            let value = kind.values().map_or(0, |(_, allowed)| {
                let span = u64::from(*allowed.end()) - u64::from(*allowed.start()) + 1;
                allowed.start() + u32::try_from(u64::from(seed) % span).unwrap()
            });
            let on = if kind == Kind::WriteIgnored { On::Write } else { on };
            let fault = Fault { kind, on, location, skip, count, value };
            prop_assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
            prop_assert_eq!(Fault::from_words(fault.words()), Some(fault));
        }

        #[test]
        fn no_text_panics(spec in ".{0,60}") {
            let _ = spec.parse::<Fault>();
        }
    }
}
