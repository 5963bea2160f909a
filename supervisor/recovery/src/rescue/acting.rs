//! The steps of a work, done by this process.

use std::path::PathBuf;

use engine::order::{Valued, Write};
use engine::reply::PlanReport;
use engine::scope::Held;
use engine::{Effect, Order, Step, StepResult};
use types::time::Time;
use types::token::Change;

use super::journal::Journal;
use super::{Ending, Source, ending};
use crate::Error;
use crate::databases::postgresql::Address;
use crate::files::known::Known;
use crate::files::root::Root;
use crate::manifest::Manifest;
use crate::restore::{self, Before, Machine, Restore, Scope};
use crate::services::units::Units;
use crate::services::{Changer, Witness};
use crate::settings::knobs::Knobs;
use crate::tokens::{TokenPort, put_back};
use crate::worker::effect::Way;
use crate::worker::{Keeping, Worker};

/// What one work is done with.
pub(super) struct Acting<'a> {
    source: &'a Source,
    manifest: &'a Manifest,
    newest: Option<&'a Manifest>,
    roots: &'a [Root],
    places: &'a Places,
    /// Until the restore has it.
    worker: Option<&'a mut Worker>,
    port: Option<&'a mut dyn TokenPort>,
    restore: Option<Restore<'a>>,
    report: PlanReport,
    identity: &'a [String],
    now: Time,
}

impl Acting<'_> {
    /// Does what follows from an effect, recording each point, until the work has ended.
    pub(super) fn carry_out(
        journal: &mut Journal,
        source: &Source,
        first: Option<Effect>,
    ) -> Result<Option<Ending>, Error> {
        let Some(first) = first else { return Ok(None) };
        let Order::Restore { number, .. } = first.order else {
            return follow(journal, first, &mut |step| other(source, step));
        };
        let newest = newest(source, journal);
        let opened = source.manifest(number, journal).and_then(|manifest| {
            let roots = roots(&manifest)?;
            let places = Places::of(&manifest);
            let worker = places.worker(&manifest)?;
            Ok((manifest, roots, places, worker))
        });
        let (manifest, roots, places, mut worker) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return follow(journal, first, &mut |_| Err(again(&error)));
            }
        };
        let (mut port, identity) = (source.device.as_ref(), restore::identity());
        let mut acting = Acting {
            source,
            manifest: &manifest,
            newest: newest.as_ref(),
            roots: &roots,
            places: &places,
            worker: Some(&mut worker),
            port: port.as_mut().map(|port| port as &mut dyn TokenPort),
            restore: None,
            report: PlanReport::default(),
            identity: &identity,
            now: journal.now(),
        };
        follow(journal, first, &mut |step| acting.perform(step))
    }
}

impl<'a> Acting<'a> {
    fn perform(&mut self, step: &Step) -> Result<StepResult, Error> {
        match step {
            Step::Validate { leave_denied, paranoid, scope, in_place, .. } => {
                self.validate(*leave_denied, *paranoid, (scope.as_ref(), *in_place))
            }
            Step::UndoRestore { writes, settings } => self.undo(writes, settings),
            // Verified before a crash: what is in place stays, and what it replaced goes.
            Step::CleanUp => {
                let count = self.count()?;
                match (&mut self.restore, &mut self.worker) {
                    (Some(restore), _) => restore.clean_up()?,
                    (None, Some(worker)) => drop(restore::resume(*worker, count)?),
                    (None, None) => {}
                }
                Ok(StepResult::Planned(self.report.clone()))
            }
            step => {
                let restore = self.restore.as_mut();
                let restore = restore.ok_or_else(|| Error::Invalid("no restore is under way".into()))?;
                match step {
                    Step::Prepare { .. } => restore.prepare()?,
                    Step::Execute => restore.execute()?,
                    Step::VerifyRestored => restore.verify()?,
                    _ => return Err(Error::Invalid("this is no step of a restore".into())),
                }
                Ok(StepResult::Done)
            }
        }
    }

