//! The repository's thread: chunks, checkpoints, the way to the restore helper.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use device::Device;
use engine::scope::FilePath;
use engine::{StepResult, Told};
use recovery::databases::postgresql::Address;
use recovery::diff::{Difference, diff};
use recovery::files::root::Root;
use recovery::helper::Client;
use recovery::manifest::Manifest;
use recovery::manifest::stored::{Stored, Unsigned};
use recovery::remembered::Remembered;
use recovery::restore::{self, Captured, Machine};
use recovery::services::units::Units;
use recovery::settings::knobs::Knobs;
use recovery::shelf::{Looked, Shelf};
use recovery::tokens::TokenPort;
use store::chunk::Chunks;
use tokio::sync::{Semaphore, SemaphorePermit};
use tpm::PublicKey;
use types::hash::Hash;

use super::{Done, Job, Look, Part, Phase, Task, prune, report, restoring};
use crate::config::Config;
use crate::effects::lock;

/// Tasks that may wait for the thread: exclusive work comes one at a time and always finds room.
const QUEUE_MAX: usize = 2 * QUESTIONS_MAX;
/// Questions that may wait for the thread: anybody asks them, and the phases of a restore wait behind them.
const QUESTIONS_MAX: usize = 8;

/// The way to the thread.
pub struct Repository {
    jobs: OnceLock<SyncSender<Job>>,
    /// What the thread gets once the key is there.
    locked: Mutex<Option<Locked>>,
    questions: Semaphore,
    /// What the log told last.
    told: Mutex<Arc<Told>>,
}

/// A repository whose key is not open.
struct Locked {
    chunks: PathBuf,
    parts: Parts,
    why: String,
}

/// What needs no key.
pub(super) struct Parts {
    pub(super) dir: PathBuf,
    pub(super) roots: Vec<Root>,
    pub(super) knobs: Knobs,
    pub(super) databases: Vec<PathBuf>,
    pub(super) units: Units,
    pub(super) postgresql: Vec<Address>,
    pub(super) device: Option<Arc<Device>>,
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) identity: Vec<String>,
    pub(super) phase_limit: Duration,
}

impl Repository {
    /// Puts together what needs no key. `keys`: the one that signs checkpoints, the one that did before it had a key of its own, and those of
    /// earlier TPMs.
    pub fn new(
        config: &Config,
        device: Option<Arc<Device>>,
        (now, before, retired): (PublicKey, PublicKey, Vec<PublicKey>),
        (roots, restore): (Vec<Root>, UnixStream),
    ) -> anyhow::Result<Self> {
        let parts = Parts {
            dir: config.state.join("checkpoints"),
            roots,
            knobs: config.checkpoint.knobs()?,
            databases: config.checkpoint.databases.clone(),
            units: config.checkpoint.units()?,
            postgresql: config.checkpoint.addresses()?,
            device,
            client: Client::new(restore),
            keys: Keys { now, others: [before].into_iter().chain(retired).collect() },
            identity: restore::identity(),
            phase_limit: Duration::from_secs(config.checkpoint.phase_s.into()),
        };
        let chunks = config.state.join("chunks");
        let locked = Locked { chunks, parts, why: "it was not opened yet".to_owned() };
        Ok(Self {
            jobs: OnceLock::new(),
            locked: Mutex::new(Some(locked)),
            questions: Semaphore::new(QUESTIONS_MAX),
            told: Mutex::default(),
        })
    }

    /// Opens it with this key and starts the thread; where the key is another repository's it stays as it is.
    pub fn unlock(&self, key: &[u8; 32]) -> anyhow::Result<()> {
        let mut locked = lock(&self.locked);
        let Some(Locked { chunks, .. }) = locked.as_ref() else { return Ok(()) };
        let chunks = Chunks::open(chunks, key)?;
        let Some(Locked { parts, .. }) = locked.take() else { return Ok(()) };
        let owner = Owner { chunks, parts, captured: None, told: Arc::default() };
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("repository".to_owned()).spawn(move || owner.serve(&queue))?;
        // It was locked until now, so nobody has set it.
        self.jobs.set(jobs).ok();
        Ok(())
    }

    /// Says why it does not open.
    pub fn stay_locked(&self, why: String) {
        if let Some(locked) = lock(&self.locked).as_mut() {
            locked.why = why;
        }
    }

    /// Why it does not open; none where it is open.
    pub fn locked(&self) -> Option<String> {
        lock(&self.locked).as_ref().map(|locked| locked.why.clone())
    }

