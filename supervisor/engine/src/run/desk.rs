//! Gives tasks to processes of agents, and has processes started: what one decision has given and taken so far, over the state as it stands.

use std::borrow::Cow;

use types::agent::Name;
use types::time::Time;
use types::workflow::Who;

use super::fact::{Advance, TaskBegin, TaskRef};
use super::look;
use super::state::{Run, Waiting};
use super::turn::{Turn, Wanted};
use crate::fact::Fact;
use crate::fleet::fact::AgentFact;
use crate::fleet::{INSTANCES_MAX, INSTANCES_OF_AGENT_MAX};
use crate::state::State;

/// Bytes of inputs in one fact; what is beyond goes into another one.
const INPUTS_OF_FACT_MAX: usize = 24 << 10;

pub(crate) struct Desk<'a> {
    state: &'a State,
    now: Time,
    /// Processes, once for each task that they have got in this decision.
    taken: Vec<u64>,
    /// The same for what they have given back.
    given_back: Vec<u64>,
    /// Those of them that nobody has looked at since.
    freed: Vec<u64>,
    /// What was taken from queues in this decision.
    unqueued: Vec<TaskRef>,
    /// Steps that have ended in this decision, and runs: nothing of theirs waits any more.
    ended_steps: Vec<(u64, u32)>,
    ended_runs: Vec<u64>,
    /// Processes that have just said hello, and how many tasks they take.
    new: Vec<(u64, usize)>,
    /// Processes that get nothing more.
    gone: Vec<u64>,
    started: Vec<Name>,
    pub facts: Vec<Fact>,
}

