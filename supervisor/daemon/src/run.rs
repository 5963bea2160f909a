//! Decide, append, evolve, act.
//!
//! One task owns the state. It takes what has come in, decides and folds in memory, and queues all facts for the log's
//! thread ([`crate::journal`]), which appends them with one flush and only then lets anything out: replies, effects,
//! answers to queries ([`outlet`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::bail;
use api::server::{Incoming, Payload};
use api::wire::{self, Facts, Response, convert};
use engine::reply::{Body, Refusal};
use engine::state::Work;
use engine::{Command, Decision, Event, Fact, Input, Outcome, Record, RequestId, State, StepResult};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::peer::Peer;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::effects::World;
use crate::effects::agents::Called;
use crate::journal::{self, Batch, Journal, Replayed};
use crate::open::Opened;
use crate::{effects, keys, query, sources, unrecorded};

mod call;
mod herd;
mod outlet;

use call::Asked;
use herd::{Herd, due};
use outlet::{Outlet, Output, Way};

/// Messages, and requests, that may wait; senders beyond it wait too.
const QUEUE_MAX: usize = 1024;
/// Messages decided at once: more than there are agents, so that one turn takes what all of them ask.
const BATCH_MAX: usize = 256;
/// Requests that may wait for their end; those whose asker has gone are forgotten first.
const WAITING_MAX: usize = 4096;
/// Facts from one snapshot of the state to the next: some tenths of a second of folding.
const SNAPSHOT_EVERY: u64 = 100_000;
/// Facts that make a snapshot worth while when the daemon stops.
const SNAPSHOT_AT_STOP: u64 = 1_000;
/// How long stopping waits for effects under way; what is not done by then is resumed at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What reaches the loop besides requests.
#[derive(Debug)]
pub enum Message {
    /// Something happened.
    Event(Event),
    /// An agent asks for something.
    Called(Called),
    /// Stop all agents at once.
    StopAll,
    /// Stop in order.
    Stop,
    /// The log is not what was written: how it shows.
    Damaged(String),
}

/// How far the daemon's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What the last start left under way is taken up; nobody is served.
    Starting,
    /// Orders and queries are taken.
    Serving,
    /// Queries alone: orders under way end, and who waits for them is told.
    Stopping,
}

/// The loop's own things.
struct Loop {
    state: State,
    journal: Journal<Output>,
    /// Decided, and not queued for the log yet.
    batch: Batch<Output>,
    clock: Clock,
    world: Arc<World>,
    messages: mpsc::Receiver<Message>,
    agents: Herd,
    requests: mpsc::Receiver<Incoming>,
    /// Who waits for which request: the id that they gave it, and the way back.
    waiting: HashMap<RequestId, (RequestId, Way)>,
    phase: Phase,
    /// Facts in the newest snapshot.
    snapshot: u64,
}

/// What has come in.
#[derive(Default)]
struct Come {
    messages: Vec<Message>,
    requests: Vec<Incoming>,
}

