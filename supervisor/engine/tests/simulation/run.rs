//! One life after another of a daemon, driven by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::command::{Command, RequestId};
use engine::reply::{Body, Refusal, Reply};
use engine::retention::Keep;
use engine::schedule::Schedule;
use engine::{
    Decision, Effect, Event, Fact, Input, Order, Outcome, Record, Room, State, decide, effects, evolve,
    snapshot,
};
use policy::{Denial, Rules};
use types::hash::Hash;
use types::peer::Peer;
use types::time::{BootId, Time};
use types::token::TokenId;

use super::oracle::{Oracle, ensure};
use super::random::Random;
use super::world::{Crash, Snapshot, World};

mod inputs;

const STEPS: usize = 250;
const LISTED: [u16; 4] = [0x8030, 0x8031, 0x8032, 0x8039];
/// 8030 and 8031 share a location, 8039 is listed and not in the firmware's table, the others are never written.
const TABLE: [(u16, u16); 5] = [(0x8030, 1), (0x8031, 1), (0x8032, 2), (0x8009, 3), (0x800A, 4)];
const ROOMS: [Room; 3] = [Room::Reserve, Room::Orders, Room::Notes];
/// Settings of the kernel.
const SETTINGS: [&str; 3] = ["a", "b", "c"];
const PATHS: [&str; 4] = ["a", "b", "c", "d"];

/// A request id as its connection sees it.
#[derive(Default)]
struct Client {
    asked: usize,
    answered: usize,
    waits: bool,
}

pub struct Run {
    random: Random,
    rules: Rules,
    schedule: Schedule,
    world: World,
    oracle: Oracle,
    state: State,
    /// The log's durable records.
    disk: Vec<Vec<u8>>,
    /// Appended and not flushed.
    tail: Vec<Vec<u8>>,
    /// What waits for the flush; with each reply, whether its request had a connection when it was decided.
    replies: Vec<(Reply, bool)>,
    effects: Vec<Effect>,
    /// What may happen in the world.
    ready: Vec<Effect>,
    time: Time,
    known: Vec<(RequestId, Peer, Command)>,
    /// Of the present connections.
    clients: BTreeMap<RequestId, Client>,
    sensors: BTreeMap<String, Option<i32>>,
    denied: u64,
    reached: BTreeSet<String>,
    trace: Option<Vec<String>>,
}

