//! One laptop whose power goes again and again: it boots, looks for what it had acknowledged, works, and is killed at some moment; then its
//! disk is put together from what was there before the boot and the log of its writes, without some of what no flush followed.
//!
//! The TPM goes on with the memory that it had when it was killed, without that which needs power; the firmware with the tokens that it had. The
//! disk may be cut a little earlier, among the writes since one of these two last changed: had the power gone then, they would be the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::cut::{Fate, Tally};
use super::facts::{Acknowledged, Folder};
use super::machine::{DISK_BYTES, Machine, Running, command};
use super::moment::{Watch, When};
use super::{earlier, offline, writes};
use crate::fuzz::dice::Dice;
use crate::survive::Told;

/// What a boot may take to answer, and to come to the moment of the cut.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// Between two looks for the moment.
const LOOK: Duration = Duration::from_millis(1);

/// What to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// `scripts/laptop.sh`.
    pub script: PathBuf,
    /// Where laptops lie.
    pub laptops: PathBuf,
    /// The command `dsmil`.
    pub verifier: PathBuf,
    /// How often the power goes.
    pub cuts: u32,
    /// After each boot, so many earlier points of it are looked at without booting.
    pub looks: u32,
    /// The same seed chooses the same moments and losses, as far as the laptop keeps to it.
    pub seed: u64,
    /// The laptop restores one checkpoint after the other, and the power goes in the middle of it.
    pub restores: bool,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    cuts: u32,
    looks: u32,
    /// The laptop or its daemon did not come up.
    down: u32,
    /// Boots after which something acknowledged was not there.
    lost: u32,
    /// Boots after which the log could not be proven.
    unproven: u32,
    /// Earlier points with something lost, or no log that can be proven.
    bad_looks: u32,
    acknowledged: u32,
    tally: Tally,
    kinds: BTreeMap<String, u32>,
    /// Cuts with a restore under way, and what the folder held after the next start: what it had before, or was to have after.
    amid: BTreeMap<String, u32>,
    /// Restores that were acknowledged.
    restored: u32,
}

struct Run<'a> {
    config: &'a Config,
    machine: Machine,
    dice: Dice,
    found: Found,
    /// What was acknowledged by this machine.
    facts: Vec<Acknowledged>,
}

/// What a boot said.
#[derive(Default)]
struct Boot {
    /// What was acknowledged, with how long the log of writes was then.
    facts: Vec<(Acknowledged, u64)>,
    /// What was missing.
    lost: Vec<String>,
    /// It ended by itself, so something went wrong.
    is_over: bool,
    /// How long the log of writes was when TPM or firmware last changed.
    settled: u64,
    /// Restores that have begun.
    restores: u32,
    /// What the folder held after the start.
    folder: Option<String>,
}

/// Cuts the power so many times; the figures.
///
/// # Errors
///
/// The laptop cannot be run at all, or a tool is missing.
pub fn run(config: &Config) -> anyhow::Result<Vec<Told>> {
    let machine = Machine::new(&config.script, &config.laptops)?;
    let dice = Dice::new(config.seed);
    let mut run = Run { config, machine, dice, found: Found::default(), facts: Vec::new() };
    for number in 0..config.cuts {
        run.cut(number).with_context(|| format!("cut {number}"))?;
    }
    run.last()?;
    let Found { cuts, looks, down, lost, unproven, bad_looks, acknowledged, tally, kinds, amid, restored } =
        &run.found;
    let variant = if config.restores { "power-restore" } else { "power" };
    if down + lost + unproven + bad_looks == 0 {
        fs::remove_dir_all(run.machine.folder())?;
    }
    let told = |metric: &str, count: u32| {
        Told::violations(variant, metric, count, *cuts)
            .with("seed", config.seed)
            .with("acknowledged", *acknowledged)
            .with("sectors_flushed", tally.durable)
            .with("sectors_kept", tally.kept)
            .with("sectors_lost", tally.lost)
            .with("moments", serde_json::json!(kinds))
            .with("restores", *restored)
            .with("in_a_restore", serde_json::json!(amid))
    };
    let without = Told::violations(
        variant,
        "earlier points of these boots at which the disk lacks something acknowledged, or its log cannot be proven",
        *bad_looks,
        *looks,
    );
    Ok(vec![
        told("power cuts after which the laptop or its daemon does not start", *down),
        told(
            if config.restores {
                "power cuts after which a folder is mixed, or something acknowledged is lost"
            } else {
                "power cuts after which something acknowledged is lost"
            },
            *lost,
        ),
        told("power cuts after which the log cannot be proven", *unproven),
        without.noted("looked at without booting: e2fsck, debugfs, dsmil log verify; no TPM, no tokens"),
    ])
}

