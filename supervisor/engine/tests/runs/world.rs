//! The world around the engine: a clock, a log that is folded anew, and agents.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::fleet::decide::{Found, Heard};
use engine::reply::{Answer, Body};
use engine::run::decide::{Control, Said};
use engine::run::fact::{RunEnd, TaskRef};
use engine::run::{What, act};
use engine::{Command, Event, Fact, Input, Record, RequestId, Room, State};
use policy::Rules;
use types::agent::{Definition, Limits, Milliseconds, Network, Retry};
use types::hash::Hash;
use types::peer::Peer;
use types::time::{BootId, Time};
use types::workflow::{Expression, Mode, OnFailure, Priority, Step, Template, Who, Workflow};

pub const OWNER: Peer = Peer { pid: 1, uid: 0, gid: 0 };
pub const SECOND: u64 = 1_000_000_000;

/// A task that an agent has got.
#[derive(Clone, Debug)]
pub struct Given {
    pub instance: u64,
    pub task: TaskRef,
    pub input: String,
}

#[derive(Default)]
pub struct World {
    pub state: State,
    pub log: Vec<Record>,
    pub now_ns: u64,
    boot: u8,
    requests: u8,
    /// Processes that were started and have not said hello, with their agents.
    pub starting: Vec<(u64, String)>,
    /// Tasks at agents.
    pub given: Vec<Given>,
    /// Tasks that agents were told to stop with.
    pub cancelled: Vec<(u64, TaskRef)>,
    /// Processes that were told to end.
    pub leaving: Vec<u64>,
    /// What each run was told last.
    pub told: BTreeMap<RequestId, Body>,
}

pub fn name(text: &str) -> types::agent::Name {
    text.parse().unwrap()
}

pub fn agents(names: &[&str]) -> Who {
    Who::Agents(names.iter().map(|text| name(text)).collect())
}

pub fn step(id: &str, needs: &[usize], mode: Mode) -> Step {
    Step {
        id: name(id),
        needs: needs.to_vec(),
        who: agents(&["worker"]),
        mode,
        input: Template::Null,
        when: None,
        retry: Some(Retry { limit: 0, delay: Milliseconds(100), delay_max: Milliseconds(1000) }),
        timeout: None,
        checkpoint_before: false,
        on_failure: None,
    }
}

pub fn workflow(steps: Vec<Step>) -> Workflow {
    Workflow {
        name: name("test"),
        description: None,
        params: Vec::new(),
        steps,
        timeout: Milliseconds(300_000),
        priority: Priority::Normal,
        on_failure: OnFailure::Stop,
        hash: Hash([1; 32]),
    }
}

pub fn output(step: usize) -> Expression {
    Expression::Output { step, path: Vec::new() }
}

pub fn item() -> Expression {
    Expression::Item { path: Vec::new() }
}

pub fn found(text: &str, capabilities: &[&str]) -> Found {
    let definition = Definition {
        name: name(text),
        description: "a test's".to_owned(),
        tools: None,
        model: None,
        foreign: Vec::new(),
        command: vec!["/bin/true".to_owned()],
        capabilities: capabilities.iter().map(|one| one.parse().unwrap()).collect(),
        limits: Limits::default(),
        retry: Retry::default(),
        timeout: Milliseconds(30_000),
        network: Network::None,
        body: String::new(),
        hash: Hash([u8::try_from(text.len()).unwrap(); 32]),
    };
    Found { path: format!("/etc/dsmil/agents/{text}.md"), uid: 0, definition }
}

impl World {
    /// Approved agents with what they ask to be allowed.
    pub fn new(agents: &[(&str, &[&str])]) -> Self {
        let mut world =
            Self { state: State::new(Rules { grant_ns: 1 << 40, ..Rules::default() }), ..Self::default() };
        world.start();
        let found: Vec<Found> = agents.iter().map(|(name, can)| found(name, can)).collect();
        let files: Vec<_> =
            found.iter().map(|one| (one.definition.name.clone(), one.definition.hash)).collect();
        world.hear(Event::Agents(found));
        if !files.is_empty() {
            world.ask(Command::ApproveAgents(files));
        }
        world
    }

    pub fn worker() -> Self {
        Self::new(&[("worker", &["token.read"])])
    }

    fn time(&self) -> Time {
        Time { boot: BootId([self.boot; 16]), boottime_ns: self.now_ns, wall_ns: self.now_ns.cast_signed() }
    }

    fn start(&mut self) {
        self.hear(Event::Started { version: "t".to_owned(), config: Hash::default(), missing: Vec::new() });
    }

    /// The daemon dies and comes back, perhaps with the machine: what was at agents is gone with them.
    pub fn crash(&mut self, machine_too: bool) {
        (self.starting, self.given, self.cancelled) = Default::default();
        if machine_too {
            self.boot += 1;
        }
        let mut state = State::new(self.state.rules.clone());
        self.log.iter().for_each(|record| engine::evolve(&mut state, record));
        assert_eq!(state, self.state, "folded anew, the log comes to another state");
        let bytes = engine::snapshot::encode(&state).unwrap();
        self.state = engine::snapshot::decode(&bytes, self.state.rules.clone()).unwrap();
        assert_eq!(self.state, state, "written down and read back, the state is another one");
        self.start();
        self.hear(Event::Tick);
    }

