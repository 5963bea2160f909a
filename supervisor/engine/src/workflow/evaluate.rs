//! Templates and expressions, given params, outputs and an item.
//!
//! - A value that is taken as a whole keeps its digits. What is compared is understood as JSON is in most places: whole
//!   numbers from −2⁶³ to 2⁶⁴ − 1 exactly, any other as the nearest double.
//! - Only what is looked at must be there: `a && b` does not look at `b` where `a` is false.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;
use types::workflow::step::ITEMS_MAX;
use types::workflow::template::{Comparison, Expression, Key, Piece, Template};
use types::workflow::{DEPTH_MAX, INPUT_MAX, Status, Workflow};

use super::{compare, json, print};

/// What expressions are about. Places are those of the workflow's params and steps; values are JSON texts.
pub trait Scope {
    /// The workflow, for its names.
    fn workflow(&self) -> &Workflow;

    /// What the run was given.
    fn param(&self, param: usize) -> Option<Cow<'_, str>>;

    /// The output of a step that is done.
    fn output(&self, step: usize) -> Option<Cow<'_, str>>;

    /// How a step has ended.
    fn status(&self, step: usize) -> Option<Status>;

    /// What a step that runs once for each item is at.
    fn item(&self) -> Option<Cow<'_, str>>;
}

/// Why a value cannot be made. Trying again would not help: the same values lead to the same fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where in the template, such as `with.files[0]`; empty of an expression by itself.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self { at: String::new(), what: what.into() }
    }

    /// The same, in this part of what was named so far.
    fn within(mut self, part: &str) -> Self {
        self.at.insert_str(0, part);
        self
    }
}

/// What a step is done with: JSON of at most [`INPUT_MAX`] bytes.
///
/// # Errors
///
/// Something is missing or of the wrong kind, or the result is too long or nests too deeply.
pub fn evaluate(template: &Template, scope: &dyn Scope) -> Result<String, Fault> {
    let mut out = String::new();
    fill(&mut out, template, scope).map_err(|fault| fault.within("with"))?;
    if json::depth(&out) > DEPTH_MAX {
        return Err(Fault::new(format!("nests deeper than {DEPTH_MAX}")).within("with"));
    }
    Ok(out)
}

/// Whether a condition holds.
///
/// # Errors
///
/// Something is missing, or is neither true nor false where it must be.
pub fn is_true(expression: &Expression, scope: &dyn Scope) -> Result<bool, Fault> {
    match value(expression, scope)?.as_ref() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => {
            let name = print::expression(expression, scope.workflow());
            Err(Fault::new(format!("{name} is {}, not true or false", json::noun(other))))
        }
    }
}

/// The entries of the list that an expression names, each as JSON.
///
/// # Errors
///
/// It is no list, or it has more than [`ITEMS_MAX`] entries, or one of them is longer than [`INPUT_MAX`].
pub fn items(expression: &Expression, scope: &dyn Scope) -> Result<Vec<String>, Fault> {
    let list = value(expression, scope)?;
    let name = || print::expression(expression, scope.workflow());
    if json::kind(&list) != Some(json::Kind::List) {
        return Err(Fault::new(format!("{} is {}, not a list", name(), json::noun(&list))));
    }
    let items: Vec<String> = json::items(&list).take(ITEMS_MAX + 1).map(str::to_owned).collect();
    if items.len() > ITEMS_MAX {
        return Err(Fault::new(format!("{} has more than {ITEMS_MAX} entries", name())));
    }
    match items.iter().position(|item| item.len() > INPUT_MAX) {
        Some(place) => Err(Fault::new(format!("{}[{place}] is longer than {INPUT_MAX} bytes", name()))),
        None => Ok(items),
    }
}

/// Writes a template as JSON.
fn fill(out: &mut String, template: &Template, scope: &dyn Scope) -> Result<(), Fault> {
    match template {
        Template::Null => push(out, "null"),
        Template::Bool(is_true) => push(out, boolean(*is_true)),
        Template::Number(number) => push(out, number),
        Template::Text(pieces) => push(out, &quote(&text(pieces, scope)?)),
        Template::Value(expression) => push(out, &value(expression, scope)?),
        Template::List(entries) => {
            push(out, "[")?;
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    push(out, ",")?;
                }
                fill(out, entry, scope).map_err(|fault| fault.within(&format!("[{index}]")))?;
            }
            push(out, "]")
        }
        Template::Map(entries) => {
            push(out, "{")?;
            for (index, (key, entry)) in entries.iter().enumerate() {
                if index > 0 {
                    push(out, ",")?;
                }
                push(out, &quote(key))?;
                push(out, ":")?;
                fill(out, entry, scope).map_err(|fault| fault.within(&format!(".{key}")))?;
            }
            push(out, "}")
        }
    }
}

/// Adds to what must not become too long.
fn push(out: &mut String, more: &str) -> Result<(), Fault> {
    if out.len() + more.len() > INPUT_MAX {
        return Err(Fault::new(format!("with it the input is longer than {INPUT_MAX} bytes as JSON")));
    }
    out.push_str(more);
    Ok(())
}

/// A text with its values: texts as they are, anything else as JSON.
fn text(pieces: &[Piece], scope: &dyn Scope) -> Result<String, Fault> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Plain(plain) => push(&mut text, plain)?,
            Piece::Value(expression) => {
                let value = value(expression, scope)?;
                if json::kind(&value) == Some(json::Kind::Text) {
                    push(&mut text, &said(&value)?)?;
                } else {
                    push(&mut text, &value)?;
                }
            }
        }
    }
    Ok(text)
}

const fn boolean(is_true: bool) -> &'static str {
    if is_true { "true" } else { "false" }
}

fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// What a JSON text in quotes says.
fn said(json: &str) -> Result<String, Fault> {
    serde_json::from_str(json).map_err(|error| Fault::new(format!("a text cannot be read: {error}")))
}

fn understood(json: &str) -> Result<Value, Fault> {
    serde_json::from_str(json).map_err(|error| Fault::new(format!("a value cannot be compared: {error}")))
}

/// The value of an expression, as JSON. Its depth is bounded by whoever read it.
fn value<'s>(expression: &Expression, scope: &'s dyn Scope) -> Result<Cow<'s, str>, Fault> {
    let truth = |is_true: bool| Ok(Cow::Borrowed(boolean(is_true)));
    match expression {
        Expression::Null => Ok(Cow::Borrowed("null")),
        Expression::Bool(is_true) => truth(*is_true),
        Expression::Number(number) => Ok(Cow::Owned(number.clone())),
        Expression::Text(text) => Ok(Cow::Owned(quote(text))),
        Expression::Param { param, path } => {
            let whole = scope.param(*param).ok_or_else(|| missing(expression, "has no value", scope))?;
            inside(whole, expression, path, scope)
        }
        Expression::Output { step, path } => {
            let whole = scope.output(*step).ok_or_else(|| {
                let why = match scope.status(*step) {
                    Some(Status::Skipped) => "the step was skipped",
                    Some(Status::Failed) => "the step has failed",
                    Some(Status::Done) | None => "there is none yet",
                };
                missing(expression, why, scope)
            })?;
            inside(whole, expression, path, scope)
        }
        Expression::Status { step } => match scope.status(*step) {
            Some(status) => Ok(Cow::Owned(quote(&status.to_string()))),
            None => Err(missing(expression, "the step has not ended", scope)),
        },
        Expression::Item { path } => {
            let whole = scope.item().ok_or_else(|| missing(expression, "there is no item here", scope))?;
            inside(whole, expression, path, scope)
        }
        Expression::Not(inner) => truth(!is_true(inner, scope)?),
        Expression::And(left, right) => truth(is_true(left, scope)? && is_true(right, scope)?),
        Expression::Or(left, right) => truth(is_true(left, scope)? || is_true(right, scope)?),
        Expression::Compare(comparison, left, right) => {
            truth(holds(*comparison, &value(left, scope)?, &value(right, scope)?)?)
        }
    }
}

fn missing(expression: &Expression, why: &str, scope: &dyn Scope) -> Fault {
    Fault::new(format!("{}: {why}", print::expression(expression, scope.workflow())))
}

/// What lies in a value. A path that leads nowhere is named as far as it leads.
fn inside<'s>(
    whole: Cow<'s, str>,
    expression: &Expression,
    path: &[Key],
    scope: &dyn Scope,
) -> Result<Cow<'s, str>, Fault> {
    if path.is_empty() {
        return Ok(whole);
    }
    let found = match &whole {
        Cow::Borrowed(json) => step_into(json, path).map(Cow::Borrowed),
        Cow::Owned(json) => step_into(json, path).map(|inner| Cow::Owned(inner.to_owned())),
    };
    found.map_err(|(place, why)| {
        let before = match expression {
            Expression::Param { param, .. } => {
                Expression::Param { param: *param, path: path_to(path, place) }
            }
            Expression::Output { step, .. } => Expression::Output { step: *step, path: path_to(path, place) },
            _ => Expression::Item { path: path_to(path, place) },
        };
        Fault::new(format!("{} {why}", print::expression(&before, scope.workflow())))
    })
}

fn path_to(path: &[Key], place: usize) -> Vec<Key> {
    path.iter().take(place).cloned().collect()
}

/// What a path leads to, or how far it leads and why no farther.
fn step_into<'j>(json: &'j str, path: &[Key]) -> Result<&'j str, (usize, String)> {
    let mut at = json;
    for (place, key) in path.iter().enumerate() {
        let next = match (key, json::kind(at)) {
            (Key::Field(name), Some(json::Kind::Map)) => {
                json::field(at, name).ok_or_else(|| format!("has no {}", quote(name)))
            }
            (Key::Index(index), Some(json::Kind::List)) => json::items(at)
                .nth(*index)
                .ok_or_else(|| format!("has {} entries, none at [{index}]", json::items(at).count())),
            (Key::Field(name), _) => Err(format!("is {}, in which no {} lies", json::noun(at), quote(name))),
            (Key::Index(index), _) => Err(format!("is {}, which has no entry [{index}]", json::noun(at))),
        };
        at = next.map_err(|why| (place, why))?;
    }
    Ok(at)
}

/// Whether a comparison of two values holds.
fn holds(comparison: Comparison, left: &str, right: &str) -> Result<bool, Fault> {
    // The same text says the same, however long it is.
    let are_same = || -> Result<bool, Fault> {
        Ok(left == right || compare::are_equal(&understood(left)?, &understood(right)?))
    };
    let wanted: fn(Ordering) -> bool = match comparison {
        Comparison::Equal => return are_same(),
        Comparison::NotEqual => return Ok(!are_same()?),
        Comparison::Less => Ordering::is_lt,
        Comparison::LessOrEqual => Ordering::is_le,
        Comparison::Greater => Ordering::is_gt,
        Comparison::GreaterOrEqual => Ordering::is_ge,
    };
    let ordering = match (understood(left)?, understood(right)?) {
        (Value::Number(left), Value::Number(right)) => compare::order(&left, &right),
        (Value::String(left), Value::String(right)) => left.cmp(&right),
        _ => {
            let (left, right) = (json::noun(left), json::noun(right));
            return Err(Fault::new(format!(
                "{left} {comparison} {right}: only two numbers or two texts have an order"
            )));
        }
    };
    Ok(wanted(ordering))
}

#[cfg(test)]
mod tests;
