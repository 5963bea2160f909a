//! Decide, append, evolve, act.
//!
//! One task owns state and log. It takes what has come in, decides and folds in memory, appends all facts with one
//! flush, and only then lets anything out: replies, effects, answers to queries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::bail;
use api::server::{Incoming, Replies};
use api::wire::{self, Response, convert};
use engine::reply::{Body, Refusal};
use engine::{Command, Effect, Event, Fact, Input, Outcome, Query, Record, RequestId, State, StepResult};
use sha2::{Digest as _, Sha256};
use store::head::Head;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::effects::World;
use crate::journal::Journal;
use crate::open::Opened;
use crate::{keys, query, sources};

/// Messages that may wait; senders beyond it wait too.
const QUEUE_MAX: usize = 1024;
/// Messages decided under one flush.
const BATCH_MAX: usize = 64;
/// Requests that may wait for their end; those whose asker has gone are forgotten first.
const WAITING_MAX: usize = 4096;
/// Queries answered at once: each may read megabytes.
const QUERIES_MAX: usize = 16;
/// After how long at one step it is told, and again.
const STEP_SLOW: Duration = Duration::from_secs(60);
/// How long stopping waits for effects under way; what is not done by then is resumed at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What reaches the loop.
#[derive(Debug)]
pub enum Message {
    /// Something happened.
    Event(Event),
    /// Somebody asks.
    Asked(Incoming),
    /// A head came back from the TPM.
    Head(Head, Result<tpm::Signature, tpm::Error>),
    /// Time passed: a head may be due.
    Tick,
    /// Stop in order.
    Stop,
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
    journal: Journal,
    clock: Clock,
    world: Arc<World>,
    messages: mpsc::Sender<Message>,
    /// Who waits for which request: the id that they gave it, and the way back.
    waiting: HashMap<RequestId, (RequestId, Replies)>,
    queries: Arc<Semaphore>,
    tasks: TaskTracker,
    phase: Phase,
}

/// What is let out after the flush.
#[derive(Default)]
struct Outputs {
    records: Vec<Record>,
    effects: Vec<Effect>,
    replies: Vec<engine::Reply>,
    queries: Vec<(Incoming, Query)>,
}

/// Runs the daemon until it is told to stop.
pub async fn run(opened: Opened) -> anyhow::Result<()> {
    let clock = Clock::new()?;
    let Opened { config, device, tpm, probes, zones, roots, restore, listener, missing, .. } = opened;
    let mut state = State::new(config.rules()?);
    let interval = Duration::from_millis(config.log.head_ms);
    let journal = Journal::open(&config.state.join("log"), &tpm, interval, &mut state)?;
    let key = keys::repository(&tpm, &config.state).await?;
    let probes = probes.map(|probes| Arc::new(Mutex::new(probes)));
    let started = Event::Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: config.hash,
        missing: missing.clone(),
    };
    let world =
        Arc::new(World::new(config, device, tpm, &key, probes.clone(), (roots, restore), (missing, clock))?);
    drop(key);

    let (messages, inbox) = mpsc::channel(QUEUE_MAX);
    let stop = CancellationToken::new();
    sources::watch_signals(messages.clone())?;
    let mut engine = Loop {
        state,
        journal,
        clock,
        world,
        messages: messages.clone(),
        waiting: HashMap::new(),
        queries: Arc::new(Semaphore::new(QUERIES_MAX)),
        tasks: TaskTracker::new(),
        phase: Phase::Starting,
    };
    // What was under way goes back or on before anybody is served.
    let mut first = vec![Message::Event(started)];
    first.extend(sources::temperatures(&zones).into_iter().map(Message::Event));
    engine.turn(first)?;
    let mut inbox = engine.settle(inbox, Phase::Starting).await?;

    tokio::spawn(sources::watch_zones(zones, messages.clone(), stop.clone()));
    if let Some(probes) = probes {
        sources::watch_probes(probes, messages.clone(), stop.clone())?;
    }
    tokio::spawn(tick(messages.clone(), interval, stop.clone()));
    let (requests, incoming) = mpsc::channel(QUEUE_MAX);
    let server = tokio::spawn(api::server::serve(
        tokio::net::UnixListener::from_std(listener)?,
        requests,
        stop.clone(),
    ));
    tokio::spawn(forward(incoming, messages, stop.clone()));
    if engine.phase == Phase::Starting {
        engine.phase = Phase::Serving;
        tracing::info!(facts = engine.state.facts, "serving");
    }

    while engine.phase == Phase::Serving {
        let batch = receive(&mut inbox).await;
        engine.turn(batch)?;
    }
    let result = engine.stop(inbox).await;
    stop.cancel();
    server.await.ok();
    result
}

