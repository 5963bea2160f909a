//! `dsmil checkpoint restore --offline` and `--emergency`: in a recovery shell, with this command alone.

use std::path::{Path, PathBuf};

use api::wire::{self, checkpoint};
use clap::Args;
use recovery::rescue::journal::Journal;
use recovery::rescue::{self, Asked, Ending, Source};
use recovery::restore;
use recovery::vault::offline as vault;
use serde::Serialize;
use store::chunk::Chunks;
use zeroize::Zeroizing;

use super::offline::{KEY_BYTES, Signers, fault, repository_key};
use crate::fault::Fault;
use crate::session::Context;
use crate::{output, question, secret};

/// Where the state lies, and what opens it.
#[derive(Debug, Args)]
pub struct Rescue {
    /// Without the daemon, which must not run: this command does it, as root, and records it in the log.
    #[arg(long, group = "without_daemon")]
    offline: bool,
    /// As --offline, and without a name or number back to the newest checkpoint that is whole; also where the log cannot be used.
    #[arg(long, group = "without_daemon")]
    emergency: bool,
    /// The recovery key's file, instead of typing it; “-” is the standard input.
    #[arg(long, value_name = "FILE", requires = "without_daemon", conflicts_with = "repository_key")]
    recovery_key: Option<PathBuf>,
    /// The repository's key itself, 32 bytes, as “dsmil tpm recover --offline” writes it.
    #[arg(long, value_name = "FILE", requires = "without_daemon")]
    repository_key: Option<PathBuf>,
    /// The daemon's state folder.
    #[arg(long, visible_alias = "state", default_value = "/var/lib/dsmil", requires = "without_daemon")]
    dir: PathBuf,
    /// The public key that signed the checkpoint, PEM: checked besides what the log tells. More than once for several.
    #[arg(long, value_name = "FILE", requires = "without_daemon")]
    key: Vec<PathBuf>,
    /// The kernel module's device; without it tokens are left.
    #[arg(long, value_name = "PATH", default_value = "/dev/dsmil", requires = "without_daemon")]
    device: PathBuf,
}

/// What is asked for besides.
pub struct Wanted<'a> {
    /// A name or number.
    pub which: Option<&'a str>,
    /// Of what it is.
    pub scope: Option<checkpoint::Scope>,
    /// Leave tokens that may not be written.
    pub leave_denied: bool,
    /// Read every file.
    pub paranoid: bool,
    /// Exchange no folder.
    pub in_place: bool,
    /// Show alone.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
}

/// What was done, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "checkpoint_rescued")]
struct Rescued<'a> {
    plan: &'a wire::Plan,
    changed: bool,
    tokens_left: bool,
    /// The file that stands in for the log.
    unrecorded: Option<String>,
}

impl Rescue {
    /// Whether the daemon is left out.
    pub const fn is_wanted(&self) -> bool {
        self.offline || self.emergency
    }

    /// Runs it.
    pub fn run(&self, context: &Context, wanted: &Wanted<'_>) -> Result<(), Fault> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(Fault::Failed(
                "only root restores without the daemon: files of others are changed".to_owned(),
            ));
        }
        let mut journal = self.journal()?;
        let source = self.source()?;
        if source.device.is_none() && rescue::was_writing_tokens(&journal) && !self.emergency {
            return Err(Fault::Failed(
                "tokens were being written when the daemon stopped, and only the kernel module brings them back: load it and start \
                 dsmild, or leave them with --emergency"
                    .to_owned(),
            ));
        }
        for work in rescue::interrupted(&journal) {
            output::note(&format!("{work} was under way when the daemon stopped, and is ended first"));
        }
        let numbers = self.candidates(&journal, wanted.which)?;
        let mut asked = asked(wanted);
        let tokens_left = self.leave_tokens(&mut asked, &source)?;
        for (place, number) in numbers.iter().enumerate() {
            let is_last = place + 1 == numbers.len();
            let one = One { number: *number, wanted, tokens_left };
            match one.attempt(context, (&mut journal, &source), &asked) {
                Err(fault @ Fault::Damaged { .. }) if !is_last => {
                    output::warning(&format!("checkpoint {number} is passed over: {fault}"));
                }
                ended => return ended,
            }
        }
        Err(Fault::NotFound(format!("there is no checkpoint in {}", self.dir.display())))
    }

    /// The log, or what stands in for it.
    fn journal(&self) -> Result<Journal, Fault> {
        let error = match Journal::open(&self.dir) {
            Ok(journal) => return Ok(journal),
            Err(error) => error,
        };
        if let recovery::Error::Replay(recovery::replay::Error::Refused {
            cause: store::Error::Locked { .. },
            ..
        }) = &error
        {
            return Err(Fault::Store(store::Error::Locked { path: self.dir.join("log") }));
        }
        if !self.emergency {
            return Err(Fault::Failed(format!(
                "{}: it could not be recorded, so nothing is restored; “dsmil log salvage” saves what can be proven of the log, and \
                 --emergency goes on without",
                causes(&error)
            )));
        }
        output::warning(&causes(&error));
        let journal = Journal::beside(&self.dir).map_err(fault)?;
        let file = journal.file().unwrap_or(Path::new("")).display().to_string();
        output::warning(&format!(
            "the log does not tell of this: it is kept in {file}, which the next start of dsmild puts into the log"
        ));
        Ok(journal)
    }

    fn source(&self) -> Result<Source, Fault> {
        let key = self.open_key()?;
        Ok(Source {
            dir: self.dir.join("checkpoints"),
            chunks: Chunks::open_read_only(&self.dir.join("chunks"), &key)?,
            signers: Signers::read(&self.key)?.into_keys(),
            device: Source::device(&self.device),
        })
    }

    fn open_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, Fault> {
        if let Some(path) = &self.repository_key {
            return repository_key(path);
        }
        let failed = |error: recovery::vault::Error| Fault::Failed(error.to_string());
        let vault = vault::read(&self.dir).map_err(failed)?;
        let recovery = secret::recovery_key(self.recovery_key.as_deref())?;
        let bytes = vault.repository(&recovery).map_err(failed)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // The vault has checked its length.
        key.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
        Ok(key)
    }

    /// The checkpoints to try, one after the other.
    fn candidates(&self, journal: &Journal, which: Option<&str>) -> Result<Vec<u64>, Fault> {
        let Some(which) = which else { return Ok(rescue::newest_first(journal)) };
        let found = rescue::find(journal, which);
        let none = || Fault::NotFound(format!("there is no checkpoint “{which}” in {}", self.dir.display()));
        found.map(|number| vec![number]).ok_or_else(none)
    }

    /// Leaves tokens where there is no device; whether it did.
    fn leave_tokens(&self, asked: &mut Asked, source: &Source) -> Result<bool, Fault> {
        if source.device.is_some() || !asked.scope.tokens {
            return Ok(false);
        }
        asked.scope.tokens = false;
        let device = self.device.display();
        if !asked.scope.files {
            return Err(Fault::Failed(format!("{device} cannot be opened, so tokens cannot be restored")));
        }
        output::warning(&format!("{device} cannot be opened: tokens are left as they are"));
        Ok(true)
    }
}

