//! State and fact make state: the only way that state changes, live and in replay.

use types::hash::Hash;
use types::time::Time;

use crate::command::RequestId;
use crate::fact::{Fact, Outcome, Progress, Record};
use crate::order::{Kind, Order};
use crate::reply::PlanReport;
use crate::state::{
    Checkpoint, DENIALS_WINDOW_NS, DENIED_USERS_MAX, ENDED_MAX, Ended, NOTE_FRAME_BYTES, NOTES_MAX,
    RETIRED_MAX, Retired, State, Work, is_within,
};
use crate::{fleet, run};

/// Folds one record into the state.
pub fn evolve(state: &mut State, record: &Record) {
    state.facts += 1;
    match &record.fact {
        Fact::Started { missing, .. } => {
            state.starts += 1;
            state.missing.clone_from(missing);
            // What sensors said before the start says nothing about now.
            state.zones.clear();
            state.fleet.restarted();
            run::evolve::started(&mut state.runs, record.time());
        }
        Fact::Moved { from, general, .. } => {
            state.retired.push(Retired { head: from.clone(), general: general.clone() });
            if state.retired.len() > RETIRED_MAX {
                state.retired.remove(0);
            }
        }
        Fact::Stopped | Fact::Snapshotted { .. } | Fact::Anchored { .. } | Fact::PowerLost { .. } => {}
        Fact::Denied { asker, .. } => denied(state, asker.uid, record.time().wall_ns),
        Fact::Accepted { work, request, asker, order, grant, after } => {
            state.next_work = state.next_work.max(work.saturating_add(1));
            if let Order::CreateCheckpoint { number, .. } = order {
                // Also a checkpoint that never comes to be uses its number up.
                state.next_checkpoint = state.next_checkpoint.max(number.saturating_add(1));
            }
            match order {
                // Also one that fails: what keeps it from being taken is not tried again at once.
                Order::CreateCheckpoint { kind: Kind::Automatic, .. } => {
                    state.last_taken = Some(record.time());
                }
                Order::Prune { dry_run: false, .. } => state.retention_due = false,
                _ => {}
            }
            let work = Work {
                number: *work,
                request: RequestId(*request),
                asker: *asker,
                order: order.clone(),
                grant: grant.clone(),
                progress: None,
                before: Vec::new(),
                captured: None,
                answered: None,
                after: *after,
                plan: None,
            };
            state.works.insert(work.number, work);
        }
        Fact::Progressed { work, progress } => {
            if let Some(work) = state.works.get_mut(work) {
                advance(work, progress, record.time().wall_ns);
            }
            if let Progress::Removed { numbers, .. } = progress {
                state.checkpoints.retain(|number, _| !numbers.contains(number));
            }
        }
        Fact::Finished { work, outcome } => {
            if let Some(work) = state.works.remove(work) {
                finish(state, work, outcome, record.time());
            }
        }
        Fact::Heat { zone, level, millicelsius } => {
            state.zones.insert(zone.clone(), (*level, *millicelsius));
        }
        Fact::Agent(fact) => {
            fleet::evolve::evolve(&mut state.fleet, &state.runs, fact, record.time());
        }
        Fact::RunAccepted(fact) => run::evolve::accepted(&mut state.runs, fact, record.time()),
        Fact::Advanced(fact) => {
            run::evolve::advanced(&mut state.runs, &mut state.fleet, fact, record.time());
        }
        Fact::Noted { request, asker, kind, content } => {
            let bytes = u64::try_from(kind.len() + content.len()).unwrap_or(u64::MAX);
            noted(state, RequestId(*request), (asker.uid, bytes), record.time().wall_ns);
        }
    }
}

fn denied(state: &mut State, uid: u32, now_ns: i64) {
    state.denials += 1;
    let (since_ns, count) = state.denied.entry(uid).or_insert((now_ns, 0));
    if !(0..DENIALS_WINDOW_NS).contains(&now_ns.saturating_sub(*since_ns)) {
        (*since_ns, *count) = (now_ns, 0);
    }
    *count = count.saturating_add(1);
    if state.denied.len() > DENIED_USERS_MAX {
        state.denied.pop_first();
    }
}

/// The note is the last of the facts that were folded in.
fn noted(state: &mut State, request: RequestId, (uid, bytes): (u32, u64), now_ns: i64) {
    let notes = &mut state.notes;
    if notes.places.insert(request, state.facts - 1).is_none() {
        notes.order.push_back(request);
    }
    if notes.order.len() > NOTES_MAX
        && let Some(oldest) = notes.order.pop_front()
    {
        notes.places.remove(&oldest);
    }
    let (since_ns, told) = notes.users.entry(uid).or_insert((now_ns, 0));
    if !is_within(*since_ns, now_ns) {
        (*since_ns, *told) = (now_ns, 0);
    }
    *told = told.saturating_add(bytes).saturating_add(NOTE_FRAME_BYTES);
    if notes.users.len() > DENIED_USERS_MAX {
        notes.users.pop_first();
    }
}