async fn receive(inbox: &mut mpsc::Receiver<Message>) -> Vec<Message> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    inbox.recv_many(&mut batch, BATCH_MAX).await;
    batch
}

async fn tick(messages: mpsc::Sender<Message>, interval: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if messages.send(Message::Tick).await.is_err() {
            return;
        }
    }
}

async fn forward(
    mut incoming: mpsc::Receiver<Incoming>,
    messages: mpsc::Sender<Message>,
    stop: CancellationToken,
) {
    loop {
        let asked = tokio::select! {
            asked = incoming.recv() => asked,
            () = stop.cancelled() => return,
        };
        let Some(asked) = asked else { return };
        if messages.send(Message::Asked(asked)).await.is_err() {
            return;
        }
    }
}

impl Loop {
    /// One batch: decide and fold each message, flush, let out.
    fn turn(&mut self, batch: Vec<Message>) -> anyhow::Result<()> {
        // Without it a restore goes neither on nor back. The failure that it left in this batch is not recorded: as
        // after a crash of our own, the next start finds the restore under way and takes it up with a new helper. If
        // that one dies of it too, the restore ends as failed, so that this does not go on for ever.
        if self.phase != Phase::Starting && self.world.helper_has_ended() {
            bail!(
                "the restore helper has ended: stopping, so that the next start takes up what is under way"
            );
        }
        let room = tokio::task::block_in_place(|| self.journal.room())?;
        let mut outputs = Outputs::default();
        for message in batch {
            match message {
                Message::Event(event) => self.decide(event, room, &mut outputs)?,
                Message::Asked(asked) => self.asked(asked, room, &mut outputs)?,
                Message::Head(head, signature) => {
                    tokio::task::block_in_place(|| self.journal.signed(head, signature))?;
                }
                Message::Tick => {}
                Message::Stop => self.phase = Phase::Stopping,
            }
        }
        tokio::task::block_in_place(|| self.journal.append(&outputs.records))?;
        // A checkpoint is only as good as the log that tells of it.
        let is_checkpoint =
            |record: &Record| matches!(&record.fact, Fact::Finished { outcome: Outcome::Signed { .. }, .. });
        self.sign(outputs.records.iter().any(is_checkpoint));
        self.let_out(outputs);
        Ok(())
    }

    fn decide(&mut self, event: Event, room: bool, outputs: &mut Outputs) -> anyhow::Result<()> {
        let input = Input { time: self.clock.now(), room, event };
        let decision = engine::decide(&self.state, &input)?;
        for record in decision.records(&input) {
            engine::evolve(&mut self.state, &record);
            outputs.effects.extend(engine::effects(&self.state, &record.fact));
            outputs.records.push(record);
        }
        outputs.replies.extend(decision.replies);
        Ok(())
    }

