//! The one who changes files: performs effects on roots, in steps that a crash cannot tear.
//!
//! ```text
//! ROOT/.dsmil-restore/new/N      staged entries, by their number
//! ROOT/.dsmil-restore/old/I      what stood where step I acts
//! ROOT/.dsmil-restore/journal    the steps; as long as it is there, `new` and `old` hold what nobody else has
//! ROOT/.dsmil-restore/done       every step is done; without `journal`: for good
//! ROOT/.dsmil-restore/times      the root's times, where it cannot carry them as an attribute
//! ```
//!
//! Where a root is exchanged, the same folder stands beside it as `.dsmil-restore.NAME`, with the other root of the two as `tree`.
//!
//! # Layout
//!
//! - [`effect`]: the effects and answers, which are also the helper's protocol
//! - `staging`: the folder above, and the root's own times
//! - `stage`: new entries
//! - `journal`: the steps on the disk
//! - `execute`: doing them and taking them back
//! - `exchange`: a whole new root in place of the old one
//! - `database`: a database, which SQLite changes
//! - `postgresql`: a database of a server
//! - `beneath`, `meta`, `ops`: look-ups that cannot leave the root, metadata, single operations
//!
//! # Invariants
//!
//! - Whether a step is done shows in `new` and `old` alone, so doing and taking back can start over at any time.
//! - No entry of the root is deleted before every step is done and durable, and none that was not moved into `old`.
//! - Every path is looked up beneath its root, through no link and into no other file system.

mod beneath;
mod database;
pub mod effect;
mod exchange;
mod execute;
mod journal;
mod meta;
pub(crate) mod ops;
mod postgresql;
mod stage;
mod staging;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::Error;
use crate::databases::DATABASES_MAX;
use crate::databases::postgresql::{Address, check_list};
use crate::files::root::{ROOTS_MAX, Root};
use crate::services::Changer;
use crate::settings::knobs::Knobs;
use database::Database;
use effect::{Effect, Executor, Progress, Way};
use postgresql::Postgresql;
use staging::Staging;

pub use postgresql::Keeping;

/// Performs effects on a fixed list of roots.
#[derive(Debug)]
pub struct Worker {
    roots: Vec<Root>,
    /// The settings that it may write.
    knobs: Knobs,
    /// The databases that it may change; their numbers follow those of the roots.
    databases: Vec<Database>,
    /// Those of PostgreSQL servers; their numbers follow.
    postgresql: Vec<Postgresql>,
    /// Who changes the services that it may change.
    services: Changer,
    /// Folders of restores that are open here, and so locked.
    open: BTreeMap<u16, Staging>,
}

impl Worker {
    /// Opens the roots, by absolute paths; they, and what is added to them, are the only places that it will ever change.
    ///
    /// # Errors
    ///
    /// - [`Error::Limit`]: more than [`ROOTS_MAX`]
    /// - else as [`Root::open`]
    pub fn new(roots: &[PathBuf]) -> Result<Self, Error> {
        let found = crate::error::length(roots.len());
        let limit = crate::error::length(ROOTS_MAX);
        if found > limit {
            return Err(Error::Limit { what: "the list of roots", found, limit });
        }
        let roots = roots.iter().map(|path| Root::open(path)).collect::<Result<_, _>>()?;
        let (knobs, services) = (Knobs::default(), Changer::default());
        let (databases, postgresql) = (Vec::new(), Vec::new());
        Ok(Self { roots, knobs, databases, postgresql, services, open: BTreeMap::new() })
    }

    /// And these services.
    #[must_use]
    pub fn with_services(self, services: Changer) -> Self {
        Self { services, ..self }
    }

    /// And these settings.
    #[must_use]
    pub fn with_settings(self, knobs: Knobs) -> Self {
        Self { knobs, ..self }
    }

    /// And these databases, by absolute paths.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a path is not absolute
    /// - [`Error::Limit`]: more than [`DATABASES_MAX`]
    pub fn with_databases(self, paths: &[PathBuf]) -> Result<Self, Error> {
        let (found, limit) = (crate::error::length(paths.len()), crate::error::length(DATABASES_MAX));
        if found > limit {
            return Err(Error::Limit { what: "the list of databases", found, limit });
        }
        let databases = paths.iter().map(|path| Database::new(path)).collect::<Result<_, _>>()?;
        Ok(Self { databases, ..self })
    }

    /// And these databases of PostgreSQL servers.
    ///
    /// # Errors
    ///
    /// - as [`check_list`]
    pub fn with_postgresql(self, addresses: &[Address], keeping: &Keeping) -> Result<Self, Error> {
        check_list(addresses)?;
        let postgresql = addresses.iter().map(|address| Postgresql::new(address, keeping)).collect();
        Ok(Self { postgresql, ..self })
    }

