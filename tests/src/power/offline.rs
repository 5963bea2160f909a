//! A disk that lost power, looked at without booting it: its file system is repaired as at a boot, the log taken out and verified.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::cut::{Fate, Tally, replay};
use super::facts::{Acknowledged, Folder};
use super::machine::command;
use super::writes::{Entry, SECTOR};
use crate::fuzz::dice::Dice;

/// Where the log is on the disk.
const LOG: &str = "/dsmil/log";
/// Where the folder is that checkpoints hold.
const WORK: &str = "/srv/work";

/// Writes to a disk what of these entries a cut at their end leaves.
///
/// # Errors
///
/// The disk cannot be written.
pub(super) fn apply(
    entries: &[Entry<'_>],
    fate: Fate,
    dice: &mut Dice,
    disk: &Path,
) -> anyhow::Result<Tally> {
    let file = File::options().write(true).open(disk)?;
    let write = |sector: u64, data: &[u8]| file.write_all_at(data, sector * SECTOR as u64);
    Ok(replay(entries, fate, &mut |bound| dice.below(bound), write)?)
}

/// Has the file system put right what a crash leaves: what is wrong if that cannot be done.
///
/// Its superblock is two sectors long and written in place when it is mounted, so a cut can tear it. Then a copy of it is taken, which lies at
/// one of two places, as `e2fsck` says itself.
fn repair(disk: &Path) -> anyhow::Result<Option<String>> {
    let check = |arguments: &[&str]| {
        Command::new("e2fsck").args(arguments).arg(disk).output().context("starting e2fsck")
    };
    // 1: something was put right, as the journal's replay does.
    let is_right = |status: std::process::ExitStatus| matches!(status.code(), Some(0 | 1));
    let first = check(&["-f", "-p"])?;
    if is_right(first.status) {
        return Ok(None);
    }
    for copy in [["-b", "8193", "-B", "1024"], ["-b", "32768", "-B", "4096"]] {
        // With a copy everything is looked at, and all questions are answered.
        if is_right(check(&[&["-f", "-y"][..], &copy].concat())?.status)
            && is_right(check(&["-f", "-p"])?.status)
        {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&first.stdout).trim().to_owned()))
}

/// What is wrong with the log on a disk that lost power: nothing, or what is not there of what was acknowledged. `verifier` is the
/// command `dsmil`, `folder` is for what is made on the way.
///
/// # Errors
///
/// A tool cannot be run.
pub(super) fn look(
    disk: &Path,
    facts: &[&Acknowledged],
    verifier: &Path,
    folder: &Path,
) -> anyhow::Result<Option<String>> {
    if let Some(wrong) = repair(disk)? {
        return Ok(Some(format!("the file system: {wrong}")));
    }
    let out = folder.join("out");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir(&out)?;
    command("debugfs", &["-R", &format!("rdump {LOG} {}", out.display())], &[disk.to_owned()])?;
    let folder = facts.iter().rev().find_map(|fact| match fact {
        Acknowledged::Folder(folder) => Some(folder),
        _ => None,
    });
    if let Some(folder) = folder.filter(|folder| **folder != Folder::Changing) {
        command("debugfs", &["-R", &format!("rdump {WORK} {}", out.display())], &[disk.to_owned()])?;
        let found = super::folder::contents(&out.join("work"))?;
        if !folder.may_lie(&found) {
            return Ok(Some(format!("the folder holds {found} and not what it may: {folder}")));
        }
    }
    let log = out.join("log");
    let has_entries = log.is_dir()
        && fs::read_dir(&log)?
            .any(|file| file.is_ok_and(|file| file.path().extension().is_some_and(|name| name == "log")));
    if !has_entries {
        let is_any = facts.iter().any(|fact| !matches!(fact, Acknowledged::Folder(_)));
        return Ok(is_any.then(|| "there is no log".to_owned()));
    }
    let verify = |words: &[&str]| Command::new(verifier).args(words).arg("--dir").arg(&log).output();
    let verified = verify(&["log", "verify", "--json"])?;
    if !verified.status.success() {
        return Ok(Some(format!("the log: {}", String::from_utf8_lossy(&verified.stderr).trim())));
    }
    let notes = facts.iter().filter_map(|fact| match fact {
        Acknowledged::Note { index, text } => Some((*index, text)),
        _ => None,
    });
    let Some(first) = notes.clone().map(|(index, _)| index).min() else { return Ok(None) };
    let found = verify(&[
        "log",
        "search",
        "--json",
        "--fact",
        "noted",
        "--lines",
        "1000000",
        "--from",
        &first.to_string(),
    ])?;
    // 6: nothing is found.
    ensure!(matches!(found.status.code(), Some(0 | 6)), "{}", String::from_utf8_lossy(&found.stderr));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
    let records = found.pointer("/answer/records").and_then(Value::as_array).cloned().unwrap_or_default();
    let text_at = |index: u64| {
        let record =
            records.iter().find(|record| record.get("index").and_then(Value::as_u64) == Some(index))?;
        record.get("text").and_then(Value::as_str)
    };
    let lost = notes.clone().find(|(index, text)| {
        !text_at(*index).is_some_and(|found| found.starts_with(&format!("power: {text} ")))
    });
    Ok(lost.map(|(index, text)| format!("note {text} at {index}: there stands {:?}", text_at(index))))
}
