//! Checkpoints are taken and restored, in place and at once, one after the other: the host is told what the folder holds before each restore and what it is to
//! hold after it. After the power was gone it holds one of the two.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::unistd::sync;
use serde_json::{Value, json};
use tests::power::facts::{Acknowledged, Folder};
use tests::power::folder::{contents, times};

use super::client::{Client, Refused};
use super::{WORK, done, tell};
use crate::dice::Dice;

/// A token that checkpoints hold and nobody else writes.
const TOKEN: &str = "0x8063";
/// Files in the folder, and the largest, bytes.
const FILES: u64 = 24;
const FILE_BYTES_MAX: u64 = 120_000;

/// Works until the power goes.
pub(super) fn run(seed: u64) -> anyhow::Result<()> {
    let mut dice = Dice(seed ^ 0xbac);
    let mut client = Client::open()?;
    // Checkpoints of this boot, and what they are of.
    let mut taken: Vec<(String, String)> = Vec::new();
    for number in 0_u64.. {
        let state = change(&mut client, &mut dice)?;
        if taken.is_empty() || dice.below(2) == 0 {
            let name = format!("restore-{seed}-{number}");
            done(client.ask(&json!({ "command": "create_checkpoint", "name": name }))?)?;
            tell(&Acknowledged::Checkpoint { name: name.clone() }.to_string())?;
            taken.push((name, state));
            continue;
        }
        let place = usize::try_from(dice.below(u64::try_from(taken.len())?))?;
        let (name, after) = taken.get(place).context("no checkpoint")?.clone();
        let at_once = dice.below(2) == 0;
        folder(Folder::Restoring { at_once, before: state, after: after.clone() })?;
        let restore = json!({ "command": "restore", "which": name, "in_place": !at_once });
        done(client.ask(&restore)?)?;
        folder(Folder::Still(after.clone()))?;
        let found = now(&mut client)?;
        if found != after {
            bail!("checkpoint {name} was restored, and the folder holds {found} instead of {after}");
        }
    }
    Ok(())
}

/// What is wrong with the folder after a start, if anything is.
pub(super) fn look(may: &Folder) -> anyhow::Result<Option<String>> {
    let found = now(&mut Client::open()?)?;
    tell(&format!("found {found}"))?;
    Ok((!may.may_hold(&found)).then(|| format!("folder: it holds {found}, and may: {may}")))
}

fn folder(folder: Folder) -> anyhow::Result<()> {
    tell(&Acknowledged::Folder(folder).to_string())
}

/// What the folder and the token hold.
fn now(client: &mut Client) -> anyhow::Result<String> {
    let dir = Path::new(WORK);
    fs::create_dir_all(dir)?;
    Ok(format!("{}.{}.{}", contents(dir)?, times(dir)?, token(client)?))
}

fn token(client: &mut Client) -> anyhow::Result<u64> {
    let read = json!({ "command": "read_tokens", "items": [{ "id": TOKEN }] });
    match client.ask(&read)? {
        Ok(answer) => answer.pointer("/values/0/value").and_then(Value::as_u64).context("no value"),
        Err(Refused { code, message }) => bail!("{TOKEN} cannot be read: {code}: {message}"),
    }
}

/// Files come, change and go, and the token changes; all of it is on the disk when this returns what they hold then.
fn change(client: &mut Client, dice: &mut Dice) -> anyhow::Result<String> {
    folder(Folder::Changing)?;
    let dir = Path::new(WORK);
    fs::create_dir_all(dir.join("sub"))?;
    for number in 0..FILES {
        let folder = if number % 3 == 0 { dir.join("sub") } else { dir.to_owned() };
        let path = folder.join(format!("file-{number}"));
        match dice.below(5) {
            0 | 1 => {}
            2 => drop(fs::remove_file(&path)),
            3 => {
                fs::remove_file(&path).ok();
                symlink(format!("file-{}", dice.below(FILES)), &path)?;
            }
            _ => {
                fs::remove_file(&path).ok();
                let bytes = usize::try_from(dice.below(FILE_BYTES_MAX))?;
                let mut content = vec![u8::try_from(dice.below(256))?; bytes];
                // Some compress, and some do not.
                if dice.below(2) == 0 {
                    content.iter_mut().for_each(|byte| *byte = dice.below(256).to_le_bytes()[0]);
                }
                fs::write(&path, content)?;
                fs::set_permissions(
                    &path,
                    fs::Permissions::from_mode(0o600 + u32::try_from(dice.below(64))?),
                )?;
            }
        }
    }
    let value = dice.below(1_000);
    let write = json!({ "command": "write_tokens", "changes": [{ "id": TOKEN, "value": value }] });
    done(client.ask(&write)?)?;
    sync();
    now(client)
}
