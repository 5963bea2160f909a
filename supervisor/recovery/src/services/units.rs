//! Which units there are, and how they are.
//!
//! A list of patterns names them. Whoever changes a unit looks its name up in its own list.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::systemctl::Systemctl;
use super::{Service, State, UnitFiles, files};
use crate::Error;
use crate::error::length;
use crate::settings::knobs::matches;

/// The most patterns of a list.
pub const PATTERNS_MAX: usize = 256;
/// The most units that patterns may name together.
pub const UNITS_MAX: usize = 1024;
/// The longest name of a unit, in bytes: `UNIT_NAME_MAX` of systemd.
const NAME_BYTES_MAX: usize = 255;
/// The kinds that can be listed. Others are no services: who may start a target or stop a mount can switch the machine off or
/// take the log's disk away.
const KINDS: [&str; 4] = [".service", ".socket", ".timer", ".path"];
/// Never changed, whatever the list says, as beginnings of names: without them the machine, its users or what guards it is lost.
const NEVER: [&str; 11] = [
    "dsmild.",
    "dsmild@",
    "systemd-",
    "dbus.",
    "dbus-broker.",
    "user@",
    "user-runtime-dir@",
    "debug-shell.",
    "emergency.",
    "rescue.",
    "init.",
];
/// What is asked of each unit.
const PROPERTIES: &str = "--property=Id,Names,LoadState,ActiveState,UnitFileState,NeedDaemonReload";

/// A list of units.
#[derive(Clone, Debug)]
pub struct Units {
    patterns: Vec<String>,
    /// Where the administrator's units and drop-ins are.
    pub(super) folder: PathBuf,
    /// A name in it for each unit that is to be started anew, because its files changed: for a restore that is cut.
    pub(super) marks: PathBuf,
    pub(super) systemctl: Systemctl,
}

impl Default for Units {
    /// None.
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            folder: "/etc/systemd/system".into(),
            marks: "/run/dsmil-restart".into(),
            systemctl: Systemctl::default(),
        }
    }
}

/// A unit as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// As a checkpoint holds it.
    pub service: Service,
    /// Its files changed while it ran, and it was not started anew.
    pub is_stale: bool,
    /// systemd knows older files of it.
    pub needs_reload: bool,
}

/// What systemd says of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Status {
    pub(super) id: String,
    pub(super) names: Vec<String>,
    pub(super) load: String,
    pub(super) active: String,
    pub(super) enabled: String,
    pub(super) needs_reload: bool,
}

impl Units {
    /// Those that any of the patterns names: names of units, in which `*` and `?` stand for other characters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a pattern is none, or names what is never changed
    /// - [`Error::Limit`]: more than [`PATTERNS_MAX`]
    pub fn new(patterns: &[String]) -> Result<Self, Error> {
        Self::default().listing(patterns)
    }

    /// The same with another program as systemd, and files elsewhere.
    #[cfg(test)]
    pub(crate) fn pretended(at: &std::path::Path, patterns: &[String]) -> Result<Self, Error> {
        let systemctl = Systemctl::pretended(at.join("systemctl"), at.join("booted"));
        let units =
            Self { patterns: Vec::new(), folder: at.join("system"), marks: at.join("marks"), systemctl };
        units.listing(patterns)
    }

    fn listing(mut self, patterns: &[String]) -> Result<Self, Error> {
        let (found, limit) = (length(patterns.len()), length(PATTERNS_MAX));
        if found > limit {
            return Err(Error::Limit { what: "the list of services", found, limit });
        }
        for pattern in patterns {
            let wrong = |why: &str| Err(Error::Invalid(format!("the service “{pattern}” {why}")));
            if !is_name(pattern, true) {
                return wrong("is no name of a unit that ends in .service, .socket, .timer or .path");
            }
            if is_never(pattern) {
                return wrong("is never changed: the machine, or what guards it, depends on it");
            }
        }
        self.patterns = patterns.to_vec();
        Ok(self)
    }

    /// Exactly those that a checkpoint holds: for who restores it without a configuration.
    #[must_use]
    pub fn of(services: &[Service]) -> Self {
        let names = services.iter().map(|service| service.unit.clone());
        let patterns = names.filter(|unit| is_name(unit, false) && !is_never(unit)).collect();
        Self { patterns, ..Self::default() }
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether systemd runs here.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.systemctl.is_there()
    }

    /// What the list says.
    pub(super) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether the list names this unit.
    #[must_use]
    pub fn covers(&self, unit: &str) -> bool {
        let named = |pattern: &String| matches(pattern.as_bytes(), unit.as_bytes());
        is_name(unit, false) && !is_never(unit) && self.patterns.iter().any(named)
    }

