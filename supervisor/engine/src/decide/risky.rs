//! What is risky waits for a checkpoint.

use policy::{Action, Request};
use types::token::TokenId;

use super::{Decision, tick};
use crate::command::RequestId;
use crate::fact::{Error, Fact};
use crate::order::Order;
use crate::reply::{Body, Refusal, Reply};
use crate::state::State;

/// Accepts a checkpoint, and the order behind it: it begins once the checkpoint is signed, and ends with it if it is not.
pub(super) fn after_a_checkpoint(
    state: &State,
    request: RequestId,
    asked: &Request<'_>,
    order: Order,
) -> Result<Decision, Error> {
    let number = state.next_checkpoint;
    let name = tick::free_name(state, &format!("before-{}.{number}", in_a_name(&order)));
    let checkpoint = tick::automatic(state, name);
    let taken = Request { action: Action::Checkpoint, order: checkpoint.hash()?, ..asked.clone() };
    let grants = policy::decide(&state.rules, &taken)
        .and_then(|first| policy::decide(&state.rules, asked).map(|second| (first, second)));
    let (first, second) = match grants {
        Ok(grants) => grants,
        // Who may do what is risky may take a checkpoint: these are the rules, and a rule that errs denies.
        Err(denial) => {
            return Ok(Decision::reply(Reply { request, body: Body::Refused(Refusal::Denied(denial)) }));
        }
    };
    let work = state.next_work;
    let accepted = |work, request: RequestId, order, grant: &policy::Grant, after| Fact::Accepted {
        work,
        request: request.0,
        asker: asked.peer.into(),
        order,
        grant: grant.into(),
        after,
    };
    // Not from the request: after a crash that left the first of the two alone, it comes again.
    let before = tick::derived(b"before", &work.to_be_bytes());
    let facts = vec![
        accepted(work, before, checkpoint, &first, None),
        accepted(work.saturating_add(1), request, order, &second, Some(work)),
    ];
    let replies = vec![Reply { request, body: Body::Progress("taking a checkpoint first") }];
    Ok(Decision { facts, replies })
}

/// What is risky, in letters that a checkpoint's name may have.
fn in_a_name(order: &Order) -> String {
    match order {
        Order::WriteTokens { writes } => {
            let first = writes.first().map_or(TokenId(0), |write| write.item.token());
            match writes.len() {
                0 | 1 => format!("write-{first}"),
                many => format!("write-{first}-and-{}", many - 1),
            }
        }
        Order::Restore { number, .. } => format!("restore-{number}"),
        other => other.title().replace(' ', "-"),
    }
}
