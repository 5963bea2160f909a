//! Cuts what an agent writes into lines, and stops at the first that no agent may write.
//!
//! Whatever an agent writes, this holds at most one line of it, and looks at each byte once or twice.

use std::fmt;

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// How much an agent may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Longest line, bytes without the line feed.
    pub line_max: usize,
    /// Bytes in a second on average; as many, or one line, may come at once.
    pub second_max: u64,
}

/// What no agent may write. Lines and bytes count from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A line goes on past the bound.
    LineTooLong {
        /// Which.
        line: u64,
        /// The bound, bytes.
        max: usize,
    },
    /// More came in a second than the bound.
    Flooding {
        /// The bound, bytes in a second.
        max: u64,
    },
    /// A line is not UTF-8.
    NotUtf8 {
        /// Which.
        line: u64,
        /// Its first byte that is wrong.
        byte: usize,
    },
    /// A line holds a NUL byte.
    Nul {
        /// Which.
        line: u64,
        /// The byte.
        byte: usize,
    },
    /// The output ended in the middle of a line.
    CutOff {
        /// Which.
        line: u64,
    },
    /// A line is not one JSON object.
    NotJson {
        /// Which.
        line: u64,
        /// What the JSON parser says.
        why: String,
    },
    /// A line is a JSON object, but no message of an agent.
    NotAMessage {
        /// Which.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl Violation {
    /// The name under which it is recorded; names are never changed.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line-too-long",
            Self::Flooding { .. } => "flooding",
            Self::NotUtf8 { .. } => "not-utf8",
            Self::Nul { .. } => "nul",
            Self::CutOff { .. } => "cut-off",
            Self::NotJson { .. } => "not-json",
            Self::NotAMessage { .. } => "not-a-message",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { line, max } => write!(f, "line {line} is longer than {max} bytes"),
            Self::Flooding { max } => write!(f, "more than {max} bytes came in a second"),
            Self::NotUtf8 { line, byte } => write!(f, "line {line} is not UTF-8 from byte {byte} on"),
            Self::Nul { line, byte } => write!(f, "line {line} holds a NUL at byte {byte}"),
            Self::CutOff { line } => write!(f, "the output ended in the middle of line {line}"),
            Self::NotJson { line, why } => write!(f, "line {line} is not a JSON object: {why}"),
            Self::NotAMessage { line, why } => write!(f, "line {line} is no message of an agent: {why}"),
        }
    }
}

impl std::error::Error for Violation {}

/// The lines of one agent.
#[derive(Debug)]
pub struct Lines {
    bounds: Bounds,
    /// The beginning of a line whose end has not come; never longer than `line_max`.
    pending: Vec<u8>,
    /// Lines that ended.
    count: u64,
    /// Bytes that may come now.
    allowance: u64,
    /// CLOCK_BOOTTIME at the last bytes, nanoseconds.
    at_ns: Option<u64>,
    /// The first violation: nothing behind it is looked at.
    broken: Option<Violation>,
}

impl Lines {
    /// No line yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let allowance = Self::burst(bounds);
        Self { bounds, pending: Vec::new(), count: 0, allowance, at_ns: None, broken: None }
    }

    /// Takes what came at `now_ns` (CLOCK_BOOTTIME) and hands each line that ended, without its line feed and with its
    /// number, to `take`.
    ///
    /// # Errors
    ///
    /// The first violation, also `take`'s own, now and for ever: lines before it were handed on, none behind it.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        take: impl FnMut(u64, &str) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        if let Some(violation) = &self.broken {
            return Err(violation.clone());
        }
        let result = self.charge(bytes.len(), now_ns).and_then(|()| self.cut(bytes, take));
        if let Err(violation) = &result {
            self.broken = Some(violation.clone());
            self.pending = Vec::new();
        }
        result
    }

    /// The output has ended.
    ///
    /// # Errors
    ///
    /// An earlier violation, or [`Violation::CutOff`].
    pub fn finish(self) -> Result<(), Violation> {
        match self.broken {
            Some(violation) => Err(violation),
            None if self.pending.is_empty() => Ok(()),
            None => Err(Violation::CutOff { line: self.count + 1 }),
        }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.capacity()
    }

    /// What may come at once: a second's worth, and in any case a whole line.
    fn burst(bounds: Bounds) -> u64 {
        bounds.second_max.max(u64::try_from(bounds.line_max).unwrap_or(u64::MAX).saturating_add(1))
    }

    fn charge(&mut self, bytes: usize, now_ns: u64) -> Result<(), Violation> {
        let at_ns = *self.at_ns.get_or_insert(now_ns);
        let rate = u128::from(self.bounds.second_max.max(1));
        let gained = u128::from(now_ns.saturating_sub(at_ns)) * rate / SECOND;
        let allowance = u128::from(self.allowance).saturating_add(gained);
        let burst = Self::burst(self.bounds);
        self.at_ns = Some(match u64::try_from(allowance) {
            // What is less than a byte is kept for the next time: the clock goes on by what was gained alone.
            Ok(allowance) if allowance < burst => {
                self.allowance = allowance;
                at_ns.saturating_add(u64::try_from(gained * SECOND / rate).unwrap_or(u64::MAX))
            }
            // More than a burst is never saved.
            _ => {
                self.allowance = burst;
                now_ns.max(at_ns)
            }
        });
        let cost = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.allowance =
            self.allowance.checked_sub(cost).ok_or(Violation::Flooding { max: self.bounds.second_max })?;
        Ok(())
    }

    fn cut(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(u64, &str) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (piece, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.fits(piece)?;
            let number = self.count + 1;
            if self.pending.is_empty() {
                take(number, text(number, piece)?)?;
            } else {
                self.pending.extend_from_slice(piece);
                take(number, text(number, &self.pending)?)?;
                self.pending.clear();
            }
            self.count = number;
        }
        self.fits(bytes)?;
        // Exactly as much as is needed: a vector that doubles would hold twice the bound.
        self.pending.reserve_exact(bytes.len());
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn fits(&self, piece: &[u8]) -> Result<(), Violation> {
        if piece.len() > self.bounds.line_max - self.pending.len().min(self.bounds.line_max) {
            return Err(Violation::LineTooLong { line: self.count + 1, max: self.bounds.line_max });
        }
        Ok(())
    }
}

