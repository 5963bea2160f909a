//! The component *services*: units of systemd, whether they run and start at boot, and the administrator's files of them.
//!
//! # Layout
//!
//! - this file: the component
//! - [`units`]: which units there are, and how they are
//! - `plan`: what differs and what stands in the way
//! - `change`: changing them, with privileges
//! - `files`: units' own files and drop-ins
//! - `witness`: what has stood in these
//! - `systemctl`: the way to systemd

mod change;
mod files;
mod plan;
mod systemctl;
pub mod units;
mod witness;

pub use change::Changer;
pub(crate) use plan::how;
pub use plan::{Difference, Obstacle};
pub use witness::{WITNESS_FOLDER, Witness};
pub(crate) use witness::{check as check_own_folder, make as own_folder};

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use store::chunk::Chunks;

use crate::Error;
use crate::component::{self, Component};
use crate::error::length;
use crate::manifest::Part;
use crate::settings::Unread;
use crate::worker::effect::{Effect, Executor, Shared};
use units::Units;

/// How often units are started and stopped: one can have pulled another along.
const PASSES: u32 = 2;
/// The most bytes of what services were before one restore: it is recorded before the first change, in one fact.
pub const CHANGES_BYTES_MAX: usize = 32 << 10;

/// A captured unit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Service {
    /// Its name.
    #[n(0)]
    pub unit: String,
    /// Whether it runs, as systemd says: `active`, `inactive`, `failed` and so on.
    #[n(1)]
    pub active: String,
    /// Its files and what they make of it; none where they are left as they are, which a checkpoint never says.
    #[n(2)]
    pub files: Option<UnitFiles>,
}

/// The administrator's files of a unit, and whether it starts at boot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct UnitFiles {
    /// As systemd says: `enabled`, `disabled`, `masked`, `static` and so on.
    #[n(0)]
    pub enabled: String,
    /// Ascending by name.
    #[n(1)]
    pub files: Vec<UnitFile>,
}

/// One of them. It belongs to root.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct UnitFile {
    /// Its name in the folder of drop-ins; empty: the unit's own file.
    #[n(0)]
    pub name: String,
    /// Permission bits.
    #[n(1)]
    pub mode: u32,
    /// What is in it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub content: Vec<u8>,
}

/// Whether a unit runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Stopped,
    /// On the way from one to the other.
    Changing,
}

impl State {
    fn of(active: &str) -> Self {
        match active {
            "active" | "reloading" | "refreshing" => Self::Running,
            "activating" | "deactivating" | "maintenance" => Self::Changing,
            _ => Self::Stopped,
        }
    }
}

impl Service {
    /// Whether it runs, for people.
    fn told(&self) -> &str {
        match self.active.as_str() {
            "active" => "running",
            "inactive" => "stopped",
            other => other,
        }
    }

    /// In one line, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let (enabled, count) =
            self.files.as_ref().map_or(("", 0), |files| (files.enabled.as_str(), files.files.len()));
        let enabled = if enabled.is_empty() { "no unit file" } else { enabled };
        let files = match count {
            0 => String::new(),
            1 => ", 1 file".to_owned(),
            more => format!(", {more} files"),
        };
        format!("{}, {enabled}{files}", self.told())
    }
}

/// Checks services that were read from a disk.
pub(crate) fn check(services: &[Service]) -> Result<(), Error> {
    let ordered = services.is_sorted_by(|a, b| a.unit < b.unit);
    let named =
        services.iter().all(|service| units::is_name(&service.unit, false) && service.files.is_some());
    if !(ordered && named) {
        return Err(Error::Damaged("the services are out of order".into()));
    }
    services.iter().flat_map(|service| &service.files).try_for_each(|files| files::check(&files.files))
}

/// The component.
pub struct Services<'a> {
    units: &'a Units,
    executor: Option<Shared<'a>>,
    /// Whether services that cannot be restored are left as they are, rather than refused.
    leave_obstacles: bool,
    /// What is wanted, once it is planned, of all that can be restored.
    wanted: Vec<Service>,
    /// How these were.
    before: Vec<Service>,
}

impl<'a> Services<'a> {
    /// The services of `units`; `executor` changes them and has the same list.
    pub fn new(units: &'a Units, executor: Option<Shared<'a>>, leave_obstacles: bool) -> Self {
        Self { units, executor, leave_obstacles, wanted: Vec::new(), before: Vec::new() }
    }

