//! What an agent asks for in the middle of a task goes the way of any request: it is decided, recorded and answered once.

use std::sync::Arc;

use api::agent::call;
use api::server::{Incoming, Payload};
use api::wire::{self, Response, convert};
use engine::order::digest;
use engine::{Command, RequestId};
use types::peer::Peer;

use super::outlet::Way;
use super::{Loop, Phase};
use crate::effects::agents::Called;

/// A request, whoever asks.
pub(super) struct Asked {
    pub peer: Peer,
    pub request: RequestId,
    pub command: Command,
    pub payload: Option<Payload>,
    pub replies: Way,
}

impl From<Incoming> for Asked {
    fn from(incoming: Incoming) -> Self {
        let Incoming { peer, request, command, payload, replies } = incoming;
        Self { peer, request, command, payload, replies: Way::Client(replies) }
    }
}

impl Loop {
    /// An agent asks. It may do what its file asks for, and no more than whoever began the run: both are needed.
    pub(super) fn called(&mut self, called: Called) -> anyhow::Result<()> {
        let way = Way::Agent(Arc::clone(&self.world), called.instance, called.call.clone());
        let refused = match self.admitted(&called) {
            Ok((peer, request, command)) if self.phase == Phase::Serving => {
                return self.asked(Asked { peer, request, command, payload: None, replies: way });
            }
            Ok(_) => (wire::Code::Busy, "dsmild is stopping".to_owned()),
            Err(refused) => refused,
        };
        let body = wire::Body::Refused { code: refused.0, message: refused.1 };
        way.send(&Response { id: String::new(), behind: wire::Behind::default(), body });
        Ok(())
    }

    fn admitted(&self, called: &Called) -> Result<(Peer, RequestId, Command), (wire::Code, String)> {
        let denied = |message: &str| (wire::Code::Denied, message.to_owned());
        let invalid = |message: String| (wire::Code::Invalid, message);
        let fleet = &self.state.fleet;
        let agent = fleet.instances.get(&called.instance).and_then(|found| fleet.agents.get(&found.agent));
        let agent = agent.ok_or_else(|| denied("no such agent is known"))?;
        let task = called.task.ok_or_else(|| denied("it names no task"))?;
        let run = self.state.runs.open.get(&task.run).ok_or_else(|| denied("the run has ended"))?;
        let command = call::command(&called.capability, &called.input).map_err(invalid)?;
        if !agent.capabilities.iter().any(|has| call::covers(has, &called.capability, &command)) {
            let message =
                format!("the agent's file does not ask for “{}” with this input", called.capability);
            return Err(denied(&message));
        }
        let command = convert::command(command).map_err(|fault| invalid(fault.to_string()))?;
        let peer = Peer { pid: run.asker.pid, uid: run.asker.uid, gid: run.asker.gid };
        // The same call of the same work is the same request, also after a crash.
        let named = digest(format!("agent's call: {} {}", task.key(), called.call).as_bytes());
        let mut request = RequestId([0; 16]);
        request.0.iter_mut().zip(named.0).for_each(|(byte, hashed)| *byte = hashed);
        Ok((peer, request, command))
    }
}
