//! Effects on checkpoints. One thread owns the repository: a restore borrows it from one phase to the next.

mod prune;
mod report;
mod repository;
mod restoring;

use std::sync::Arc;

use engine::order::Write;
use engine::retention::Going;
use engine::scope::{FilePath, Held};
use engine::{StepResult, Told};
use policy::Permit;
use recovery::files::known::Known;
use recovery::manifest::Manifest;
use recovery::remembered::Remembered;
use recovery::restore::Scope;
use recovery::worker::effect::Way;
use tokio::sync::oneshot;
use types::hash::Hash;
use types::time::Time;

pub use repository::Repository;

use super::{World, key_id};
use crate::run::failed;

/// What the repository's thread is asked for.
pub(super) enum Task {
    /// Read everything and store it.
    Capture { number: u64, name: String, look: Look },
    /// The digest of a captured checkpoint's statement.
    Digest { number: u64 },
    /// Store a captured checkpoint with the signature over its statement.
    Store { number: u64, signature: Vec<u8> },
    /// Check signature, manifest and every chunk.
    Verify { number: u64 },
    /// The statement and the entries.
    Show { number: u64 },
    /// What a restore would change.
    Plan { number: u64, look: Look, part: Part },
    /// What differs between two checkpoints, or one and what is there now.
    Diff { from: u64, to: Option<u64>, paths: Vec<FilePath>, look: Look },
    /// Remove a checkpoint.
    Delete { number: u64 },
    /// What checkpoints need on the disk.
    Survey(Going),
    /// Remove several.
    RemoveAll { numbers: Vec<u64> },
    /// Remove the chunks that none needs.
    Prune,
    /// Begin a restore.
    Validate { number: u64, leave_denied: bool, look: Look, part: Part },
    /// A phase of the restore that is under way.
    Phase(Phase),
    /// End a restore: bring everything back.
    Undo { writes: Vec<Write>, settings: Vec<Held> },
}

/// How the present state is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// When.
    time: Time,
    /// Everything is read, and nothing recognised as unchanged.
    paranoid: bool,
}

impl Look {
    /// What need not be read, because these checkpoints know it, or it was found to be as one of them after it was restored.
    fn known<'a>(
        self,
        manifests: impl IntoIterator<Item = &'a Manifest>,
        remembered: &'a Option<(Manifest, Remembered)>,
    ) -> Known<'a> {
        if self.paranoid {
            return Known::default();
        }
        let remembered = remembered.as_ref().map(|(manifest, remembered)| (manifest, remembered));
        Known::at(self.time, manifests).and(self.time, remembered)
    }
}

/// Of what a restore is, and how.
pub(super) struct Part {
    scope: Scope,
    way: Way,
}

/// The same in the words of recovery.
fn part((scope, in_place): (Option<engine::scope::Scope>, bool)) -> Part {
    let scope = scope.map_or_else(Scope::default, |scope| Scope {
        files: scope.files,
        tokens: scope.tokens,
        paths: scope.paths.into_iter().map(|path| path.0).collect(),
        settings: scope.settings,
        databases: scope.databases,
        services: scope.services,
    });
    Part { scope, way: if in_place { Way::InPlace } else { Way::Exchange } }
}

/// The phases that follow the beginning.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Prepare,
    Execute,
    Verify,
    CleanUp,
}

/// What the thread answers.
pub(super) enum Done {
    /// A step of a work.
    Step(StepResult),
    /// To [`Task::Digest`].
    Digest(Hash),
    /// To [`Task::Show`].
    Show(String, Vec<String>),
}

/// A task and who waits for it.
pub(super) struct Job {
    pub(super) task: Task,
    /// What the log tells of checkpoints.
    pub(super) told: Arc<Told>,
    pub(super) answer: oneshot::Sender<Result<Done, String>>,
}

impl World {
    async fn ask(&self, task: Task) -> Result<Done, String> {
        self.ask_of(task, self.repository.told()).await
    }

    async fn ask_of(&self, task: Task, told: Arc<Told>) -> Result<Done, String> {
        let _turn = self.repository.admit(&task)?;
        let (answer, done) = oneshot::channel();
        self.repository.send(Job { task, told, answer })?;
        done.await
            .map_err(|_| "the repository's thread has ended; dsmild must be started again".to_owned())?
    }

