//! Which services differ from a checkpoint, and what stands in the way of changing them back.

use std::fmt;

use super::units::{Found, Units};
use super::{Service, State, UnitFiles};
use crate::Error;

/// A service that is not as in the checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// How it is now; none where that cannot be told.
    pub now: Option<Service>,
    /// How the checkpoint has it.
    pub want: Service,
    /// In what they differ, in words: from now to the checkpoint.
    pub how: Vec<String>,
    /// Why it cannot be restored, if so.
    pub obstacle: Option<Obstacle>,
}

/// Why a service cannot be restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The configuration does not list it.
    NotListed,
    /// How it is now cannot be told, so it could not be put back.
    Unreadable(String),
    /// Its enablement is not one that can be switched.
    Fixed,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str("not in the configuration's list"),
            Self::Unreadable(why) => f.write_str(why),
            Self::Fixed => f.write_str("its files do not let it be enabled or disabled"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}: ", self.want.unit)?;
        f.write_str(&if self.how.is_empty() { "?".to_owned() } else { self.how.join(", ") })?;
        self.obstacle.as_ref().map_or(Ok(()), |obstacle| write!(f, ", cannot be restored: {obstacle}"))
    }
}

/// What differs between a checkpoint's services and those of now. A service that the checkpoint does not hold is left.
pub(super) fn differences(units: &Units, want: &[Service]) -> Result<Vec<Difference>, Error> {
    let (listed, others): (Vec<_>, Vec<_>) = want.iter().partition(|service| units.covers(&service.unit));
    let blocked = |service: &Service, obstacle| Difference {
        now: None,
        want: service.clone(),
        how: Vec::new(),
        obstacle: Some(obstacle),
    };
    let mut found: Vec<_> = others.iter().map(|service| blocked(service, Obstacle::NotListed)).collect();
    let names: Vec<_> = listed.iter().map(|service| service.unit.clone()).collect();
    let now = if units.is_there() || names.is_empty() {
        units.read(&names)?
    } else {
        let none = || Err(Error::Invalid("systemd does not run here".into()));
        names.iter().map(|_| none()).collect()
    };
    for (service, now) in listed.into_iter().zip(now) {
        match now {
            Ok(now) => found.extend(difference(service, now)),
            // A unit that is gone and whose file the checkpoint has comes back with it.
            Err(Error::Invalid(_)) if units.is_there() && has_file(service) => {
                found.extend(difference(service, gone(&service.unit)));
            }
            Err(error) => found.push(blocked(service, Obstacle::Unreadable(error.to_string()))),
        }
    }
    Ok(found)
}

fn has_file(service: &Service) -> bool {
    service.files.iter().flat_map(|files| &files.files).any(|file| file.name.is_empty())
}

fn gone(unit: &str) -> Found {
    let files = Some(UnitFiles::default());
    let service = Service { unit: unit.to_owned(), active: "inactive".into(), files };
    Found { service, is_stale: false, needs_reload: false }
}

fn difference(want: &Service, now: Found) -> Option<Difference> {
    let mut how = how(&now.service, want);
    if now.is_stale && State::of(&want.active) == State::Running {
        how.push("to be started anew".into());
    }
    let fixed = !can_switch(&now.service, want);
    let obstacle = fixed.then_some(Obstacle::Fixed);
    (!how.is_empty()).then(|| Difference { now: Some(now.service), want: want.clone(), how, obstacle })
}

/// In what two states of a unit differ, in words; nothing where they are the same.
pub(crate) fn how(from: &Service, to: &Service) -> Vec<String> {
    let mut how = Vec::new();
    let states = (State::of(&from.active), State::of(&to.active));
    // What was just changing has no state to go back to.
    if states.1 != State::Changing && states.0 != states.1 {
        how.push(format!("{} -> {}", from.told(), to.told()));
    }
    if let (Some(from), Some(to)) = (&from.files, &to.files) {
        if from.enabled != to.enabled {
            let told = |text: &str| if text.is_empty() { "no unit file".to_owned() } else { text.to_owned() };
            how.push(format!("{} -> {}", told(&from.enabled), told(&to.enabled)));
        }
        how.extend(files(from, to));
    }
    how
}

fn files(from: &UnitFiles, to: &UnitFiles) -> Vec<String> {
    let told = |name: &str| match name {
        "" => "unit file".to_owned(),
        name => format!("drop-in {}", crate::shown(name.as_bytes())),
    };
    let find = |all: &UnitFiles, name: &str| all.files.iter().find(|file| file.name == name).cloned();
    let old = from.files.iter().filter_map(|file| match find(to, &file.name) {
        None => Some(format!("{} removed", told(&file.name))),
        Some(other) if other.content != file.content => Some(format!("{} changed", told(&file.name))),
        Some(other) if other.mode != file.mode => Some(format!("mode of {} changed", told(&file.name))),
        Some(_) => None,
    });
    let new = to.files.iter().filter(|file| find(from, &file.name).is_none());
    old.chain(new.map(|file| format!("{} added", told(&file.name)))).collect()
}

/// Whether the enablement can be had: what files alone decide follows them.
fn can_switch(now: &Service, want: &Service) -> bool {
    const SWITCHED: [&str; 6] =
        ["enabled", "enabled-runtime", "disabled", "indirect", "masked", "masked-runtime"];
    let (Some(now), Some(want)) = (&now.files, &want.files) else { return true };
    let is_switched = |enabled: &str| SWITCHED.contains(&enabled);
    now.enabled == want.enabled
        || now.files != want.files
        || now.enabled.starts_with("masked")
        || want.enabled.starts_with("masked")
        || (is_switched(&now.enabled) && is_switched(&want.enabled))
}
