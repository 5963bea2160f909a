//! Answers that change nothing, from what was known when the question was taken.

use std::path::PathBuf;

use api::wire::{self, record};
use engine::reply::Refusal;
use engine::state::Checkpoint;
use engine::{Query, State, Which};

use crate::effects::World;
use crate::journal::Journal;
use crate::privileges;

/// What a query may need of state and log.
pub struct View {
    status: wire::Status,
    checkpoints: Vec<Checkpoint>,
    log_dir: PathBuf,
    size: u64,
}

impl View {
    /// Takes it.
    pub fn new(state: &State, journal: &Journal) -> Self {
        let log = wire::LogStatus {
            size: journal.size(),
            signed: journal.covered(),
            root: journal.root().to_string(),
        };
        let works = state
            .works
            .values()
            .map(|work| format!("{} (work {})", work.order.title(), work.number))
            .collect();
        let zones = state.zones.iter().map(|(name, (level, millicelsius))| wire::Zone {
            name: name.clone(),
            level: record::level_name(*level).to_owned(),
            millicelsius: *millicelsius,
        });
        Self {
            status: wire::Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                log,
                works,
                zones: zones.collect(),
                checkpoints: u64::try_from(state.checkpoints.len()).unwrap_or(u64::MAX),
                denials: state.denials,
                starts: state.starts,
                ..wire::Status::default()
            },
            checkpoints: state.checkpoints.values().cloned().collect(),
            log_dir: journal.dir().to_owned(),
            size: journal.size(),
        }
    }

    /// Answers.
    pub async fn answer(self, world: &World, query: Query) -> Result<wire::Answer, Refusal> {
        match query {
            Query::Status => Ok(wire::Answer::Status(Box::new(self.status(world)))),
            Query::Tokens => Ok(wire::Answer::Tokens { tokens: world.tokens()? }),
            Query::Checkpoints => Ok(wire::Answer::Checkpoints {
                checkpoints: self.checkpoints.iter().map(Into::into).collect(),
            }),
            Query::Checkpoint(which) => self.checkpoint(world, &which).await,
            Query::Facts { from, limit } => self.facts(from, limit).await,
        }
    }

    fn status(self, world: &World) -> wire::Status {
        let mut status = self.status;
        world.describe(&mut status);
        status.capabilities = privileges::held();
        status.user = nix::unistd::geteuid().as_raw();
        status
    }

    async fn checkpoint(self, world: &World, which: &Which) -> Result<wire::Answer, Refusal> {
        let found = self.checkpoints.iter().find(|checkpoint| match which {
            Which::Number(number) => checkpoint.number == *number,
            Which::Name(name) => checkpoint.name == *name,
        });
        let checkpoint = found.ok_or_else(|| {
            Refusal::NotFound(format!("checkpoint {which}: “dsmil checkpoint list” shows what there is"))
        })?;
        let (statement, mut entries) = world.show(checkpoint.number).await.map_err(Refusal::Failed)?;
        let more = entries.len().saturating_sub(wire::ENTRIES_MAX);
        entries.truncate(wire::ENTRIES_MAX);
        Ok(wire::Answer::Checkpoint {
            checkpoint: checkpoint.into(),
            statement,
            entries,
            more: u64::try_from(more).unwrap_or(u64::MAX),
        })
    }

    async fn facts(self, from: Option<u64>, limit: u32) -> Result<wire::Answer, Refusal> {
        let (dir, size) = (self.log_dir, self.size);
        let read = tokio::task::spawn_blocking(move || {
            let from = from.unwrap_or_else(|| size.saturating_sub(limit.into()));
            let last = size.min(from.saturating_add(limit.into()));
            let mut records = Vec::new();
            if from >= last {
                return Ok(records);
            }
            for entry in store::log::read(&dir, from).map_err(|error| error.to_string())? {
                let (index, bytes) = entry.map_err(|error| error.to_string())?;
                if index >= last {
                    break;
                }
                let entry = record::Entry::decode(index, &bytes)
                    .map_err(|error| format!("entry {index}: {error}"))?;
                records.push(entry);
            }
            Ok(records)
        });
        let records = read.await.map_err(|error| error.to_string()).flatten().map_err(Refusal::Failed)?;
        Ok(wire::Answer::Facts { records, size })
    }
}
