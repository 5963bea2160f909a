//! Names in expressions become places, and kinds are compared as far as they are known before a run.

use std::fmt;

use types::workflow::template::{Comparison, Expression, Key};
use types::workflow::{Kind, Status};

use crate::document::fields::nearest;

use super::expression::{Form, Literal, Syntax, Wrong};
use super::mode;
use super::needs::Reach;
use super::step::Draft;

/// What a workflow's expressions can name.
#[derive(Debug)]
pub struct Names {
    /// Each param's name, and its kind where that is known.
    pub params: Vec<(String, Option<Kind>)>,
    steps: Vec<StepName>,
}

#[derive(Debug)]
struct StepName {
    id: String,
    /// Its output is a list in any case.
    is_list: bool,
}

impl Names {
    /// Of params and steps.
    pub fn new(params: Vec<(String, Option<Kind>)>, drafts: &[Draft]) -> Self {
        let name = |draft: &Draft| StepName {
            id: draft.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            is_list: draft.mode.as_ref().is_some_and(mode::Draft::is_for_each),
        };
        Self { params, steps: drafts.iter().map(name).collect() }
    }
}

/// What the expressions of one key can see.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'n> {
    /// All names.
    pub names: &'n Names,
    /// How each step relates to the one that looks.
    pub reach: &'n [Reach],
    /// There is an item, because the key is looked at once for each.
    pub has_item: bool,
}

/// What is known of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// Nothing.
    Any,
    /// It is null.
    Null,
    /// Its kind.
    Of(Kind),
}

impl Sort {
    /// Whether it can be of this kind.
    pub fn may_be(self, kind: Kind) -> bool {
        matches!(self, Self::Any) || self == Self::Of(kind)
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "anything",
            Self::Null => "null",
            Self::Of(Kind::Bool) => "true or false",
            Self::Of(Kind::Text) => "a text",
            Self::Of(Kind::Number) => "a number",
            Self::Of(Kind::List) => "a list",
            Self::Of(Kind::Map) => "a map",
        })
    }
}

/// The expression with places for names, and what is known of its value.
///
/// What is wrong is added to `wrong`; without an expression there is at least one.
pub fn resolve(syntax: &Syntax, sight: Sight<'_>, wrong: &mut Vec<Wrong>) -> (Option<Expression>, Sort) {
    let bool = Sort::Of(Kind::Bool);
    match &syntax.form {
        Form::Literal(literal) => (Some(Expression::from(literal.clone())), sort(literal)),
        Form::Path(word, keys) => path(syntax.at, word, keys, sight, wrong),
        Form::Not(inner) => {
            let inner = truth(inner, sight, wrong);
            (inner.map(|inner| Expression::Not(Box::new(inner))), bool)
        }
        Form::And(left, right) => {
            let (left, right) = (truth(left, sight, wrong), truth(right, sight, wrong));
            let both = left.zip(right).map(|(l, r)| Expression::And(Box::new(l), Box::new(r)));
            (both, bool)
        }
        Form::Or(left, right) => {
            let (left, right) = (truth(left, sight, wrong), truth(right, sight, wrong));
            let both = left.zip(right).map(|(l, r)| Expression::Or(Box::new(l), Box::new(r)));
            (both, bool)
        }
        Form::Compare(comparison, left, right) => {
            let (left, left_sort) = resolve(left, sight, wrong);
            let (right, right_sort) = resolve(right, sight, wrong);
            let both = left.zip(right);
            if let Some((left, right)) = &both {
                let sides = [(left, left_sort), (right, right_sort)];
                wrong.extend(compared(*comparison, sides).map(|(what, advice)| Wrong {
                    at: syntax.at,
                    what,
                    advice: advice.to_owned(),
                }));
            }
            (both.map(|(l, r)| Expression::Compare(*comparison, Box::new(l), Box::new(r))), bool)
        }
    }
}

