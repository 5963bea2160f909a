//! Writes an agent's file, such that reading it gives the same definition.

use std::fmt::Write as _;

use types::agent::{Definition, Value};

/// The file of a definition. Its hash is that of these bytes, whatever the definition says of it.
#[must_use]
pub fn print(definition: &Definition) -> String {
    let mut text = "---\n".to_owned();
    let mut line = |key: &str, value: &str| {
        text.push_str(key);
        text.push(':');
        if !value.is_empty() {
            text.push(' ');
            text.push_str(value);
        }
        text.push('\n');
    };
    line("name", &quote(definition.name.as_str()));
    line("description", &quote(&definition.description));
    if let Some(tools) = &definition.tools {
        line("tools", &list(tools.iter().map(|tool| quote(tool))));
    }
    if let Some(model) = &definition.model {
        line("model", &quote(model));
    }
    for (key, value) in &definition.foreign {
        line(&quote(key), &show(value));
    }
    line("command", &list(definition.command.iter().map(|word| quote(word))));
    line("capabilities", &list(definition.capabilities.iter().map(|one| quote(&one.to_string()))));
    let limits = &definition.limits;
    line("limits", "");
    line("  memory", &limits.memory.to_string());
    line("  pids", &limits.pids.to_string());
    line("  cpu", &limits.cpu.to_string());
    line("  open_files", &limits.open_files.to_string());
    line("  output_line", &limits.output_line.to_string());
    line("  output_second", &limits.output_second.to_string());
    let retry = &definition.retry;
    line("retry", "");
    line("  limit", &retry.limit.to_string());
    line("  delay", &retry.delay.to_string());
    line("  delay_max", &retry.delay_max.to_string());
    line("timeout", &definition.timeout.to_string());
    line("network", &definition.network.to_string());
    text.push_str("---\n");
    text.push_str(&definition.body);
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Number(number) => number.clone(),
        Value::Text(text) => quote(text),
        Value::List(values) => list(values.iter().map(show)),
        Value::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", quote(key), show(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A text in double quotes. What is neither a letter, a digit nor ASCII is escaped, so none depends on
/// what a parser takes for printable.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            // Writing into a string cannot fail.
            _ => _ = write!(quoted, "\\U{:08X}", u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}
