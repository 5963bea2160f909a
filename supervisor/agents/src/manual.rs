//! What all agents do, as the tables of docs/ready-agents.md.

use std::io::Write as _;

use crate::role::ROLES;
use crate::table::AGENTS;

/// Prints both tables.
///
/// # Errors
///
/// Nobody reads.
pub fn print() -> Result<(), String> {
    std::io::stdout().write_all(text().as_bytes()).map_err(|error| error.to_string())
}

/// A cell: a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn text() -> String {
    let mut lines = vec!["## The agents".to_owned(), String::new()];
    lines.push("| agent | for what | `dsmil-agent` | for example |\n|---|---|---|---|".to_owned());
    for agent in &AGENTS {
        let (arguments, example) = (agent.arguments.join(" "), cell(agent.example));
        lines.push(format!("| {} | {} | `{arguments}` | `{example}` |", agent.name, agent.sentence));
    }
    lines.extend([String::new(), "## The roles".to_owned(), String::new()]);
    lines.push("`echo` takes any input, and answers with it at once.".to_owned());
    for role in ROLES {
        let options =
            if role.options.is_empty() { String::new() } else { format!(", with {}", role.options) };
        lines.extend([String::new(), format!("### {}{options}", role.name), String::new()]);
        lines.push("| act | input | output |\n|---|---|---|".to_owned());
        for act in role.acts {
            let input: Vec<String> =
                act.input.iter().map(|(name, what)| format!("`{}`: {}", cell(name), cell(what))).collect();
            lines.push(format!("| {} | {} | {} |", act.name, input.join("; "), cell(act.output)));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