    fn differences(&self, want: &Part) -> Result<Vec<Difference>, Error> {
        match want {
            Part::Services { services, .. } => plan::differences(self.units, services),
            _ => Ok(Vec::new()),
        }
    }

    fn executor(&mut self) -> Result<&mut Shared<'a>, Error> {
        self.executor.as_mut().ok_or_else(|| Error::Refused("nobody is there who may change services".into()))
    }

    /// Reads all that the list names.
    fn all(&self) -> Result<(Vec<Service>, Vec<Unread>), Error> {
        let unread = |unit: &str, why: String| Unread { path: unit.into(), why };
        if !self.units.is_there() {
            let mut patterns = self.units.patterns().to_vec();
            patterns.sort();
            patterns.dedup();
            let why = || "systemd does not run here".to_owned();
            return Ok((Vec::new(), patterns.iter().map(|unit| unread(unit, why())).collect()));
        }
        let names = self.units.list()?;
        let (mut services, mut missed) = (Vec::new(), Vec::new());
        for (unit, found) in names.iter().zip(self.units.read(&names)?) {
            match found {
                Ok(found) => services.push(found.service),
                Err(error) => missed.push(unread(unit, error.to_string())),
            }
        }
        Ok((services, missed))
    }

    /// How everything was that a restore may change: of what it pulls along only whether it runs.
    fn remember(&mut self, want: &Part, differences: &[Difference]) -> Result<(), Error> {
        (self.wanted, self.before) = (Vec::new(), Vec::new());
        let Part::Services { services, .. } = want else { return Ok(()) };
        let blocked: BTreeSet<_> = differences
            .iter()
            .filter(|difference| difference.obstacle.is_some())
            .map(|difference| difference.want.unit.as_str())
            .collect();
        if blocked.len() == differences.len() {
            return Ok(());
        }
        for service in services.iter().filter(|service| !blocked.contains(service.unit.as_str())) {
            let differs = differences.iter().find(|difference| difference.want.unit == service.unit);
            let before = differs.and_then(|difference| difference.now.clone());
            self.before.push(before.unwrap_or_else(|| Service { files: None, ..service.clone() }));
            self.wanted.push(service.clone());
        }
        let bytes: usize = self.before.iter().map(|service| held(service).map_or(0, |held| held.len())).sum();
        let (found, limit) = (length(bytes), length(CHANGES_BYTES_MAX));
        if found > limit {
            return Err(Error::Limit { what: "the files of services that change", found, limit });
        }
        Ok(())
    }
}

/// How a service is, for the log.
///
/// # Errors
///
/// - [`Error::Invalid`]: it cannot be encoded
pub(crate) fn held(service: &Service) -> Result<Vec<u8>, Error> {
    minicbor::to_vec(service).map_err(|error| Error::Invalid(error.to_string()))
}

/// Brings units to what is wanted: first all files and enablements, then what stops, then what starts. With `whole` it goes on
/// after an error, and tells of the first.
fn bring(units: &Units, executor: &mut dyn Executor, wanted: &[Service], whole: bool) -> Result<(), Error> {
    let names: Vec<_> = wanted.iter().map(|service| service.unit.clone()).collect();
    let (mut first, mut is_new) = (Ok(()), false);
    if whole {
        // It tells enablement from memory, and a crash may have come between the change and its reading.
        first = executor.perform(&Effect::Reload).map(drop);
    }
    for (service, now) in wanted.iter().zip(units.read(&names)?) {
        // What cannot be read may be gone, and come back with its files.
        if now.is_ok_and(|now| service.files.is_none() || now.service.files == service.files) {
            continue;
        }
        let effect = Effect::Install { service: service.clone(), only_check: false };
        is_new = true;
        first = first.and(executor.perform(&effect).map(drop));
        if first.is_err() && !whole {
            return first;
        }
    }
    // What an attempt before a crash has put there, systemd knows to be newer; enablement it tells from memory.
    if is_new || units.read(&names)?.iter().flatten().any(|now| now.needs_reload) {
        first = first.and(executor.perform(&Effect::Reload).map(drop));
    }
    let mut failed = BTreeSet::new();
    for _ in 0..PASSES {
        let now = units.read(&names)?;
        let mut open: Vec<_> =
            wanted.iter().zip(now).filter_map(|(service, now)| turn(service, now.ok()?)).collect();
        open.retain(|(unit, _)| !failed.contains(*unit));
        // What stops comes before what starts; and sockets come first: one does not start beside its service, and starts one that
        // has stopped.
        open.sort_by_key(|(unit, up)| (*up, !unit.ends_with(".socket")));
        for (unit, up) in open {
            let done = executor.perform(&Effect::Run { unit: unit.to_owned(), up });
            if let Err(error) = done {
                failed.insert(unit);
                first = first.and(Err(error));
            }
            if first.is_err() && !whole {
                return first;
            }
        }
    }
    first
}

