//! The thermal zones, read from sysfs: no probe, no privilege, any kernel.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use types::unit::MilliCelsius;

/// Where the kernel shows its zones.
pub const ROOT: &str = "/sys/class/thermal";

/// More zones than any machine has; the rest is refused rather than read for ever.
pub const ZONES_MAX: usize = 256;

/// No value in sysfs is longer than a page.
const VALUE_LENGTH_MAX: u64 = 4096;

/// What a zone answered when it was asked for its temperature.
///
/// Only the first says anything about the machine; by the safety rules the others count as unsafe, never
/// as cold, and never as an emergency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// A temperature that a working sensor can give.
    Plausible(MilliCelsius),
    /// A number that no working sensor gives, such as absolute zero.
    Implausible(i64),
    /// No number at all, and why: the zone is disabled, its driver failed, or it went away.
    Missing(String),
}

impl Reading {
    /// The temperature, if it says anything.
    #[must_use]
    pub fn temperature(&self) -> Option<MilliCelsius> {
        match self {
            Self::Plausible(temperature) => Some(*temperature),
            Self::Implausible(_) | Self::Missing(_) => None,
        }
    }

    fn of(answer: io::Result<String>) -> Self {
        let text = match answer {
            Ok(text) => text,
            Err(error) => return Self::Missing(error.to_string()),
        };
        let Ok(number) = text.parse::<i64>() else {
            return Self::Missing(format!("not a number: {text:?}"));
        };
        match i32::try_from(number).map(MilliCelsius) {
            Ok(temperature) if temperature.is_plausible() => Self::Plausible(temperature),
            _ => Self::Implausible(number),
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plausible(temperature) => temperature.fmt(f),
            Self::Implausible(number) => write!(f, "implausible ({number} m°C)"),
            Self::Missing(reason) => write!(f, "missing ({reason})"),
        }
    }
}

/// A thermal zone as it was when it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    /// N of `thermal_zoneN`.
    pub id: i32,
    /// Its type, such as `acpitz`; none if it cannot be read.
    pub name: Option<String>,
    /// Its temperature, or why there is none.
    pub reading: Reading,
}

/// Why the zones as a whole cannot be read.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// The folder is missing or cannot be listed: the kernel has no thermal support, or sysfs is not mounted.
    #[error("cannot list the thermal zones in {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// There are more than [`ZONES_MAX`].
    #[error("more than {ZONES_MAX} thermal zones in {}", .0.display())]
    TooMany(PathBuf),
}

/// The thermal zones below a folder.
#[derive(Clone, Debug)]
pub struct Zones {
    root: PathBuf,
}

impl Zones {
    /// The zones below `root`, [`ROOT`] on a real machine. Reads nothing yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Asks every zone, by number. A driver may take milliseconds for one, for its firmware is asked.
    ///
    /// A zone without a usable temperature is in the answer and says so; an empty answer means that the
    /// machine has no zone, so that no temperature is known.
    ///
    /// # Errors
    ///
    /// - [`Error::List`]: the folder cannot be listed.
    /// - [`Error::TooMany`]: more than [`ZONES_MAX`] zones.
    pub fn read(&self) -> Result<Vec<Zone>, Error> {
        let list = |source| Error::List { path: self.root.clone(), source };
        let mut zones = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(list)? {
            let entry = entry.map_err(list)?;
            let Some(id) = entry.file_name().to_str().and_then(zone_id) else {
                continue;
            };
            if zones.len() == ZONES_MAX {
                return Err(Error::TooMany(self.root.clone()));
            }
            let path = entry.path();
            zones.push(Zone {
                id,
                name: value(&path.join("type")).ok(),
                reading: Reading::of(value(&path.join("temp"))),
            });
        }
        zones.sort_by_key(|zone| zone.id);
        Ok(zones)
    }
}

/// N of `thermal_zoneN`; none for anything else (`cooling_device0`).
fn zone_id(name: &str) -> Option<i32> {
    let digits = name.strip_prefix("thermal_zone")?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A file of sysfs, without its line end.
fn value(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(VALUE_LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(zones: &[(&str, Option<&str>, Option<&str>)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (folder, name, temperature) in zones {
            let path = root.path().join(folder);
            fs::create_dir(&path).unwrap();
            if let Some(name) = name {
                fs::write(path.join("type"), format!("{name}\n")).unwrap();
            }
            if let Some(temperature) = temperature {
                fs::write(path.join("temp"), temperature).unwrap();
            }
        }
        root
    }

    fn reading(temperature: Option<&str>) -> Reading {
        let root = machine(&[("thermal_zone0", Some("acpitz"), temperature)]);
        let zones = Zones::new(root.path()).read().unwrap();
        zones[0].reading.clone()
    }

    #[test]
    fn a_reading_is_a_temperature_or_says_why_not() {
        let plausible = |mc| Reading::Plausible(MilliCelsius(mc));
        assert_eq!(reading(Some("45050\n")), plausible(45_050));
        assert_eq!(reading(Some("0\n")), plausible(0));
        assert_eq!(reading(Some("-5500\n")), plausible(-5_500));
        assert_eq!(reading(Some("-273200\n")), Reading::Implausible(-273_200));
        assert_eq!(reading(Some("150000\n")), Reading::Implausible(150_000));
        assert_eq!(reading(Some("99999999999\n")), Reading::Implausible(99_999_999_999));
        for none in [None, Some(""), Some("\n"), Some("cold\n"), Some("99999999999999999999\n")] {
            let reading = reading(none);
            assert!(matches!(reading, Reading::Missing(_)), "{none:?}: {reading:?}");
            assert_eq!(reading.temperature(), None);
        }
    }

    #[test]
    fn zones_come_by_number_and_nothing_else_comes() {
        let root = machine(&[
            ("thermal_zone10", Some("x86_pkg_temp"), Some("61000\n")),
            ("thermal_zone2", Some("acpitz"), Some("45000\n")),
            ("thermal_zone3", None, None),
            ("cooling_device0", Some("Processor"), Some("1\n")),
            ("thermal_zone", Some("no number"), Some("1\n")),
            ("thermal_zone-1", Some("negative"), Some("1\n")),
            ("thermal_zone99999999999", Some("too large"), Some("1\n")),
        ]);
        let zones = Zones::new(root.path()).read().unwrap();
        let shown: Vec<_> =
            zones.iter().map(|zone| (zone.id, zone.name.as_deref(), zone.reading.temperature())).collect();
        let temperature = |mc| Some(MilliCelsius(mc));
        assert_eq!(
            shown,
            [
                (2, Some("acpitz"), temperature(45_000)),
                (3, None, None),
                (10, Some("x86_pkg_temp"), temperature(61_000)),
            ]
        );
    }

    #[test]
    fn no_zone_is_an_empty_answer_and_no_folder_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Zones::new(root.path()).read().unwrap(), []);
        let gone = root.path().join("gone");
        let error = Zones::new(&gone).read().unwrap_err();
        assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
    }

    #[test]
    fn too_many_zones_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for id in 0..=ZONES_MAX {
            fs::create_dir(root.path().join(format!("thermal_zone{id}"))).unwrap();
        }
        assert!(matches!(Zones::new(root.path()).read(), Err(Error::TooMany(_))));
    }

    #[test]
    fn this_machine_can_be_read() {
        match Zones::new(ROOT).read() {
            Ok(zones) if zones.is_empty() => println!("skipped: this machine has no thermal zone"),
            Ok(zones) => assert!(zones.iter().all(|zone| zone.id >= 0)),
            Err(error) => println!("skipped: {error}"),
        }
    }
}
