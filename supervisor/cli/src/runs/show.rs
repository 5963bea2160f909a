//! A run for people.

use std::collections::HashMap;
use std::fmt::Write as _;

use api::wire::agents::{Run, Step};

use crate::fault::Fault;
use crate::output::{self, HEADING, Table, clean};

/// Longest output that is shown of a step, characters.
const OUTPUT_MAX: usize = 60;

/// A time in the unit that fits it.
pub fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A run and its steps.
pub fn text(run: &Run) -> String {
    let reason = run.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", clean(reason)));
    let head = format!(
        "{HEADING}run {} of {}{HEADING:#}, {}{reason}, {} of {} steps, {}",
        run.number,
        clean(&run.workflow),
        clean(&run.state),
        run.progress.0,
        run.progress.1,
        time(run.took_ms)
    );
    let mut table = Table::new(&["", "STEP", "STATE", "TASKS", "ATTEMPTS", "NEEDS", ""]);
    for step in &run.steps {
        table.row([
            sign(&step.state).to_owned(),
            step.id.clone(),
            step.state.clone(),
            if step.tasks.1 > 1 { format!("{}/{}", step.tasks.0, step.tasks.1) } else { String::new() },
            if step.attempts > 1 { step.attempts.to_string() } else { String::new() },
            step.needs.join(" "),
            last(step),
        ]);
    }
    format!("{head}\n{table}")
}

fn sign(state: &str) -> &'static str {
    match state {
        "done" => "✓",
        "failed" => "✗",
        "skipped" => "–",
        "running" => "▶",
        "unknown" => "?",
        _ => "·",
    }
}

/// Why it is as it is, or what came out.
fn last(step: &Step) -> String {
    let said = step.reason.as_deref().or(step.output.as_deref()).unwrap_or_default();
    match said.chars().count() {
        0..=OUTPUT_MAX => said.to_owned(),
        _ => format!("{}…", said.chars().take(OUTPUT_MAX).collect::<String>()),
    }
}

/// Shows a run as it goes on.
pub struct View {
    is_drawn: bool,
    is_json: bool,
    /// Lines that stand on the terminal.
    lines: usize,
    /// How each step stood, by its name.
    stood: HashMap<String, String>,
    last: String,
}

impl View {
    /// Drawn anew on a terminal, else a line or a document for each change.
    pub fn new(is_drawn: bool, is_json: bool) -> Self {
        Self { is_drawn, is_json, lines: 0, stood: HashMap::new(), last: String::new() }
    }

    /// How it stands now.
    pub fn show(&mut self, run: &Run) -> Result<(), Fault> {
        if self.is_drawn {
            return self.draw(run);
        }
        let changed: Vec<&Step> =
            run.steps.iter().filter(|step| self.stood.get(&step.id) != Some(&step.state)).collect();
        if self.is_json {
            if !changed.is_empty() || run.state != self.last {
                output::line(run)?;
            }
        } else {
            let mut text = String::new();
            for step in changed.iter().filter(|step| step.state != "waiting") {
                let last = clean(&last(step));
                let last = if last.is_empty() { last } else { format!(": {last}") };
                // Writing into a string cannot fail.
                _ = writeln!(text, "{} {} {}{last}", sign(&step.state), clean(&step.id), step.state);
            }
            if run.ended.is_some() {
                _ = writeln!(text, "run {} {} after {}", run.number, clean(&run.state), time(run.took_ms));
            }
            output::print(&text)?;
        }
        self.stood = run.steps.iter().map(|step| (step.id.clone(), step.state.clone())).collect();
        self.last.clone_from(&run.state);
        Ok(())
    }

    /// Over what stood there.
    fn draw(&mut self, run: &Run) -> Result<(), Fault> {
        let text = text(run);
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        self.lines = text.lines().count();
        output::print(&format!("{up}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits() {
        let times = [0, 999, 1_000, 61_000, 3_600_000].map(time);
        assert_eq!(times, ["0 ms", "999 ms", "1.0 s", "1 min 1 s", "1 h 0 min"]);
    }
}
