//! `dsmil checkpoint prune`

use api::wire::retention::{self, Pruned, Pruning};
use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table, bytes, count};
use crate::progress::Show;
use crate::question;
use crate::session::{Context, Session};

/// Lets checkpoints go that no rule keeps, and frees what no checkpoint needs.
///
/// The rules are those of the configuration, [checkpoint.retention], unless some are given here. Without any no checkpoint goes, and
/// only space is freed. A checkpoint stays if one rule keeps it; without --manual the rules are about automatic ones alone. The newest
/// checkpoint, one that is in use, and one named “emergency-base” never go. Checkpoints are counted by number, so a clock that was set
/// back lets nothing go.
///
/// Takes root or an owner, but for --dry-run. If checkpoints would go it asks first; where there is nobody to ask it needs --yes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint prune
  dsmil checkpoint prune --dry-run
  dsmil checkpoint prune --keep-last 7 --keep-daily 30 --keep-weekly 8
  dsmil checkpoint prune --max-size 20G --manual --yes")]
pub struct Prune {
    #[command(flatten)]
    keep: Keep,
    /// Show what would go and why the rest stays, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// The rules.
#[derive(Debug, Args)]
struct Keep {
    /// Keep so many of the newest.
    #[arg(long = "keep-last", value_name = "N", default_value_t = 0, hide_default_value = true)]
    last: u32,
    /// Keep the newest one of so many hours in which there are any.
    #[arg(long = "keep-hourly", value_name = "N", default_value_t = 0, hide_default_value = true)]
    hourly: u32,
    /// Of so many days.
    #[arg(long = "keep-daily", value_name = "N", default_value_t = 0, hide_default_value = true)]
    daily: u32,
    /// Of so many weeks.
    #[arg(long = "keep-weekly", value_name = "N", default_value_t = 0, hide_default_value = true)]
    weekly: u32,
    /// Let the oldest go until the others need at most so much on the disk: bytes, or with K, M, G, T (of 1024).
    #[arg(long = "max-size", value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// Let those go, too, that somebody asked for.
    #[arg(long)]
    manual: bool,
}

impl Keep {
    /// As it is asked for; none: as configured.
    fn wire(&self) -> Option<retention::Keep> {
        let Self { last, hourly, daily, weekly, max_bytes, manual } = *self;
        let keep = retention::Keep { last, hourly, daily, weekly, max_bytes, manual };
        (keep != retention::Keep::default()).then_some(keep)
    }
}

/// A size in bytes.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("“{text}” is no size: write bytes, or a number with K, M, G or T");
    let (digits, shift) = match text.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            let shift = match unit.to_ascii_uppercase() {
                'K' => 10,
                'M' => 20,
                'G' => 30,
                'T' => 40,
                _ => return Err(wrong()),
            };
            (text.get(..at).unwrap_or_default(), shift)
        }
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

impl Prune {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        if self.dry_run {
            let (answer, behind) = self.ask(&mut session, true)?;
            let Answer::Pruning(pruning) = &answer else { return Err(Fault::Unexpected) };
            return output::answer(context.json, &answer, &behind, &told(pruning));
        }
        if !self.yes {
            self.confirm(&mut session)?;
        }
        let (answer, behind) = self.ask(&mut session, false)?;
        let Answer::Pruned(pruned) = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, &freed(pruned))
    }

    fn ask(&self, session: &mut Session<'_>, dry_run: bool) -> Result<(Answer, api::wire::Behind), Fault> {
        let command = Command::Prune { keep: self.keep.wire(), dry_run };
        session.ask("prune checkpoints", command, Show::Phases)
    }

    /// Only checkpoints cannot be brought back; what none needs is no loss.
    fn confirm(&self, session: &mut Session<'_>) -> Result<(), Fault> {
        let (answer, _) = self.ask(session, true)?;
        let Answer::Pruning(pruning) = &answer else { return Err(Fault::Unexpected) };
        let going = pruning.checkpoints.iter().filter(|fate| fate.goes).count();
        if going == 0 {
            return Ok(());
        }
        let going = count(u64::try_from(going).unwrap_or(u64::MAX), "checkpoint", "checkpoints");
        if !question::is_possible() {
            return Err(Fault::Usage(format!(
                "{going} would go, and there is nobody to ask here: give --yes"
            )));
        }
        question::confirm(&format!("{}Let {going} go for good?", told(pruning)))
    }
}

/// A table for what becomes of checkpoints.
pub fn fates(checkpoints: &[retention::Fate]) -> Table {
    let mut table = Table::new(&["NUMBER", "NAME", "CREATED", "KIND", "STAYS"]);
    for retention::Fate { checkpoint, goes, reasons } in checkpoints {
        table.row([
            checkpoint.number.to_string(),
            checkpoint.name.clone(),
            checkpoint.created.clone(),
            checkpoint.kind.clone(),
            if *goes { "goes".to_owned() } else { reasons.join(", ") },
        ]);
    }
    table
}

fn told(pruning: &Pruning) -> String {
    let mut text = fates(&pruning.checkpoints).to_string();
    for number in &pruning.unknown {
        text.push_str(&format!(
            "checkpoint {number} lies in the daemon's folder, and the log knows nothing of it: it stays\n"
        ));
    }
    let free = pruning.stored_bytes.saturating_sub(pruning.needed_bytes);
    text.push_str(&format!(
        "{} of {} can be freed, less where rewriting does not pay\n",
        bytes(free),
        bytes(pruning.stored_bytes)
    ));
    text
}

fn freed(pruned: &Pruned) -> String {
    let gone = u64::try_from(pruned.checkpoints.len()).unwrap_or(u64::MAX);
    let mut text = format!(
        "{} gone; {} and {} gone, {} freed\n",
        count(gone, "checkpoint is", "checkpoints are"),
        count(pruned.chunks, "chunk", "chunks"),
        count(pruned.packs, "pack", "packs"),
        bytes(pruned.bytes)
    );
    if pruned.left_bytes > 0 {
        text.push_str(&format!(
            "{} not needed are left: rewriting their packs does not pay yet\n",
            bytes(pruned.left_bytes)
        ));
    }
    pruned.damage.iter().for_each(|damage| text.push_str(&format!("{}\n", output::clean(damage))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("0", 0), ("1500", 1500), ("3k", 3 << 10), ("20G", 20 << 30), ("1T", 1 << 40)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "3X", "ü", "20 G", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
