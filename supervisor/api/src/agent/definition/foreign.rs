//! What is kept for other programs that read the same file.

use types::agent::Value;

use super::{CONVENTION, TOOLS_MAX};
use crate::document::fields::{Field, Fields, is_null};
use crate::document::mistake::{Mistake, Mistakes};
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
        Kind::Scalar { text, is_plain: false } => Value::Text(text),
        Kind::Scalar { text, is_plain: true } => match text.as_str() {
            text if is_null(text) => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ if is_number(&text) => Value::Number(text),
            _ => Value::Text(text),
        },
        Kind::List(nodes) => Value::List(nodes.into_iter().map(value).collect()),
        Kind::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, node)| (key.text, value(node))).collect())
        }
    }
}

/// A number of the core schema: decimal, `0o`, `0x`, a float, an infinity, or none of a number.
fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!whole.is_empty() || !part.is_empty())
        && all_digits(whole)
        && all_digits(part)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for number in ["0", "-12", "+1", "0o17", "0xfF", "1.", ".5", "1.5e-3", "-.inf", ".nan", "1e9"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "-", ".", "e5", "1e", "0x", "1_000", "1.2.3", "12a", "0o8", "Infinity"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn commas_in_brackets_split_nothing() {
        assert_eq!(split_outside_brackets("a, b(c, d), e"), ["a", " b(c, d)", " e"]);
    }
}
