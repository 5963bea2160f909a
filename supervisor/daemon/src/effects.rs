//! Effects act on the world: one match, and each arm consumes a permit.
//!
//! - [`agents`]: agents' processes
//! - [`tokens`]: the kernel device
//! - [`checkpoint`]: capture, sign, verify, plan, restore
//! - [`chip`]: what is told of the TPM
//! - [`vault`]: sealing under a signed policy, and the repository's key; [`told`]: what is told of it
//! - [`beside`]: what must not reach a fact

pub mod agents;
mod beside;
mod checkpoint;
mod chip;
mod tokens;
mod told;
pub mod vault;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use api::wire;
use device::{Backend, Device, Pending};
use engine::reply::Refusal;
use engine::{Effect, RequestId, Standing, Step, StepResult};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use policy::{Denial, Permit, Rules};
use recovery::files::root::Root;
use types::token::{Token, TokenId};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::Config;
use crate::keys::Found;
use crate::run::failed;
use crate::sources::{self, Probes};

/// What effects act with. Shared by all of them; each part has its own lock.
pub struct World {
    config: Config,
    rules: Rules,
    names: BTreeMap<TokenId, String>,
    device: Option<Arc<Device>>,
    tokens: Vec<Token>,
    tpm: tpm::Handle,
    offers: chip::Offers,
    probes: Option<Probes>,
    missing: Vec<String>,
    /// Writes that the kernel undoes unless they are confirmed, by work.
    pending: Mutex<HashMap<u64, Pending>>,
    repository: checkpoint::Repository,
    /// The repository's key, once it is open.
    key: Mutex<Option<Zeroizing<[u8; 32]>>>,
    beside: beside::Beside,
    /// Agents' processes.
    agents: Option<agents::Agents>,
    /// Our end of the restore helper's socket, to see whether it is there.
    helper: UnixStream,
    clock: Clock,
}

impl World {
    /// Puts the opened parts together.
    pub fn new(
        config: Config,
        device: Option<(Device, Vec<Token>)>,
        tpm: tpm::Handle,
        (key, retired): (Found, Vec<tpm::PublicKey>),
        probes: Option<Probes>,
        restore: (Vec<Root>, UnixStream),
        (missing, clock, agents): (Vec<String>, Clock, Option<agents::Agents>),
    ) -> anyhow::Result<Self> {
        let (device, tokens) =
            device.map_or_else(Default::default, |(device, tokens)| (Some(Arc::new(device)), tokens));
        let helper = restore.1.try_clone().context("keeping an eye on the restore helper")?;
        let repository = checkpoint::Repository::new(
            &config,
            device.clone(),
            (*tpm.general_key(), *tpm.head_key(), retired),
            restore,
        )?;
        let key = match key {
            Found::Open(key) => {
                repository.unlock(&key)?;
                Some(key)
            }
            Found::Locked(why) => {
                repository.stay_locked(why);
                None
            }
        };
        Ok(Self {
            rules: config.rules()?,
            names: config.names()?,
            config,
            device,
            tokens,
            tpm,
            offers: chip::Offers::default(),
            probes,
            missing,
            pending: Mutex::new(HashMap::new()),
            repository,
            key: Mutex::new(key),
            beside: beside::Beside::default(),
            agents,
            helper,
            clock,
        })
    }

    /// The rules in force.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Performs one effect. The grant is looked at now, not when the order came.
    pub async fn perform(&self, effect: Effect, now_ns: i64) -> StepResult {
        match self.redeem(&effect, now_ns) {
            Ok(permit) => self.act(effect.work, effect.request, effect.step, permit).await,
            Err(denial) => failed(&format!("denied: {denial}")),
        }
    }

    fn redeem(&self, effect: &Effect, now_ns: i64) -> Result<Permit, Denial> {
        let grant = policy::Grant::from(&effect.grant);
        // An order that cannot be encoded has no grant.
        let order = effect.order.hash().map_err(|_| Denial::OtherOrder)?;
        match effect.standing() {
            Standing::Beginning => policy::redeem(&self.rules, &grant, order, now_ns),
            Standing::GoingOn => policy::redeem_next(&self.rules, &grant, order),
            Standing::Ending => policy::redeem_undo(&grant, order),
        }
    }

    async fn act(&self, work: u64, request: RequestId, step: Step, permit: Permit) -> StepResult {
        match step {
            Step::Read(items) => self.read(items, permit).await,
            Step::ReadBefore(items) => self.read_before(items, permit).await,
            Step::Write { writes, before } => self.write(work, writes, before, permit).await,
            Step::Confirm => self.confirm(work, permit).await,
            Step::UndoWrite { writes, before } => self.undo_write(work, writes, before, permit).await,
            Step::Capture { number, name, paranoid } => self.capture((number, name), paranoid, permit).await,
            Step::Sign { number } => self.sign(number, permit).await,
            Step::Verify { number } => self.verify(number, permit).await,
            Step::Plan { number, paranoid, scope, in_place } => {
                self.plan(number, paranoid, (scope, in_place), permit).await
            }
            Step::Diff { from, to, paths, paranoid } => self.diff((from, to), paths, paranoid, permit).await,
            Step::Delete { number, .. } => self.delete(number, permit).await,
            Step::Survey(going) => self.survey(going, permit).await,
            Step::RemoveAll { numbers } => self.remove_all(numbers, permit).await,
            Step::Prune => self.prune(permit).await,
            Step::Validate { number, leave_denied, paranoid, scope, in_place } => {
                self.validate((number, leave_denied), paranoid, (scope, in_place), permit).await
            }
            Step::Prepare { .. } => self.prepare(permit).await,
            Step::Execute => self.execute(permit).await,
            Step::VerifyRestored => self.verify_restored(permit).await,
            Step::CleanUp => self.clean_up(permit).await,
            Step::UndoRestore { writes, settings } => self.undo_restore(writes, settings, permit).await,
            Step::Seal => self.seal(request, permit).await,
            Step::Unseal { blob } => self.unseal(request, blob, permit).await,
            Step::Vault(change) => self.change_vault(request, change, permit).await,
        }
    }

