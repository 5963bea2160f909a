//! Capture and restore of the whole machine: every component, in phases.
//!
//! ```text
//! begin (validate, plan) → prepare → execute → verify → clean_up
//!                             └─────────┴────────┴→ undo → clean_up
//! ```

mod plan;

pub use plan::{Plan, Summary};

use std::path::PathBuf;
use std::time::Duration;

use engine::scope::Held;
use store::chunk::Chunks;
use types::time::Time;

use crate::Error;
use crate::component::Component;
use crate::databases::postgresql::Address;
use crate::databases::{Databases, Places};
use crate::files::Files;
use crate::files::known::Known;
use crate::files::root::Root;
use crate::limit::Limit;
use crate::manifest::{self, Manifest, Part};
use crate::remembered::Remembered;
use crate::services::Services;
use crate::services::units::Units;
use crate::settings::Settings;
use crate::settings::knobs::Knobs;
use crate::tokens::{TokenPort, Tokens};
use crate::worker::effect::{Effect, Executor, Progress, Shared, Way};

/// What the machine calls itself: vendor and product.
#[must_use]
pub fn machine() -> String {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/sys/class/dmi/id/{name}"))
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    format!("{} {}", read("sys_vendor"), read("product_name")).trim().to_owned()
}

/// What the machine says it is, as checkpoints hold it.
#[must_use]
pub fn identity() -> Vec<String> {
    vec![format!("machine={}", machine())]
}

/// The machine, as far as checkpoints cover it.
#[derive(Default)]
pub struct Machine<'a> {
    /// Folders, in the order of the executor's own list.
    pub roots: &'a [Root],
    /// The token device, if there is one.
    pub tokens: Option<&'a mut dyn TokenPort>,
    /// Who changes files; not needed for a capture or a plan.
    pub executor: Option<&'a mut dyn Executor>,
    /// What the machine says it is, such as `product=Latitude 5450`.
    pub identity: &'a [String],
    /// What need not be read, because it is as a checkpoint read it. Nothing is known by default, and so everything read.
    pub known: Known<'a>,
    /// Of what a restore is; everything by default.
    pub scope: Scope,
    /// How a restore brings folders back that can be exchanged; in place by default.
    pub way: Way,
    /// A restore, which is not planned alone, checks the chunks of the files that come back when it stages them: before anything is put in
    /// its place, but once and not twice.
    pub checks_late: bool,
    /// How long each phase of a restore may take; none: as long as it takes. Undoing and cleaning up always come to their end.
    pub phase_limit: Option<Duration>,
    /// The settings of the kernel, as the executor's own list has them; none where they are left out.
    pub settings: Option<&'a Knobs>,
    /// The databases, as the executor's own list has them behind its roots; none where they are left out. Also to capture them
    /// takes an executor.
    pub databases: Option<&'a [PathBuf]>,
    /// The services, as the executor's own list has them; none where they are left out. To capture those that have files takes an
    /// executor.
    pub services: Option<&'a Units>,
    /// Databases of PostgreSQL servers, as the executor's own list has them behind the other databases.
    pub postgresql: &'a [Address],
}

/// What a restore is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Files.
    pub files: bool,
    /// Tokens.
    pub tokens: bool,
    /// Of files only what is at or below these absolute paths, with the other names of it; all where there is none.
    pub paths: Vec<Vec<u8>>,
    /// Settings of the kernel.
    pub settings: bool,
    /// Databases.
    pub databases: bool,
    /// Services.
    pub services: bool,
}

impl Default for Scope {
    fn default() -> Self {
        Self { files: true, tokens: true, paths: Vec::new(), settings: true, databases: true, services: true }
    }
}

impl Scope {
    fn has(&self, component: &str) -> bool {
        match component {
            "files" => self.files,
            "tokens" => self.tokens,
            "settings" => self.settings,
            "databases" => self.databases,
            "services" => self.services,
            _ => false,
        }
    }
}

