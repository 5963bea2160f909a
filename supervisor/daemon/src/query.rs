//! Answers that change nothing, from what was known when the question was taken.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use api::wire::{self, record};
use engine::command::Point;
use engine::reply::{Refusal, ScheduleReport};
use engine::state::Checkpoint;
use engine::{Query, State, Which};
use types::time::Time;

use crate::effects::World;
use crate::journal::Durable;
use crate::{past, privileges};

/// Most bytes of entries in one answer, as they are counted here: far below a frame, and little beside what many
/// askers at once may leave unread.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// What an entry takes besides its text, bytes.
const ENTRY_BYTES: usize = 100;

/// What a query may need of state and log.
pub struct View {
    status: wire::Status,
    checkpoints: Vec<Checkpoint>,
    schedule: Option<(ScheduleReport, i64)>,
    agents: Vec<wire::agents::Agent>,
    runs: Vec<wire::agents::Run>,
}

/// What a query may need of the log.
pub struct Position {
    log: wire::LogStatus,
    anchor: Option<wire::tpm::Anchor>,
    dir: PathBuf,
}

impl Position {
    /// Takes it.
    pub fn new(durable: &Durable<'_>, query: &Query) -> Self {
        let root = match query {
            Query::Status | Query::Tpm => durable.root().to_string(),
            _ => String::new(),
        };
        let log = wire::LogStatus { size: durable.size(), signed: durable.signed(), root };
        let anchor = if matches!(query, Query::Tpm) { durable.anchor() } else { None };
        Self { log, anchor, dir: durable.dir().to_owned() }
    }
}

impl View {
    /// Takes it.
    pub fn new(state: &State, query: &Query, now: Time) -> Self {
        // Many may be waiting to be answered: each holds no more than it needs.
        let wanted = |checkpoint: &&Checkpoint| match query {
            Query::Checkpoints => true,
            Query::Checkpoint(Which::Number(number)) => checkpoint.number == *number,
            Query::Checkpoint(Which::Name(name)) => checkpoint.name == *name,
            Query::Status
            | Query::Schedule
            | Query::Tpm
            | Query::Quote { .. }
            | Query::Certify { .. }
            | Query::Vault
            | Query::Tokens
            | Query::Past(_)
            | Query::Agents
            | Query::AgentLog(_)
            | Query::Runs
            | Query::Run(_)
            | Query::Facts { .. } => false,
        };
        Self {
            status: wire::Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                works: works(state),
                zones: zones(state),
                checkpoints: u64::try_from(state.checkpoints.len()).unwrap_or(u64::MAX),
                denials: state.denials,
                starts: state.starts,
                ..wire::Status::default()
            },
            checkpoints: state.checkpoints.values().filter(wanted).cloned().collect(),
            schedule: matches!(query, Query::Schedule)
                .then(|| (engine::schedule::report(state, now), now.wall_ns)),
            agents: match query {
                Query::Agents | Query::AgentLog(_) => wire::agents::agents(state, now),
                _ => Vec::new(),
            },
            runs: match query {
                Query::Runs => wire::agents::runs(state, now),
                Query::Run(number) => wire::agents::run(state, *number, now).into_iter().collect(),
                _ => Vec::new(),
            },
        }
    }

    /// Answers.
    pub async fn answer(
        self,
        world: &World,
        query: Query,
        position: Position,
    ) -> Result<wire::Answer, Refusal> {
        match query {
            Query::Status => Ok(wire::Answer::Status(Box::new(self.status(world, position.log)))),
            Query::Tpm => Ok(wire::Answer::Tpm(Box::new(wire::tpm::Report {
                anchor: position.anchor,
                log: position.log,
                ..world.tpm_report().await
            }))),
            Query::Quote { nonce, registers } => {
                Ok(wire::Answer::Quote(Box::new(world.quote(&nonce, registers).await?)))
            }
            Query::Vault => Ok(wire::Answer::Vault(Box::new(world.vault_report().await?))),
            Query::Certify { nonce } => {
                Ok(wire::Answer::Certification(Box::new(world.certify(&nonce).await?)))
            }
            Query::Tokens => Ok(wire::Answer::Tokens { tokens: world.tokens()? }),
            Query::Checkpoints => Ok(wire::Answer::Checkpoints {
                checkpoints: self.checkpoints.iter().map(Into::into).collect(),
            }),
            Query::Schedule => {
                let (report, wall_ns) = self.schedule.unwrap_or_default();
                Ok(wire::Answer::Schedule(Box::new(wire::retention::Schedule::new(report, wall_ns))))
            }
            Query::Checkpoint(which) => self.checkpoint(world, &which).await,
            Query::Agents => Ok(wire::Answer::Agents { agents: agents(world, self.agents) }),
            Query::AgentLog(name) => agent_log(world, &self.agents, name.as_str()),
            Query::Runs => Ok(wire::Answer::Runs { runs: self.runs }),
            Query::Run(number) => self.runs.into_iter().next().map_or_else(
                || Err(Refusal::NotFound(format!("run {number}: “dsmil runs list” shows what there is"))),
                |run| Ok(wire::Answer::Run(Box::new(run))),
            ),
            Query::Past(point) => past(world, position, point).await,
            Query::Facts { from, limit } => facts(position, from, limit).await,
        }
    }

    fn status(self, world: &World, log: wire::LogStatus) -> wire::Status {
        let mut status = wire::Status { log, ..self.status };
        world.describe(&mut status);
        status.capabilities = privileges::held();
        status.user = nix::unistd::geteuid().as_raw();
        status
    }

    async fn checkpoint(self, world: &World, which: &Which) -> Result<wire::Answer, Refusal> {
        let checkpoint = self.checkpoints.first().ok_or_else(|| {
            Refusal::NotFound(format!("checkpoint {which}: “dsmil checkpoint list” shows what there is"))
        })?;
        let (statement, mut entries) =
            world.show(checkpoint.number, checkpoint.manifest).await.map_err(Refusal::Failed)?;
        let mut bytes = 0;
        let fitting = entries.iter().take(wire::ENTRIES_MAX).take_while(|entry| {
            bytes += entry.len() + ENTRY_BYTES;
            bytes <= ANSWER_BYTES_MAX
        });
        let fitting = fitting.count();
        let more = entries.len().saturating_sub(fitting);
        entries.truncate(fitting);
        Ok(wire::Answer::Checkpoint {
            checkpoint: Box::new(checkpoint.into()),
            statement,
            entries,
            more: u64::try_from(more).unwrap_or(u64::MAX),
        })
    }
}

