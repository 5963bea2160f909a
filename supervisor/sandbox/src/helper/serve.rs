//! The helper's side.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use types::agent::Definition;
use types::hash::Hash;

use super::message::{Asked, Can, Effect, Told, reason};
use super::socket::{self, Packet, Sent};
use crate::error::Error;
use crate::folders::Folders;
use crate::leaf::Place;
use crate::process::{Exit, Process, Started, Starting};
use crate::spec::Spec;
use crate::subtree::Subtree;

/// The cgroup above all agents, below the one that was delegated.
const SUBTREE: &str = "agents";
/// How long what an earlier run left may take to die, and what runs at the end.
const CLEAR_MAX: Duration = Duration::from_secs(5);
/// After this time an agent's processes that do not die are told to be stuck.
const DEATH_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether those that were killed are dead: nothing else tells.
const DEATH_LOOK: Duration = Duration::from_millis(10);
/// The same for those that are stuck.
const STUCK_LOOK: Duration = Duration::from_secs(1);
/// Effects that are taken before agents are looked at again.
const BURST: usize = 32;

/// What root allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The cgroup that was delegated.
    pub cgroup: PathBuf,
    /// Where definitions lie, and as whom their agents run.
    pub folders: Folders,
    /// Most agents at once.
    pub instances_max: usize,
}

/// Reads a definition, or says what is wrong with it.
pub type Read<'r> = &'r dyn Fn(&[u8]) -> Result<Definition, String>;

/// Serves one daemon until it closes its end; then all agents are dead. The calling thread is the parent of them all.
///
/// # Errors
///
/// - The cgroup cannot be used, or an earlier run's processes cannot be killed; the daemon is told.
/// - [`Error::Helper`]: the daemon sent what is no effect.
/// - [`Error::Stuck`]: agents that could not be killed at the end.
pub fn serve(socket: OwnedFd, rules: &Rules, read: Read<'_>) -> Result<(), Error> {
    let (subtree, ready, brake) = match prepare(rules) {
        Ok(prepared) => prepared,
        Err(error) => {
            // It may be gone; then nobody wants to know.
            _ = socket::send(&socket, &socket::encode(&Told::Unfit(reason(&error)))?, &[]);
            return Err(error);
        }
    };
    let mut helper =
        Helper { socket, rules, read, subtree, agents: HashMap::new(), outgoing: VecDeque::new() };
    helper.tell(&ready, brake)?;
    let served = helper.run();
    let cleared = helper.subtree.clear(CLEAR_MAX);
    served.and(cleared)
}

fn prepare(rules: &Rules) -> Result<(Subtree, Told, Vec<OwnedFd>), Error> {
    let subtree = Subtree::prepare(&rules.cgroup, SUBTREE)?;
    subtree.clear(CLEAR_MAX)?;
    let brake = subtree.brake()?;
    let path = subtree.path().as_os_str().as_bytes().to_vec();
    let ready = Told::Ready { path, can: Can::from(subtree.capabilities()) };
    Ok((subtree, ready, brake))
}

/// An agent's course: starting, running, dying, gone.
enum Agent {
    Starts(Starting),
    Runs(Process),
    Dies { process: Process, since: Instant, is_told: bool },
}

struct Helper<'h> {
    socket: OwnedFd,
    rules: &'h Rules,
    read: Read<'h>,
    subtree: Subtree,
    agents: HashMap<u64, Agent>,
    /// What the daemon has not taken yet. Nothing is asked of us until it has, so this is bounded by the agents.
    outgoing: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

