//! `dsmil checkpoint restore`

use std::os::unix::fs::MetadataExt as _;

use api::wire::{self, Answer, Command};
use clap::Args;

use super::plan;
use super::rescue::{Rescue, Wanted};
use super::schedule::time;
use super::scope::Scope;
use crate::fault::Fault;
use crate::output::{self, count};
use crate::progress::Show;
use crate::question;
use crate::session::{Context, Session};

/// Brings tokens, folders and what else it holds back to a checkpoint, and verifies that they are.
///
/// On a terminal it first shows what would change and asks; without one it acts. The daemon does the work: it goes on, or is
/// undone, also when this command is interrupted. A token that differs and may not be written, or a setting that is no longer
/// listed, makes it refuse before anything changes, unless --leave-denied is given.
///
/// With --confirm-within the command ends once everything is in place and verified, and what was there before comes back unless
/// “dsmil checkpoint confirm” comes in time: also when the machine was suspended meanwhile, when the daemon was stopped, and after a
/// reboot at once. Until then nothing else is changed.
///
/// With --path only what is at or below these paths comes back: what is missing with the folders above it, a file with several
/// names with all of them, and what was not there then goes. Everything else stays as it is, but for the times of folders above it.
///
/// In a recovery shell --offline and --emergency do without the daemon: the recovery key is asked for, and the log tells of it as of any other restore. What was
/// interrupted is taken up by the same command, or brought back by the next start of dsmild. With a disk that is mounted elsewhere, chroot there first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint restore before
  dsmil checkpoint restore before --dry-run
  dsmil checkpoint restore before --path /etc/ssh --path /etc/fstab
  dsmil checkpoint restore before --tokens
  dsmil checkpoint restore before --confirm-within 5m
  dsmil checkpoint restore 3 --yes --leave-denied
  dsmil checkpoint restore before --offline
  dsmil checkpoint restore --emergency")]
pub struct Restore {
    /// Its name or number.
    #[arg(value_name = "NAME|NUMBER", required_unless_present = "emergency")]
    which: Option<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    rescue: Rescue,
    /// Leave tokens that may not be written, and other things that cannot be restored, as they are instead of refusing.
    #[arg(long)]
    leave_denied: bool,
    /// It goes back by itself unless “dsmil checkpoint confirm” comes within this time, 1s to 24h.
    #[arg(long, value_name = "TIME", value_parser = within)]
    confirm_within: Option<u32>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Restore {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let was_here = is_here();
        let done = self.restore(context);
        if was_here && !is_here() && !context.quiet {
            output::warning(
                "the working folder is still the old one: “cd \"$PWD\"” enters the one that came back",
            );
        }
        done
    }

    fn restore(&self, context: &Context) -> Result<(), Fault> {
        if self.rescue.is_wanted() {
            return self.rescue.run(context, &self.wanted()?);
        }
        // The parser has made sure of it.
        let which = self.which.as_deref().unwrap_or_default();
        if self.dry_run {
            return plan::show(context, which, &self.scope);
        }
        let mut session = context.connect()?;
        if !self.yes && question::is_possible() {
            self.confirm(&mut session, which)?;
        }
        let command = Command::Restore {
            which: which.to_owned(),
            leave_denied: self.leave_denied,
            paranoid: self.scope.paranoid,
            scope: self.scope.wire()?,
            in_place: self.scope.in_place,
            confirm_s: self.confirm_within,
        };
        let doing = format!("restore checkpoint {which}");
        let (answer, behind) = session.ask(&doing, command, Show::Phases)?;
        let text = match &answer {
            Answer::Restored(plan) => restored(plan, &self.scope),
            Answer::Awaiting { plan, left_s } => format!(
                "{}it goes back in {} unless it is confirmed: dsmil checkpoint confirm\n",
                restored(plan, &self.scope),
                time(*left_s)
            ),
            _ => return Err(Fault::Unexpected),
        };
        output::answer(context.json, &answer, &behind, &text)
    }

    fn wanted(&self) -> Result<Wanted<'_>, Fault> {
        Ok(Wanted {
            which: self.which.as_deref(),
            scope: self.scope.wire()?,
            leave_denied: self.leave_denied,
            paranoid: self.scope.paranoid,
            in_place: self.scope.in_place,
            dry_run: self.dry_run,
            yes: self.yes,
        })
    }

    fn confirm(&self, session: &mut Session<'_>, which: &str) -> Result<(), Fault> {
        let (answer, _) = plan::ask(session, which, &self.scope)?;
        let Answer::Plan(plan) = &answer else { return Err(Fault::Unexpected) };
        if super::is_empty(plan) {
            return Ok(());
        }
        question::confirm(&format!(
            "{}{}\nRestore checkpoint {}{} now?",
            super::differences(plan),
            super::summary(plan),
            plan.number,
            output::clean(&self.scope.within())
        ))
    }
}

/// A time to confirm in, in seconds.
fn within(text: &str) -> Result<u32, String> {
    let wrong = || format!("“{text}” is no time from 1s to 24h: write it as 90s, 5m or 1h");
    let time: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let seconds = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
    seconds.filter(|seconds| (1..=CONFIRM_S_MAX).contains(seconds)).ok_or_else(wrong)
}

/// A day.
const CONFIRM_S_MAX: u32 = 86_400;

/// What was restored, in words.
/// Whether the working folder is the one that its path leads to: a restore may have exchanged it.
fn is_here() -> bool {
    let inode = |path: &std::ffi::OsStr| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    std::env::var_os("PWD").is_some_and(|path| inode(&path) == inode(".".as_ref()))
}

fn restored(plan: &wire::Plan, scope: &Scope) -> String {
    if super::is_empty(plan) {
        return format!(
            "nothing differed from checkpoint {}{}\n",
            plan.number,
            output::clean(&scope.within())
        );
    }
    let files = |number| count(number, "file", "files");
    let mut text = format!(
        "{}restored checkpoint {}: {} added, {} changed, {} removed, {}{} written\n",
        super::differences(plan),
        plan.number,
        files(plan.added),
        files(plan.changed),
        files(plan.removed),
        count(plan.tokens, "token", "tokens"),
        super::others(plan)
    );
    if plan.denied > 0 {
        let left = count(plan.denied, "place differs and was", "places differ and were");
        text.push_str(&format!("{left} left: they cannot be restored\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_confirm_in_is_up_to_a_day() {
        for (text, seconds) in [("1s", 1), ("5m", 300), ("1h 30m", 5_400), ("24h", 86_400)] {
            assert_eq!(within(text), Ok(seconds), "{text}");
        }
        for text in ["", "0s", "5", "-5m", "1.5s", "25h", "a while"] {
            assert!(within(text).is_err(), "{text}");
        }
    }
}