impl Run<'_> {
    /// One boot and the cut at its end.
    fn cut(&mut self, number: u32) -> anyhow::Result<()> {
        let restores = self.config.restores;
        let choose = if restores { When::choose_restore } else { When::choose };
        let (when, kind) = (choose(&mut self.dice, number), if restores { "--restores " } else { "" });
        let words =
            format!("{kind}--seed {}", self.config.seed.wrapping_mul(1000).wrapping_add(u64::from(number)));
        let running = self.machine.boot(&words, &self.known())?;
        let mut boot = self.until(when, running)?;
        let log = fs::read(self.machine.writes())?;
        let entries = writes::parse(&log, DISK_BYTES)?;
        self.judge(&boot, number)?;
        if boot.is_over {
            return self.anew();
        }
        self.look_at(&entries, &boot.facts)?;
        let entries = self.shorten(&entries, &mut boot)?;
        let fate = self.dice.pick(&Fate::ALL.map(Some)).unwrap_or(Fate::Lost);
        let tally = offline::apply(entries, fate, &mut self.dice, &self.machine.disk())?;
        self.found.cuts += 1;
        let acknowledged = boot.facts.iter().filter(|(fact, _)| is_acknowledged(fact)).count();
        self.found.acknowledged += u32::try_from(acknowledged)?;
        let is_restored =
            |(fact, _): &&(Acknowledged, u64)| matches!(fact, Acknowledged::Folder(Folder::Still(_)));
        self.found.restored += u32::try_from(boot.facts.iter().filter(is_restored).count())?;
        self.found.tally.durable += tally.durable;
        self.found.tally.kept += tally.kept;
        self.found.tally.lost += tally.lost;
        *self.found.kinds.entry(format!("{}, {fate:?}", when.name())).or_default() += 1;
        let &Tally { durable, kept, lost } = &tally;
        eprintln!(
            "  cut {}: {when:?}, {acknowledged} acknowledged, of {} writes and flushes {durable} sectors flushed, of the rest {kept} kept, {lost} lost ({fate:?})",
            number + 1,
            entries.len(),
        );
        self.facts.extend(boot.facts.into_iter().map(|(fact, _)| fact));
        if let Some(Folder::Restoring { at_once, .. }) = self.folder() {
            eprintln!("    in the middle of a restore {}", if *at_once { "at once" } else { "in place" });
        }
        Ok(())
    }

    /// The entries up to the cut, and what the laptop had said up to there.
    fn shorten<'e, 'log>(
        &mut self,
        entries: &'e [writes::Entry<'log>],
        boot: &mut Boot,
    ) -> anyhow::Result<&'e [writes::Entry<'log>]> {
        let settled = usize::try_from(boot.settled)?;
        let first = entries.partition_point(|entry| entry.end < settled);
        // Up to and with the entry that ends where it was settled, or all.
        let mut cuts: Vec<usize> = (first + 1..=entries.len()).collect();
        // Most often where something is not flushed, if that can be.
        let is_open = |cut: &usize| entries.get(cut - 1).is_some_and(|entry| !entry.is_flush);
        if cuts.iter().any(is_open) && !self.dice.one_in(4) {
            cuts.retain(is_open);
        }
        let cut = cuts.get(self.dice.below(cuts.len())).copied().unwrap_or(entries.len());
        let entries = entries.get(..cut).unwrap_or(entries);
        let end = u64::try_from(entries.last().map_or(0, |entry| entry.end))?;
        let begun = earlier::begun(&boot.facts, end).cloned();
        boot.facts.retain(|(_, place)| *place <= end);
        boot.facts.extend(begun.map(|fact| (fact, end)));
        Ok(entries)
    }

    /// After the last cut: a boot to look, and an end in order.
    fn last(&mut self) -> anyhow::Result<()> {
        let words = if self.config.restores { "--restores --idle" } else { "--idle" };
        let running = self.machine.boot(words, &self.known())?;
        let (status, lines) = running.wait()?;
        let mut boot = Boot { is_over: !status.success(), ..Boot::default() };
        for line in &lines {
            boot.take(line, 0);
        }
        self.judge(&boot, self.config.cuts)?;
        ensure!(
            boot.is_over || !boot.facts.is_empty(),
            "the last boot did not look: {}",
            self.machine.said()
        );
        Ok(())
    }

    /// Runs until the moment has come, and cuts the power; or until the laptop ends by itself.
    fn until(&mut self, when: When, mut running: Running) -> anyhow::Result<Boot> {
        let mut boot = Boot::default();
        let mut watch = Watch::new(when, [self.machine.writes(), self.machine.nv(), self.machine.tokens()]);
        let began = Instant::now();
        let mut is_checked = false;
        loop {
            for (line, place) in running.lines.try_iter() {
                is_checked |= boot.take(&line, place);
            }
            if running.ended()?.is_some() {
                boot.is_over = true;
                return Ok(boot);
            }
            let is_late = began.elapsed() > PATIENCE;
            if is_late || watch.is_now(is_checked, boot.restores) {
                running.cut()?;
                for (line, place) in running.lines.iter() {
                    boot.take(&line, place);
                }
                boot.settled = watch.settled();
                ensure!(
                    !is_late,
                    "the moment {when:?} did not come; the laptop said: {}",
                    self.machine.said()
                );
                return Ok(boot);
            }
            sleep(LOOK);
        }
    }

    /// Counts what a boot found missing.
    fn judge(&mut self, boot: &Boot, number: u32) -> anyhow::Result<()> {
        self.tell_apart(boot);
        for lost in &boot.lost {
            eprintln!("  FAIL before cut {}: lost {lost}", number + 1);
        }
        let is_proof = |lost: &&String| lost.starts_with("proof");
        self.found.unproven += u32::from(boot.lost.iter().any(|lost| is_proof(&lost)));
        self.found.lost += u32::from(boot.lost.iter().any(|lost| !is_proof(&lost)));
        if boot.is_over {
            eprintln!("  FAIL before cut {}: {}", number + 1, self.machine.said());
            self.found.down += 1;
        }
        if boot.is_over || !boot.lost.is_empty() {
            let aside = self.machine.folder().with_extension(format!("failed-{number}"));
            command("cp", &["-a", "--sparse=always"], &[self.machine.folder().to_owned(), aside.clone()])?;
            eprintln!("  kept: {}", aside.display());
        }
        Ok(())
    }

    /// Which way it went with the restore that was under way when the power went, if one was.
    fn tell_apart(&mut self, boot: &Boot) {
        let (Some(Folder::Restoring { at_once, before, after }), Some(found)) =
            (self.folder(), boot.folder.as_ref())
        else {
            return;
        };
        let way = if *at_once { "at once" } else { "in place" };
        let end = match found {
            _ if before == after => "the same",
            found if found == before => "as before",
            found if found == after => "as the checkpoint",
            _ => "mixed",
        };
        eprintln!("    after the start the folder is {end}");
        *self.found.amid.entry(format!("{way}, {end}")).or_default() += 1;
    }

    /// What is known of the folder.
    fn folder(&self) -> Option<&Folder> {
        self.facts.iter().rev().find_map(|fact| match fact {
            Acknowledged::Folder(folder) => Some(folder),
            _ => None,
        })
    }

    /// Goes on with a new machine.
    fn anew(&mut self) -> anyhow::Result<()> {
        self.facts.clear();
        self.machine.renew()
    }

    /// Looks at the disk as cuts at earlier points of this boot would have left it.
    fn look_at(
        &mut self,
        entries: &[writes::Entry<'_>],
        facts: &[(Acknowledged, u64)],
    ) -> anyhow::Result<()> {
        let folder = self.machine.folder().to_owned();
        let disk = folder.join("earlier.img");
        for _ in 0..self.config.looks {
            let cut = earlier::place(entries, facts, &mut self.dice);
            let entries = entries.get(..cut).unwrap_or(entries);
            let end = u64::try_from(entries.last().map_or(0, |entry| entry.end))?;
            let before: Vec<&Acknowledged> = earlier::known(&self.facts, facts, end);
            command("cp", &["--sparse=always", "--reflink=auto"], &[self.machine.disk(), disk.clone()])?;
            let fate = self.dice.pick(&Fate::ALL.map(Some)).unwrap_or(Fate::Lost);
            offline::apply(entries, fate, &mut self.dice, &disk)?;
            self.found.looks += 1;
            if let Some(wrong) = offline::look(&disk, &before, &self.config.verifier, &folder)? {
                eprintln!("  FAIL at entry {cut} of the writes ({fate:?}): {wrong}");
                self.found.bad_looks += 1;
                self.keep(&disk)?;
            }
        }
        Ok(())
    }

    fn keep(&self, disk: &Path) -> anyhow::Result<()> {
        let aside = self.machine.folder().with_extension(format!("failed-look-{}", self.found.looks));
        fs::rename(disk, &aside)?;
        eprintln!("  kept: {}", aside.display());
        Ok(())
    }

    /// What the next boot is to look for: what came since the last look, and what must stand for ever.
    fn known(&self) -> String {
        let checked = self.facts.iter().rposition(|fact| matches!(fact, Acknowledged::Checked { .. }));
        let is_wanted = |(place, fact): &(usize, &Acknowledged)| {
            Some(*place) >= checked
                || !matches!(
                    fact,
                    Acknowledged::Note { .. } | Acknowledged::Checked { .. } | Acknowledged::Folder(_)
                )
                || matches!(fact, Acknowledged::Folder(folder) if Some(folder) == self.folder())
        };
        self.facts.iter().enumerate().filter(is_wanted).map(|(_, fact)| format!("{fact}\n")).collect()
    }
}

/// Notes, tokens and checkpoints: not what the laptop only says of itself.
const fn is_acknowledged(fact: &Acknowledged) -> bool {
    !matches!(fact, Acknowledged::Checked { .. } | Acknowledged::Folder(_))
}

impl Boot {
    /// Takes a line; whether it says that the look at what was acknowledged is done.
    fn take(&mut self, line: &str, place: u64) -> bool {
        if let Some(lost) = line.strip_prefix("lost ") {
            self.lost.push(lost.to_owned());
            return false;
        }
        if let Some(found) = line.strip_prefix("found ") {
            self.folder = Some(found.to_owned());
            return false;
        }
        let Ok(fact) = line.parse() else {
            self.lost.push(format!("sense: the laptop said “{line}”"));
            return false;
        };
        let is_checked = matches!(fact, Acknowledged::Checked { .. });
        self.restores += u32::from(matches!(fact, Acknowledged::Folder(Folder::Restoring { .. })));
        self.facts.push((fact, place));
        is_checked
    }
}
