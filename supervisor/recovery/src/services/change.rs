//! Changing units: the part that has privileges.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use super::units::{Status, Units};
use super::witness::Witness;
use super::{Service, State, UnitFiles, files};
use crate::Error;
use crate::error::shown;
use crate::worker::effect::Effect;

/// Who changes units, of one list.
#[derive(Clone, Debug, Default)]
pub struct Changer {
    units: Units,
    witness: Witness,
}

impl Changer {
    /// Of these units, and files that the witness knows.
    #[must_use]
    pub const fn new(units: Units, witness: Witness) -> Self {
        Self { units, witness }
    }

    /// Performs an effect that is about units; others are none here.
    pub(crate) fn perform(&self, effect: &Effect) -> Result<(), Error> {
        match effect {
            Effect::Witness { unit } => {
                self.expected(unit)?;
                self.witness.note(unit, &files::read(&self.units.folder, unit)?)
            }
            Effect::Install { service, only_check } => self.install(service, *only_check),
            // Not of a unit, but nobody without any needs it.
            Effect::Reload if self.units.is_empty() => {
                Err(Error::Refused("no service is in the configuration".into()))
            }
            Effect::Reload => self.units.systemctl.change(&["daemon-reload"], None),
            Effect::Run { unit, up } => self.run(unit, *up),
            _ => Err(Error::Invalid("this is not about a service".into())),
        }
    }

    /// What systemd says of a unit that may be changed.
    fn expected(&self, unit: &str) -> Result<Status, Error> {
        // Before systemd hears a word of it: this may be no name.
        if !self.units.covers(unit) {
            let shown = shown(unit.as_bytes());
            return Err(Error::Refused(format!("{shown} is not in the configuration's list of services")));
        }
        let status = self.units.status(&[unit.to_owned()])?.into_iter().next().unwrap_or_default();
        self.units.expect(unit, &status)?;
        Ok(status)
    }

    /// Brings files and enablement of a unit to what a checkpoint has; systemd is not told of files yet.
    fn install(&self, service: &Service, only_check: bool) -> Result<(), Error> {
        let unit = &service.unit;
        let status = self.expected(unit)?;
        let Some(UnitFiles { enabled, files: wanted }) = &service.files else { return Ok(()) };
        files::check(wanted)?;
        let there = files::read(&self.units.folder, unit)?;
        let new: Vec<_> = wanted.iter().filter(|file| !there.contains(file)).cloned().collect();
        if let Some(stranger) = self.witness.stranger(unit, &new)? {
            let name = if stranger.name.is_empty() {
                "the unit file".to_owned()
            } else {
                shown_name(&stranger.name)
            };
            return Err(Error::Refused(format!(
                "{name} of {unit} has never stood there as far as the restore helper knows, and it runs as root: put it there by \
                 hand, or restore with --offline"
            )));
        }
        if only_check {
            return Ok(());
        }
        // So that it can be put back.
        self.witness.note(unit, &there)?;
        let change = |words: &[&str]| self.units.systemctl.change(words, Some(unit));
        if let Some(words) = unmask(&status.enabled, enabled) {
            change(words)?;
        }
        // While the file is there that says which links to take away.
        let is_disabled =
            status.enabled == "enabled" && !enabled.starts_with("enabled") && !is_masked(enabled);
        if is_disabled {
            change(&["disable", "--no-reload"])?;
        }
        if *wanted != there {
            if State::of(&status.active) == State::Running {
                self.mark(unit)?;
            }
            files::write(&self.units.folder, unit, &there, wanted)?;
        }
        for words in settle(&status.enabled, enabled) {
            change(words)?;
        }
        if status.enabled == *enabled {
            return Ok(());
        }
        // systemd flushes none of the links that it makes and removes.
        let path = self.units.folder.as_os_str().as_encoded_bytes();
        let failed = |error| Error::io("flush the file system of", path, error);
        let folder = fs::File::open(&self.units.folder).map_err(|error| Error::io("open", path, error))?;
        rustix::fs::syncfs(folder).map_err(failed)
    }

    /// Starts or stops a unit; one that runs with older files is started anew.
    fn run(&self, unit: &str, up: bool) -> Result<(), Error> {
        let status = self.expected(unit)?;
        let mark = self.units.marks.join(unit);
        let word = match (up, State::of(&status.active)) {
            (false, _) => "stop",
            (true, State::Running) if mark.exists() => "restart",
            (true, _) => "start",
        };
        self.units.systemctl.change(&[word], Some(unit))?;
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", mark.as_os_str().as_encoded_bytes(), error))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a unit is to be started anew. Not durable: no unit runs on over a power cut.
    fn mark(&self, unit: &str) -> Result<(), Error> {
        let marks = &self.units.marks;
        let made = fs::DirBuilder::new().mode(0o755).recursive(true).create(marks);
        let made = made.and_then(|()| fs::write(marks.join(unit), b""));
        made.map_err(|error| Error::io("mark in", marks.as_os_str().as_encoded_bytes(), error))
    }
}

fn shown_name(name: &str) -> String {
    format!("the drop-in {}", shown(name.as_bytes()))
}

fn is_masked(enabled: &str) -> bool {
    enabled.starts_with("masked")
}

/// What takes a mask away, before files are put where it is.
fn unmask(now: &str, want: &str) -> Option<&'static [&'static str]> {
    match now {
        _ if now == want => None,
        "masked" => Some(&["unmask", "--no-reload"]),
        "masked-runtime" => Some(&["unmask", "--no-reload", "--runtime"]),
        _ => None,
    }
}

/// What leads from one enablement to another, once files are in place and what was enabled is not. What a file alone decides needs
/// nothing.
fn settle(now: &str, want: &str) -> Vec<&'static [&'static str]> {
    let mut words: Vec<&[&str]> = Vec::new();
    if now == want {
        return words;
    }
    if now == "enabled-runtime" {
        words.push(&["disable", "--no-reload", "--runtime"]);
    }
    match want {
        "enabled" => words.push(&["enable", "--no-reload"]),
        "enabled-runtime" => words.push(&["enable", "--no-reload", "--runtime"]),
        // Links to a masked unit may be there, too.
        "disabled" | "indirect" if is_masked(now) => words.push(&["disable", "--no-reload"]),
        "masked" => words.push(&["mask", "--no-reload"]),
        "masked-runtime" => words.push(&["mask", "--no-reload", "--runtime"]),
        _ => {}
    }
    words
}