/// Runs the daemon until it is told to stop. Effects and answers to queries are worked out by `workers`.
///
/// `accept_anchor` is the owner's reason for going on although the TPM's anchor is not that of the log, `new_machine` the one for going on
/// with another TPM.
pub async fn run(
    opened: Opened,
    (accept_anchor, new_machine): (Option<String>, Option<String>),
    workers: Handle,
) -> anyhow::Result<()> {
    let clock = Clock::new()?;
    let Opened {
        config,
        device,
        tpm,
        retired: opened_keys,
        probes,
        zones,
        roots,
        restore,
        agents,
        listener,
        missing,
        ..
    } = opened;
    let is_anchored = !(config.may_lack("anchor") || tpm.is_without_chip());
    let anchor_s = is_anchored.then(|| u64::from(config.log.anchor_s));
    let log = journal::Config {
        dir: config.state.join("log"),
        file_bytes: u64::from(config.log.file_mib) << 20,
        head_every: Duration::from_millis(config.log.head_ms),
        notes_free_bytes: u64::from(config.log.notes_free_mib) << 20,
        anchor_every: anchor_s.map(Duration::from_secs),
        accept_anchor: accept_anchor
            .or_else(|| new_machine.as_ref().map(|reason| format!("a new machine: {reason}"))),
        new_machine: new_machine.map(|reason| (reason, opened_keys)),
    };
    let (mut log, mut state, moved) = Replayed::open(log, &tpm, config.rules()?)?;
    state.schedule = config.checkpoint.schedule()?;
    let anchored = log.anchor(&tpm).await?;
    let scrub = log.unread().map(|(dir, head)| (dir, head, u64::from(config.log.scrub_mib) << 20));
    let snapshot = log.from;
    let retired = keys_of(&state, moved.as_ref());
    let key = keys::repository(&tpm, &config.state, !retired.is_empty()).await?;
    keys::publish(&config.state.join("checkpoints"), tpm.general_key(), &retired)?;
    let unrecorded = unrecorded::notes(&config.state, &state);
    let mut lacking = missing.clone();
    if let keys::Found::Locked(why) = &key {
        tracing::warn!("checkpoints can be neither taken nor read: {why}");
        lacking.push(effects::locked(why));
    }
    let probes = probes.map(|probes| Arc::new(Mutex::new(probes)));
    let (agents, fleet) = Herd::open(agents, &config)?;
    let started = Event::Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: config.hash,
        missing: lacking,
    };
    let world = Arc::new(World::new(
        config,
        device,
        tpm,
        (key, retired),
        probes.clone(),
        (roots, restore),
        (missing, clock, fleet),
    )?);

    let (messages, inbox) = mpsc::channel(QUEUE_MAX);
    let (ask, requests) = mpsc::channel(QUEUE_MAX);
    let stop = CancellationToken::new();
    sources::watch_signals(messages.clone())?;
    sources::watch_emergency(messages.clone())?;
    let outlet = Outlet::new(Arc::clone(&world), messages.clone(), clock, workers.clone());
    let mut engine = Loop {
        state,
        journal: log
            .start(world.tpm().clone(), workers, move |outputs, durable| outlet.let_out(outputs, durable))?,
        batch: Batch::default(),
        clock,
        world,
        messages: inbox,
        agents,
        requests,
        waiting: HashMap::new(),
        phase: Phase::Starting,
        snapshot,
    };
    // What was under way goes back or on before anybody is served.
    let mut first = vec![Message::Event(started)];
    first.extend(moved.into_iter().chain(anchored).chain(unrecorded).map(Message::Event));
    first.extend(sources::temperatures(&zones).into_iter().map(Message::Event));
    engine.turn(Come { messages: first, requests: Vec::new() }).await?;
    engine.settle(Phase::Starting).await?;

    tokio::spawn(sources::tick(messages.clone(), stop.clone()));
    tokio::spawn(sources::watch_zones(zones, messages.clone(), stop.clone()));
    if let Some((dir, head, rate)) = scrub {
        sources::scrub(dir, head, rate, (messages.clone(), stop.clone()))?;
    }
    if let Some(probes) = probes {
        sources::watch_probes(probes, messages, stop.clone())?;
    }
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let server = tokio::spawn(api::server::serve(listener, ask, stop.clone()));
    if engine.phase == Phase::Starting {
        engine.phase = Phase::Serving;
        tracing::info!(facts = engine.state.facts, "serving");
    }
    while engine.phase == Phase::Serving {
        let come = engine.receive().await?;
        engine.turn(come).await?;
    }
    let result = engine.stop().await;
    stop.cancel();
    server.await.ok();
    result
}

impl Loop {
    /// Waits for something, and takes all that has come by then.
    async fn receive(&mut self) -> anyhow::Result<Come> {
        let mut come = Come::default();
        let ended = tokio::select! {
            biased;
            failure = self.journal.failed() => return Err(failure),
            count = self.messages.recv_many(&mut come.messages, BATCH_MAX) => count == 0,
            events = self.agents.hear() => {
                come.messages.extend(events?);
                false
            }
            () = due(self.state.runs.next_due_ns()) => {
                come.messages.push(Message::Event(Event::Due));
                false
            }
            count = self.requests.recv_many(&mut come.requests, BATCH_MAX) => count == 0,
        };
        if ended {
            bail!("nothing comes in any more: stopping");
        }
        Ok(come)
    }

