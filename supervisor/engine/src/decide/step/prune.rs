//! The steps of pruning: what is needed is found out, what goes is chosen and durable, it goes, and then what nobody needs.

use std::collections::BTreeSet;

use super::{Decision, cut, done, failed, finished, progress, unexpected};
use crate::fact::{Outcome, Progress};
use crate::input::StepResult;
use crate::order::Order;
use crate::reply::{Answer, Body, Freed, PruneReport, Survey};
use crate::retention::{self, GOING_MAX, Keep, Reason};
use crate::state::{State, Work};

pub(super) fn step(state: &State, work: &Work, result: &StepResult) -> Decision {
    let Order::Prune { keep, dry_run } = &work.order else { return failed(work, &unexpected(work, result)) };
    match (&work.progress, result) {
        (None, StepResult::Surveyed(survey)) if *dry_run => {
            done(work, Answer::Pruning(report(state, keep, survey)))
        }
        (None, StepResult::Surveyed(survey)) => {
            let numbers = chosen(keep, survey);
            progress(work, Progress::Chosen { numbers }, "removing checkpoints")
        }
        (Some(Progress::Chosen { .. }), StepResult::Removed(numbers, failure)) => {
            removed(work, numbers, failure.as_deref())
        }
        (Some(Progress::Removed { numbers, reason }), StepResult::Pruned(freed)) => {
            pruned(work, numbers, reason.as_deref(), freed)
        }
        (_, other) => failed(work, &unexpected(work, other)),
    }
}

/// Those that go by count, and of the expendable ones the oldest, until what is left is small enough.
fn chosen(keep: &Keep, survey: &Survey) -> Vec<u64> {
    let Survey { going, needed, .. } = survey;
    let more = keep.max_bytes.map_or(0, |max_bytes| retention::by_size(max_bytes, needed));
    going.gone.iter().chain(going.expendable.iter().take(more)).take(GOING_MAX).copied().collect()
}

/// What is gone is told as gone, also where not all could go: what nobody needs then goes all the same.
fn removed(work: &Work, numbers: &[u64], failure: Option<&str>) -> Decision {
    let reason = failure.map(|reason| cut(reason).to_owned());
    progress(work, Progress::Removed { numbers: numbers.to_vec(), reason }, "pruning")
}

fn pruned(work: &Work, numbers: &[u64], reason: Option<&str>, freed: &Freed) -> Decision {
    if let Some(reason) = reason {
        let (gone, bytes) = (numbers.len(), freed.bytes);
        return failed(work, &format!("{reason}; {gone} checkpoints are gone, and {bytes} bytes are freed"));
    }
    let outcome = Outcome::Pruned { packs: freed.packs, chunks: freed.chunks, bytes: freed.bytes };
    let answer = Answer::Pruned { numbers: numbers.to_vec(), freed: freed.clone() };
    finished(work, outcome, Body::Done(answer))
}

fn report(state: &State, keep: &Keep, survey: &Survey) -> PruneReport {
    let goes: BTreeSet<u64> = chosen(keep, survey).into_iter().collect();
    let more = goes.len().saturating_sub(survey.going.gone.len());
    let fates = retention::fates(state, keep);
    let checkpoints = fates.iter().filter_map(|fate| {
        let reasons: Vec<Reason> =
            if goes.contains(&fate.number) { Vec::new() } else { fate.reasons.iter().copied().collect() };
        Some((state.checkpoints.get(&fate.number)?.clone(), reasons))
    });
    PruneReport {
        checkpoints: checkpoints.collect(),
        stored_bytes: survey.stored_bytes,
        needed_bytes: survey.needed.get(more).copied().unwrap_or_default(),
        unknown: survey
            .present
            .iter()
            .filter(|number| !state.checkpoints.contains_key(number))
            .copied()
            .collect(),
    }
}