/// The name of a variant.
fn name(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// Simulates one seed; tells what it came by: how orders ended, and where crashes hit them.
///
/// # Errors
///
/// The invariant that is broken, and the trace.
pub fn simulate(seed: u64) -> Result<BTreeSet<String>, String> {
    let mut run = Run::new(seed, None);
    if run.caught().is_ok() {
        return Ok(run.reached);
    }
    let mut run = Run::new(seed, Some(Vec::new()));
    let why = run.caught().err().unwrap_or_else(|| "not deterministic".to_owned());
    Err(format!("seed {seed}\n{}\nBROKEN: {why}", run.trace.unwrap_or_default().join("\n")))
}

impl Run {
    fn new(seed: u64, trace: Option<Vec<String>>) -> Self {
        let mut random = Random::new(seed);
        let rules = Rules {
            version: Hash([1; 32]),
            operators: [1000].into(),
            owners: [1001].into(),
            tokens: LISTED.map(TokenId).into(),
            changes_max: 3,
            grant_ns: 200,
            notes: policy::Notes { bytes_max: 140, hour_bytes_max: 2_000 },
            risky: policy::Risky { writes: true, restores: random.often(500) },
        };
        let schedule = Schedule {
            interval_ns: random.often(500).then(|| 20 + random.next() % 100),
            before_risky: random.often(300),
            keep: Keep {
                last: u32::try_from(random.below(3)).unwrap(),
                hourly: u32::try_from(random.below(3)).unwrap(),
                max_bytes: random.often(200).then(|| random.next() % 6),
                manual: random.often(300),
                ..Keep::default()
            },
        };
        let locations = TABLE.iter().flat_map(|(_, at)| (0..3).map(move |bank| (at * 4 + bank, 0))).collect();
        let settings = SETTINGS.map(|name| (name, 0)).into();
        let now = Snapshot { files: PATHS.map(|path| (path, 0)).into(), locations, settings };
        let mut world = World::new(TABLE.into(), rules.tokens.clone(), now.clone());
        world.failing = *random.pick(&[0, 0, 50, 150]);
        world.crashing = *random.pick(&[0, 5, 20, 60, 120]);
        Self {
            random,
            world,
            oracle: Oracle::new(now, schedule.before_risky),
            state: State { schedule, ..State::new(rules.clone()) },
            schedule,
            rules,
            disk: Vec::new(),
            tail: Vec::new(),
            replies: Vec::new(),
            effects: Vec::new(),
            ready: Vec::new(),
            time: Time::default(),
            known: Vec::new(),
            clients: BTreeMap::new(),
            sensors: BTreeMap::new(),
            denied: 0,
            reached: BTreeSet::new(),
            trace,
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(text());
        }
    }

    /// A panic, of the engine or of the world's own protocol, breaks an invariant as well.
    fn caught(&mut self) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
        })
    }

    fn run(&mut self) -> Result<(), String> {
        self.start()?;
        for _ in 0..STEPS {
            self.step()?;
        }
        // Nothing goes wrong any more: everything comes to its end.
        (self.world.failing, self.world.crashing) = (0, 0);
        for _ in 0..1000 {
            self.flush()?;
            match self.state.awaiting().is_some() {
                true => {
                    self.time.boottime_ns += 10_000_000_000;
                    self.input(Event::Tick)?;
                }
                false if self.ready.is_empty() => break,
                false => self.act()?,
            }
        }
        self.oracle.all_ended()?;
        self.oracle.quiet(&self.world)?;
        self.same_as_replayed()?;
        ensure!(self.state.works.is_empty(), "works are left: {:?}", self.state.works);
        let left = self.clients.iter().find(|(_, client)| client.waits);
        ensure!(left.is_none(), "{:?} waits for ever", left.map(|(request, _)| request));
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..22 => self.ask(),
            22..57 => self.act(),
            57..77 => self.flush(),
            77..84 => self.temperature(),
            84..88 => self.input(Event::Tick),
            88..94 => {
                self.drift();
                Ok(())
            }
            94 => {
                self.time.wall_ns += 300;
                self.sleep();
                Ok(())
            }
            95 => {
                self.input(Event::Stopping)?;
                self.flush()?;
                self.crash(false)
            }
            _ if self.world.crashing > 0 => {
                let power_cut = self.random.often(500);
                self.crash(power_cut)
            }
            _ => Ok(()),
        }
    }

    /// The machine is suspended: CLOCK_BOOTTIME goes on.
    fn sleep(&mut self) {
        let slept = self.random.next() % 2_000_000_000;
        self.time.boottime_ns += slept;
        self.time.wall_ns += i64::try_from(slept).unwrap();
    }

    fn start(&mut self) -> Result<(), String> {
        self.input(Event::Started {
            version: "0".to_owned(),
            config: self.rules.version,
            missing: Vec::new(),
        })
    }

    /// Decide, append, evolve; replies and effects wait.
    fn input(&mut self, event: Event) -> Result<(), String> {
        self.time.boottime_ns += 1;
        self.time.wall_ns += 1;
        let room = if self.random.often(900) { Room::Notes } else { *self.random.pick(&ROOMS) };
        let input = Input { time: self.time, room, event };
        let decision = decide(&self.state, &input).map_err(|error| error.to_string())?;
        self.note(|| format!("{:?}\n  => {decision:?}", input.event));
        self.plausible(&input, &decision)?;
        for record in decision.records(&input) {
            self.tail.push(record.encode().map_err(|error| error.to_string())?);
            evolve(&mut self.state, &record);
            self.effects.extend(effects(&self.state, &record.fact));
            let works = self.state.works.values().filter(|work| work.order.is_exclusive());
            let exclusive = works.filter(|work| !self.state.is_waiting(work)).count();
            ensure!(exclusive <= 1, "{exclusive} exclusive works at once");
        }
        if matches!(input.event, Event::Tick | Event::Started { .. }) {
            let late = self.state.awaiting().and_then(|work| work.progress.as_ref()?.left_ns(input.time));
            ensure!(late != Some(0), "it waits to be confirmed, and the time has passed");
        }
        for reply in decision.replies {
            let connected = self.clients.contains_key(&reply.request);
            self.replies.push((reply, connected));
        }
        Ok(())
    }

    fn plausible(&self, input: &Input, decision: &Decision) -> Result<(), String> {
        let refused = |reply: &&Reply| matches!(&reply.body, Body::Refused(Refusal::Denied(_)));
        let replies = decision.replies.iter().filter(refused).count();
        let facts = decision.facts.iter().filter(|fact| matches!(fact, Fact::Denied { .. })).count();
        ensure!(facts == replies, "a denial without its fact or its reply");
        let hot = self.sensors.is_empty()
            || self.sensors.values().any(|t| t.is_none_or(|t| t >= 95_000 || t <= -40_000));
        let hottish = self.sensors.is_empty()
            || self.sensors.values().any(|t| t.is_none_or(|t| t >= 93_000 || t <= -40_000));
        for fact in &decision.facts {
            if let Fact::Accepted { order: Order::WriteTokens { .. }, .. } = fact {
                ensure!(!hot, "a write was granted on a hot machine");
            }
        }
        for reply in &decision.replies {
            if reply.body == Body::Refused(Refusal::Denied(Denial::Thermal)) {
                ensure!(hottish, "a write was denied on a cool machine");
            }
        }
        // What ends a work that is under way is recorded on a full disk, too.
        let ends = matches!(&input.event, Event::Asked { command: Command::Confirm { .. }, .. });
        if matches!(input.event, Event::Asked { .. }) && input.room == Room::Reserve && !ends {
            ensure!(decision.facts.is_empty(), "recorded on a full disk");
        }
        if decision.facts.iter().any(|fact| matches!(fact, Fact::Noted { .. })) {
            ensure!(input.room == Room::Notes, "a note took what is kept for orders");
        }
        Ok(())
    }

    /// The facts are durable; only now anybody hears of them, and the world may change.
    fn flush(&mut self) -> Result<(), String> {
        let appended = std::mem::take(&mut self.tail);
        self.note(|| format!("flush {}", appended.len()));
        for bytes in appended {
            self.durable(bytes)?;
        }
        for (reply, connected) in std::mem::take(&mut self.replies) {
            self.deliver(&reply, connected)?;
        }
        self.ready.append(&mut self.effects);
        if self.state.exclusive().is_none() {
            self.oracle.quiet(&self.world)?;
        }
        if self.random.often(100) { self.same_as_replayed() } else { Ok(()) }
    }

    fn durable(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let record = Record::decode(&bytes).map_err(|error| error.to_string())?;
        if let Fact::Finished { work, outcome } = &record.fact
            && let Some(order) = self.oracle.order(*work)
        {
            let title = order.title();
            self.reached.insert(format!("{title}: {}", name(outcome)));
        }
        self.oracle.durable(&self.world, &self.rules, &record.fact)?;
        if let Fact::Finished { outcome: Outcome::Failed { .. }, .. } = record.fact {
            // Whatever a failed undo has left pending, the kernel undoes at its deadline.
            self.world.die(false);
        }
        self.disk.push(bytes);
        Ok(())
    }

    fn deliver(&mut self, reply: &Reply, connected: bool) -> Result<(), String> {
        let success = match &reply.body {
            Body::Progress(_) | Body::Begun(_) => return Ok(()),
            Body::Done(_) => true,
            Body::Refused(refusal) => {
                self.denied += u64::from(matches!(refusal, Refusal::Denied(_)));
                false
            }
        };
        ensure!(self.denied <= self.oracle.denied, "a denial was told and is not recorded");
        ensure!(!success || self.oracle.done(reply.request), "acknowledged and not durable: {reply:?}");
        if let Some(ended_well) = self.oracle.success(reply.request) {
            ensure!(ended_well == success, "the log says {ended_well}, the reply {reply:?}");
        }
        if let Some(client) = self.clients.get_mut(&reply.request) {
            // Who was told that it waits has been answered; that it has ended is told only to who asked again.
            let is_told = !client.waits && self.oracle.waits_or_waited(reply.request);
            client.answered += usize::from(connected && !is_told);
            client.waits = false;
            ensure!(client.answered <= client.asked, "answered more often than asked: {reply:?}");
        }
        Ok(())
    }

    /// Before the first fact; what is configured is not in the log.
    fn fresh(&self) -> State {
        State { schedule: self.schedule, ..State::new(self.rules.clone()) }
    }

    fn replayed(&self) -> Result<State, String> {
        self.folded(self.fresh(), &self.disk)
    }

    fn folded(&self, mut state: State, records: &[Vec<u8>]) -> Result<State, String> {
        for bytes in records {
            evolve(&mut state, &Record::decode(bytes).map_err(|error| error.to_string())?);
        }
        Ok(state)
    }

    /// A start from a snapshot, taken anywhere on the way, ends where a start from the first record does.
    fn replayed_from_a_snapshot(&mut self) -> Result<State, String> {
        let at = self.random.below(self.disk.len() + 1);
        let (before, after) = self.disk.split_at(at);
        let then = self.folded(self.fresh(), before)?;
        let bytes = snapshot::encode(&then).map_err(|error| error.to_string())?;
        let then = snapshot::decode(&bytes, self.rules.clone()).map_err(|error| error.to_string())?;
        let then = State { schedule: self.schedule, ..then };
        self.folded(then, after)
    }

    fn same_as_replayed(&mut self) -> Result<(), String> {
        for replayed in [self.replayed()?, self.replayed_from_a_snapshot()?] {
            ensure!(replayed == self.state, "replayed {replayed:?}\nlive {:?}", self.state);
        }
        Ok(())
    }

    /// Dies here and now: of what was not flushed, a part may still be on the disk.
    fn crash(&mut self, power_cut: bool) -> Result<(), String> {
        let kept = self.random.below(self.tail.len() + 1);
        self.note(|| format!("crash, power cut: {power_cut}, unflushed records that survive: {kept}"));
        self.world.die(power_cut);
        let survived: Vec<_> = self.tail.drain(..).take(kept).collect();
        for bytes in survived {
            self.durable(bytes)?;
        }
        self.replies.clear();
        self.effects.clear();
        self.ready.clear();
        self.clients.clear();
        self.sensors.clear();
        if power_cut {
            let boot = u8::try_from(self.random.below(256)).unwrap();
            self.time = Time { boot: BootId([boot; 16]), boottime_ns: 0, wall_ns: self.time.wall_ns };
        }
        if self.random.often(300) {
            self.sleep();
        }
        if self.random.often(200) {
            self.rules.version.0[0] ^= 1;
        }
        self.state = self.replayed()?;
        let end = if power_cut { "power cut" } else { "kill" };
        for work in self.state.works.values() {
            let point = work.progress.as_ref().map(name).unwrap_or_default();
            self.reached.insert(format!("{}: {end} at “{point}”", work.order.title()));
        }
        self.start()
    }

    /// One effect, as far as it comes.
    fn act(&mut self) -> Result<(), String> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let effect = self.ready.swap_remove(self.random.below(self.ready.len()));
        let ended = self.world.perform(&mut self.random, &self.rules, self.time.wall_ns, &effect);
        self.note(|| format!("effect of work {}: {:?}", effect.work, effect.step));
        for (location, value) in &self.oracle.expected.locations {
            ensure!(
                self.world.is_listed(*location) || self.world.now.locations[location] == *value,
                "location {location} has changed and is on no list"
            );
        }
        match ended {
            Ok(result) => self.input(Event::Stepped { work: effect.work, result }),
            Err(Crash) => {
                let power_cut = self.random.often(500);
                self.crash(power_cut)
            }
        }
    }
}