impl<'a> Machine<'a> {
    /// Its components, those first that others are restored after.
    fn components(self, leave_obstacles: bool, limit: &Limit) -> Vec<Box<dyn Component + 'a>> {
        let (Scope { files, tokens, paths, settings, databases, services }, way) = (self.scope, self.way);
        let executor = self.executor.map(Shared::new);
        let mut components: Vec<Box<dyn Component + 'a>> = Vec::new();
        if files {
            let files = Files::new(self.roots, executor.clone(), self.known).within(paths).by(way);
            components.push(Box::new(files.checking_late(self.checks_late).until(limit.clone())));
        }
        if databases && (self.databases.is_some() || !self.postgresql.is_empty()) {
            let (paths, postgresql) = (self.databases.unwrap_or_default(), self.postgresql);
            let places = Places { paths, first: self.roots.len(), postgresql };
            components.push(Box::new(Databases::new(places, executor.clone(), leave_obstacles)));
        }
        if let Some(knobs) = self.settings.filter(|_| settings) {
            components.push(Box::new(Settings::new(knobs, executor.clone(), leave_obstacles)));
        }
        if let Some(units) = self.services.filter(|_| services) {
            components.push(Box::new(Services::new(units, executor, leave_obstacles)));
        }
        if let Some(port) = self.tokens.filter(|_| tokens) {
            components.push(Box::new(Tokens::new(port, leave_obstacles)));
        }
        components
    }
}

/// What a capture gives.
#[derive(Debug)]
pub struct Captured {
    /// What was found.
    pub manifest: Manifest,
    /// Files that were not read, because they are known.
    pub recognised: u64,
}

/// Takes a checkpoint of everything. Its chunks are durable after [`Manifest::store`].
///
/// # Errors
///
/// - [`Error::Empty`]: there is nothing to capture
/// - else as [`Component::capture`]
pub fn capture(
    machine: Machine<'_>,
    chunks: &mut Chunks,
    number: u64,
    name: &str,
    time: Time,
) -> Result<Captured, Error> {
    let identity = machine.identity.to_vec();
    let (mut parts, mut recognised) = (Vec::new(), 0);
    for mut component in machine.components(false, &Limit::default()) {
        let part = component.capture(chunks)?;
        recognised += component.recognised();
        if !part.is_blank() {
            parts.push(part);
        }
    }
    if parts.iter().all(|part| part.entries() == 0) {
        return Err(Error::Empty);
    }
    let created = time.into();
    let version = manifest::version(&parts);
    let manifest = Manifest { version, number, name: name.into(), created, machine: identity, parts };
    Ok(Captured { manifest, recognised })
}

/// What a capture would find now; nothing is stored, and contents are only named. It has no number and no name.
///
/// # Errors
///
/// What reading gives.
pub fn observe(machine: Machine<'_>, chunks: &Chunks, time: Time) -> Result<Manifest, Error> {
    let identity = machine.identity.to_vec();
    let components = machine.components(false, &Limit::default());
    let parts = components
        .into_iter()
        .map(|mut component| component.observe(chunks))
        .collect::<Result<Vec<_>, _>>()?;
    let (created, version) = (time.into(), manifest::version(&parts));
    Ok(Manifest { version, number: 0, name: String::new(), created, machine: identity, parts })
}

/// Says what a restore would change, and checks every chunk that it would need. Changes nothing.
///
/// # Errors
///
/// As [`Restore::begin`].
pub fn plan<'a>(machine: Machine<'a>, manifest: Manifest, chunks: &'a Chunks) -> Result<Plan, Error> {
    Restore::begin(machine, manifest, chunks, true).map(|restore| restore.plan)
}

/// A restore under way, one call for each phase.
pub struct Restore<'a> {
    components: Vec<Box<dyn Component + 'a>>,
    manifest: Manifest,
    chunks: &'a Chunks,
    plan: Plan,
    phase: Phase,
    limit: Limit,
    phase_limit: Option<Duration>,
}

/// What a restore has come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The checkpoint is whole and the plan is made.
    Validated,
    /// Everything new is ready beside the old.
    Prepared,
    /// The new is in place.
    Executed,
    /// Everything was read again and is as in the checkpoint.
    Verified,
    /// Everything is as it was before.
    Undone,
    /// Nothing is left to do.
    Clean,
}