    /// Takes in what the log tells of checkpoints.
    pub fn hear(&self, told: &Told) {
        *lock(&self.told) = Arc::new(told.clone());
    }

    /// What the log told last.
    pub(super) fn told(&self) -> Arc<Told> {
        Arc::clone(&lock(&self.told))
    }

    /// The right to ask a question, until the answer is there.
    pub(super) fn admit(&self, task: &Task) -> Result<Option<SemaphorePermit<'_>>, String> {
        match task {
            Task::Verify { .. }
            | Task::Show { .. }
            | Task::Plan { .. }
            | Task::Diff { .. }
            | Task::Survey(_) => {
                let busy = |_| "the repository has too much to do; try again later".to_owned();
                self.questions.try_acquire().map(Some).map_err(busy)
            }
            _ => Ok(None),
        }
    }

    /// Hands a job over.
    pub(super) fn send(&self, job: Job) -> Result<(), String> {
        let Some(jobs) = self.jobs.get() else {
            return Err(crate::effects::locked(&self.locked().unwrap_or_default()));
        };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => "the repository has too much to do; try again later".to_owned(),
            TrySendError::Disconnected(_) => {
                "the repository's thread has ended; dsmild must be started again".to_owned()
            }
        })
    }
}

/// What the thread owns.
pub(super) struct Owner {
    pub(super) chunks: Chunks,
    pub(super) parts: Parts,
    /// Captured, not yet signed.
    captured: Option<(u64, Unsigned)>,
    /// What the log tells of checkpoints.
    pub(super) told: Arc<Told>,
}

impl Owner {
    fn serve(mut self, jobs: &Receiver<Job>) {
        while let Ok(Job { task, told, answer }) = jobs.recv() {
            self.told = told;
            match task {
                Task::Validate { number, leave_denied, look, part } => {
                    restoring::restore(&mut self, (number, leave_denied), (look, part), answer, jobs);
                }
                task => drop(answer.send(self.perform(task))),
            }
        }
    }

    fn perform(&mut self, task: Task) -> Result<Done, String> {
        match task {
            Task::Capture { number, name, look } => self.capture(number, &name, look),
            Task::Digest { number } => self.digest(number),
            Task::Store { number, signature } => self.store(number, signature),
            Task::Verify { number } => self.reader().verify(number),
            Task::Show { number } => self.reader().show(number),
            Task::Plan { number, look, part } => self.plan(number, look, part),
            Task::Diff { from, to: Some(to), paths, .. } => self.reader().diff(from, to, &paths),
            Task::Diff { from, to: None, paths, look } => self.diff_now(from, &paths, look),
            Task::Delete { number } => self.delete(number),
            Task::Survey(going) => prune::survey(self.reader(), going),
            Task::RemoveAll { numbers } => Ok(prune::remove_all(&self.parts.dir, &numbers)),
            Task::Prune => {
                let wanted = prune::wanted(self.reader())?;
                prune::prune(&mut self.chunks, &wanted)
            }
            Task::Undo { writes, settings } => restoring::undo_after_crash(self, &writes, &settings),
            // Verified before a crash: what is in place stays, and what it replaced goes.
            Task::Phase(Phase::CleanUp) => restoring::clean_up_after_crash(self),
            Task::Validate { .. } | Task::Phase(_) => Err("no restore is under way".to_owned()),
        }
    }