    /// One turn: decide and fold in what has come, and queue it for the log.
    async fn turn(&mut self, mut come: Come) -> anyhow::Result<()> {
        if let (Some(found), Some(agents)) = (self.agents.take_found(), self.world.agents()) {
            come.messages.push(Message::Event(agents.found(found)));
        }
        // Without it a restore goes neither on nor back. The failure that it left in this batch is not recorded: as
        // after a crash of our own, the next start finds the restore under way and takes it up with a new helper. If
        // that one dies of it too, the restore ends as failed, so that this does not go on for ever.
        if !come.messages.is_empty() && self.phase != Phase::Starting && self.world.helper_has_ended() {
            bail!(
                "the restore helper has ended: stopping, so that the next start takes up what is under way"
            );
        }
        for message in come.messages {
            match message {
                Message::Event(event) => self.event(event)?,
                Message::Called(called) => self.called(called)?,
                Message::StopAll => self.stop_all(engine::decide::DAEMON, RequestId([0; 16]))?,
                Message::Stop => self.phase = Phase::Stopping,
                Message::Damaged(why) => {
                    bail!("{why}; stopping: “dsmil log salvage” copies what can be proven")
                }
            }
            self.queue_if_large().await?;
        }
        for asked in come.requests {
            self.asked(asked.into())?;
            self.queue_if_large().await?;
        }
        self.journal.append(&mut self.batch).await?;
        if self.state.facts.saturating_sub(self.snapshot) >= SNAPSHOT_EVERY {
            self.write_snapshot().await?;
        }
        Ok(())
    }

    /// Writes the state down, for the next start.
    async fn write_snapshot(&mut self) -> anyhow::Result<()> {
        let facts = self.state.facts;
        let hash = self.journal.snapshot(facts, engine::snapshot::encode(&self.state)?).await?;
        // Not again at once, also where it failed: without it the next start takes longer, and that is all.
        self.snapshot = facts;
        match hash {
            Ok(hash) => {
                self.event(Event::Snapshotted { facts, hash })?;
                self.journal.append(&mut self.batch).await
            }
            Err(error) => {
                tracing::warn!("the state after {facts} facts is not written down: {error}");
                Ok(())
            }
        }
    }