    async fn step(&self, task: Task) -> StepResult {
        match self.ask(task).await {
            Ok(Done::Step(result)) => result,
            Ok(_) => failed(&"the repository answered another question"),
            Err(reason) => failed(&reason),
        }
    }

    /// A checkpoint's statement and its entries, one line each.
    pub async fn show(&self, number: u64, manifest: Hash) -> Result<(String, Vec<String>), String> {
        // No effect went before a question, so it brings with it what the log tells.
        let told = Arc::new(Told::from([(number, manifest)]));
        match self.ask_of(Task::Show { number }, told).await? {
            Done::Show(statement, entries) => Ok((statement, entries)),
            _ => Err("the repository answered another question".to_owned()),
        }
    }

    fn look(&self, paranoid: bool) -> Look {
        Look { time: self.clock.now(), paranoid }
    }

    pub(super) async fn capture(
        &self,
        (number, name): (u64, String),
        paranoid: bool,
        _permit: Permit,
    ) -> StepResult {
        self.step(Task::Capture { number, name, look: self.look(paranoid) }).await
    }

    pub(super) async fn sign(&self, number: u64, _permit: Permit) -> StepResult {
        let digest = match self.ask(Task::Digest { number }).await {
            Ok(Done::Digest(digest)) => digest,
            Ok(_) => return failed(&"the repository answered another question"),
            Err(reason) => return failed(&reason),
        };
        let signature = match self.tpm.sign(digest).await {
            Ok(signature) => signature.der().to_vec(),
            Err(error) => return failed(&format!("the TPM did not sign the checkpoint: {error}")),
        };
        match self.step(Task::Store { number, signature }).await {
            StepResult::Done => StepResult::Signed { key: key_id(self.tpm.general_key()) },
            other => other,
        }
    }

    pub(super) async fn verify(&self, number: u64, _permit: Permit) -> StepResult {
        self.step(Task::Verify { number }).await
    }

    pub(super) async fn plan(
        &self,
        number: u64,
        paranoid: bool,
        of: (Option<engine::scope::Scope>, bool),
        _permit: Permit,
    ) -> StepResult {
        self.step(Task::Plan { number, look: self.look(paranoid), part: part(of) }).await
    }

    pub(super) async fn diff(
        &self,
        (from, to): (u64, Option<u64>),
        paths: Vec<FilePath>,
        paranoid: bool,
        _permit: Permit,
    ) -> StepResult {
        self.step(Task::Diff { from, to, paths, look: self.look(paranoid) }).await
    }

    pub(super) async fn delete(&self, number: u64, _permit: Permit) -> StepResult {
        self.step(Task::Delete { number }).await
    }

    pub(super) async fn survey(&self, going: Going, _permit: Permit) -> StepResult {
        self.step(Task::Survey(going)).await
    }

    pub(super) async fn remove_all(&self, numbers: Vec<u64>, _permit: Permit) -> StepResult {
        self.step(Task::RemoveAll { numbers }).await
    }

    pub(super) async fn prune(&self, _permit: Permit) -> StepResult {
        self.step(Task::Prune).await
    }

    pub(super) async fn validate(
        &self,
        (number, leave_denied): (u64, bool),
        paranoid: bool,
        of: (Option<engine::scope::Scope>, bool),
        _permit: Permit,
    ) -> StepResult {
        let look = self.look(paranoid);
        self.step(Task::Validate { number, leave_denied, look, part: part(of) }).await
    }

    pub(super) async fn prepare(&self, _permit: Permit) -> StepResult {
        self.step(Task::Phase(Phase::Prepare)).await
    }

    pub(super) async fn execute(&self, _permit: Permit) -> StepResult {
        self.step(Task::Phase(Phase::Execute)).await
    }

    pub(super) async fn verify_restored(&self, _permit: Permit) -> StepResult {
        self.step(Task::Phase(Phase::Verify)).await
    }

    pub(super) async fn clean_up(&self, _permit: Permit) -> StepResult {
        self.step(Task::Phase(Phase::CleanUp)).await
    }

    pub(super) async fn undo_restore(
        &self,
        writes: Vec<Write>,
        settings: Vec<Held>,
        _permit: Permit,
    ) -> StepResult {
        self.step(Task::Undo { writes, settings }).await
    }
}