    /// What reading checkpoints needs, also while a restore has borrowed the rest.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            chunks: &self.chunks,
            dir: self.parts.dir.as_path(),
            keys: &self.parts.keys,
            told: &self.told,
        }
    }

    fn capture(&mut self, number: u64, name: &str, look: Look) -> Result<Done, String> {
        let (before, remembered) = (self.reader().newest(), self.reader().remembered());
        let mut port = self.parts.device.as_deref();
        let machine = Machine {
            roots: &self.parts.roots,
            tokens: port.as_mut().map(|port| port as &mut dyn TokenPort),
            executor: Some(&mut self.parts.client),
            identity: &self.parts.identity,
            known: look.known(&before, &remembered),
            settings: Some(&self.parts.knobs),
            databases: Some(&self.parts.databases),
            services: Some(&self.parts.units),
            postgresql: &self.parts.postgresql,
            ..Machine::default()
        };
        let captured = restore::capture(machine, &mut self.chunks, number, name, look.time).map_err(text)?;
        let Captured { manifest, recognised } = captured;
        let unsigned = manifest.store(&mut self.chunks).map_err(text)?;
        let captured = report::captured(&manifest, recognised, &unsigned);
        self.captured = Some((number, unsigned));
        Ok(Done::Step(StepResult::Captured(captured)))
    }

    fn digest(&self, number: u64) -> Result<Done, String> {
        match &self.captured {
            Some((captured, unsigned)) if *captured == number => {
                Ok(Done::Digest(Hash(unsigned.statement.digest())))
            }
            _ => Err(format!("checkpoint {number} is not captured")),
        }
    }

    fn store(&mut self, number: u64, signature: Vec<u8>) -> Result<Done, String> {
        let captured = self.captured.take().filter(|(captured, _)| *captured == number);
        let (_, unsigned) = captured.ok_or_else(|| format!("checkpoint {number} is not captured"))?;
        let stored = unsigned.sign(signature, self.parts.keys.now.key_id().to_vec());
        store::manifest::put(&self.parts.dir, number, &stored.encode().map_err(text)?).map_err(text)?;
        // What is signed is read back and checked before anybody is told of it, and so before the log tells of it.
        let told = Told::from([(number, stored.statement.manifest)]);
        self.reader().held_against(&told).load(number)?;
        Ok(Done::Step(StepResult::Done))
    }

    fn plan(&mut self, number: u64, look: Look, part: Part) -> Result<Done, String> {
        let manifest = self.reader().load_wanted(number)?;
        let (before, wanted) = (self.reader().newest(), manifest.clone());
        let remembered = self.reader().remembered();
        let mut port = self.parts.device.as_deref();
        let machine = Machine {
            roots: &self.parts.roots,
            tokens: port.as_mut().map(|port| port as &mut dyn TokenPort),
            executor: Some(&mut self.parts.client),
            identity: &self.parts.identity,
            known: look.known(before.iter().chain([&wanted]), &remembered),
            scope: part.scope,
            way: part.way,
            checks_late: false,
            phase_limit: Some(self.parts.phase_limit),
            settings: Some(&self.parts.knobs),
            databases: Some(&self.parts.databases),
            services: Some(&self.parts.units),
            postgresql: &self.parts.postgresql,
        };
        let plan = restore::plan(machine, manifest, &self.chunks);
        let plan = plan.map_err(|error| self.reader().damaged(number, error))?;
        Ok(Done::Step(StepResult::Planned(plan.report(number))))
    }

    /// Looks at what is there now as a capture would, without storing anything.
    fn diff_now(&mut self, from: u64, paths: &[FilePath], look: Look) -> Result<Done, String> {
        let first = self.reader().load(from)?;
        let (before, remembered) = (self.reader().newest(), self.reader().remembered());
        let mut port = self.parts.device.as_deref();
        let machine = Machine {
            roots: &self.parts.roots,
            tokens: port.as_mut().map(|port| port as &mut dyn TokenPort),
            executor: Some(&mut self.parts.client),
            identity: &self.parts.identity,
            known: look.known(before.iter().chain([&first]), &remembered),
            settings: Some(&self.parts.knobs),
            databases: Some(&self.parts.databases),
            services: Some(&self.parts.units),
            postgresql: &self.parts.postgresql,
            ..Machine::default()
        };
        let now = restore::observe(machine, &self.chunks, look.time).map_err(text)?;
        Ok(compared((from, None), paths, &diff(&first, &now)))
    }

    /// Its chunks stay: others may need them.
    fn delete(&mut self, number: u64) -> Result<Done, String> {
        match store::manifest::remove(&self.parts.dir, number) {
            // Removed before a crash, or by an earlier try whose flush failed.
            Ok(()) | Err(store::Error::Absent { .. }) => Ok(Done::Step(StepResult::Done)),
            Err(error) => Err(text(error)),
        }
    }
}

fn compared(of: (u64, Option<u64>), paths: &[FilePath], differences: &[Difference]) -> Done {
    Done::Step(StepResult::Compared(report::diff(of, paths, differences)))
}

/// The keys that sign checkpoints.
pub(super) struct Keys {
    pub(super) now: PublicKey,
    /// The key of the log's heads, which signed them until they got a key of their own, and those of earlier TPMs.
    pub(super) others: Vec<PublicKey>,
}

impl Keys {
    fn all(&self) -> Vec<&PublicKey> {
        [&self.now].into_iter().chain(&self.others).collect()
    }
}

