//! A restore without the daemon: from a recovery shell, with this program alone.
//!
//! The engine decides here as it does in the daemon, and every point that it reaches is a fact before the next step is done. So the log tells of a restore
//! without the daemon what it tells of any other, an interrupted one is taken up by whoever comes next, and there is one account of how a restore goes.
//! What is missing is the gate: who runs this is root on a machine whose daemon does not run, and has the repository's key.
//!
//! # Layout
//!
//! - this file: a restore, from what is asked to its end
//! - [`journal`]: the log, or what stands in for one that cannot be used
//! - `acting`: the steps of a work

mod acting;
pub mod journal;

use std::path::PathBuf;

use device::{Device, Patience};
use engine::reply::{Answer, Body, PlanReport};
use engine::scope::FilePath;
use engine::{Command, Event, Fact, Order, Progress, RequestId, Told, Which};
use store::chunk::Chunks;
use tpm::PublicKey;
use types::peer::Peer;

use crate::Error;
use crate::manifest::Manifest;
use crate::manifest::stored::Stored;
use crate::restore::{self, Machine, Scope};
use crate::services::units::Units;
use crate::shelf::{Remains, Shelf};
use crate::tokens::TokenPort;
use acting::Acting;
use journal::Journal;

/// What is restored from.
pub struct Source {
    /// The folder of checkpoints.
    pub dir: PathBuf,
    /// The chunks.
    pub chunks: Chunks,
    /// Keys of which one must have signed; none where signatures are not checked.
    pub signers: Vec<PublicKey>,
    /// The token device, where the module is loaded.
    pub device: Option<Device>,
}

impl Source {
    /// The kernel's device, if it is there; it waits for the firmware's turn as the daemon does.
    #[must_use]
    pub fn device(path: &std::path::Path) -> Option<Device> {
        Device::open(path).ok().map(|device| device.with_patience(Patience::USUAL))
    }

    /// A checkpoint, as far as that is seen without its chunks: signed, and the one of which the log tells.
    ///
    /// # Errors
    ///
    /// - [`Error::Store`]: there is none, or it is damaged
    /// - [`Error::Damaged`]: it is another one
    pub fn stored(&self, number: u64, journal: &Journal) -> Result<Stored, Error> {
        self.shelf(&journal.state().told()).stored(number)
    }

    /// What can be brought back instead of a checkpoint that is damaged; all of them are read.
    #[must_use]
    pub fn remains(&self, number: u64, journal: &Journal) -> Remains {
        self.shelf(&journal.state().told()).remains(number)
    }

    fn shelf<'a>(&'a self, told: &'a Told) -> Shelf<'a> {
        Shelf { dir: &self.dir, chunks: &self.chunks, told, signers: self.signers.iter().collect() }
    }

    fn manifest(&self, number: u64, journal: &Journal) -> Result<Manifest, Error> {
        self.stored(number, journal)?.manifest(&self.chunks)
    }
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Of what it is.
    pub scope: Scope,
    /// Leave tokens that may not be written.
    pub leave_denied: bool,
    /// Read every file.
    pub paranoid: bool,
    /// Exchange no folder for a whole new one.
    pub in_place: bool,
}

/// How a restore ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Ending {
    /// As asked.
    Restored(PlanReport),
    /// Not: why, and what became of it.
    Failed {
        /// In words.
        reason: String,
        /// Because the checkpoint is damaged: an earlier one may not be.
        damaged: bool,
    },
}

/// The checkpoint of this name or number of which the log tells.
#[must_use]
pub fn find(journal: &Journal, which: &str) -> Option<u64> {
    let which = which.parse().map_or_else(|_| Which::Name(which.to_owned()), Which::Number);
    journal.state().checkpoint(&which).map(|checkpoint| checkpoint.number)
}

/// All checkpoints of which the log tells, the newest first.
#[must_use]
pub fn newest_first(journal: &Journal) -> Vec<u64> {
    journal.state().checkpoints.keys().rev().copied().collect()
}

/// What a restore would change. Nothing is recorded.
///
/// # Errors
///
/// As [`crate::restore::plan`].
pub fn plan(journal: &Journal, source: &Source, number: u64, asked: &Asked) -> Result<PlanReport, Error> {
    let manifest = source.manifest(number, journal)?;
    let roots = acting::roots(&manifest)?;
    let (newest, identity) = (acting::newest(source, journal), restore::identity());
    let mut port = source.device.as_ref();
    let places = acting::Places::of(&manifest);
    let mut worker = places.worker(&manifest)?;
    let machine = Machine {
        roots: &roots,
        tokens: port.as_mut().map(|port| port as &mut dyn TokenPort),
        executor: Some(&mut worker),
        identity: &identity,
        known: acting::known(asked.paranoid, journal.now(), newest.iter().chain([&manifest])),
        scope: places.within(asked.scope.clone()),
        way: acting::way(asked.in_place),
        checks_late: false,
        phase_limit: None,
        settings: Some(&places.knobs),
        databases: Some(&places.databases),
        services: Some(&places.units),
        postgresql: &places.postgresql,
    };
    let plan = restore::plan(machine, manifest.clone(), &source.chunks)?;
    Ok(plan.report(number))
}