/// An attempt at one checkpoint.
struct One<'a> {
    number: u64,
    wanted: &'a Wanted<'a>,
    tokens_left: bool,
}

impl One<'_> {
    fn attempt(
        &self,
        context: &Context,
        (journal, source): (&mut Journal, &Source),
        asked: &Asked,
    ) -> Result<(), Fault> {
        let number = self.number;
        if rescue::leaves_services(journal, source, number, asked) {
            output::warning("systemd does not run here: services are left as they are");
        }
        if self.wanted.dry_run || (!self.wanted.yes && question::is_possible()) {
            let progress = context.progress(&format!("plan a restore of checkpoint {number}"));
            let plan = rescue::plan(journal, source, number, asked).map_err(fault);
            drop(progress);
            let plan = wire::Plan::from(plan?);
            if self.wanted.dry_run {
                return self.tell(context, journal, &plan, false);
            }
            question::confirm(&format!(
                "{}{}\nRestore checkpoint {number} now, without the daemon?",
                super::differences(&plan),
                super::summary(&plan)
            ))?;
        }
        let progress = context.progress(&format!("restore checkpoint {number}"));
        let ending = rescue::bring_back(journal, source, number, asked).map_err(fault);
        drop(progress);
        match ending? {
            Ending::Restored(report) => self.tell(context, journal, &wire::Plan::from(report), true),
            Ending::Failed { reason, damaged: true } => {
                // In an emergency the one before is tried at once.
                let remains = self.wanted.which.map(|_| source.remains(number, journal));
                let message = remains.map_or(reason.clone(), |remains| format!("{reason}; {remains}"));
                Err(Fault::Damaged { message, damage: None })
            }
            Ending::Failed { reason, damaged: false } => Err(Fault::Failed(reason)),
        }
    }

    fn tell(
        &self,
        context: &Context,
        journal: &Journal,
        plan: &wire::Plan,
        changed: bool,
    ) -> Result<(), Fault> {
        let unrecorded = journal.file().filter(|_| changed).map(|file| file.display().to_string());
        if context.json {
            let tokens_left = self.tokens_left;
            return output::document(&Rescued { plan, changed, tokens_left, unrecorded }, None);
        }
        let done = match (changed, &unrecorded) {
            (false, _) => "nothing was changed".to_owned(),
            (true, None) => "it is in the log, and the next start of dsmild signs that".to_owned(),
            (true, Some(file)) => format!("{file} tells of it until the next start of dsmild"),
        };
        let text = format!(
            "{}checkpoint {}: {}; {done}\n",
            super::differences(plan),
            self.number,
            super::summary(plan)
        );
        output::print(&text)
    }
}

fn asked(wanted: &Wanted<'_>) -> Asked {
    let scope = wanted.scope.as_ref().map_or_else(restore::Scope::default, |scope| restore::Scope {
        files: scope.files,
        tokens: scope.tokens,
        paths: scope.paths.iter().map(|path| path.clone().into_bytes()).collect(),
        settings: scope.settings,
        databases: scope.databases,
        services: scope.services,
    });
    let Wanted { leave_denied, paranoid, in_place, .. } = *wanted;
    Asked { scope, leave_denied, paranoid, in_place }
}

/// An error with what is behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