impl<'a> Desk<'a> {
    pub const fn new(state: &'a State, now: Time) -> Self {
        Self {
            state,
            now,
            taken: Vec::new(),
            given_back: Vec::new(),
            freed: Vec::new(),
            unqueued: Vec::new(),
            ended_steps: Vec::new(),
            ended_runs: Vec::new(),
            new: Vec::new(),
            gone: Vec::new(),
            started: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// A process has given back a task of no turn.
    pub fn free(&mut self, instance: u64) {
        self.given_back.push(instance);
        self.freed.push(instance);
    }

    /// A process says hello: it takes so many tasks.
    pub fn welcome(&mut self, instance: u64, tasks: u32) {
        self.new.push((instance, usize::try_from(tasks).unwrap_or(usize::MAX)));
        self.freed.push(instance);
        self.hand_on();
    }

    /// A process gets nothing more.
    pub fn gone(&mut self, instance: u64) {
        self.gone.push(instance);
    }

    /// Records a turn: what it wants is given to processes or queued, and what it gave back to whoever waits.
    pub(super) fn settle(&mut self, turn: Turn<'_>) {
        let Turn { run, mut out, wanted } = turn;
        let given_back = out.ended.iter().filter(|end| !end.goes_on).filter_map(|end| end.instance);
        given_back.for_each(|instance| self.free(instance));
        self.unqueued.extend(out.ended.iter().map(|end| end.task));
        self.ended_steps.extend(out.steps.iter().map(|end| (run.number, end.step)));
        self.ended_runs.extend(out.end.as_ref().map(|_| run.number));
        let is_over = out.end.is_some();
        let paused = out.paused.unwrap_or(run.paused);
        if !self.state.runs.queues.is_empty() {
            // What this turn has freed, and what is free for another reason, goes to those who wait already.
            self.push(
                std::mem::replace(&mut out, Advance { run: run.number, ..Advance::default() }),
                Vec::new(),
            );
            self.freed.extend(self.state.fleet.free.values().flatten());
            self.hand_on();
        }
        let mut begun = Vec::new();
        let mut unmet: Vec<(Cow<'_, Who>, usize)> = Vec::new();
        for wanted in wanted {
            if is_over {
                break;
            }
            let Some(who) = run.who(wanted.task.step, wanted.task.index) else { continue };
            let instance = if paused || self.waiting(&who) > 0 { None } else { self.pick(&who) };
            match instance {
                Some(instance) => {
                    self.taken.push(instance);
                    begun.push(self.begin(run, wanted, instance));
                }
                None => {
                    out.queued.push(wanted.task);
                    match unmet.iter_mut().find(|(other, _)| *other == who) {
                        Some((_, count)) => *count += 1,
                        None => unmet.push((who, 1)),
                    }
                }
            }
        }
        for (who, count) in unmet.into_iter().filter(|_| !paused) {
            self.unmet(&who, count + self.waiting(&who), run.number);
        }
        self.push(out, begun);
    }

    /// What was freed goes to whoever waits longest.
    pub fn hand_on(&mut self) {
        while let Some(instance) = self.freed.pop() {
            while self.room(instance) > 0 {
                let Some((run, task)) = self.longest(instance) else { break };
                let turn = Turn::new(run);
                // It was looked at when it was queued, and nothing that it rests on has changed.
                let Ok(input) = look::input(&turn, task) else { break };
                self.taken.push(instance);
                self.unqueued.push(task);
                let begin = self.begin(run, Wanted { task, input, is_new: false }, instance);
                self.push(turn.out, vec![begin]);
            }
        }
    }

    /// Gives what waits to what is free, and has processes started for the rest, as long as there may be more.
    pub fn serve_queues(&mut self) {
        if !self.state.runs.queues.is_empty() {
            self.freed.extend(self.state.fleet.free.values().flatten());
            self.hand_on();
        }
        for (who, queue) in &self.state.runs.queues {
            if let Some(first) = queue.first() {
                self.unmet(who, self.waiting(who), first.task.run);
            }
        }
    }

    /// A turn as facts: a large one is several.
    fn push(&mut self, out: Advance, begun: Vec<TaskBegin>) {
        let run = out.run;
        let mut fact = out;
        let mut bytes = 0_usize;
        for begin in begun {
            bytes = bytes.saturating_add(begin.input.len()).saturating_add(64);
            if bytes > INPUTS_OF_FACT_MAX && !fact.begun.is_empty() {
                let more = Advance { run, ..Advance::default() };
                self.facts.push(Fact::Advanced(Box::new(std::mem::replace(&mut fact, more))));
                bytes = begin.input.len();
            }
            fact.begun.push(begin);
        }
        if fact != (Advance { run, ..Advance::default() }) {
            self.facts.push(Fact::Advanced(Box::new(fact)));
        }
    }

    fn begin(&self, run: &Run, wanted: Wanted, instance: u64) -> TaskBegin {
        let own = run.described(wanted.task.step).and_then(|step| step.timeout);
        let of_agent = || {
            let agent = &self.state.fleet.instances.get(&instance)?.agent;
            Some(self.state.fleet.agents.get(agent)?.timeout)
        };
        let timeout = own.or_else(of_agent).unwrap_or(types::agent::bounds::TIMEOUT);
        TaskBegin {
            task: wanted.task,
            instance,
            timeout_ns: super::evolve::nanoseconds(timeout.0),
            input: wanted.input,
        }
    }

    /// How many more tasks a process takes.
    fn room(&self, instance: u64) -> usize {
        let Some(found) = self.state.fleet.instances.get(&instance) else { return 0 };
        if found.leaving || self.gone.contains(&instance) || !self.is_current(&found.agent, found.hash) {
            return 0;
        }
        let new = self.new.iter().find(|(new, _)| *new == instance).map(|(_, tasks)| *tasks);
        let all = new.or_else(|| usize::try_from(found.ready?.1).ok()).unwrap_or(0);
        let count = |of: &[u64]| of.iter().filter(|one| **one == instance).count();
        all.saturating_add(count(&self.given_back)).saturating_sub(found.tasks.len() + count(&self.taken))
    }

    /// Whether an agent may still be given tasks under the file that a process runs by.
    fn is_current(&self, name: &Name, hash: types::hash::Hash) -> bool {
        self.state.fleet.agents.get(name).is_some_and(|agent| {
            agent.is_approved() && agent.hash == hash && agent.is_trusted(self.now.boottime_ns)
        })
    }

    /// Whether what stands in a queue still waits.
    fn waits(&self, task: &TaskRef) -> bool {
        !self.unqueued.contains(task)
            && !self.ended_steps.contains(&(task.run, task.step))
            && !self.ended_runs.contains(&task.run)
    }

    /// How many tasks wait for these agents already.
    fn waiting(&self, who: &Who) -> usize {
        let queue = self.state.runs.queues.get(who);
        queue.map_or(0, |queue| {
            queue.iter().filter(|waiting| self.waits(&waiting.task)).take(INSTANCES_MAX).count()
        })
    }

    /// A process that may take a task: one that was just freed first, then the one with the least to do.
    fn pick(&self, who: &Who) -> Option<u64> {
        let fits = |instance: u64| {
            let found = self.state.fleet.instances.get(&instance)?;
            let agent = self.state.fleet.agents.get(&found.agent)?;
            (agent.is_one_of(&found.agent, who) && self.room(instance) > 0).then_some(instance)
        };
        if let Some(freed) = self.given_back.iter().find_map(|instance| fits(*instance)) {
            return Some(freed);
        }
        let all = &self.state.fleet.free;
        let free: Vec<u64> = match who {
            Who::Agents(names) => names.iter().filter_map(|name| all.get(name)).flatten().copied().collect(),
            Who::Capability(_) => all.values().flatten().copied().collect(),
        };
        let least = |instance: &u64| {
            let at = self.state.fleet.instances.get(instance).map_or(usize::MAX, |found| found.tasks.len());
            at + self.taken.iter().filter(|taken| *taken == instance).count()
        };
        free.into_iter().filter_map(fits).min_by_key(least)
    }

    /// What waits longest for an agent's process.
    fn longest(&self, instance: u64) -> Option<(&'a Run, TaskRef)> {
        let name = &self.state.fleet.instances.get(&instance)?.agent;
        let agent = self.state.fleet.agents.get(name)?;
        let queues = self.state.runs.queues.iter().filter(|(who, _)| agent.is_one_of(name, who));
        let heads = queues.filter_map(|(_, queue)| queue.iter().find(|one| self.waits(&one.task)));
        let least: &Waiting = heads.min()?;
        Some((self.state.runs.open.get(&least.task.run)?, least.task))
    }

    /// Tasks wait for these agents: has a process started for each that none comes for yet.
    fn unmet(&mut self, who: &Who, waiting: usize, run: u64) {
        let fleet = &self.state.fleet;
        let fits = |name: &Name| fleet.agents.get(name).is_some_and(|agent| agent.is_one_of(name, who));
        let coming = fleet
            .instances
            .iter()
            .filter(|(number, one)| one.ready.is_none() && fits(&one.agent) && !self.gone.contains(number))
            .count()
            + self.started.iter().filter(|name| fits(name)).count();
        let wanted = waiting.min(INSTANCES_MAX);
        for _ in coming..wanted {
            let Some((name, hash)) = self.who_starts(who) else { return };
            let more = u64::try_from(self.started.len()).unwrap_or(0);
            let instance = fleet.next.max(1).saturating_add(more);
            self.facts.push(Fact::Agent(AgentFact::Started {
                instance,
                name: name.to_string(),
                hash: hash.0,
                run,
            }));
            self.started.push(name);
        }
    }

    /// The agent with the fewest processes that may have one more.
    fn who_starts(&self, who: &Who) -> Option<(Name, types::hash::Hash)> {
        let fleet = &self.state.fleet;
        if fleet.instances.len() + self.started.len() >= INSTANCES_MAX {
            return None;
        }
        let candidates = fleet.agents.iter().filter(|(name, agent)| {
            agent.is_one_of(name, who) && agent.is_approved() && agent.is_trusted(self.now.boottime_ns)
        });
        let count = |name: &Name| {
            fleet.instances_of(name) + self.started.iter().filter(|started| *started == name).count()
        };
        let (least, name, agent) =
            candidates.map(|(name, agent)| (count(name), name, agent)).min_by_key(|(count, ..)| *count)?;
        (least < INSTANCES_OF_AGENT_MAX).then(|| (name.clone(), agent.hash))
    }
}
