//! Moments on the command line.

use std::str::FromStr;

use api::wire::Command;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::fault::Fault;

/// A moment: `2026-11-21T08:00:00Z`, `2026-11-21 08:00` or `2026-11-21` in this machine's time zone, or `2h` for two hours ago.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(Timestamp);

impl Moment {
    /// The moment as the log's entries have it: RFC 3339 in UTC, to the millisecond, so that texts compare as times do.
    pub fn text(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }
}

/// A point of the past: the number of a fact, or a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// After this fact.
    Fact(u64),
    /// After the last fact up to this moment.
    Moment(Moment),
}

impl Point {
    /// The request for what was known then.
    pub fn command(self) -> Result<Command, Fault> {
        Ok(match self {
            Self::Fact(fact) => Command::Past { fact: Some(fact), wall_ns: None },
            Self::Moment(Moment(moment)) => {
                let wall_ns = i64::try_from(moment.as_nanosecond());
                let wall_ns = wall_ns.map_err(|_| Fault::Usage("no log is as old as that".to_owned()))?;
                Command::Past { fact: None, wall_ns: Some(wall_ns) }
            }
        })
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(fact) => Ok(Self::Fact(fact)),
            Err(_) => text
                .parse()
                .map(Self::Moment)
                .map_err(|error| format!("neither a fact's number nor a moment; {error}")),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let here = |local: DateTime| {
            local.to_zoned(jiff::tz::TimeZone::system()).ok().as_ref().map(Zoned::timestamp)
        };
        let ago = |past: SignedDuration| Timestamp::now().checked_sub(past.abs()).ok();
        // Days and longer are those of the calendar here.
        let days_ago = |past: jiff::Span| Some(Zoned::now().checked_sub(past.abs()).ok()?.timestamp());
        let moment = (text.parse::<Timestamp>().ok())
            .or_else(|| text.parse::<DateTime>().ok().and_then(here))
            .or_else(|| text.parse::<Date>().ok().and_then(|date| here(date.into())))
            .or_else(|| text.parse::<SignedDuration>().ok().and_then(ago))
            .or_else(|| text.parse::<jiff::Span>().ok().and_then(days_ago));
        moment.map(Self).ok_or_else(|| {
            "a moment is 2026-11-21T08:00:00Z, 2026-11-21 08:00, 2026-11-21, or how long ago: 90s, 2h, 3 days".to_owned()
        })
    }
}

/// Seconds in the two largest units.
pub fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let text = |moment: &str| moment.parse::<Moment>().map(Moment::text);
        assert_eq!(text("2026-11-21T08:00:00Z").unwrap(), "2026-11-21T08:00:00.000Z");
        assert_eq!(text("2026-11-21T09:00:00.25+01:00").unwrap(), "2026-11-21T08:00:00.250Z");
        for local in ["2026-11-21 08:00", "2026-11-21", "2026-11-21T08:00:01"] {
            assert!(text(local).unwrap().starts_with("2026-11-2"), "{local}");
        }
        let now = Moment(Timestamp::now());
        for past in ["90s", "2h", "1h 30m", "3 days", "3d", "2 weeks", "1 month"] {
            assert!(past.parse::<Moment>().unwrap() < now, "{past}");
        }
        let (older, newer) = ("3 days".parse::<Moment>().unwrap(), "70h".parse::<Moment>().unwrap());
        assert!(older < newer && newer < "69h".parse().unwrap());
        for wrong in ["", "yesterday-ish", "2026-13-01", "1h2x"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_by_people() {
        for (seconds, text) in [(59, "59 s"), (61, "1 min 1 s"), (7199, "1 h 59 min")] {
            assert_eq!(span(seconds), text);
        }
    }
}