impl<'a> Restore<'a> {
    /// Validates a checkpoint and plans its restore. Changes nothing. What [`Machine::checks_late`] leaves for later is found in
    /// [`Restore::prepare`]. With `leave_obstacles` what cannot be
    /// restored, such as a token that may not be written, is left as it is; without it it makes `prepare` refuse.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`]: the checkpoint holds something that this machine lacks
    /// - [`Error::Store`], [`Error::Damaged`]: it is not whole
    /// - else what reading the present state gives
    pub fn begin(
        machine: Machine<'a>,
        manifest: Manifest,
        chunks: &'a Chunks,
        leave_obstacles: bool,
    ) -> Result<Self, Error> {
        let other_machine = manifest.machine != machine.identity;
        let scope = machine.scope.clone();
        let (limit, phase_limit) = (Limit::default(), machine.phase_limit);
        limit.begin("validate", phase_limit);
        let mut components = machine.components(leave_obstacles, &limit);
        for part in manifest.parts.iter().filter(|part| part.entries() > 0 && scope.has(part.component())) {
            if !components.iter().any(|component| component.name() == part.component()) {
                let name = part.component();
                return Err(Error::Refused(format!(
                    "the checkpoint holds {name}, which this machine lacks now"
                )));
            }
        }
        let mut differences = Vec::new();
        for component in &mut components {
            if let Some(part) = part(&manifest, component.name()) {
                differences.extend(component.plan(part, chunks)?);
            }
        }
        let in_place = components.iter().flat_map(|component| component.in_place()).collect();
        let services_before = components.iter().flat_map(|component| component.before()).collect();
        let plan = Plan { differences, other_machine, in_place, services_before };
        Ok(Self { components, manifest, chunks, plan, phase: Phase::Validated, limit, phase_limit })
    }

    /// What it changes.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What it has come to.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Makes everything new ready beside the old. After an error nothing is left of it.
    ///
    /// # Errors
    ///
    /// - [`Error::Store`], [`Error::Damaged`]: a chunk is not whole, where that was not checked before
    /// - [`Error::Refused`]: something cannot be restored
    /// - [`Error::Unfinished`]: an earlier restore is in the way
    /// - else what went wrong
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.expect(Phase::Validated)?;
        self.limit.begin("prepare", self.phase_limit);
        // Refusals that cost nothing come first: the tokens' before the files are staged.
        for component in self.components.iter_mut().rev() {
            if let Some(part) = part(&self.manifest, component.name())
                && let Err(error) = component.prepare(part, self.chunks)
            {
                if !matches!(error, Error::Unfinished(_)) {
                    self.each_back(|component| component.clean_up())?;
                }
                return Err(error);
            }
        }
        self.phase = Phase::Prepared;
        Ok(())
    }

    /// Puts the new in place. After an error everything was put back, unless the message says otherwise.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub fn execute(&mut self) -> Result<(), Error> {
        self.expect(Phase::Prepared)?;
        self.limit.begin("execute", self.phase_limit);
        for component in &mut self.components {
            if let Err(error) = self.limit.check().and_then(|()| component.execute()) {
                return match self.undo() {
                    Ok(()) => Err(error),
                    Err(worse) => {
                        Err(Error::Failed(format!("{error}; and then, while putting it back: {worse}")))
                    }
                };
            }
        }
        self.phase = Phase::Executed;
        Ok(())
    }

    /// Reads everything again and compares it with the checkpoint. After [`Error::Differs`] the caller decides: undo, or
    /// clean up and restore once more.
    ///
    /// # Errors
    ///
    /// - [`Error::Differs`]: something is not as in the checkpoint
    /// - else what reading gives
    pub fn verify(&mut self) -> Result<(), Error> {
        self.expect(Phase::Executed)?;
        self.limit.begin("verify", self.phase_limit);
        let mut differences = Vec::new();
        for component in &mut self.components {
            self.limit.check()?;
            if let Some(part) = part(&self.manifest, component.name()) {
                differences.extend(component.verify(part, self.chunks)?.iter().map(ToString::to_string));
            }
        }
        if !differences.is_empty() {
            return Err(Error::Differs(differences));
        }
        self.phase = Phase::Verified;
        Ok(())
    }

    /// Puts the old back. Can be repeated after an error.
    ///
    /// # Errors
    ///
    /// What went wrong; the rest was put back.
    pub fn undo(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Clean {
            return Err(Error::Invalid(
                "the restore is finished: restore an earlier checkpoint instead".into(),
            ));
        }
        self.limit.lift();
        let within = |last| {
            move |component: &mut dyn Component| {
                if component.is_undone_last() == last { component.undo() } else { Ok(()) }
            }
        };
        let first = self.each_back(within(false));
        first.and(self.each_back(within(true)))?;
        self.phase = Phase::Undone;
        Ok(())
    }

    /// Removes what only undoing needed. Can be repeated after an error.
    ///
    /// # Errors
    ///
    /// What is left over.
    pub fn clean_up(&mut self) -> Result<(), Error> {
        self.limit.lift();
        match self.phase {
            // Nothing of this restore is there; what lies there may be another's.
            Phase::Validated | Phase::Clean => return Ok(()),
            Phase::Prepared => self.undo()?,
            Phase::Executed | Phase::Verified | Phase::Undone => {}
        }
        self.each_back(|component| component.clean_up())?;
        self.phase = Phase::Clean;
        Ok(())
    }

    /// After the clean-up: what makes the restored files known to the next capture, and spares it reading them.
    ///
    /// # Errors
    ///
    /// What reading gives; nothing is known then, and everything will be read.
    pub fn remember(&mut self, now: Time) -> Result<Remembered, Error> {
        self.expect(Phase::Clean)?;
        let mut trees = Vec::new();
        for component in &mut self.components {
            if let Some(part) = part(&self.manifest, component.name()) {
                trees.extend(component.remember(part, self.chunks)?);
            }
        }
        Ok(Remembered::new(&self.manifest, now, trees))
    }

    fn expect(&self, phase: Phase) -> Result<(), Error> {
        if self.phase == phase {
            return Ok(());
        }
        Err(Error::Invalid(format!("the restore is {:?}, not {phase:?}", self.phase)))
    }

    /// On every component, last first; goes on after an error and then reports the first.
    fn each_back(&mut self, act: impl Fn(&mut dyn Component) -> Result<(), Error>) -> Result<(), Error> {
        let mut first = Ok(());
        for component in self.components.iter_mut().rev() {
            let result = act(component.as_mut());
            first = first.and(result);
        }
        first
    }
}