/// Reads checkpoints.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) chunks: &'a Chunks,
    pub(super) dir: &'a Path,
    keys: &'a Keys,
    pub(super) told: &'a Told,
}

impl<'a> Reader<'a> {
    /// Over borrowed parts.
    pub(super) const fn new(chunks: &'a Chunks, dir: &'a Path, keys: &'a Keys, told: &'a Told) -> Self {
        Self { chunks, dir, keys, told }
    }

    /// The same with what the log tells now.
    pub(super) const fn held_against<'b>(self, told: &'b Told) -> Reader<'b>
    where
        'a: 'b,
    {
        Reader { told, ..self }
    }

    fn shelf(&self) -> Shelf<'a> {
        Shelf { dir: self.dir, chunks: self.chunks, told: self.told, signers: self.keys.all() }
    }

    /// One of which the log may tell nothing: what it needs is needed all the same, until somebody deletes it.
    pub(super) fn present(&self, number: u64) -> Result<Stored, String> {
        let shelf = self.shelf();
        if self.told.contains_key(&number) { shelf.stored(number) } else { shelf.signed(number) }
            .map_err(text)
    }

    /// The manifest, once it is found to be what was signed and what the log tells of.
    pub(super) fn load(&self, number: u64) -> Result<Manifest, String> {
        self.shelf().manifest(number).map_err(text)
    }

    /// The same for who asked for just this one, and is told what else there is.
    pub(super) fn load_wanted(&self, number: u64) -> Result<Manifest, String> {
        self.shelf().manifest(number).map_err(|error| self.damaged(number, error))
    }

    /// What went wrong; and where the checkpoint is damaged, what can still be restored.
    pub(super) fn damaged(&self, number: u64, error: recovery::Error) -> String {
        if error.is_damage() {
            let remains = self.shelf().remains(number);
            return format!("{}; {remains}", text(error));
        }
        text(error)
    }

    /// The newest checkpoint that can be read: most files are as it says. Where there is none everything is read.
    pub(super) fn newest(&self) -> Option<Manifest> {
        let numbers = store::manifest::list(self.dir).unwrap_or_default();
        numbers.into_iter().max().and_then(|number| self.load(number).ok())
    }

    /// How files looked after the last restore, and the checkpoint that was restored.
    pub(super) fn remembered(&self) -> Option<(Manifest, Remembered)> {
        let remembered = Remembered::kept(self.dir, self.chunks)?;
        Some((self.load(remembered.number()).ok()?, remembered))
    }

    /// Keeps how files look now.
    pub(super) fn remember(&self, remembered: &Remembered) -> Result<(), recovery::Error> {
        remembered.keep(self.dir, self.chunks)
    }

    /// Answers what needs no more than reading.
    pub(super) fn answer(&self, task: &Task) -> Option<Result<Done, String>> {
        match task {
            Task::Verify { number } => Some(self.verify(*number)),
            Task::Show { number } => Some(self.show(*number)),
            Task::Diff { from, to: Some(to), paths, .. } => Some(self.diff(*from, *to, paths)),
            Task::Survey(going) => Some(prune::survey(*self, going.clone())),
            _ => None,
        }
    }

    fn verify(&self, number: u64) -> Result<Done, String> {
        let shelf = self.shelf();
        let read = || {
            let stored = shelf.stored(number)?;
            let manifest = stored.manifest(self.chunks)?;
            Ok((stored, manifest))
        };
        let (stored, manifest) = read().map_err(|error| self.damaged(number, error))?;
        if !shelf.damage(&manifest, &mut Looked::default()).is_empty() {
            return Err(shelf.remains(number).to_string());
        }
        let key = shelf.signer(&stored).map(PublicKey::key_id).unwrap_or_default();
        Ok(Done::Step(StepResult::Verified(report::verified(number, &manifest, &key))))
    }

    fn diff(&self, from: u64, to: u64, paths: &[FilePath]) -> Result<Done, String> {
        let differences = diff(&self.load(from)?, &self.load(to)?);
        Ok(compared((from, Some(to)), paths, &differences))
    }

    fn show(&self, number: u64) -> Result<Done, String> {
        let stored = self.shelf().stored(number).map_err(text)?;
        let manifest = stored.manifest(self.chunks).map_err(text)?;
        Ok(Done::Show(stored.statement.to_string(), report::entries(&manifest)))
    }
}

/// An error with its causes, for people.
pub(super) fn text(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