    fn asked(&mut self, asked: Incoming, room: bool, outputs: &mut Outputs) -> anyhow::Result<()> {
        if let Command::Query(query) = &asked.command {
            let query = query.clone();
            outputs.queries.push((asked, query));
            return Ok(());
        }
        let Incoming { peer, request, command, replies } = asked;
        if self.phase == Phase::Stopping {
            let message = "dsmild is stopping: ask again when it has started".to_owned();
            let body = wire::Body::Refused { code: wire::Code::Busy, message };
            replies.send(Response { id: convert::request_text(request), behind: self.world.behind(), body });
            return Ok(());
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|_, (_, replies)| !replies.is_closed());
        }
        let given = request;
        let request = of_user(peer.uid, given);
        self.waiting.insert(request, (given, replies));
        self.decide(Event::Asked { request, peer, command }, room, outputs)
    }

    fn let_out(&mut self, outputs: Outputs) {
        for reply in outputs.replies {
            self.reply(reply);
        }
        for effect in outputs.effects {
            let (world, messages) = (Arc::clone(&self.world), self.messages.clone());
            let now_ns = self.clock.now().wall_ns;
            self.tasks.spawn(async move {
                let work = effect.work;
                let title = effect.order.title();
                let mut performing = std::pin::pin!(world.perform(effect, now_ns));
                let result = loop {
                    match tokio::time::timeout(STEP_SLOW, &mut performing).await {
                        Ok(result) => break result,
                        Err(_) => tracing::warn!(work, "“{title}” is at one step for a long time"),
                    }
                };
                messages.send(Message::Event(Event::Stepped { work, result })).await.ok();
            });
        }
        for (asked, query) in outputs.queries {
            self.answer(asked, query);
        }
    }

    fn reply(&mut self, reply: engine::Reply) {
        let is_final = !matches!(reply.body, Body::Progress(_));
        let sender = if is_final {
            self.waiting.remove(&reply.request)
        } else {
            self.waiting.get(&reply.request).cloned()
        };
        let Some((given, sender)) = sender else { return };
        let body = match reply.body {
            Body::Progress(phase) => wire::Body::Progress { phase: phase.to_owned() },
            Body::Done(answer) => wire::Body::Done { answer: answer.into() },
            Body::Refused(refusal) => refused(&refusal),
        };
        let response = Response { id: convert::request_text(given), behind: self.world.behind(), body };
        // Who does not read its replies loses them; the log still tells what was done.
        sender.send(response);
    }

    fn answer(&self, asked: Incoming, query: Query) {
        let view = query::View::new(&self.state, &self.journal, &query);
        let (world, queries) = (Arc::clone(&self.world), Arc::clone(&self.queries));
        self.tasks.spawn(async move {
            let _turn = queries.acquire().await;
            let body = match view.answer(&world, query).await {
                Ok(answer) => wire::Body::Done { answer },
                Err(refusal) => refused(&refusal),
            };
            let response =
                Response { id: convert::request_text(asked.request), behind: world.behind(), body };
            asked.replies.send(response);
        });
    }

    /// Has a head signed if one is due, or `now`.
    fn sign(&mut self, now: bool) {
        let Some(head) = self.journal.due(now) else { return };
        let (tpm, messages) = (self.world.tpm().clone(), self.messages.clone());
        self.tasks.spawn(async move {
            let signature = match head.digest() {
                Ok(digest) => tpm.sign(digest).await,
                Err(error) => {
                    tracing::error!("a head cannot be signed: {error}");
                    return;
                }
            };
            messages.send(Message::Head(head, signature)).await.ok();
        });
    }

    /// Goes on until no work is under way, or the phase is another.
    async fn settle(
        &mut self,
        mut inbox: mpsc::Receiver<Message>,
        phase: Phase,
    ) -> anyhow::Result<mpsc::Receiver<Message>> {
        while !self.state.works.is_empty() && self.phase == phase {
            let batch = receive(&mut inbox).await;
            self.turn(batch)?;
        }
        Ok(inbox)
    }

    /// Stops in order: what is under way ends or is left to the next start, the last head is signed.
    async fn stop(mut self, inbox: mpsc::Receiver<Message>) -> anyhow::Result<()> {
        let settled = tokio::time::timeout(STOP_PATIENCE, self.settle(inbox, Phase::Stopping)).await;
        match settled {
            Ok(inbox) => drop(inbox?),
            Err(_) => tracing::warn!("stopping with {} works under way", self.state.works.len()),
        }
        self.turn(vec![Message::Event(Event::Stopping)])?;
        self.journal.abandon_signing();
        if let Some(head) = self.journal.due(true) {
            let signature = self.world.tpm().sign(head.digest()?).await;
            self.journal.signed(head, signature)?;
        }
        self.world.tpm().shutdown().await.ok();
        tracing::info!(facts = self.state.facts, "stopped");
        Ok(())
    }
}

/// A request's id on this machine: two users who choose the same id ask for two things.
fn of_user(uid: u32, given: RequestId) -> RequestId {
    let digest = Sha256::new().chain_update(uid.to_be_bytes()).chain_update(given.0).finalize();
    let mut id = RequestId([0; 16]);
    id.0.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
    id
}

fn refused(refusal: &Refusal) -> wire::Body {
    wire::Body::Refused { code: convert::code(refusal), message: refusal.to_string() }
}

/// A step that could not even be tried.
pub fn failed(error: &impl std::fmt::Display) -> StepResult {
    const REASON_MAX: usize = 2_000;
    StepResult::Failed(error.to_string().chars().take(REASON_MAX).collect())
}