/// With those whose files cannot be used.
fn agents(world: &World, mut known: Vec<wire::agents::Agent>) -> Vec<wire::agents::Agent> {
    let wrong = world.agents().map(crate::effects::agents::Agents::wrong).unwrap_or_default();
    known.extend(wrong.into_iter().map(|found| wire::agents::Agent {
        name: found.name,
        state: "wrong".to_owned(),
        path: found.path.to_string_lossy().into_owned(),
        uid: found.uid,
        hash: found.hash.to_string(),
        mistakes: found.definition.err().unwrap_or_default().iter().map(ToString::to_string).collect(),
        ..wire::agents::Agent::default()
    }));
    known
}

/// The last of what an agent's processes wrote to their error output.
fn agent_log(world: &World, known: &[wire::agents::Agent], name: &str) -> Result<wire::Answer, Refusal> {
    let agent = known
        .iter()
        .find(|agent| agent.name == name)
        .ok_or_else(|| Refusal::NotFound(format!("agent “{name}”: “dsmil agent list” shows them")))?;
    let said = agent.instances.iter().filter_map(|one| world.agents()?.stderr(one.number));
    let text: Vec<String> = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    Ok(wire::Answer::AgentLog { text: text.concat() })
}

fn works(state: &State) -> Vec<String> {
    state.works.values().map(|work| format!("{} (work {})", work.order.title(), work.number)).collect()
}

fn zones(state: &State) -> Vec<wire::Zone> {
    let zone = |(name, (level, millicelsius)): (&String, &(_, Option<i32>))| wire::Zone {
        name: name.clone(),
        level: record::level_name(*level).to_owned(),
        millicelsius: *millicelsius,
    };
    state.zones.iter().map(zone).collect()
}

async fn past(world: &World, position: Position, point: Point) -> Result<wire::Answer, Refusal> {
    let Position { log: wire::LogStatus { size, .. }, dir, .. } = position;
    let rules = world.rules().clone();
    let fold = tokio::task::spawn_blocking(move || past::at(&dir, size, point, &rules));
    let past::Past { state, fact, wall_ns } =
        fold.await.map_err(|error| Refusal::Failed(error.to_string())).flatten()?;
    Ok(wire::Answer::Past(Box::new(wire::Past {
        fact,
        time: record::rfc3339(wall_ns),
        works: works(&state),
        zones: zones(&state),
        checkpoints: state.checkpoints.values().map(Into::into).collect(),
        missing: state.missing.clone(),
        denials: state.denials,
        starts: state.starts,
    })))
}

async fn facts(position: Position, from: Option<u64>, limit: u32) -> Result<wire::Answer, Refusal> {
    let Position { log: wire::LogStatus { size, .. }, dir, .. } = position;
    let read = tokio::task::spawn_blocking(move || read(&dir, size, from, limit));
    let records = read.await.map_err(|error| error.to_string()).flatten().map_err(Refusal::Failed)?;
    Ok(wire::Answer::Facts { records, size })
}

/// The facts from a place on, or the last ones; fewer where they are long. Who asked from a place on asks again from
/// behind the last one that came.
fn read(dir: &Path, size: u64, from: Option<u64>, limit: u32) -> Result<Vec<record::Entry>, String> {
    let first = from.unwrap_or_else(|| size.saturating_sub(limit.into()));
    let end = size.min(first.saturating_add(limit.into()));
    let (mut records, mut bytes) = (VecDeque::new(), 0);
    if first >= end {
        return Ok(Vec::new());
    }
    for entry in store::log::read(dir, first).map_err(|error| error.to_string())? {
        let (index, encoded) = entry.map_err(|error| error.to_string())?;
        if index >= end {
            break;
        }
        let entry =
            record::Entry::decode(index, &encoded).map_err(|error| format!("entry {index}: {error}"))?;
        bytes += entry.text.len() + ENTRY_BYTES;
        records.push_back(entry);
        while bytes > ANSWER_BYTES_MAX && records.len() > 1 {
            if from.is_some() {
                records.pop_back();
                return Ok(records.into());
            }
            bytes -= records.pop_front().map_or(0, |entry| entry.text.len() + ENTRY_BYTES);
        }
    }
    Ok(records.into())
}
