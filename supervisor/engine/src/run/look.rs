//! What a step's templates and conditions come to, given what a turn has found out so far.

use std::borrow::Cow;

use types::workflow::{Compare, Expression, Mode, Status, Step, Workflow};

use super::fact::{StepStatus, TaskRef};
use super::turn::{Turn, stage_before};
use crate::workflow::evaluate::{self, Scope};
use crate::workflow::json;

/// Largest input of a task, and output that is kept, bytes of JSON: each must fit into an entry of the log with what stands around it.
pub const VALUE_MAX: usize = types::workflow::INPUT_MAX;
/// What the items of one step may take, bytes of JSON: they stand in one entry of the log.
const ITEMS_BYTES_MAX: usize = 48 << 10;

/// What becomes of a step that has all it needs.
pub(super) enum Opening {
    /// Its condition does not hold.
    Skipped(String),
    /// Condition or list cannot be made out.
    Failed(String),
    /// It becomes so many tasks, with an item each where there is one for each.
    Tasks { tasks: u32, items: Vec<String> },
}

/// What expressions are about, at one task or at none.
struct View<'a> {
    turn: &'a Turn<'a>,
    item: Option<Cow<'a, str>>,
}

impl Scope for View<'_> {
    fn workflow(&self) -> &Workflow {
        &self.turn.run.workflow
    }

    fn param(&self, param: usize) -> Option<Cow<'_, str>> {
        json::items(&self.turn.run.params).nth(param).map(Cow::Borrowed)
    }

    fn output(&self, step: usize) -> Option<Cow<'_, str>> {
        self.turn.output(u32::try_from(step).ok()?)
    }

    fn status(&self, step: usize) -> Option<Status> {
        Some(match self.turn.status(u32::try_from(step).ok()?)? {
            StepStatus::Done => Status::Done,
            StepStatus::Failed => Status::Failed,
            StepStatus::Skipped => Status::Skipped,
        })
    }

    fn item(&self) -> Option<Cow<'_, str>> {
        self.item.as_deref().map(Cow::Borrowed)
    }
}

/// What a task is done with, as JSON. Who judges is given the outputs of all copies as a list, `null` for those that failed.
pub(super) fn input(turn: &Turn<'_>, task: TaskRef) -> Result<String, String> {
    let described = turn.run.described(task.step).ok_or("there is no such step")?;
    if let Mode::Consensus { copies, compare: Compare::Judge { .. }, .. } = &described.mode
        && task.index >= *copies
    {
        let outputs: Vec<&str> =
            (0..*copies).map(|index| turn.task_output(task.step, index).unwrap_or("null")).collect();
        return Ok(format!("[{}]", outputs.join(",")));
    }
    let item = match (&described.mode, stage_before(described)) {
        (Mode::Pipeline { each: None, .. }, Some(before)) => turn.task_output(before, task.index),
        _ => turn.item(task.step, task.index),
    };
    let view = View { turn, item: item.map(Cow::Borrowed) };
    evaluate::evaluate(&described.input, &view).map_err(|fault| format!("input: {fault}"))
}

/// What becomes of a step that has all it needs.
pub(super) fn opening(turn: &Turn<'_>, described: &Step) -> Opening {
    let view = View { turn, item: None };
    if let Some(why) = unmet(turn, described) {
        return Opening::Skipped(why);
    }
    match described.when.as_ref().map(|when| evaluate::is_true(when, &view)) {
        Some(Err(fault)) => return Opening::Failed(format!("if: {fault}")),
        Some(Ok(false)) => return Opening::Skipped("its condition does not hold".to_owned()),
        Some(Ok(true)) | None => {}
    }
    match &described.mode {
        Mode::Parallel { each, .. } | Mode::Pipeline { each: Some(each), .. } => items(each, &view),
        Mode::Pipeline { each: None, .. } => match stage_before(described) {
            Some(before) => Opening::Tasks { tasks: turn.tasks(before), items: Vec::new() },
            None => Opening::Failed("it has no stage before it".to_owned()),
        },
        Mode::Consensus { copies, compare: Compare::Judge { .. }, .. } => {
            Opening::Tasks { tasks: copies.saturating_add(1), items: Vec::new() }
        }
        mode => Opening::Tasks { tasks: mode.copies(), items: Vec::new() },
    }
}

fn items(each: &Expression, view: &View<'_>) -> Opening {
    let items = match evaluate::items(each, view) {
        Ok(items) => items,
        Err(fault) => return Opening::Failed(format!("each: {fault}")),
    };
    let bytes: usize = items.iter().map(String::len).sum();
    if bytes > ITEMS_BYTES_MAX {
        return Opening::Failed(format!("each: the items take {bytes} bytes, more than {ITEMS_BYTES_MAX}"));
    }
    Opening::Tasks { tasks: u32::try_from(items.len()).unwrap_or(u32::MAX), items }
}

/// What a step needs and did not end well, unless its own condition asks how that ended.
fn unmet(turn: &Turn<'_>, described: &Step) -> Option<String> {
    let asks = |step: usize| described.when.as_ref().is_some_and(|when| asks_of(when, step));
    described.needs.iter().find_map(|need| {
        let place = u32::try_from(*need).ok()?;
        let status = turn.status(place).filter(|status| *status != StepStatus::Done)?;
        let name = &turn.run.described(place)?.id;
        (!asks(*need)).then(|| match status {
            StepStatus::Failed => format!("step “{name}”, which it needs, failed"),
            _ => format!("step “{name}”, which it needs, was skipped"),
        })
    })
}

/// Whether an expression asks how a step has ended. Its depth is bounded by whoever read it.
fn asks_of(expression: &Expression, of: usize) -> bool {
    match expression {
        Expression::Status { step } => *step == of,
        Expression::Not(inner) => asks_of(inner, of),
        Expression::And(left, right) | Expression::Or(left, right) | Expression::Compare(_, left, right) => {
            asks_of(left, of) || asks_of(right, of)
        }
        _ => false,
    }
}