/// A line as text.
fn text(line: u64, bytes: &[u8]) -> Result<&str, Violation> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Violation::NotUtf8 { line, byte: error.valid_up_to() + 1 })?;
    match bytes.iter().position(|byte| *byte == 0) {
        None => Ok(text),
        Some(at) => Err(Violation::Nul { line, byte: at + 1 }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { line_max: 8, second_max: 100 };

    fn all(pieces: &[&[u8]]) -> (Vec<String>, Result<(), Violation>) {
        let (mut lines, mut found) = (Lines::new(BOUNDS), Vec::new());
        for piece in pieces {
            let fed = lines.feed(piece, 0, |number, line| {
                assert_eq!(usize::try_from(number).unwrap(), found.len() + 1);
                found.push(line.to_owned());
                Ok(())
            });
            if fed.is_err() {
                return (found, fed);
            }
        }
        (found, lines.finish())
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let expected = (vec!["ab".to_owned(), String::new(), "äö".to_owned()], Ok(()));
        assert_eq!(all(&["ab\n\näö\n".as_bytes()]), expected);
        let bytes = "ab\n\näö\n".as_bytes();
        assert_eq!(all(&bytes.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn violations_have_names_and_places() {
        let flood = b"a\n".repeat(51);
        let cases: [(&[&[u8]], &str, usize); 8] = [
            (&[b"12345678\n", b"123456789"], "line-too-long", 1),
            (&[b"123456789\n"], "line-too-long", 0),
            (&[b"12345678", b"9\n"], "line-too-long", 0),
            (&[b"a\nb\xff\n"], "not-utf8", 1),
            (&[b"\xc3", b"\n"], "not-utf8", 0),
            (&[b"a\n\0\n"], "nul", 1),
            (&[b"a\nb"], "cut-off", 1),
            (&[&flood], "flooding", 0),
        ];
        for (pieces, name, found) in cases {
            let (lines, result) = all(pieces);
            assert_eq!((result.unwrap_err().name(), lines.len()), (name, found), "{pieces:?}");
        }
        assert_eq!(all(&[b"a\nbc\xff"]).1, Err(Violation::CutOff { line: 2 }));
        assert_eq!(all(&[b"a\nbc\xff\n"]).1, Err(Violation::NotUtf8 { line: 2, byte: 3 }));
    }

    #[test]
    fn nothing_is_looked_at_behind_a_violation() {
        let mut lines = Lines::new(BOUNDS);
        let refuse = |_, _: &str| Err(Violation::NotAMessage { line: 1, why: "no".into() });
        assert!(lines.feed(b"a\nb\n", 0, refuse).is_err());
        let again = lines.feed(b"c\n", u64::MAX, |_, _| panic!("a line behind a violation"));
        assert_eq!(again.unwrap_err().name(), "not-a-message");
        assert_eq!(lines.held(), 0);
        assert!(lines.finish().is_err());
    }

    #[test]
    fn a_rate_is_held_and_a_burst_is_not_flooding() {
        let mut lines = Lines::new(BOUNDS);
        let ms = 1_000_000;
        // 100 bytes at once, then 2 bytes every 20 ms: exactly the rate.
        lines.feed(&b"a\n".repeat(50), 0, |_, _| Ok(())).unwrap();
        for step in 1..1_000 {
            lines.feed(b"a\n", step * 20 * ms, |_, _| Ok(())).unwrap();
        }
        // A clock that stands still, or goes back, gives nothing.
        assert_eq!(lines.feed(b"a\n", 0, |_, _| Ok(())).unwrap_err().name(), "flooding");
        // Many small gains are not lost by rounding: 0.1 bytes and 1.9 bytes each.
        for (step_ms, steps) in [(1, 1_000), (19, 52)] {
            let mut lines = Lines::new(BOUNDS);
            lines.feed(&b"a\n".repeat(50), 0, |_, _| Ok(())).unwrap();
            for step in 1..=steps {
                lines.feed(b"", step * step_ms * ms, |_, _| Ok(())).unwrap();
            }
            lines.feed(&b"a\n".repeat(49), steps * step_ms * ms, |_, _| Ok(())).unwrap();
        }
    }

    #[test]
    fn a_hundred_megabytes_in_one_line_are_never_held() {
        let bounds = Bounds { line_max: 64 << 10, second_max: u64::MAX };
        let (mut lines, chunk) = (Lines::new(bounds), vec![b'x'; 4096]);
        let mut most = 0;
        for _ in 0..(100 << 20) / chunk.len() {
            _ = lines.feed(&chunk, 0, |_, _| Ok(()));
            most = most.max(lines.held());
        }
        assert!(most <= bounds.line_max, "{most} bytes were held");
        assert_eq!(lines.finish().unwrap_err().name(), "line-too-long");
    }

    proptest! {
        #[test]
        fn cutting_does_not_depend_on_how_bytes_come(bytes in prop::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'a'), Just(0xC3), Just(0xA4), any::<u8>()], 0..60),
            size in 1_usize..20,
        ) {
            let whole = all(&[&bytes]);
            let pieces = all(&bytes.chunks(size).collect::<Vec<_>>());
            prop_assert_eq!(whole, pieces);
        }
    }
}
