//! What time brings: checkpoints that nobody asks for, and what becomes of them.

use policy::{Action, Request};
use types::peer::Peer;

use super::{Decision, confirm};
use crate::command::{RequestId, Which};
use crate::fact::{Error, Fact};
use crate::input::{Input, Room};
use crate::order::{Kind, Order, digest};
use crate::retention;
use crate::schedule;
use crate::state::{State, WORKS_MAX};

/// Who asks for what nobody asks for: the daemon itself, which has no process of its own to be named.
pub const DAEMON: Peer = Peer { pid: 0, uid: 0, gid: 0 };

/// What is due.
pub(super) fn tick(state: &State, input: &Input) -> Result<Decision, Error> {
    if let Some(late) = state.awaiting().filter(|work| confirm::has_passed(work, input.time)) {
        return Ok(confirm::undo(late, confirm::PASSED.to_owned()));
    }
    let may_begin =
        state.exclusive().is_none() && input.room >= Room::Orders && state.works.len() < WORKS_MAX;
    if !may_begin {
        return Ok(Decision::default());
    }
    if let Some(order) = prune(state) {
        return begin(state, input, order);
    }
    if schedule::due_in_ns(state, input.time) == Some(0) {
        let name = free_name(state, &format!("auto.{}", state.next_checkpoint));
        return begin(state, input, automatic(state, name));
    }
    Ok(Decision::default())
}

/// After an automatic checkpoint the rules are applied, if they let anything go.
fn prune(state: &State) -> Option<Order> {
    let keep = state.schedule.keep;
    if !state.retention_due || keep.is_everything() {
        return None;
    }
    let goes = keep.max_bytes.is_some() || !retention::going(state, &keep).gone.is_empty();
    goes.then_some(Order::Prune { keep, dry_run: false })
}

/// A checkpoint that nobody asked for.
pub(super) fn automatic(state: &State, name: String) -> Order {
    Order::CreateCheckpoint { number: state.next_checkpoint, name, paranoid: false, kind: Kind::Automatic }
}

/// A name that no checkpoint has. Numbers are never used twice, so only somebody's own name can be in the way.
pub(super) fn free_name(state: &State, base: &str) -> String {
    let is_free = |name: &String| state.checkpoint(&Which::Name(name.clone())).is_none();
    let more = (1..).map(|more| format!("{base}.{more}"));
    std::iter::once(base.to_owned()).chain(more).find(is_free).unwrap_or_default()
}

/// The daemon's own orders are named by their work, whose number is never used twice.
fn begin(state: &State, input: &Input, order: Order) -> Result<Decision, Error> {
    let action = match order {
        Order::Prune { .. } => Action::Delete,
        _ => Action::Checkpoint,
    };
    let asked = Request {
        peer: DAEMON,
        action,
        order: order.hash()?,
        now_ns: input.time.wall_ns,
        thermal_unsafe: state.is_thermally_unsafe(),
    };
    // The rules cannot deny the daemon what root may; if they did, it would be no reason to fill the log.
    let Ok(grant) = policy::decide(&state.rules, &asked) else { return Ok(Decision::default()) };
    Ok(Decision::fact(Fact::Accepted {
        work: state.next_work,
        request: derived(b"by time", &state.next_work.to_be_bytes()).0,
        asker: DAEMON.into(),
        order,
        grant: (&grant).into(),
        after: None,
    }))
}

/// A request's id that follows from what is never the same twice.
pub(super) fn derived(why: &[u8], of: &[u8]) -> RequestId {
    let digest = digest(&[b"dsmild: ", why, b": ", of].concat());
    let mut id = RequestId([0; 16]);
    id.0.iter_mut().zip(digest.0).for_each(|(byte, hashed)| *byte = hashed);
    id
}