    /// All that the list names, ascending. What a pattern without `*` and `?` names is there also where systemd lacks it.
    ///
    /// # Errors
    ///
    /// - [`Error::Limit`]: more than [`UNITS_MAX`]
    /// - [`Error::Failed`], [`Error::Io`]: systemd cannot be asked
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let (open, plain): (Vec<_>, Vec<_>) = self.patterns.iter().cloned().partition(|text| is_open(text));
        let mut found: BTreeSet<_> = plain.into_iter().filter(|unit| self.covers(unit)).collect();
        if !open.is_empty() {
            let plain = ["--plain", "--no-legend", "--full"];
            // The one knows files of units, the other units that are loaded, which need not have one.
            for words in [&["list-unit-files"][..], &["list-units", "--all"]] {
                let answer = self.systemctl.ask(&[words, &plain].concat(), &open)?;
                let lines = answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                let names = lines.filter_map(|words| match words.as_slice() {
                    // Another name of a unit that has a name of its own.
                    [_, "alias", ..] | [] => None,
                    [unit, ..] => Some((*unit).to_owned()),
                });
                found.extend(names.filter(|unit| self.covers(unit)));
            }
        }
        let (number, limit) = (length(found.len()), length(UNITS_MAX));
        if number > limit {
            return Err(Error::Limit { what: "the number of services", found: number, limit });
        }
        Ok(found.into_iter().collect())
    }

    /// How units are; an error for each that cannot be told.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: systemd does not run here
    /// - [`Error::Failed`], [`Error::Io`]: it cannot be asked
    pub fn read(&self, units: &[String]) -> Result<Vec<Result<Found, Error>>, Error> {
        let states = self.status(units)?;
        Ok(units.iter().zip(states).map(|(unit, state)| self.found(unit, state)).collect())
    }

    fn found(&self, unit: &str, status: Status) -> Result<Found, Error> {
        self.expect(unit, &status)?;
        let files = files::read(&self.folder, unit)?;
        let state = State::of(&status.active);
        // One whose file was taken away may run on.
        if status.load == "not-found" && files.is_empty() && state == State::Stopped {
            return Err(Error::Invalid("there is no such unit".into()));
        }
        let is_stale = state == State::Running && self.marks.join(unit).exists();
        let files = Some(UnitFiles { enabled: status.enabled, files });
        let service = Service { unit: unit.to_owned(), active: status.active, files };
        Ok(Found { service, is_stale, needs_reload: status.needs_reload })
    }

    /// That a unit is what its name says, and may be changed.
    pub(super) fn expect(&self, unit: &str, status: &Status) -> Result<(), Error> {
        if !self.covers(unit) {
            return Err(Error::Refused(format!("{unit} is not in the configuration's list of services")));
        }
        if status.id != unit {
            return Err(Error::Refused(format!("{unit} is another name of {}", status.id)));
        }
        match status.names.iter().find(|name| is_never(name)) {
            Some(name) => Err(Error::Refused(format!("{unit} is also {name}, which is never changed"))),
            None => Ok(()),
        }
    }

    /// What systemd says of units.
    pub(super) fn status(&self, units: &[String]) -> Result<Vec<Status>, Error> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        if !self.is_there() {
            return Err(Error::Invalid("systemd does not run here".into()));
        }
        let answer = self.systemctl.ask(&["show", PROPERTIES], units)?;
        let found: Vec<_> = answer.trim().split("\n\n").map(status).collect();
        if found.len() == units.len() {
            return Ok(found);
        }
        Err(Error::Failed(format!("systemd tells of {} units, asked for {}", found.len(), units.len())))
    }
}

fn status(block: &str) -> Status {
    let mut status = Status::default();
    for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "Id" => value.clone_into(&mut status.id),
            "Names" => status.names = value.split(' ').map(str::to_owned).collect(),
            "LoadState" => value.clone_into(&mut status.load),
            "ActiveState" => value.clone_into(&mut status.active),
            "UnitFileState" => value.clone_into(&mut status.enabled),
            "NeedDaemonReload" => status.needs_reload = value == "yes",
            _ => {}
        }
    }
    status
}

fn is_open(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn is_never(unit: &str) -> bool {
    NEVER.iter().any(|start| unit.starts_with(start))
}

/// Whether it is the name of a unit that can be started, or a pattern of such names.
pub(super) fn is_name(text: &str, with_patterns: bool) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let fits = |byte: u8| plain(byte) || (with_patterns && b"*?".contains(&byte));
    let Some(stem) = KINDS.iter().find_map(|kind| text.strip_suffix(kind)) else { return false };
    text.len() <= NAME_BYTES_MAX
        && text.bytes().all(fits)
        // A template is no unit; a leading dash would be an option.
        && !stem.is_empty()
        && !stem.ends_with('@')
        && !stem.starts_with(['-', '.'])
}