fn part<'m>(manifest: &'m Manifest, component: &str) -> Option<&'m Part> {
    manifest.parts.iter().find(|part| part.component() == component)
}

/// What the log kept of how things were, by component.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Before {
    /// Settings, by path.
    pub settings: Vec<(Vec<u8>, Vec<u8>)>,
    /// Services, by the unit's name.
    pub services: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Before {
    /// Told apart by their names: a path begins with a slash, and a unit's name never does.
    #[must_use]
    pub fn of(held: &[Held]) -> Self {
        let all = held.iter().map(|held| (held.path.0.clone(), held.value.clone()));
        let (settings, services) = all.partition(|(name, _)| name.starts_with(b"/"));
        Self { settings, services }
    }
}

/// How an interrupted restore was ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There was none, or it had changed nothing yet.
    Nothing,
    /// Files are what they were before it.
    PutBack,
    /// Every step had been done; files are as in the checkpoint.
    Finished,
}

/// Ends what a crash left of a restore so that it can begin anew: files go back to what they were, unless every step
/// was done, in which case they stay. Restore the same checkpoint afterwards; what is right already is left alone.
///
/// # Errors
///
/// What went wrong; can be repeated.
pub fn resume(executor: &mut dyn Executor, roots: u16) -> Result<Outcome, Error> {
    end(executor, roots, false)
}

/// Ends what a crash left of a restore: files go back to exactly what they were, unless it was already being cleaned up,
/// which is then done to the end. Tokens are the caller's, who has the plan: see [`crate::tokens::put_back`].
///
/// # Errors
///
/// What went wrong; can be repeated.
pub fn abandon(executor: &mut dyn Executor, roots: u16) -> Result<Outcome, Error> {
    end(executor, roots, true)
}

fn end(executor: &mut dyn Executor, roots: u16, back: bool) -> Result<Outcome, Error> {
    let progress: Vec<_> =
        (0..roots).map(|root| executor.perform(&Effect::Look { root })).collect::<Result<_, _>>()?;
    let any = |wanted| progress.contains(&wanted);
    let outcome = if any(Progress::Finished) {
        Outcome::Finished
    } else if any(Progress::Committed) || (back && any(Progress::Executed)) {
        Outcome::PutBack
    } else if any(Progress::Executed) {
        Outcome::Finished
    } else {
        Outcome::Nothing
    };
    // All go the same way before anything is removed, so that after a crash in between the next call goes it too.
    for root in 0..roots {
        match outcome {
            Outcome::Finished => executor.perform(&Effect::Finish { root })?,
            Outcome::PutBack | Outcome::Nothing => executor.perform(&Effect::Undo { root })?,
        };
    }
    (0..roots).try_for_each(|root| executor.perform(&Effect::Clean { root }).map(|_| ()))?;
    Ok(outcome)
}
