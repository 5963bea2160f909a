//! State and input make facts and replies.
//!
//! - [`ask`]: a command becomes an order, granted or not
//! - [`again`]: a command that was asked before and has ended
//! - [`confirm`]: what becomes of a restore that waits to be confirmed
//! - [`note`]: what somebody tells of their own accord
//! - [`step`]: the result of an effect leads to the next point of its work
//! - [`tick`]: what time brings
//! - [`risky`]: what is risky waits for a checkpoint
//! - [`resume`]: what a start finds unfinished

mod again;
mod ask;
mod confirm;
mod note;
mod resume;
mod risky;
mod step;
mod tick;

pub use self::resume::resume;

use policy::{Action, Denial, Request};
use types::peer::Peer;
use types::unit::MilliCelsius;

pub use tick::DAEMON;

use crate::command::RequestId;
use crate::fact::{Error, Fact, Level, Record};
use crate::input::{Event, Input};
use crate::order::Order;
use crate::reply::{Body, Refusal, Reply};
use crate::state::State;
use crate::{fleet, run};

/// A level is left only this far below where it began, so that a zone at the edge does not fill the log.
const HYSTERESIS: i32 = 2_000;

/// What follows from one input.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decision {
    /// To be appended and folded in, in this order.
    pub facts: Vec<Fact>,
    /// To be sent once the facts are durable.
    pub replies: Vec<Reply>,
}

impl Decision {
    pub(crate) fn fact(fact: Fact) -> Self {
        Self { facts: vec![fact], replies: Vec::new() }
    }

    pub(crate) fn reply(reply: Reply) -> Self {
        Self { facts: Vec::new(), replies: vec![reply] }
    }

    pub(crate) fn with(mut self, reply: Reply) -> Self {
        self.replies.push(reply);
        self
    }

    /// The facts as records of the input's moment.
    #[must_use]
    pub fn records(&self, input: &Input) -> Vec<Record> {
        self.facts.iter().map(|fact| Record::new(input.time, fact.clone())).collect()
    }
}

/// Decides one input.
///
/// # Errors
///
/// An order could not be encoded, which cannot be granted.
pub fn decide(state: &State, input: &Input) -> Result<Decision, Error> {
    Ok(match &input.event {
        Event::Started { version, config, missing } => {
            let mut facts =
                vec![Fact::Started { version: version.clone(), config: config.0, missing: missing.clone() }];
            facts.extend(state.works.values().map(|work| resume::resume(work, input.time)));
            facts.extend(run::decide::resumed(state));
            Decision { facts, replies: Vec::new() }
        }
        Event::Stopping => Decision::fact(Fact::Stopped),
        Event::Snapshotted { facts, hash } => {
            Decision::fact(Fact::Snapshotted { facts: *facts, hash: hash.0 })
        }
        Event::Anchored { reason } => Decision::fact(Fact::Anchored { reason: reason.clone() }),
        Event::PowerLost { named, counted } => {
            Decision::fact(Fact::PowerLost { named: *named, counted: *counted })
        }
        Event::Moved { from, general, to, reason } => Decision::fact(Fact::Moved {
            from: from.clone(),
            general: general.clone(),
            to: to.clone(),
            reason: reason.clone(),
        }),
        Event::Asked { request, peer, command } => ask::ask(state, input, *request, *peer, command)?,
        Event::Stepped { work, result } => state
            .works
            .get(work)
            .map_or_else(Decision::default, |work| step::step(state, input, work, result)),
        Event::Agent { instance, heard } => fleet::decide::heard(state, input.time, *instance, heard),
        Event::Agents(found) => fleet::decide::found(state, found),
        Event::EmergencyStop { request, peer, frozen_ns, killed_ns, left } => {
            fleet::decide::stopped(state, (*request, *peer), (*frozen_ns, *killed_ns), left)
        }
        Event::Due => run::decide::due(state, input.time),
        Event::Tick => {
            let mut decision = tick::tick(state, input)?;
            decision.facts.extend(fleet::decide::tick(state, input.time).facts);
            decision
        }
        Event::Temperature { zone, temperature } => heat(state, zone, *temperature),
    })
}

/// What the rules say of an order that is no work: the grant, or what to record and answer where they deny it.
pub(crate) fn gate(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    action: Action<'_>,
    order: Order,
) -> Result<Result<policy::Grant, Decision>, Error> {
    let now_ns = input.time.wall_ns;
    let asked =
        Request { peer, action, order: order.hash()?, now_ns, thermal_unsafe: state.is_thermally_unsafe() };
    let decided = policy::decide(&state.rules, &asked);
    Ok(decided.map_err(|denial| denied(state, input, (request, peer), order, denial)))
}

/// What the rules deny is recorded and told; after too many denials of one user it is only told.
pub(crate) fn denied(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    order: Order,
    denial: Denial,
) -> Decision {
    if state.is_denied_too_often(peer.uid, input.time.wall_ns) {
        let pause = Refusal::Busy("a pause, after too many denied requests of this user,".to_owned());
        return Decision::reply(Reply { request, body: Body::Refused(pause) });
    }
    let denied = Fact::Denied { asker: peer.into(), order, reason: denial.to_string() };
    Decision::fact(denied).with(Reply { request, body: Body::Refused(Refusal::Denied(denial)) })
}

fn heat(state: &State, zone: &str, temperature: Option<MilliCelsius>) -> Decision {
    let temperature = temperature.filter(|value| value.is_plausible());
    let known = state.zones.get(zone).map(|(level, _)| *level);
    let level = temperature.map_or(Level::Unknown, |value| level(known, value));
    if known == Some(level) {
        return Decision::default();
    }
    Decision::fact(Fact::Heat {
        zone: zone.to_owned(),
        level,
        millicelsius: temperature.map(|value| value.0),
    })
}

fn level(known: Option<Level>, temperature: MilliCelsius) -> Level {
    let above = |edge: MilliCelsius| {
        let edge = if matches!(known, Some(Level::Warning | Level::Critical)) {
            MilliCelsius(edge.0 - HYSTERESIS)
        } else {
            edge
        };
        temperature >= edge
    };
    if temperature >= MilliCelsius::CRITICAL
        || (known == Some(Level::Critical) && above(MilliCelsius::CRITICAL))
    {
        Level::Critical
    } else if above(MilliCelsius::WARNING) {
        Level::Warning
    } else {
        Level::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_at_their_edge_and_fall_below_it() {
        use Level::{Critical, Normal, Warning};
        for (known, celsius, expected) in [
            (None, 45, Normal),
            (Some(Normal), 84, Normal),
            (Some(Normal), 85, Warning),
            (Some(Warning), 84, Warning),
            (Some(Warning), 82, Normal),
            (Some(Warning), 94, Warning),
            (Some(Warning), 95, Critical),
            (Some(Critical), 94, Critical),
            (Some(Critical), 92, Warning),
            (Some(Critical), 40, Normal),
            (Some(Level::Unknown), 90, Warning),
        ] {
            assert_eq!(level(known, MilliCelsius(celsius * 1000)), expected, "{known:?} {celsius}");
        }
    }
}