    fn validate(
        &mut self,
        leave_denied: bool,
        paranoid: bool,
        (of, in_place): (Option<&engine::scope::Scope>, bool),
    ) -> Result<StepResult, Error> {
        let worker = self.worker.take();
        let worker = worker.ok_or_else(|| Error::Invalid("a restore is under way".into()))?;
        restore::resume(worker, self.count()?)?;
        let scope = of.map_or_else(Scope::default, |of| Scope {
            files: of.files,
            tokens: of.tokens,
            paths: of.paths.iter().map(|path| path.0.clone()).collect(),
            settings: of.settings,
            databases: of.databases,
            services: of.services,
        });
        let scope = self.places.within(scope);
        let machine = Machine {
            roots: self.roots,
            tokens: self.port.take(),
            executor: Some(worker),
            identity: self.identity,
            known: known(paranoid, self.now, self.newest.into_iter().chain([self.manifest])),
            scope,
            way: way(in_place),
            checks_late: true,
            phase_limit: None,
            settings: Some(&self.places.knobs),
            databases: Some(&self.places.databases),
            services: Some(&self.places.units),
            postgresql: &self.places.postgresql,
        };
        let restore = Restore::begin(machine, self.manifest.clone(), &self.source.chunks, leave_denied)?;
        self.report = restore.plan().report(self.manifest.number);
        self.restore = Some(restore);
        Ok(StepResult::Planned(self.report.clone()))
    }

    /// What the worker has numbers for.
    fn count(&self) -> Result<u16, Error> {
        let count = self.roots.len() + self.places.databases.len() + self.places.postgresql.len();
        u16::try_from(count).map_err(|_| Error::Invalid("there are more than 65535 folders".into()))
    }

    fn undo(&mut self, writes: &[Write], settings: &[Held]) -> Result<StepResult, Error> {
        if let Some(restore) = &mut self.restore {
            restore.undo()?;
            restore.clean_up()?;
            return Ok(StepResult::Done);
        }
        // After a crash: files from what was kept, all else from the log.
        let count = self.count()?;
        let changes: Vec<_> = writes.iter().map(change).collect();
        let Some(worker) = &mut self.worker else {
            bring_back(self.source, &changes)?;
            return Ok(StepResult::Done);
        };
        // Whatever of it fails, the rest goes back; services come last.
        let Before { settings, services } = Before::of(settings);
        let files = restore::abandon(*worker, count).map(drop);
        let settings = crate::settings::put_back(&self.places.knobs, *worker, &settings);
        let tokens = bring_back(self.source, &changes).map(drop);
        // Where systemd does not run they are left, here as in what is restored.
        let services = match self.places.units.is_there() {
            true => crate::services::put_back(&self.places.units, *worker, &services),
            false => Ok(()),
        };
        files.and(settings).and(tokens).and(services)?;
        Ok(StepResult::Done)
    }
}

/// Performs one step after the other, as the engine decides.
fn follow(
    journal: &mut Journal,
    first: Effect,
    perform: &mut dyn FnMut(&Step) -> Result<StepResult, Error>,
) -> Result<Option<Ending>, Error> {
    let (mut next, mut found, mut damaged) = (Some(first), None, false);
    while let Some(effect) = next.take() {
        let result = perform(&effect.step).unwrap_or_else(|error| {
            damaged |= error.is_damage();
            StepResult::Failed(error.to_string())
        });
        let (effect, replies) = journal.decide(engine::Event::Stepped { work: effect.work, result })?;
        next = effect;
        found = replies.into_iter().filter_map(|reply| ending(reply.body, damaged)).next_back().or(found);
    }
    Ok(found)
}

/// What a start does for other works: the daemon's own steps, as far as they need nothing but this process.
fn other(source: &Source, step: &Step) -> Result<StepResult, Error> {
    match step {
        Step::Delete { number, .. } => match store::manifest::remove(&source.dir, *number) {
            Ok(()) | Err(store::Error::Absent { .. }) => Ok(StepResult::Done),
            Err(error) => Err(error.into()),
        },
        // What none needs any more is left to the next pruning.
        Step::RemoveAll { numbers } => {
            let (mut gone, mut failure) = (Vec::new(), None);
            for number in numbers {
                match store::manifest::remove(&source.dir, *number) {
                    Ok(()) | Err(store::Error::Absent { .. }) => gone.push(*number),
                    Err(error) => failure = Some(error.to_string()),
                }
            }
            Ok(StepResult::Removed(gone, failure))
        }
        Step::UndoWrite { writes, before } => {
            let changes: Vec<_> = writes.iter().map(|write| undo_change(write, before)).collect();
            bring_back(source, &changes)?;
            Ok(StepResult::Done)
        }
        _ => Err(Error::Refused("only the daemon does this: ask it again when it runs".into())),
    }
}