    /// Takes in what the log tells, before any effect that follows from it; in the log's order.
    pub fn hear(&self, effect: &Effect) {
        if let Some(told) = &effect.told {
            self.repository.hear(told);
        }
    }

    /// Whether the restore helper is gone. Known at the latest when a step fails because of it.
    pub fn helper_has_ended(&self) -> bool {
        // Nothing is waited for: hanging up is told without being asked for.
        let mut ends = [PollFd::new(self.helper.as_fd(), PollFlags::empty())];
        matches!(poll(&mut ends, PollTimeout::ZERO), Ok(1))
    }

    /// Agents' processes, where there may be any.
    pub const fn agents(&self) -> Option<&agents::Agents> {
        self.agents.as_ref()
    }

    /// What goes beside the engine.
    pub const fn beside(&self) -> &beside::Beside {
        &self.beside
    }

    /// The TPM.
    pub const fn tpm(&self) -> &tpm::Handle {
        &self.tpm
    }

    /// What every reply rests on.
    pub fn behind(&self) -> wire::Behind {
        let info = self.device.as_ref().and_then(|device| device.info().ok());
        wire::Behind {
            firmware: info.as_ref().map_or("none", |info| backend(info.backend)).to_owned(),
            // A key without a chip emulates nothing; it is one of what is missing.
            emulated: info.is_some_and(|info| info.hypervisor)
                || (self.tpm.identity().is_software() && !self.tpm.is_without_chip()),
            missing: self
                .missing
                .iter()
                .cloned()
                .chain(self.repository.locked().map(|why| locked(&why)))
                .collect(),
            facts: None,
        }
    }

    /// The firmware's table with names.
    pub fn tokens(&self) -> Result<Vec<wire::Token>, Refusal> {
        if self.device.is_none() {
            return Err(Refusal::Failed(
                "the kernel device is not there, so no token can be listed".to_owned(),
            ));
        }
        Ok(self.tokens.iter().map(|token| self.token(token)).collect())
    }

    fn token(&self, token: &Token) -> wire::Token {
        wire::Token {
            id: token.id.to_string(),
            location: token.location,
            table_value: token.table_value,
            device: token.id.device().map(|position| position.to_string()),
            name: self.names.get(&token.id).cloned(),
            writable: token.writable,
            denied: token.denied.map(|denied| denied.to_string()),
            shared: token.shares_location,
        }
    }

    /// Fills in what effects know of the machine.
    pub fn describe(&self, status: &mut wire::Status) {
        status.machine = recovery::restore::machine();
        status.device =
            self.device.as_ref().and_then(|device| device.info().ok()).map(|info| wire::DeviceStatus {
                tokens: info.tokens,
                devices: info.devices,
                writable: info.writable,
                sealed: info.sealed,
            });
        let identity = self.tpm.identity();
        status.tpm = Some(wire::TpmStatus {
            manufacturer: identity.manufacturer.clone(),
            // Chips pad their four words with blanks.
            vendor: identity.vendor.split_whitespace().collect::<Vec<_>>().join(" "),
            firmware: format!("{:x}", identity.firmware),
            key: key_id(self.tpm.head_key()),
            signatures: self.tpm.counters().signatures(),
        });
        let scheduler = self.probes.as_ref().and_then(|probes| sources::lock(probes).scheduler().ok());
        status.scheduler = scheduler
            .unwrap_or_default()
            .cpus
            .iter()
            .zip(0..)
            .filter(|(histogram, _)| histogram.count() > 0)
            .map(|(histogram, cpu)| wire::CpuLatency {
                cpu,
                count: histogram.count(),
                p50_us: histogram.percentile_us(50),
                p99_us: histogram.percentile_us(99),
            })
            .collect();
    }
}

/// What is missing while the repository's key does not open.
pub fn locked(why: &str) -> String {
    format!("checkpoints: the repository is locked: {why}")
}

/// The firmware's back end in a word.
const fn backend(backend: Backend) -> &'static str {
    match backend {
        Backend::Wmi => "wmi",
        Backend::Smm => "smm",
        Backend::None => "none",
        Backend::Other(_) => "unknown",
    }
}

/// The short id of a key.
fn key_id(key: &tpm::PublicKey) -> String {
    key.key_id().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A lock that a panic elsewhere does not take away: each part is whole between two calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks aside, and turns its error into the step's.
async fn blocking<F>(work: F) -> StepResult
where
    F: FnOnce() -> Result<StepResult, String> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(result)) => result,
        Ok(Err(reason)) => failed(&reason),
        Err(error) => failed(&error),
    }
}