/// Whether a restore leaves the services of a checkpoint as they are, because systemd does not run here. Of one that cannot be read
/// the restore tells.
#[must_use]
pub fn leaves_services(journal: &Journal, source: &Source, number: u64, asked: &Asked) -> bool {
    asked.scope.services
        && !Units::default().is_there()
        && source.manifest(number, journal).is_ok_and(|manifest| !manifest.services().0.is_empty())
}

/// Ends or takes up what was under way when the daemon, or an earlier run of this, came to its end; then restores.
///
/// # Errors
///
/// Something could not be recorded; what was under way then is found in the log by the next run, and by the daemon.
pub fn bring_back(
    journal: &mut Journal,
    source: &Source,
    number: u64,
    asked: &Asked,
) -> Result<Ending, Error> {
    let command = command(number, asked);
    let works: Vec<_> = journal.state().works.values().cloned().collect();
    for work in works {
        let is_same = is_same(&work.order, number, &command);
        let fact = match (&work.order, &work.progress) {
            // What takes its place must not find the half of it.
            (Order::Restore { .. }, Some(progress))
                if (!is_same && !is_ending(progress)) || matches!(progress, Progress::Awaiting { .. }) =>
            {
                Fact::Progressed {
                    work: work.number,
                    progress: Progress::Undoing {
                        reason: format!("checkpoint {number} is restored instead"),
                    },
                }
            }
            _ => engine::decide::resume(&work, journal.now()),
        };
        let effect = journal.record(vec![fact], true)?;
        let ending = Acting::carry_out(journal, source, effect)?;
        // One that went back, for whatever reason, was asked for anew.
        if let (true, Some(restored @ Ending::Restored(_))) = (is_same, ending) {
            return Ok(restored);
        }
    }
    let event = Event::Asked { request: request()?, peer: this_process(), command };
    let (effect, replies) = journal.decide(event)?;
    if let Some(Body::Refused(refusal)) = replies.into_iter().next().map(|reply| reply.body) {
        return Ok(Ending::Failed { reason: refusal.to_string(), damaged: false });
    }
    let ending = Acting::carry_out(journal, source, effect)?;
    Ok(ending.unwrap_or_else(|| Ending::Failed { reason: "it came to no end".to_owned(), damaged: false }))
}

/// Works that were under way, in words.
#[must_use]
pub fn interrupted(journal: &Journal) -> Vec<String> {
    let works = journal.state().works.values();
    works.map(|work| format!("“{}” (work {})", work.order.title(), work.number)).collect()
}

/// Whether tokens were being written: only the device can bring them back.
#[must_use]
pub fn was_writing_tokens(journal: &Journal) -> bool {
    journal.state().works.values().any(|work| {
        let writes = |order: &Order| matches!(order, Order::WriteTokens { .. });
        writes(&work.order) && work.progress.is_some()
    })
}

const fn is_ending(progress: &Progress) -> bool {
    matches!(progress, Progress::Undoing { .. } | Progress::Verified | Progress::Answered { .. })
}

fn is_same(order: &Order, wanted: u64, command: &Command) -> bool {
    match (order, command) {
        (
            Order::Restore { number, leave_denied: leaves, scope: of, in_place: stays, .. },
            Command::Restore { leave_denied, scope, in_place, .. },
        ) => *number == wanted && leaves == leave_denied && of == scope && stays == in_place,
        _ => false,
    }
}

fn command(number: u64, asked: &Asked) -> Command {
    let scope = &asked.scope;
    let scope = (*scope != Scope::default()).then(|| engine::scope::Scope {
        files: scope.files,
        tokens: scope.tokens,
        paths: scope.paths.iter().cloned().map(FilePath).collect(),
        settings: scope.settings,
        databases: scope.databases,
        services: scope.services,
    });
    let Asked { leave_denied, paranoid, in_place, .. } = *asked;
    Command::Restore {
        which: Which::Number(number),
        leave_denied,
        paranoid,
        scope,
        in_place,
        confirm_s: None,
    }
}

fn request() -> Result<RequestId, Error> {
    use std::io::Read as _;
    let path = "/dev/urandom";
    let mut id = RequestId([0; 16]);
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut id.0));
    read.map_err(|error| Error::io("read", path.as_bytes(), error))?;
    Ok(id)
}

fn this_process() -> Peer {
    use nix::unistd::{getgid, getpid, getuid};
    Peer { pid: getpid().as_raw(), uid: getuid().as_raw(), gid: getgid().as_raw() }
}

/// The end that a reply tells of, if it does.
fn ending(body: Body, damaged: bool) -> Option<Ending> {
    match body {
        Body::Done(Answer::Restored(report)) => Some(Ending::Restored(report)),
        Body::Refused(refusal) => Some(Ending::Failed { reason: refusal.to_string(), damaged }),
        Body::Progress(_) | Body::Begun(_) | Body::Done(_) => None,
    }
}

#[cfg(test)]
mod tests;