fn advance(work: &mut Work, progress: &Progress, wall_ns: i64) {
    match progress {
        Progress::Before { values } => work.before.clone_from(values),
        Progress::Answered { request, .. } => work.answered = Some(RequestId(*request)),
        Progress::Captured { manifest, files, tokens, bytes, read, others } => {
            if let Order::CreateCheckpoint { number, name, kind, .. } = &work.order {
                work.captured = Some(Checkpoint {
                    number: *number,
                    name: name.clone(),
                    created_ns: wall_ns,
                    manifest: Hash(*manifest),
                    files: *files,
                    tokens: *tokens,
                    bytes: *bytes,
                    key: String::new(),
                    read: *read,
                    kind: *kind,
                    others: *others,
                });
            }
        }
        Progress::Planned { added, changed, removed, tokens, writes, others, settings } => {
            if let Order::Restore { number, .. } = &work.order {
                let plan = work.plan.get_or_insert_with(|| PlanReport {
                    number: *number,
                    added: *added,
                    changed: *changed,
                    removed: *removed,
                    tokens: *tokens,
                    others: *others,
                    ..PlanReport::default()
                });
                // A plan after a crash no longer sees what the first attempt has changed, and may see what others
                // have changed since: an undo brings back both, each from what stood there first.
                for write in writes {
                    if !plan.writes.iter().any(|known| known.item == write.item) {
                        plan.writes.push(*write);
                    }
                }
                for held in settings {
                    if !plan.settings.iter().any(|known| known.path == held.path) {
                        plan.settings.push(held.clone());
                    }
                }
            }
        }
        _ => {}
    }
    work.progress = Some(progress.clone());
}

fn finish(state: &mut State, work: Work, outcome: &Outcome, time: Time) {
    if let (Some(checkpoint), Outcome::Signed { key }) = (&work.captured, outcome) {
        state.checkpoints.insert(checkpoint.number, Checkpoint { key: key.clone(), ..checkpoint.clone() });
        state.last_taken = Some(time);
        state.retention_due |= checkpoint.kind.is_automatic();
    }
    if let (Order::DeleteCheckpoint { number, .. }, Outcome::Done) = (&work.order, outcome) {
        state.checkpoints.remove(number);
    }
    // Looking twice does no harm, doing twice may.
    if work.order.is_exclusive() {
        for request in [Some(work.request), work.answered].into_iter().flatten() {
            state.ended_by.insert(request, work.number);
        }
        state.ended.insert(work.number, Ended { work, outcome: outcome.clone() });
        if state.ended.len() > ENDED_MAX
            && let Some((number, oldest)) = state.ended.pop_first()
        {
            for request in [Some(oldest.work.request), oldest.work.answered].into_iter().flatten() {
                if state.ended_by.get(&request) == Some(&number) {
                    state.ended_by.remove(&request);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Item, Write};
    use crate::scope::{FilePath, Held, Others};

    #[test]
    fn an_undo_knows_each_location_as_the_first_plan_that_names_it_saw_it() {
        let order = Order::Restore {
            number: 1,
            leave_denied: true,
            paranoid: false,
            scope: None,
            in_place: false,
            confirm_s: None,
        };
        let mut work = Work {
            number: 1,
            request: RequestId([0; 16]),
            asker: types::peer::Peer { pid: 1, uid: 0, gid: 0 }.into(),
            grant: (&policy::Grant { order: order.hash().unwrap(), rules: Hash([0; 32]), expires_ns: 0 })
                .into(),
            order,
            progress: None,
            before: Vec::new(),
            captured: None,
            answered: None,
            after: None,
            plan: None,
        };
        let write = |id, before| Write { item: Item { id, select: 0 }, value: 9, expected: Some(before) };
        let held = |name: &str, value: &str| Held { path: FilePath(name.into()), value: value.into() };
        let mut plan = |writes, settings| {
            let others = Others::default();
            let planned =
                Progress::Planned { added: 0, changed: 0, removed: 0, tokens: 1, writes, others, settings };
            advance(&mut work, &planned, 0);
            let plan = work.plan.clone().unwrap();
            (plan.writes, plan.settings)
        };
        let (first, second) =
            (plan(vec![write(1, 5)], vec![held("a", "5")]), vec![held("b", "6"), held("a", "7")]);
        assert_eq!(first, (vec![write(1, 5)], vec![held("a", "5")]));
        let both = (vec![write(1, 5), write(2, 6)], vec![held("a", "5"), held("b", "6")]);
        assert_eq!(plan(vec![write(2, 6), write(1, 7)], second), both);
    }
}
