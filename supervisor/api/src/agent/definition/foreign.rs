//! What is kept for other programs that read the same file.

use types::agent::Value;

use super::{CONVENTION, TOOLS_MAX};
use crate::document::fields::{Field, Fields};
use crate::document::mistake::{Mistake, Mistakes};
use crate::document::scalar::Meaning;
use crate::document::{Kind, Node};

/// The convention's tools: a list, or one text with commas.
pub fn tools(field: Field, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    let advice = "write “tools: Read, Bash” or a list";
    let (place, path) = (field.node.place, field.path.clone());
    let tools: Vec<String> = match &field.node.kind {
        Kind::Scalar { .. } => {
            let text = field.text(advice, mistakes)?;
            split_outside_brackets(&text).into_iter().map(|tool| tool.trim().to_owned()).collect()
        }
        _ => field
            .list(TOOLS_MAX, advice, mistakes)?
            .into_iter()
            .filter_map(|field| field.text("name a tool", mistakes))
            .collect(),
    };
    if tools.len() > TOOLS_MAX || tools.iter().any(String::is_empty) {
        let what = format!("names more than {TOOLS_MAX} tools, or one without a name");
        mistakes.add(Mistake::new(place, what, advice).of(path));
        return None;
    }
    Some(tools)
}

/// Splits at commas, but not those in a tool's own arguments: `Read, Bash(git log:*, git diff:*)`.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// Takes the convention's other keys, and those that somebody marked as their own with `x-`.
pub fn rest(fields: &mut Fields) -> Vec<(String, Value)> {
    fields
        .take_all(|key| CONVENTION.contains(&key) || key.starts_with("x-"))
        .into_iter()
        .map(|(key, node)| (key.text, value(node)))
        .collect()
}

/// A node as the core schema understands it. Its depth is bounded by the document's.
fn value(node: Node) -> Value {
    match node.kind {
        Kind::Scalar { text, is_plain } => match Meaning::of(&text, is_plain) {
            Meaning::Null => Value::Null,
            Meaning::Bool(is_true) => Value::Bool(is_true),
            Meaning::Number => Value::Number(text),
            Meaning::Text => Value::Text(text),
        },
        Kind::List(nodes) => Value::List(nodes.into_iter().map(value).collect()),
        Kind::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, node)| (key.text, value(node))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_brackets_split_nothing() {
        assert_eq!(split_outside_brackets("a, b(c, d), e"), ["a", " b(c, d)", " e"]);
    }
}
