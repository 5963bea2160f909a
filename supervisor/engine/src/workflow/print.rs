//! Writes an expression as it stands in a file.

use std::fmt::Write as _;

use types::workflow::{Expression, Key, Workflow};

/// A character of a name: of a step, a param, a field. A field with any other stands in brackets and quotes.
#[must_use]
pub const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// How tightly parts of an expression hold together; a part that holds less tightly than its place asks for stands in
/// parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tightness {
    Or,
    And,
    Comparison,
    Unary,
}

/// The expression in a workflow's own names; a place that is none of its own is shown as `?`.
#[must_use]
pub fn expression(expression: &Expression, workflow: &Workflow) -> String {
    let mut text = String::new();
    write(&mut text, expression, Tightness::Or, workflow);
    text
}

fn write(text: &mut String, expression: &Expression, place: Tightness, workflow: &Workflow) {
    let own = tightness(expression);
    if own < place {
        text.push('(');
        write(text, expression, Tightness::Or, workflow);
        text.push(')');
        return;
    }
    let name = |step: usize| workflow.steps.get(step).map_or("?", |step| step.id.as_str());
    match expression {
        Expression::Null => text.push_str("null"),
        Expression::Bool(is_true) => text.push_str(if *is_true { "true" } else { "false" }),
        Expression::Number(number) => text.push_str(number),
        Expression::Text(plain) => quote(text, plain),
        Expression::Param { param, path } => {
            text.push_str("params.");
            text.push_str(workflow.params.get(*param).map_or("?", |param| param.name.as_str()));
            keys(text, path);
        }
        Expression::Output { step, path } => {
            // Writing into a string cannot fail.
            _ = write!(text, "steps.{}.output", name(*step));
            keys(text, path);
        }
        Expression::Status { step } => _ = write!(text, "steps.{}.status", name(*step)),
        Expression::Item { path } => {
            text.push_str("item");
            keys(text, path);
        }
        Expression::Not(inner) => {
            text.push('!');
            write(text, inner, Tightness::Unary, workflow);
        }
        // A chain is read from the left, so only its right side needs to hold more tightly.
        Expression::And(left, right) => {
            binary(text, (left, Tightness::And), "&&", (right, Tightness::Comparison), workflow);
        }
        Expression::Or(left, right) => {
            binary(text, (left, Tightness::Or), "||", (right, Tightness::And), workflow);
        }
        Expression::Compare(comparison, left, right) => {
            let sign = comparison.to_string();
            binary(text, (left, Tightness::Unary), &sign, (right, Tightness::Unary), workflow);
        }
    }
}

fn binary(
    text: &mut String,
    (left, left_place): (&Expression, Tightness),
    sign: &str,
    (right, right_place): (&Expression, Tightness),
    workflow: &Workflow,
) {
    write(text, left, left_place, workflow);
    _ = write!(text, " {sign} ");
    write(text, right, right_place, workflow);
}

const fn tightness(expression: &Expression) -> Tightness {
    match expression {
        Expression::Or(..) => Tightness::Or,
        Expression::And(..) => Tightness::And,
        Expression::Compare(..) => Tightness::Comparison,
        _ => Tightness::Unary,
    }
}

fn keys(text: &mut String, path: &[Key]) {
    for key in path {
        match key {
            Key::Index(index) => _ = write!(text, "[{index}]"),
            Key::Field(name) if !name.is_empty() && name.chars().all(is_of_name) => {
                text.push('.');
                text.push_str(name);
            }
            Key::Field(name) => {
                text.push('[');
                quote(text, name);
                text.push(']');
            }
        }
    }
}

fn quote(text: &mut String, plain: &str) {
    text.push('\'');
    text.push_str(&plain.replace('\'', "''"));
    text.push('\'');
}