impl Helper<'_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            let ready = self.wait()?;
            for instance in ready {
                self.look(instance)?;
            }
            self.flush()?;
            for _ in 0..BURST {
                if !self.outgoing.is_empty() {
                    break;
                }
                match socket::receive(&self.socket)? {
                    Packet::None => break,
                    Packet::End => return Ok(()),
                    Packet::Message(bytes, _) => {
                        let asked: Asked = socket::decode(&bytes)?;
                        let effect = asked.effect().ok_or_else(|| Error::Helper("no effect".to_owned()))?;
                        self.perform(&effect)?;
                    }
                }
            }
        }
    }

    /// Waits for something to happen; the agents that are to be looked at.
    fn wait(&self) -> Result<Vec<u64>, Error> {
        let now = Instant::now();
        // Who does not take what it is told is not asked for more.
        let ours = if self.outgoing.is_empty() { PollFlags::IN } else { PollFlags::OUT };
        let mut fds = vec![PollFd::new(&self.socket, ours)];
        let (mut instances, mut dying, mut until) = (Vec::new(), Vec::new(), None::<Instant>);
        for (instance, agent) in &self.agents {
            let (fd, end) = match agent {
                Agent::Starts(starting) => (starting.as_fd(), Some(starting.until())),
                Agent::Runs(process) => (process.as_fd(), None),
                Agent::Dies { is_told, .. } => {
                    dying.push(*instance);
                    let look = if *is_told { STUCK_LOOK } else { DEATH_LOOK };
                    until = Some(until.unwrap_or(now + look).min(now + look));
                    continue;
                }
            };
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            instances.push((*instance, end));
            until = until.into_iter().chain(end).min();
        }
        let left = until.and_then(|until| Timespec::try_from(until.saturating_duration_since(now)).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Helper(error.to_string())),
        }
        let now = Instant::now();
        let is_ready = |fd: &PollFd<'_>, end: Option<Instant>| {
            !fd.revents().is_empty() || end.is_some_and(|end| end <= now)
        };
        let ready = fds.iter().skip(1).zip(instances).filter(|(fd, (_, end))| is_ready(fd, *end));
        Ok(ready.map(|(_, (instance, _))| instance).chain(dying).collect())
    }

    /// An agent may have gone on to its next state.
    fn look(&mut self, instance: u64) -> Result<(), Error> {
        let Some(agent) = self.agents.remove(&instance) else { return Ok(()) };
        match agent {
            Agent::Starts(starting) => match starting.wait(Duration::ZERO) {
                Ok(Started::NotYet(starting)) => {
                    self.agents.insert(instance, Agent::Starts(starting));
                    Ok(())
                }
                Ok(Started::Runs(process)) => self.started(instance, process),
                Err(error) => self.tell(&Told::NotStarted(instance, reason(&error)), Vec::new()),
            },
            Agent::Runs(mut process) => {
                if process.try_wait()?.is_some() {
                    return self.die(instance, process, Instant::now(), false);
                }
                self.agents.insert(instance, Agent::Runs(process));
                Ok(())
            }
            Agent::Dies { process, since, is_told } => self.die(instance, process, since, is_told),
        }
    }

    fn started(&mut self, instance: u64, mut process: Process) -> Result<(), Error> {
        let pipes = [process.stdio.stdin.take(), process.stdio.stdout.take(), process.stdio.stderr.take()];
        let fds: Vec<OwnedFd> = pipes.into_iter().flatten().chain(process.leaf().killer()?).collect();
        let told = Told::Started(instance, process.pid());
        self.agents.insert(instance, Agent::Runs(process));
        self.tell(&told, fds)
    }

    /// Kills what is left of an agent; once nothing is, its end is told and its cgroup removed.
    fn die(
        &mut self,
        instance: u64,
        mut process: Process,
        since: Instant,
        is_told: bool,
    ) -> Result<(), Error> {
        let stuck = match process.kill(Duration::ZERO) {
            Ok(()) => Vec::new(),
            Err(Error::Stuck(stuck)) => stuck,
            Err(error) => return Err(error),
        };
        let exit = process.try_wait()?;
        let is_dead = stuck.is_empty() && exit.is_some();
        let is_late = since.elapsed() > DEATH_MAX;
        if !is_told && (is_dead || is_late) {
            self.ended(instance, &process, exit, stuck.len())?;
        }
        if !is_dead {
            let is_told = is_told || is_late;
            self.agents.insert(instance, Agent::Dies { process, since, is_told });
        }
        Ok(())
    }

    fn ended(
        &mut self,
        instance: u64,
        process: &Process,
        exit: Option<Exit>,
        stuck: usize,
    ) -> Result<(), Error> {
        let usage = process.usage().ok().map(Into::into);
        let stuck = u32::try_from(stuck).unwrap_or(u32::MAX);
        self.tell(&Told::Ended { instance, exit: exit.map(Into::into), usage, stuck }, Vec::new())
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), Error> {
        let (instance, done) = match effect {
            Effect::Start { instance, path, hash } => return self.start(*instance, path, *hash),
            Effect::Usage { instance } => return self.usage(*instance),
            Effect::Kill { instance } => {
                self.kill(*instance)?;
                (Some(*instance), Ok(()))
            }
            Effect::Freeze { instance } => (Some(*instance), self.freeze(*instance, true)),
            Effect::Thaw { instance } => (Some(*instance), self.freeze(*instance, false)),
            Effect::KillAll => (None, self.kill_all()),
            Effect::FreezeAll => (None, self.subtree.freeze()),
            Effect::ThawAll => (None, self.subtree.thaw()),
        };
        let told = match done {
            Ok(()) => Told::Done(instance),
            Err(error) => Told::Failed(instance, reason(&error)),
        };
        self.tell(&told, Vec::new())
    }

    fn start(&mut self, instance: u64, path: &Path, hash: Hash) -> Result<(), Error> {
        if self.agents.len() >= self.rules.instances_max {
            return self.tell(&Told::Full(instance), Vec::new());
        }
        let (definition, spec) = match self.checked(instance, path, hash) {
            Ok(checked) => checked,
            Err(why) => return self.tell(&Told::Refused(instance, why), Vec::new()),
        };
        let name = format!("{}@{instance}", definition.name);
        let leaf = self.subtree.leaf(&name, &definition.limits, &Place::default());
        match leaf.and_then(|leaf| leaf.begin(&spec)) {
            Ok(starting) => {
                self.agents.insert(instance, Agent::Starts(starting));
                Ok(())
            }
            Err(error) => self.tell(&Told::NotStarted(instance, reason(&error)), Vec::new()),
        }
    }

    /// What is to run, found out by ourselves: of what the daemon says, only the choice among what root allows is believed.
    fn checked(&self, instance: u64, path: &Path, hash: Hash) -> Result<(Definition, Spec), String> {
        if self.agents.contains_key(&instance) {
            return Err("an agent of that number runs".to_owned());
        }
        let file = self.rules.folders.open(path).map_err(|refusal| reason(&refusal))?;
        if file.hash != hash {
            return Err(format!("{} was changed after it was approved", path.display()));
        }
        let definition = (self.read)(&file.bytes).map_err(|why| reason(&why))?;
        // A user's agents begin at home, as everything else of that user does; those of root nowhere in particular.
        let folder = if file.uid == 0 { PathBuf::from("/") } else { file.user.home.clone() };
        let spec =
            Spec { command: definition.command.clone(), environment: Vec::new(), folder, user: file.user };
        Ok((definition, spec))
    }

    fn kill(&mut self, instance: u64) -> Result<(), Error> {
        match self.agents.remove(&instance) {
            // It has ended meanwhile.
            None => Ok(()),
            Some(Agent::Starts(starting)) => {
                drop(starting);
                let why = "it was killed before its program had started".to_owned();
                self.tell(&Told::NotStarted(instance, why), Vec::new())
            }
            Some(Agent::Runs(process)) => self.die(instance, process, Instant::now(), false),
            Some(dying) => {
                self.agents.insert(instance, dying);
                Ok(())
            }
        }
    }

    fn kill_all(&mut self) -> Result<(), Error> {
        self.subtree.kill()?;
        let all: Vec<u64> = self.agents.keys().copied().collect();
        all.into_iter().try_for_each(|instance| self.kill(instance))
    }

    fn freeze(&self, instance: u64, is_frozen: bool) -> Result<(), Error> {
        self.running(instance)?.leaf().freeze(is_frozen, None)
    }

    fn usage(&mut self, instance: u64) -> Result<(), Error> {
        let told = match self.running(instance).and_then(Process::usage) {
            Ok(usage) => Told::Usage(instance, usage.into()),
            Err(error) => Told::Failed(Some(instance), reason(&error)),
        };
        self.tell(&told, Vec::new())
    }

    fn running(&self, instance: u64) -> Result<&Process, Error> {
        match self.agents.get(&instance) {
            Some(Agent::Runs(process) | Agent::Dies { process, .. }) => Ok(process),
            Some(Agent::Starts(_)) => Err(Error::Unfit("its program has not started yet")),
            None => Err(Error::Unfit("no such agent runs")),
        }
    }

    /// Tells the daemon, or keeps it until there is room.
    fn tell(&mut self, told: &Told, fds: Vec<OwnedFd>) -> Result<(), Error> {
        self.outgoing.push_back((socket::encode(told)?, fds));
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        while let Some((bytes, fds)) = self.outgoing.front() {
            match socket::send(&self.socket, bytes, fds)? {
                Sent::Yes => drop(self.outgoing.pop_front()),
                Sent::Full => break,
                // Its end is what we read next.
                Sent::End => self.outgoing.clear(),
            }
        }
        Ok(())
    }
}