fn bring_back(source: &Source, changes: &[Change]) -> Result<(), Error> {
    match source.device.as_ref() {
        _ if changes.is_empty() => Ok(()),
        Some(mut device) => put_back(&mut device, changes),
        None => Err(Error::Device("the kernel module is not loaded, so tokens are left as they are".into())),
    }
}

fn change(write: &Write) -> Change {
    Change {
        id: write.item.token(),
        select: write.item.select(),
        value: write.value,
        expected: write.expected,
    }
}

/// A write, with what stood there before.
fn undo_change(write: &Write, before: &[Valued]) -> Change {
    let held = before.iter().find(|held| held.item == write.item).map(|held| held.value);
    Change { expected: held, ..change(write) }
}

/// The folders of a checkpoint.
pub(super) fn roots(manifest: &Manifest) -> Result<Vec<Root>, Error> {
    paths(manifest).iter().map(|path| Root::open(path)).collect()
}

/// What a checkpoint holds besides folders and tokens: without a configuration it is what says so.
pub(super) struct Places {
    pub(super) knobs: Knobs,
    pub(super) databases: Vec<PathBuf>,
    pub(super) units: Units,
    pub(super) postgresql: Vec<Address>,
}

impl Places {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let all = manifest.databases().0.iter();
        let (files, servers): (Vec<_>, Vec<_>) = all.partition(|database| database.postgresql.is_none());
        let databases = files.into_iter().map(|database| path(&database.path)).collect();
        let servers = servers.into_iter().filter_map(|database| database.postgresql.as_ref());
        let postgresql = servers.map(|origin| origin.address.clone()).collect();
        let (knobs, units) = (Knobs::of(manifest.settings().0), Units::of(manifest.services().0));
        Self { knobs, databases, units, postgresql }
    }

    /// What can be restored here of what is asked for: services only where systemd runs.
    pub(super) fn within(&self, scope: Scope) -> Scope {
        Scope { services: scope.services && self.units.is_there(), ..scope }
    }

    /// Who changes all of it.
    pub(super) fn worker(&self, manifest: &Manifest) -> Result<Worker, Error> {
        let worker = Worker::new(&paths(manifest))?.with_settings(self.knobs.clone());
        // Who runs this is root, and has the recovery key.
        let services = Changer::new(self.units.clone(), Witness::Anything);
        let keeping = Keeping { witness: Witness::Anything, ..Keeping::default() };
        let worker = worker.with_services(services).with_databases(&self.databases)?;
        worker.with_postgresql(&self.postgresql, &keeping)
    }
}

fn path(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

fn paths(manifest: &Manifest) -> Vec<PathBuf> {
    manifest.roots().iter().map(|tree| path(&tree.path)).collect()
}

/// How folders change.
pub(super) const fn way(in_place: bool) -> Way {
    if in_place { Way::InPlace } else { Way::Exchange }
}

/// What need not be read.
pub(super) fn known<'a>(
    paranoid: bool,
    now: Time,
    manifests: impl IntoIterator<Item = &'a Manifest>,
) -> Known<'a> {
    if paranoid { Known::default() } else { Known::at(now, manifests) }
}

/// The newest checkpoint that can be read: most files are as it says.
pub(super) fn newest(source: &Source, journal: &Journal) -> Option<Manifest> {
    let newest = journal.state().checkpoints.keys().next_back()?;
    source.manifest(*newest, journal).ok()
}

/// The same once more, for an error that several steps meet.
fn again(error: &Error) -> Error {
    if error.is_damage() { Error::Damaged(error.to_string()) } else { Error::Failed(error.to_string()) }
}
