//! `dsmil checkpoint schedule`

use api::wire::{Answer, Command, retention};
use clap::Args;

use super::prune;
use crate::fault::Fault;
use crate::output::{self, Table, bytes};
use crate::session::Context;

/// Shows when checkpoints are taken that nobody asks for, which rules say what stays, and what they would keep now.
///
/// Both are set in the configuration: [checkpoint] interval and before_risky, [checkpoint.retention]. The rules are applied after
/// each automatic checkpoint, and by “dsmil checkpoint prune”. While something that excludes it is under way, a checkpoint waits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint schedule
  dsmil checkpoint schedule --json | jq .answer.due")]
pub struct Schedule {}

impl Schedule {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("show the schedule", Command::Schedule)?;
        let Answer::Schedule(schedule) = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, &told(schedule))
    }
}

fn told(schedule: &retention::Schedule) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("interval", schedule.interval_s.map_or_else(|| "never by time".to_owned(), time));
    if let (Some(due), Some(due_in_s)) = (&schedule.due, schedule.due_in_s) {
        let text = if due_in_s == 0 { "now".to_owned() } else { format!("{due}, in {}", time(due_in_s)) };
        row("next one", text);
    }
    if let Some(awaiting) = &schedule.awaiting {
        let retention::Awaiting { number, left_s } = awaiting;
        row("to confirm", format!("the restore of checkpoint {number}: it goes back in {}", time(*left_s)));
    }
    row("risky actions", if schedule.before_risky { "after a checkpoint" } else { "at once" }.to_owned());
    row("keeps", rules(&schedule.keep));
    let mut text = table.to_string();
    if !schedule.checkpoints.is_empty() {
        text.push('\n');
        text.push_str(&prune::fates(&schedule.checkpoints).to_string());
    }
    text
}

/// The rules in one line.
fn rules(keep: &retention::Keep) -> String {
    let counts =
        [(keep.last, "last"), (keep.hourly, "hourly"), (keep.daily, "daily"), (keep.weekly, "weekly")];
    let mut parts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    parts.extend(keep.max_bytes.map(|most| format!("at most {}", bytes(most))));
    if parts.is_empty() {
        return "all".to_owned();
    }
    let of = if keep.manual { "of all" } else { "of automatic ones; the others stay" };
    format!("{} {of}", parts.join(", "))
}

/// A time in the largest units that leave nothing over but seconds.
pub fn time(seconds: u64) -> String {
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (300, "5m"), (21_600, "6h"), (90_061, "1d 1h 1m 1s")]
        {
            assert_eq!(time(seconds), text);
        }
    }
}