/// Whether a unit is to be started or stopped, if one of them.
fn turn(wanted: &Service, now: units::Found) -> Option<(&str, bool)> {
    let is = State::of(&now.service.active);
    let up = match State::of(&wanted.active) {
        State::Running if is != State::Running || now.is_stale => true,
        State::Stopped if is != State::Stopped => false,
        _ => return None,
    };
    Some((&wanted.unit, up))
}

/// Brings services back to how they were before a restore, given as names and what was recorded of them.
///
/// # Errors
///
/// The first that does not come back; the others were tried.
pub fn put_back(
    units: &Units,
    executor: &mut dyn Executor,
    before: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), Error> {
    let services = before.iter().map(|(_, held)| minicbor::decode(held));
    let services: Vec<Service> = services
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Invalid(format!("what the log holds of a service: {error}")))?;
    if services.is_empty() { Ok(()) } else { bring(units, executor, &services, true) }
}

impl Component for Services<'_> {
    fn name(&self) -> &'static str {
        "services"
    }

    fn after(&self) -> &'static [&'static str] {
        // A program reads all of them when it starts.
        &["files", "databases", "settings"]
    }

    fn capture(&mut self, _chunks: &mut Chunks) -> Result<Part, Error> {
        let (services, unread) = self.all()?;
        // Only what was seen there can be put there.
        let with_files = services.iter().filter(|one| one.files.iter().any(|files| !files.files.is_empty()));
        for service in with_files {
            self.executor()?.perform(&Effect::Witness { unit: service.unit.clone() })?;
        }
        Ok(Part::Services { services, unread })
    }

    fn observe(&mut self, _chunks: &Chunks) -> Result<Part, Error> {
        let (services, unread) = self.all()?;
        Ok(Part::Services { services, unread })
    }

    fn plan(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let differences = self.differences(want)?;
        self.remember(want, &differences)?;
        Ok(differences.into_iter().map(component::Difference::Service).collect())
    }

    fn before(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let held =
            self.before.iter().filter_map(|service| Some((service.unit.clone().into(), held(service).ok()?)));
        held.collect()
    }

    fn prepare(&mut self, want: &Part, _chunks: &Chunks) -> Result<(), Error> {
        let differences = self.differences(want)?;
        let blocked: Vec<_> = differences.iter().filter(|one| one.obstacle.is_some()).collect();
        if let Some(first) = blocked.first().filter(|_| !self.leave_obstacles) {
            return Err(Error::Refused(format!(
                "{} services cannot be restored, the first: {first}; list them again, or ask to leave them",
                blocked.len()
            )));
        }
        for difference in differences.into_iter().filter(|one| one.obstacle.is_none()) {
            let effect = Effect::Install { service: difference.want, only_check: true };
            self.executor()?.perform(&effect)?;
        }
        Ok(())
    }

    fn execute(&mut self) -> Result<(), Error> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let (units, wanted) = (self.units, self.wanted.clone());
        bring(units, self.executor()?, &wanted, false)
    }

    fn is_undone_last(&self) -> bool {
        true
    }

    fn undo(&mut self) -> Result<(), Error> {
        if self.before.is_empty() {
            return Ok(());
        }
        let (units, before) = (self.units, self.before.clone());
        bring(units, self.executor()?, &before, true)
    }

    fn verify(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let leave = self.leave_obstacles;
        let counted = self.differences(want)?.into_iter().filter(|one| !leave || one.obstacle.is_none());
        Ok(counted.map(component::Difference::Service).collect())
    }

    fn clean_up(&mut self) -> Result<(), Error> {
        (self.wanted, self.before) = (Vec::new(), Vec::new());
        Ok(())
    }
}