    async fn queue_if_large(&mut self) -> anyhow::Result<()> {
        if self.batch.is_large() { self.journal.append(&mut self.batch).await } else { Ok(()) }
    }

    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        let (replies, facts) = self.decide(event)?;
        for reply in replies {
            self.reply(reply, facts);
        }
        Ok(())
    }

    /// Decides and folds in; the replies are for the caller to address, with where the log has what was recorded.
    fn decide(&mut self, event: Event) -> anyhow::Result<(Vec<engine::Reply>, Option<Facts>)> {
        let input = Input { time: self.clock.now(), room: self.journal.room(), event };
        let Decision { facts, replies } = engine::decide(&self.state, &input)?;
        let first = self.state.facts;
        for fact in facts {
            let record = Record::new(input.time, fact);
            let index = self.state.facts;
            engine::evolve(&mut self.state, &record);
            let effect = engine::effects(&self.state, &record.fact);
            self.batch.record(index, record.encode()?);
            self.batch.outputs.extend(effect.map(|effect| Output::Effect(Box::new(effect))));
            let outputs = &mut self.batch.outputs;
            engine::run::act::acts(&self.state, &record.fact, |act| outputs.push(Output::Act(Box::new(act))));
            // A checkpoint is only as good as the log that tells of it.
            self.batch.sign |= matches!(&record.fact, Fact::Finished { outcome: Outcome::Signed { .. }, .. });
        }
        let last = self.state.facts.checked_sub(1).filter(|last| *last >= first);
        Ok((replies, last.map(|last| Facts { first, last })))
    }

    fn asked(&mut self, asked: Asked) -> anyhow::Result<()> {
        let Asked { peer, request, command, payload, replies } = asked;
        if let Command::Query(query) = command {
            if let Err(refusal) = query.admit(&self.state.rules, &peer) {
                let body = Body::Refused(refusal);
                self.batch.outputs.push(Output::Reply { body, beside: None, facts: None, request, replies });
                return Ok(());
            }
            let view = Box::new(query::View::new(&self.state, &query, self.clock.now()));
            self.batch.outputs.push(Output::Query { view, query, request, replies });
            return Ok(());
        }
        let given = request;
        let request = of_user(peer.uid, given);
        if command == Command::EmergencyStop && self.state.rules.role(&peer) >= policy::Role::Operator {
            self.waiting.insert(request, (given, replies));
            return self.stop_all(peer, request);
        }
        if self.phase == Phase::Stopping {
            let message = "dsmild is stopping: ask again when it has started".to_owned();
            let body = wire::Body::Refused { code: wire::Code::Busy, message };
            replies.send(&Response { id: convert::request_text(given), behind: self.world.behind(), body });
            return Ok(());
        }
        let mut waits = true;
        if let Some(Payload(bytes)) = payload
            && self.state.work_of(request).is_none()
            && !self.world.beside().give(request, bytes)
        {
            let body = Body::Refused(Refusal::Busy("as much as can be handed over at once".to_owned()));
            self.batch.outputs.push(Output::Reply {
                body,
                beside: None,
                facts: None,
                request: given,
                replies,
            });
            return Ok(());
        }
        let (decided, facts) = self.decide(Event::Asked { request, peer, command })?;
        for reply in decided {
            if reply.request == request {
                waits &= !is_final(&reply.body);
                self.batch.outputs.push(Output::Reply {
                    beside: self.beside(&reply),
                    body: reply.body,
                    facts,
                    request: given,
                    replies: replies.clone(),
                });
            } else {
                self.reply(reply, facts);
            }
        }
        if waits {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.retain(|_, (_, replies)| !replies.is_closed());
            }
            self.waiting.insert(request, (given, replies));
        }
        Ok(())
    }

    /// Stops all agents before anything is recorded of it: what is recorded may have to wait for a disk.
    fn stop_all(&mut self, peer: Peer, request: RequestId) -> anyhow::Result<()> {
        // What is queued and not let out yet must not start anybody afterwards.
        let floor = self.state.fleet.next;
        let stopped = self.world.agents().map(|agents| agents.stop_all(floor));
        self.world.undo_pending();
        // Where there are no agents, none has to stop.
        let (frozen_ns, killed_ns, left) = stopped.unwrap_or((Some(0), Some(0), Vec::new()));
        self.event(Event::EmergencyStop { request, peer, frozen_ns, killed_ns, left })
    }

    /// What goes with a reply beside the engine, and no longer.
    fn beside(&self, reply: &engine::Reply) -> Option<Zeroizing<Vec<u8>>> {
        if is_final(&reply.body) { self.world.beside().end(reply.request) } else { None }
    }

    /// A reply for whoever waits for it.
    fn reply(&mut self, reply: engine::Reply, facts: Option<Facts>) {
        let beside = self.beside(&reply);
        let waiting = if is_final(&reply.body) {
            self.waiting.remove(&reply.request)
        } else {
            self.waiting.get(&reply.request).cloned()
        };
        if let Some((request, replies)) = waiting {
            self.batch.outputs.push(Output::Reply { body: reply.body, beside, facts, request, replies });
        }
    }

    /// Goes on until no work is under way, or the phase is another. A restore that waits to be confirmed waits for a person.
    async fn settle(&mut self, phase: Phase) -> anyhow::Result<()> {
        while !self.state.works.values().all(Work::is_awaiting) && self.phase == phase {
            let come = self.receive().await?;
            self.turn(come).await?;
        }
        Ok(())
    }

    /// Stops in order: what is under way ends or is left to the next start, the last head is signed.
    async fn stop(mut self) -> anyhow::Result<()> {
        match tokio::time::timeout(STOP_PATIENCE, self.settle(Phase::Stopping)).await {
            Ok(settled) => settled?,
            Err(_) => tracing::warn!("stopping with {} works under way", self.state.works.len()),
        }
        if self.state.facts.saturating_sub(self.snapshot) >= SNAPSHOT_AT_STOP {
            self.write_snapshot().await?;
        }
        let stopping = Come { messages: vec![Message::Event(Event::Stopping)], requests: Vec::new() };
        self.turn(stopping).await?;
        self.journal.close().await?;
        self.world.tpm().shutdown().await.ok();
        tracing::info!(facts = self.state.facts, "stopped");
        Ok(())
    }
}

/// The keys that signed checkpoints with earlier TPMs.
fn keys_of(state: &State, moved: Option<&Event>) -> Vec<tpm::PublicKey> {
    let now = match moved {
        Some(Event::Moved { from, general, .. }) => vec![general, from],
        _ => Vec::new(),
    };
    let before = state.retired.iter().flat_map(|retired| [&retired.general, &retired.head]);
    before.chain(now).filter_map(|spki| tpm::PublicKey::from_spki(spki)).collect()
}

const fn is_final(body: &Body) -> bool {
    !matches!(body, Body::Progress(_) | Body::Begun(_))
}

/// A request's id on this machine: two users who choose the same id ask for two things.
fn of_user(uid: u32, given: RequestId) -> RequestId {
    let digest = Sha256::new().chain_update(uid.to_be_bytes()).chain_update(given.0).finalize();
    let mut id = RequestId([0; 16]);
    id.0.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
    id
}

/// A step that could not even be tried.
pub fn failed(error: &impl std::fmt::Display) -> StepResult {
    const REASON_MAX: usize = 2_000;
    StepResult::Failed(error.to_string().chars().take(REASON_MAX).collect())
}
