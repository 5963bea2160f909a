//! What the results of a step's tasks make of the step.

use types::workflow::{Compare, Mode, Take};

use super::turn::Turn;
use crate::workflow::compare::{self, Quorum};

/// What becomes of a step.
pub(super) enum Verdict {
    /// It is not over.
    GoesOn,
    /// All copies are done, and an agent has to say which is the best.
    Judge,
    /// It is done.
    Done {
        /// Its output where it is not that of the task which just ended.
        output: Option<String>,
        /// Copies that said otherwise.
        dissent: Vec<u32>,
    },
    /// It failed.
    Failed {
        /// Why.
        reason: String,
    },
}

pub(super) fn of(turn: &Turn<'_>, step: u32, mode: &Mode) -> Verdict {
    match mode {
        Mode::Sequential => single(turn, step),
        Mode::Parallel { .. } | Mode::Pipeline { .. } => each(turn, step),
        Mode::Competitive { copies } => first(turn, step, *copies),
        Mode::Redundant { copies, take: Take::First } => first(turn, step, *copies),
        Mode::Redundant { copies, take: Take::Majority } => {
            quorum(turn, step, (*copies, copies / 2 + 1), &Compare::Equal)
        }
        Mode::Consensus { copies, compare: Compare::Judge { .. }, .. } => judged(turn, step, *copies),
        Mode::Consensus { copies, quorum: needed, compare } => {
            quorum(turn, step, (*copies, *needed), compare)
        }
    }
}

fn failed((code, message): (&str, &str)) -> Verdict {
    Verdict::Failed { reason: format!("{code}: {message}") }
}

fn single(turn: &Turn<'_>, step: u32) -> Verdict {
    if turn.task_output(step, 0).is_some() {
        return Verdict::Done { output: None, dissent: Vec::new() };
    }
    turn.failure(step, 0).map_or(Verdict::GoesOn, failed)
}

/// One task for each item: the first that fails is the step's end.
fn each(turn: &Turn<'_>, step: u32) -> Verdict {
    let ended = turn.out.ended.iter().filter(|end| end.task.step == step);
    if let Some(failure) = ended.filter_map(|end| turn.failure(step, end.task.index)).next() {
        return failed(failure);
    }
    let all = turn.tasks(step);
    if turn.done(step) < all {
        return Verdict::GoesOn;
    }
    // The list of theirs, which need not be written down again.
    Verdict::Done { output: None, dissent: Vec::new() }
}

/// The first good result of several copies.
fn first(turn: &Turn<'_>, step: u32, copies: u32) -> Verdict {
    if let Some(output) = (0..copies).find_map(|index| turn.task_output(step, index)) {
        return Verdict::Done { output: Some(output.to_owned()), dissent: Vec::new() };
    }
    let failures: Vec<_> = (0..copies).filter_map(|index| turn.failure(step, index)).collect();
    match failures.last() {
        Some(last) if failures.len() >= usize::try_from(copies).unwrap_or(usize::MAX) => failed(*last),
        _ => Verdict::GoesOn,
    }
}

/// What enough copies say alike.
fn quorum(turn: &Turn<'_>, step: u32, (copies, needed): (u32, u32), compare: &Compare) -> Verdict {
    let outputs: Vec<(u32, &str)> =
        (0..copies).filter_map(|index| Some((index, turn.task_output(step, index)?))).collect();
    let failures: Vec<_> = (0..copies).filter_map(|index| turn.failure(step, index)).collect();
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let open = count(copies).saturating_sub(outputs.len() + failures.len());
    match compare::quorum(compare, &outputs, open, count(needed)) {
        Quorum::Open => Verdict::GoesOn,
        Quorum::Agreed { winner, dissent, .. } => {
            Verdict::Done { output: turn.task_output(step, winner).map(str::to_owned), dissent }
        }
        Quorum::Impossible { most } => {
            let last =
                failures.last().map(|(code, message)| format!("; the last one with {code}: {message}"));
            Verdict::Failed {
                reason: format!(
                    "no agreement: of {copies} copies {needed} must agree, {most} did at most and {} failed{}",
                    failures.len(),
                    last.unwrap_or_default()
                ),
            }
        }
    }
}

/// Who judges is one task more, behind the copies: what it says is the place of the best.
fn judged(turn: &Turn<'_>, step: u32, copies: u32) -> Verdict {
    if let Some(said) = turn.task_output(step, copies) {
        let place = said.trim().parse::<u32>().ok().filter(|place| *place < copies);
        return match place.and_then(|place| turn.task_output(step, place)) {
            Some(output) => {
                let dissent = (0..copies).filter(|index| Some(*index) != place).collect();
                Verdict::Done { output: Some(output.to_owned()), dissent }
            }
            None => Verdict::Failed { reason: "the judge named no copy that is done".to_owned() },
        };
    }
    if let Some(failure) = turn.failure(step, copies) {
        return failed(failure);
    }
    let mut done = 0;
    for index in 0..copies {
        match (turn.task_output(step, index), turn.failure(step, index)) {
            (Some(_), _) => done += 1,
            (None, Some(_)) => {}
            (None, None) => return Verdict::GoesOn,
        }
    }
    if done == 0 { first(turn, step, copies) } else { Verdict::Judge }
}
