//! Work until the power goes: what is acknowledged is told to the host at once, and looked for at the next start.
//!
//! The standard output has one line for each thing that the daemon acknowledged ([`tests::power::facts`]), and a line `lost …` for
//! each that was and is not there any more.

mod check;
mod client;
mod restores;

use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, bail};
use serde_json::json;
use tests::power::facts::Acknowledged;

use crate::dice::Dice;
use client::{Client, Refused};

/// Clients that have notes recorded.
const TELLERS: u64 = 4;
/// Tokens that are written.
const TOKENS: [u16; 2] = [0x8060, 0x8061];
/// Files that checkpoints hold.
const FILES: u64 = 8;
const WORK: &str = "/srv/work";

/// What it does until the power goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Works {
    /// Nothing: it ends.
    Not,
    /// Notes are recorded, tokens written, checkpoints taken.
    Notes,
    /// Checkpoints are taken and restored.
    Restores,
}

/// Checks what an earlier run acknowledged, in a file of lines; then works until the power goes.
///
/// # Errors
///
/// The daemon cannot be asked, or refuses what it should do. That something is lost is no error, but told.
pub(crate) fn run(facts: &Path, seed: u64, works: Works) -> anyhow::Result<()> {
    let text = fs::read_to_string(facts).with_context(|| format!("reading {}", facts.display()))?;
    let facts = text.lines().map(str::parse).collect::<Result<Vec<Acknowledged>, _>>()?;
    let mut found = check::check(&facts)?;
    let folder = facts.iter().rev().find_map(|fact| match fact {
        Acknowledged::Folder(folder) => Some(folder),
        _ => None,
    });
    if let Some(folder) = folder {
        found.lost.extend(restores::look(folder)?);
    }
    for lost in &found.lost {
        tell(&format!("lost {lost}"))?;
    }
    tell(&Acknowledged::Checked { entries: found.entries }.to_string())?;
    match works {
        Works::Not => return Ok(()),
        Works::Restores => return restores::run(seed),
        Works::Notes => {}
    }
    thread::scope(|scope| {
        let tellers: Vec<_> = (0..TELLERS).map(|teller| scope.spawn(move || notes(seed, teller))).collect();
        let orders = scope.spawn(move || orders(seed, found.tokens));
        for worker in tellers.into_iter().chain([orders]) {
            match worker.join() {
                Ok(Err(error)) => return Err(error),
                Ok(Ok(())) => {}
                Err(_) => bail!("a client ended in a panic"),
            }
        }
        Ok(())
    })
}

/// One line, at once and in one piece.
fn tell(line: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

/// A note's text from its name, whose last part says how much follows.
fn text_of(name: &str) -> anyhow::Result<String> {
    let bytes: usize =
        name.rsplit('-').next().unwrap_or_default().parse().context("a note without length")?;
    Ok(format!("{name} {}", "x".repeat(bytes)))
}

fn notes(seed: u64, teller: u64) -> anyhow::Result<()> {
    let mut dice = Dice(seed ^ (teller << 32));
    let mut client = Client::open()?;
    for number in 0_u64.. {
        // Most are small; some go over many sectors.
        let bytes = if dice.below(8) == 0 { dice.below(6_000) } else { dice.below(200) };
        let name = format!("{seed}-{teller}-{number}-{bytes}");
        let command = json!({ "command": "note", "kind": "power", "text": text_of(&name)? });
        match client.ask(&command)? {
            Ok(answer) => {
                let index = answer.get("index").and_then(serde_json::Value::as_u64).context("no index")?;
                tell(&Acknowledged::Note { index, text: name }.to_string())?;
            }
            Err(Refused { code, message }) => bail!("a note is refused: {code}: {message}"),
        }
    }
    Ok(())
}

/// Writes tokens, and takes a checkpoint now and then. Values go up, so that an older one shows.
fn orders(seed: u64, mut values: [u32; 2]) -> anyhow::Result<()> {
    let mut dice = Dice(seed ^ 0xfeed);
    let mut client = Client::open()?;
    for number in 0_u64.. {
        if number % 4 == 3 {
            let path = Path::new(WORK).join(format!("power-{}", dice.below(FILES)));
            fs::write(path, vec![u8::try_from(dice.below(256))?; usize::try_from(dice.below(50_000))?])?;
            let name = format!("power-{seed}-{number}");
            done(client.ask(&json!({ "command": "create_checkpoint", "name": name }))?)?;
            tell(&Acknowledged::Checkpoint { name }.to_string())?;
            continue;
        }
        let mut pairs = TOKENS.iter().zip(&mut values);
        let Some((&id, value)) = pairs.nth(usize::try_from(number % 2)?) else { continue };
        *value += 1;
        let change = json!({ "id": format!("{id:#06x}"), "value": *value });
        done(client.ask(&json!({ "command": "write_tokens", "changes": [change] }))?)?;
        tell(&Acknowledged::Token { id, value: *value }.to_string())?;
    }
    Ok(())
}

fn done(answer: Result<serde_json::Value, Refused>) -> anyhow::Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(Refused { code, message }) => bail!("an order is refused: {code}: {message}"),
    }
}