    fn postgresql(&mut self, number: u16) -> Option<&mut Postgresql> {
        let place = usize::from(number).checked_sub(self.roots.len() + self.databases.len())?;
        self.postgresql.get_mut(place)
    }

    fn database(&mut self, number: u16) -> Option<&mut Database> {
        self.databases.get_mut(usize::from(number).checked_sub(self.roots.len())?)
    }

    fn begin(&mut self, root: u16, way: Way) -> Result<(), Error> {
        self.again(root)?;
        let dir = root_of(&self.roots, root)?;
        self.open.remove(&root);
        self.open.insert(root, Staging::create(dir, way)?);
        Ok(())
    }

    /// Takes the folder that stands in a root's place now for the root.
    fn again(&mut self, root: u16) -> Result<(), Error> {
        let now = root_of(&self.roots, root)?.again()?;
        if let Some(root) = self.roots.get_mut(usize::from(root)) {
            *root = now;
        }
        Ok(())
    }

    fn staging(&mut self, root: u16) -> Result<(&Root, Option<&mut Staging>), Error> {
        let dir = root_of(&self.roots, root)?;
        if !self.open.contains_key(&root)
            && let Some(found) = Staging::open(dir)?
        {
            self.open.insert(root, found);
        }
        Ok((dir, self.open.get_mut(&root)))
    }

    /// What `Open` made; anything but `Look`, `Undo`, `Finish` and `Clean` needs it.
    fn opened(&mut self, root: u16) -> Result<(&Root, &mut Staging), Error> {
        let (dir, staging) = self.staging(root)?;
        let none = || Error::Refused(format!("no restore of {} is under way", dir.path().display()));
        Ok((dir, staging.ok_or_else(none)?))
    }

    fn clean(&mut self, root: u16) -> Result<(), Error> {
        let (dir, staging) = self.staging(root)?;
        match staging {
            None => staging::finish_times(dir, None),
            Some(staging) => {
                staging.clean(dir)?;
                self.open.remove(&root);
                Ok(())
            }
        }
    }
}

fn root_of(roots: &[Root], root: u16) -> Result<&Root, Error> {
    roots.get(usize::from(root)).ok_or_else(|| Error::Refused(format!("there is no root {root}")))
}

impl Executor for Worker {
    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        let Some(number) = effect.root() else {
            match effect {
                Effect::Set { path, value } => self.knobs.write(path, value)?,
                other => self.services.perform(other)?,
            }
            return Ok(Progress::None);
        };
        if let Some(database) = self.database(number) {
            return database.perform(effect);
        }
        if let Some(database) = self.postgresql(number) {
            return database.perform(effect);
        }
        match effect {
            Effect::Set { .. }
            | Effect::Witness { .. }
            | Effect::Install { .. }
            | Effect::Reload
            | Effect::Run { .. }
            | Effect::Image { .. }
            | Effect::Discard { .. }
            | Effect::Dump { .. }
            | Effect::Read { .. } => {
                root_of(&self.roots, number)?;
                return Err(Error::Refused(format!("root {number} is no database")));
            }
            Effect::Open { way, .. } => self.begin(number, *way)?,
            Effect::Stage { number: entry, meta, body, .. } => {
                let (root, staging) = self.opened(number)?;
                staging.stage(root, *entry, meta, body)?;
            }
            Effect::Data { bytes, .. } => self.opened(number)?.1.data(bytes)?,
            Effect::Seal { .. } => self.opened(number)?.1.seal()?,
            Effect::Add { step, .. } => {
                let (root, staging) = self.opened(number)?;
                staging.add(root, step)?;
            }
            Effect::Commit { .. } => {
                let (root, staging) = self.opened(number)?;
                staging.commit(root)?;
            }
            Effect::Execute { .. } => {
                let (root, staging) = self.opened(number)?;
                let done = staging.execute(root);
                self.again(number)?;
                done?;
            }
            Effect::Undo { .. } => {
                if let (root, Some(staging)) = self.staging(number)? {
                    let done = staging.undo(root);
                    self.again(number)?;
                    done?;
                }
            }
            Effect::Finish { .. } => {
                if let (root, Some(staging)) = self.staging(number)? {
                    staging.finish(root)?;
                }
            }
            Effect::Clean { .. } => self.clean(number)?,
            Effect::Look { .. } => {
                let (_, staging) = self.staging(number)?;
                return staging.map_or(Ok(Progress::None), |staging| staging.progress());
            }
        }
        Ok(Progress::None)
    }

    fn read(&mut self, root: u16) -> Result<Vec<u8>, Error> {
        let none = || Error::Refused(format!("root {root} is no database of a server"));
        self.postgresql(root).ok_or_else(none)?.read()
    }
}

/// The root's own folder, opened for reading so that its times and attributes can be set.
fn itself(root: impl AsFd) -> Result<std::os::fd::OwnedFd, Error> {
    beneath::entry(root, b"")
}
