//! `dsmil checkpoint restore`

use api::wire::{self, Answer, Command};
use clap::Args;

use super::plan;
use super::rescue::{Rescue, Wanted};
use super::scope::Scope;
use crate::fault::Fault;
use crate::output::{self, count};
use crate::progress::Show;
use crate::question;
use crate::session::{Context, Session};

/// Brings tokens and folders back to a checkpoint, and verifies that they are.
///
/// On a terminal it first shows what would change and asks; without one it acts. The daemon does the work: it goes on, or is
/// undone, also when this command is interrupted. A token that differs and may not be written makes it refuse before
/// anything changes, unless --leave-denied is given.
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
    /// Leave tokens that may not be written as they are instead of refusing.
    #[arg(long)]
    leave_denied: bool,
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
        };
        let doing = format!("restore checkpoint {which}");
        let (answer, behind) = session.ask(&doing, command, Show::Phases)?;
        let Answer::Restored(plan) = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, &restored(plan, &self.scope))
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
        "{}restored checkpoint {}: {} added, {} changed, {} removed, {} written\n",
        super::differences(plan),
        plan.number,
        files(plan.added),
        files(plan.changed),
        files(plan.removed),
        count(plan.tokens, "token", "tokens")
    );
    if plan.denied > 0 {
        let left = count(plan.denied, "token differs and was", "tokens differ and were");
        text.push_str(&format!("{left} left: the rules deny writing\n"));
    }
    text
}
