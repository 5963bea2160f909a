//! What is let out, once it is covered by a flush: replies, effects, answers to queries.

use std::sync::Arc;
use std::time::Duration;

use api::agent::protocol::Id;
use api::server::Replies;
use api::wire::{self, Behind, Facts, Response, convert};
use engine::reply::{Body, Refusal};
use engine::run::Act;
use engine::{Effect, Event, Query, RequestId};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use zeroize::Zeroizing;

use super::Message;
use crate::clock::Clock;
use crate::effects::World;
use crate::journal::Durable;
use crate::query::{Position, View};

/// Queries answered at once: each may read megabytes.
const QUERIES_MAX: usize = 16;
/// After how long at one step it is told, and again.
const STEP_SLOW: Duration = Duration::from_secs(60);

/// One thing that waits for the flush.
pub enum Output {
    /// Something is to happen in the world.
    Effect(Box<Effect>),
    /// Something is to be done with an agent's process.
    Act(Box<Act>),
    /// Somebody is told.
    Reply {
        /// What.
        body: Body,
        /// What goes with it and must not be anywhere else.
        beside: Option<Zeroizing<Vec<u8>>>,
        /// What was recorded with it.
        facts: Option<Facts>,
        /// The id that they gave their request.
        request: RequestId,
        /// The way back.
        replies: Way,
    },
    /// Somebody has asked what is known.
    Query {
        /// What was known then.
        view: Box<View>,
        /// For what.
        query: Query,
        /// The id that they gave their request.
        request: RequestId,
        /// The way back.
        replies: Way,
    },
}

/// The way back to who asked.
#[derive(Clone)]
pub enum Way {
    /// A connection.
    Client(Replies),
    /// An agent that works on a task: its process, and the call.
    Agent(Arc<World>, u64, Id),
}

impl Way {
    /// Hands a reply over without waiting.
    pub fn send(&self, response: &Response) {
        match self {
            Self::Client(replies) => replies.send(response),
            Self::Agent(world, instance, call) => {
                if let Some(agents) = world.agents() {
                    agents.answer(*instance, call, &response.body);
                }
            }
        }
    }

    /// Whether nobody is there any more. An agent that is not does not matter: its call is forgotten with it.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Client(replies) => replies.is_closed(),
            Self::Agent(..) => false,
        }
    }
}

/// Where it goes.
pub struct Outlet {
    world: Arc<World>,
    messages: mpsc::Sender<Message>,
    queries: Arc<Semaphore>,
    clock: Clock,
    workers: Handle,
}

impl Outlet {
    /// Effects and answers are worked out by `workers`.
    pub fn new(world: Arc<World>, messages: mpsc::Sender<Message>, clock: Clock, workers: Handle) -> Self {
        Self { world, messages, queries: Arc::new(Semaphore::new(QUERIES_MAX)), clock, workers }
    }

    /// Lets all of it out, in order.
    pub fn let_out(&self, outputs: Vec<Output>, durable: &Durable<'_>) {
        let now_ns = self.clock.now().wall_ns;
        // Asked for once and only where it is needed: it asks the kernel device.
        let mut behind = None;
        for output in outputs {
            match output {
                Output::Effect(effect) => self.perform(*effect),
                Output::Act(act) => {
                    if let Some(agents) = self.world.agents() {
                        agents.act(*act, now_ns);
                    }
                }
                Output::Reply { body, beside, facts, request, replies } => {
                    // Who does not read its replies loses them; the log still tells what was done.
                    let behind = behind.get_or_insert_with(|| self.world.behind());
                    let behind = Behind { facts, ..behind.clone() };
                    replies.send(&response(request, behind, told(body, beside)));
                }
                Output::Query { view, query, request, replies } => {
                    let position = Position::new(durable, &query);
                    self.answer((view, position), query, request, replies);
                }
            }
        }
    }

    fn perform(&self, effect: Effect) {
        let (world, messages) = (Arc::clone(&self.world), self.messages.clone());
        world.hear(&effect);
        let now_ns = self.clock.now().wall_ns;
        let performing = async move {
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
        };
        self.workers.spawn(performing);
    }

    fn answer(
        &self,
        (view, position): (Box<View>, Position),
        query: Query,
        request: RequestId,
        replies: Way,
    ) {
        let (world, queries) = (Arc::clone(&self.world), Arc::clone(&self.queries));
        let answering = async move {
            let _turn = queries.acquire().await;
            let body = match view.answer(&world, query, position).await {
                Ok(answer) => wire::Body::Done { answer },
                Err(refusal) => refused(&refusal),
            };
            replies.send(&response(request, world.behind(), body));
        };
        self.workers.spawn(answering);
    }
}

fn response(request: RequestId, behind: Behind, body: wire::Body) -> Response {
    Response { id: convert::request_text(request), behind, body }
}

fn told(body: Body, beside: Option<Zeroizing<Vec<u8>>>) -> wire::Body {
    match body {
        Body::Progress(phase) => wire::Body::Progress { phase: phase.to_owned() },
        Body::Begun(run) => wire::Body::Progress { phase: wire::agents::begun(run) },
        Body::Done(answer) => match convert::answer(answer, beside.as_deref().map(Vec::as_slice)) {
            Ok(answer) => wire::Body::Done { answer },
            Err(fault) => refused(&Refusal::Failed(fault.to_string())),
        },
        Body::Refused(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> wire::Body {
    wire::Body::Refused { code: convert::code(refusal), message: refusal.to_string() }
}