const fn sort(literal: &Literal) -> Sort {
    match literal {
        Literal::Null => Sort::Null,
        Literal::Bool(_) => Sort::Of(Kind::Bool),
        Literal::Number(_) => Sort::Of(Kind::Number),
        Literal::Text(_) => Sort::Of(Kind::Text),
    }
}

/// An operand of `!`, `&&` or `||`.
fn truth(syntax: &Syntax, sight: Sight<'_>, wrong: &mut Vec<Wrong>) -> Option<Expression> {
    let (expression, sort) = resolve(syntax, sight, wrong);
    if expression.is_some() && !sort.may_be(Kind::Bool) {
        let what = format!("this is {sort}, never true or false");
        add(wrong, syntax.at, what, "compare it with something, as in params.x == 1");
    }
    expression
}

/// What is wrong with comparing these.
fn compared(
    comparison: Comparison,
    [(left, left_sort), (right, right_sort)]: [(&Expression, Sort); 2],
) -> Option<(String, &'static str)> {
    if let Comparison::Equal | Comparison::NotEqual = comparison {
        if let (Expression::Status { .. }, Expression::Text(text))
        | (Expression::Text(text), Expression::Status { .. }) = (left, right)
            && text.parse::<Status>().is_err()
        {
            return Some(("no status is called so".into(), "write 'done', 'failed' or 'skipped'"));
        }
        return match (left_sort, right_sort) {
            (Sort::Of(a), Sort::Of(b)) if a != b => {
                let what = format!("{left_sort} and {right_sort} are never the same");
                Some((what, "compare values of one kind; in quotes it is a text"))
            }
            _ => None,
        };
    }
    let ordered = |sort: Sort| sort.may_be(Kind::Number) || sort.may_be(Kind::Text);
    let unordered = [left_sort, right_sort].into_iter().find(|sort| !ordered(*sort));
    let advice = "compare two numbers or two texts";
    match (unordered, left_sort, right_sort) {
        (Some(sort), _, _) => Some((format!("{sort} has no order, so “{comparison}” says nothing"), advice)),
        (None, Sort::Of(a), Sort::Of(b)) if a != b => {
            Some((format!("{left_sort} and {right_sort} have no order"), advice))
        }
        _ => None,
    }
}

fn add(wrong: &mut Vec<Wrong>, at: usize, what: impl Into<String>, advice: impl Into<String>) {
    wrong.push(Wrong { at, what: what.into(), advice: advice.into() });
}

type Keys = [(usize, Key)];

fn path(
    at: usize,
    word: &str,
    keys: &Keys,
    sight: Sight<'_>,
    wrong: &mut Vec<Wrong>,
) -> (Option<Expression>, Sort) {
    match word {
        "params" => param(at, keys, sight, wrong),
        "steps" => step(at, keys, sight, wrong),
        "item" => {
            if !sight.has_item {
                let advice = "only “with” of a parallel or pipeline step has one; name a list with “each”";
                add(wrong, at, "there is no item here", advice);
            }
            (Some(Expression::Item { path: into(keys) }), Sort::Any)
        }
        _ => {
            let what = format!("“{word}” is unknown");
            let advice = match nearest(word, &["params", "steps", "item", "null", "true", "false"]) {
                Some(near) => format!("write “{near}”, if that is meant"),
                None => "write params.NAME, steps.ID.output, steps.ID.status or item; texts stand in quotes"
                    .into(),
            };
            add(wrong, at, what, advice);
            (None, Sort::Any)
        }
    }
}

fn into(keys: &Keys) -> Vec<Key> {
    keys.iter().map(|(_, key)| key.clone()).collect()
}

/// What is known of a value inside one that is known.
fn inside(outer: Sort, name: &str, path: &Keys, wrong: &mut Vec<Wrong>) -> Sort {
    let Some((at, key)) = path.first() else { return outer };
    let advice = match (outer, key) {
        (Sort::Of(Kind::List), Key::Field(_)) => "write a place in it, such as [0]",
        (Sort::Of(Kind::Map), Key::Index(_)) => "write a key of it, such as .name",
        (Sort::Of(Kind::Text | Kind::Number | Kind::Bool), _) => "take it as it is: nothing lies in it",
        _ => return Sort::Any,
    };
    add(wrong, *at, format!("{name} is {outer}"), advice);
    Sort::Any
}

