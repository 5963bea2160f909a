//! What the loop hears of agents: their files, and their processes.

use std::time::Duration;

use engine::Event;
use tokio::sync::mpsc;

use crate::agents::fleet::{Fleet, Patience};
use crate::agents::folders::{self, Found, Watch};
use crate::agents::happened::Batch;
use crate::clock;
use crate::config::Config;
use crate::effects::agents::{Agents, heard};
use crate::helpers;
use crate::run::Message;

/// Batches that may wait; the driver waits then, and reads nothing from agents.
const BATCHES_MAX: usize = 64;

/// Where it comes in; for ever silent where there are no agents.
pub struct Herd {
    batches: Option<mpsc::Receiver<Batch>>,
    files: Option<mpsc::Receiver<Vec<Found>>>,
    unheard: Option<mpsc::UnboundedReceiver<Event>>,
    /// Files that were found, until somebody has taken them to where they belong.
    found: Option<Vec<Found>>,
    _watch: Option<Watch>,
}

impl Herd {
    /// Where agents are heard, and how they are got at.
    pub fn open(agents: Option<helpers::Agents>, config: &Config) -> anyhow::Result<(Self, Option<Agents>)> {
        let Some(agents) = agents else {
            return Ok((Self { batches: None, files: None, unheard: None, found: None, _watch: None }, None));
        };
        let (told, batches) = mpsc::channel(BATCHES_MAX);
        let (tell_files, files) = mpsc::channel(1);
        let (tell_unheard, unheard) = mpsc::unbounded_channel();
        let logs = config.state.join("agents");
        let fleet = Fleet::new((agents.client, agents.brake), told, &logs, Patience::default())?;
        let watch = folders::watch(agents.folders, tell_files)?;
        for missing in &agents.capabilities.missing {
            tracing::warn!("limits of agents: {missing}");
        }
        let herd = Self {
            batches: Some(batches),
            files: Some(files),
            unheard: Some(unheard),
            found: None,
            _watch: Some(watch),
        };
        Ok((herd, Some(Agents::new(fleet, config.rules()?, tell_unheard))))
    }

    /// Waits for something; what is lost when this is cancelled comes again.
    pub async fn hear(&mut self) -> anyhow::Result<Vec<Message>> {
        tokio::select! {
            biased;
            event = next(self.unheard.as_mut()) => Ok(event.into_iter().map(Message::Event).collect()),
            batch = receive(self.batches.as_mut()) => heard(batch),
            files = receive(self.files.as_mut()) => {
                self.found = Some(files);
                Ok(Vec::new())
            }
        }
    }

    /// The files that were found last, once.
    pub fn take_found(&mut self) -> Option<Vec<Found>> {
        self.found.take()
    }
}

async fn receive<T>(from: Option<&mut mpsc::Receiver<T>>) -> T {
    match from {
        Some(from) => match from.recv().await {
            Some(received) => received,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn next(from: Option<&mut mpsc::UnboundedReceiver<Event>>) -> Option<Event> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

/// Comes when something is due; never where nothing is.
pub async fn due(at_ns: Option<u64>) {
    match at_ns {
        Some(at_ns) => {
            let left = Duration::from_nanos(at_ns.saturating_sub(clock::boottime_ns()));
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}
