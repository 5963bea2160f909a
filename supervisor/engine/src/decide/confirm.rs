//! A restore that waits to be confirmed: it stays if somebody says so in time, and goes back by itself otherwise.

use policy::{Action, Request};
use types::peer::Peer;
use types::time::Time;

use super::Decision;
use crate::command::RequestId;
use crate::fact::{Asker, Error, Fact, Progress};
use crate::input::Input;
use crate::order::Order;
use crate::reply::{Answer, Body, PlanReport, Refusal, Reply};
use crate::state::{State, Work};

/// Why it goes back by itself.
pub(super) const PASSED: &str = "it was not confirmed in time";

/// Why it goes back before its time.
pub(super) fn asked(asker: &Asker) -> String {
    format!("user {} asked for it", asker.uid)
}

/// It is in place, and begins to wait.
pub(super) fn wait(work: &Work, confirm_s: u32, now: Time, report: Option<&PlanReport>) -> Decision {
    let left_ns = u64::from(confirm_s) * 1_000_000_000;
    let deadline_ns = now.boottime_ns.saturating_add(left_ns);
    let progress = Progress::Awaiting { boot: now.boot.0, deadline_ns };
    let report = report.or(work.plan.as_ref()).cloned().unwrap_or_default();
    let answer = Answer::Awaiting { report, left_ns };
    Decision::fact(Fact::Progressed { work: work.number, progress })
        .with(Reply { request: work.request, body: Body::Done(answer) })
}

/// Whether it has waited long enough.
pub(super) fn has_passed(work: &Work, now: Time) -> bool {
    work.progress.as_ref().and_then(|progress| progress.left_ns(now)) == Some(0)
}

/// It goes back.
pub(super) fn undo(work: &Work, reason: String) -> Decision {
    Decision::fact(Fact::Progressed { work: work.number, progress: Progress::Undoing { reason } })
}

/// Asked again while the work is under way, which will answer; but one that waits has answered.
pub(super) fn told_again(work: &Work, input: &Input, request: RequestId) -> Decision {
    match work.progress.as_ref().and_then(|progress| progress.left_ns(input.time)) {
        Some(left_ns) if work.request == request => {
            let report = work.plan.clone().unwrap_or_default();
            Decision::reply(Reply { request, body: Body::Done(Answer::Awaiting { report, left_ns }) })
        }
        _ => Decision::default(),
    }
}

/// Somebody says what is to become of it.
pub(super) fn confirm(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    undo: bool,
) -> Result<Decision, Error> {
    let refuse = |refusal| Decision::reply(Reply { request, body: Body::Refused(refusal) });
    let Some(work) = state.awaiting() else {
        return Ok(refuse(Refusal::NotFound("restore that waits to be confirmed".to_owned())));
    };
    let order = Order::Confirm { work: work.number, undo };
    let asked_for = Request {
        peer,
        action: Action::Restore,
        order: order.hash()?,
        now_ns: input.time.wall_ns,
        thermal_unsafe: state.is_thermally_unsafe(),
    };
    // What follows rests on the grant of the restore: it ends what was begun.
    if let Err(denial) = policy::decide(&state.rules, &asked_for) {
        if state.is_denied_too_often(peer.uid, input.time.wall_ns) {
            let pause = "a pause, after too many denied requests of this user,".to_owned();
            return Ok(refuse(Refusal::Busy(pause)));
        }
        let denied = Fact::Denied { asker: peer.into(), order, reason: denial.to_string() };
        return Ok(
            Decision::fact(denied).with(Reply { request, body: Body::Refused(Refusal::Denied(denial)) })
        );
    }
    if has_passed(work, input.time) {
        let late = "it is too late: the time to confirm has passed, and what was there before comes back";
        return Ok(self::undo(work, PASSED.to_owned())
            .with(Reply { request, body: Body::Refused(Refusal::Failed(late.to_owned())) }));
    }
    let asker = Asker::from(peer);
    let answered = Progress::Answered { request: request.0, asker, keep: !undo };
    let mut facts = vec![Fact::Progressed { work: work.number, progress: answered }];
    if undo {
        facts.extend(self::undo(work, asked(&asker)).facts);
    }
    let phase = if undo { "undoing" } else { "cleaning up" };
    Ok(Decision { facts, replies: vec![Reply { request, body: Body::Progress(phase) }] })
}