fn param(at: usize, keys: &Keys, sight: Sight<'_>, wrong: &mut Vec<Wrong>) -> (Option<Expression>, Sort) {
    let Some(((_, Key::Field(name)), path)) = keys.split_first() else {
        add(wrong, at, "which of the params is not said", "write its name, as in params.folder");
        return (None, Sort::Any);
    };
    let Some(param) = sight.names.params.iter().position(|(known, _)| known == name) else {
        let known: Vec<&str> = sight.names.params.iter().map(|(name, _)| name.as_str()).collect();
        let advice = match (nearest(name, &known), known.is_empty()) {
            (Some(near), _) => format!("write “params.{near}”, if that is meant"),
            (None, true) => "name it below “params:”".to_owned(),
            (None, false) => format!("name it below “params:”; known there: {}", known.join(", ")),
        };
        add(wrong, at, format!("there is no param “{name}”"), advice);
        return (None, Sort::Any);
    };
    let kind = sight.names.params.get(param).and_then(|(_, kind)| *kind);
    let sort = inside(kind.map_or(Sort::Any, Sort::Of), &format!("params.{name}"), path, wrong);
    (Some(Expression::Param { param, path: into(path) }), sort)
}

fn step(at: usize, keys: &Keys, sight: Sight<'_>, wrong: &mut Vec<Wrong>) -> (Option<Expression>, Sort) {
    let advice = "write steps.ID.output or steps.ID.status";
    let Some(((_, Key::Field(id)), rest)) = keys.split_first() else {
        add(wrong, at, "which of the steps is not said", advice);
        return (None, Sort::Any);
    };
    let Some(step) = sight.names.steps.iter().position(|known| known.id == *id) else {
        let known: Vec<&str> = sight.names.steps.iter().map(|step| step.id.as_str()).collect();
        let advice = match nearest(id, &known) {
            Some(near) => format!("write “steps.{near}”, if that is meant"),
            None => "write the “id” of a step".to_owned(),
        };
        add(wrong, at, format!("there is no step “{id}”"), advice);
        return (None, Sort::Any);
    };
    match sight.reach.get(step) {
        Some(Reach::Before) | None => {}
        Some(Reach::Itself) => {
            add(wrong, at, "a step cannot look at itself", "name a step before it");
        }
        Some(Reach::Unneeded) => {
            let what = format!("“{id}” need not have ended when this step begins");
            add(wrong, at, what, format!("add “{id}” to “needs” of this step"));
        }
        Some(Reach::Flowing) => {
            let what = format!("“{id}” is an earlier stage of the same pipeline and has not ended");
            add(wrong, at, what, "take what it hands on as “item”");
        }
    }
    match rest.split_first() {
        Some(((_, Key::Field(word)), path)) if word == "output" => {
            let is_list = sight.names.steps.get(step).is_some_and(|step| step.is_list);
            let outer = if is_list { Sort::Of(Kind::List) } else { Sort::Any };
            let sort = inside(outer, &format!("steps.{id}.output"), path, wrong);
            (Some(Expression::Output { step, path: into(path) }), sort)
        }
        Some(((_, Key::Field(word)), path)) if word == "status" => {
            inside(Sort::Of(Kind::Text), &format!("steps.{id}.status"), path, wrong);
            (Some(Expression::Status { step }), Sort::Of(Kind::Text))
        }
        Some(((at, _), _)) => {
            add(wrong, *at, "a step has an output and a status", advice);
            (None, Sort::Any)
        }
        None => {
            add(wrong, at, "what of the step is not said", advice);
            (None, Sort::Any)
        }
    }
}