    pub fn hear(&mut self, event: Event) {
        let input = Input { time: self.time(), room: Room::Notes, event };
        let decision = engine::decide(&self.state, &input).unwrap();
        for fact in decision.facts {
            let record = Record::new(input.time, fact);
            let record = Record::decode(&record.encode().unwrap()).unwrap();
            engine::evolve(&mut self.state, &record);
            let mut acts = Vec::new();
            act::acts(&self.state, &record.fact, |act| acts.push(act));
            for act in acts {
                let grant = policy::Grant::from(&act.grant);
                assert_eq!(grant.order, act.order, "nothing is done on another order's ground");
                self.act(act.what);
            }
            self.log.push(record);
        }
        for reply in decision.replies {
            self.told.insert(reply.request, reply.body);
        }
    }

    fn act(&mut self, what: What) {
        match what {
            What::Start { instance, name, .. } => self.starting.push((instance, name.to_string())),
            What::Task { instance, task, input, .. } => self.given.push(Given { instance, task, input }),
            What::Cancel { instance, task } => self.cancelled.push((instance, task)),
            What::Leave { instance } => self.leaving.push(instance),
        }
    }

    pub fn ask(&mut self, command: Command) -> RequestId {
        self.ask_as(OWNER, command)
    }

    pub fn ask_as(&mut self, peer: Peer, command: Command) -> RequestId {
        self.requests += 1;
        let request = RequestId([self.requests; 16]);
        self.hear(Event::Asked { request, peer, command });
        request
    }

    pub fn run(&mut self, workflow: Workflow) -> RequestId {
        self.ask(Command::Run { workflow: Arc::new(workflow), params: "[]".to_owned() })
    }

    pub fn control(&mut self, run: u64, control: Control) -> RequestId {
        self.ask(Command::ControlRun { run, control })
    }

    /// All that were started say hello.
    pub fn welcome(&mut self) {
        for (instance, _) in std::mem::take(&mut self.starting) {
            self.hear(Event::Agent { instance, heard: Heard::Ready { pid: 7, tasks: 1 } });
        }
    }

    pub fn say(&mut self, given: &Given, said: Said) {
        self.given.retain(|other| other.task != given.task);
        let heard = Heard::Task(given.task, said);
        self.hear(Event::Agent { instance: given.instance, heard });
    }

    pub fn done(&mut self, given: &Given, output: &str) {
        self.say(given, Said::Done(output.to_owned()));
    }

    pub fn fail(&mut self, given: &Given, retry: bool) {
        let said = Said::Failed { code: "failed".to_owned(), message: "no".to_owned(), retry };
        self.say(given, said);
    }

    pub fn die(&mut self, instance: u64) {
        self.given.retain(|given| given.instance != instance);
        self.cancelled.retain(|(other, _)| *other != instance);
        let heard = Heard::Ended { reason: "killed by signal 9".to_owned(), is_failure: true };
        self.hear(Event::Agent { instance, heard });
    }

    /// What was cancelled is let go of.
    pub fn let_go(&mut self) {
        for (instance, task) in std::mem::take(&mut self.cancelled) {
            self.given.retain(|given| given.task != task);
            let said = Said::Failed { code: "cancelled".to_owned(), message: String::new(), retry: false };
            self.hear(Event::Agent { instance, heard: Heard::Task(task, said) });
        }
    }

    pub fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        while self.state.runs.next_due_ns().is_some_and(|due_ns| due_ns <= self.now_ns) {
            self.hear(Event::Due);
        }
        self.hear(Event::Tick);
    }

    /// Answers everything, until nothing is left to do.
    pub fn answer_all(&mut self, mut answer: impl FnMut(&Given) -> String) {
        loop {
            self.welcome();
            self.let_go();
            let Some(given) = self.given.first().cloned() else {
                if self.starting.is_empty() {
                    return;
                }
                continue;
            };
            let output = answer(&given);
            self.done(&given, &output);
        }
    }

    pub fn end_of(&self, request: RequestId) -> Option<&RunEnd> {
        Some(&self.state.runs.ended.get(&self.state.runs.of(request)?)?.end)
    }

    pub fn output_of(&self, request: RequestId, step: usize) -> &str {
        let ended = &self.state.runs.ended[&self.state.runs.of(request).unwrap()];
        ended.run.steps[step].output.as_deref().unwrap_or("")
    }

    pub fn is_done(&self, request: RequestId) -> bool {
        matches!(self.told.get(&request), Some(Body::Done(Answer::Ran { .. })))
    }

    /// How often each task began, by its key.
    pub fn begins(&self) -> BTreeMap<String, u32> {
        let mut begins = BTreeMap::new();
        for record in &self.log {
            if let Fact::Advanced(advance) = &record.fact {
                advance.begun.iter().for_each(|begin| *begins.entry(begin.task.key()).or_default() += 1);
            }
        }
        begins
    }
}
