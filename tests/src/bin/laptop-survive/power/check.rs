//! What was acknowledged before the power went must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tests::power::facts::Acknowledged;

use super::client::{Client, Refused};
use super::{TOKENS, text_of};

/// Facts that are asked for at once.
const PAGE: u32 = 2_000;
const KEY: &str = "/var/lib/dsmil/log/key.pem";

/// What a start has left.
pub(crate) struct Found {
    /// What is not there and was acknowledged, in words.
    pub(crate) lost: Vec<String>,
    /// Entries of the log.
    pub(crate) entries: u64,
    /// What the tokens hold.
    pub(crate) tokens: [u32; 2],
}

/// What the log says since the last check.
#[derive(Default)]
struct Told {
    /// Notes by their place.
    notes: BTreeMap<u64, String>,
    /// Writes of tokens that were taken, in order: their work, and how the log names them.
    writes: Vec<(u64, String)>,
    /// Restores that were begun, likewise.
    restores: Vec<(u64, String)>,
    /// Works that ended well.
    done: BTreeSet<u64>,
    /// Works that ended in any way.
    ended: BTreeSet<u64>,
    entries: u64,
}

/// Looks for all of that.
///
/// # Errors
///
/// The daemon cannot be asked.
pub(crate) fn check(facts: &[Acknowledged]) -> anyhow::Result<Found> {
    let mut client = Client::open()?;
    let checked = facts.iter().rposition(|fact| matches!(fact, Acknowledged::Checked { .. }));
    let from = match checked.and_then(|at| facts.get(at)) {
        Some(Acknowledged::Checked { entries }) => *entries,
        _ => 0,
    };
    let new = facts.get(checked.map_or(0, |at| at + 1)..).unwrap_or_default();
    let told = told(&mut client, from)?;
    let mut lost = Vec::new();
    if told.entries < from {
        lost.push(format!("entries: the log has {}, and had {from}", told.entries));
    }
    for fact in new {
        if let Acknowledged::Note { index, text } = fact
            && told.notes.get(index) != Some(&format!("power: {}", text_of(text)?))
        {
            lost.push(format!("note {text} at {index}: there stands {:?}", told.notes.get(index)));
        }
    }
    lost.extend(told.unended());
    let tokens = tokens(&mut client, facts, &told, &mut lost)?;
    checkpoints(&mut client, facts, new, &mut lost)?;
    // Last, so that what was just looked at is in it.
    let verified = Command::new("dsmil").args(["log", "verify", "--key", KEY]).output()?;
    if !verified.status.success() {
        let said = String::from_utf8_lossy(&verified.stderr);
        lost.push(format!("proof: the log does not verify: {}", said.trim().replace('\n', "; ")));
    }
    Ok(Found { lost, entries: told.entries, tokens })
}

impl Told {
    /// Each write and restore is at an end: what the cut left unfinished, the start has brought to one.
    fn unended(&self) -> Vec<String> {
        let open = self.writes.iter().chain(&self.restores).filter(|(work, _)| !self.ended.contains(work));
        open.map(|(work, text)| format!("end: work {work}, {text}, has none after a start")).collect()
    }

    /// What the last write that ended well put there.
    fn last_of(&self, id: u16) -> Option<u32> {
        let begin = format!("write tokens {id:#06x} = ");
        let writes = self.writes.iter().rev().filter(|(work, _)| self.done.contains(work));
        writes.filter_map(|(_, text)| text.strip_prefix(&begin)?.parse().ok()).next()
    }

    fn see(&mut self, record: &Value) -> anyhow::Result<()> {
        let text = |name| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name| record.get(name).and_then(Value::as_u64);
        match text("fact") {
            "noted" => {
                self.notes.insert(number("index").context("no index")?, text("text").to_owned());
            }
            "accepted" if text("text").starts_with("write tokens") => {
                self.writes.push((number("work").context("no work")?, text("text").to_owned()));
            }
            "accepted" if text("text").starts_with("restore") => {
                self.restores.push((number("work").context("no work")?, text("text").to_owned()));
            }
            "finished" => {
                let work = number("work").context("no work")?;
                self.ended.insert(work);
                if text("text") == "done" {
                    self.done.insert(work);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn told(client: &mut Client, from: u64) -> anyhow::Result<Told> {
    let mut told = Told::default();
    let mut next = from;
    loop {
        let answer = answer(client, &json!({ "command": "facts", "from": next, "limit": PAGE }))?;
        let records = answer.get("records").and_then(Value::as_array).context("no records")?;
        records.iter().try_for_each(|record| told.see(record))?;
        told.entries = answer.get("size").and_then(Value::as_u64).context("no size")?;
        next += u64::try_from(records.len())?;
        if records.is_empty() || next >= told.entries {
            return Ok(told);
        }
    }
}

/// A token holds what the log says of it, and that is not before what was acknowledged.
fn tokens(
    client: &mut Client,
    facts: &[Acknowledged],
    told: &Told,
    lost: &mut Vec<String>,
) -> anyhow::Result<[u32; 2]> {
    let items: Vec<Value> = TOKENS.iter().map(|id| json!({ "id": format!("{id:#06x}") })).collect();
    let answer = answer(client, &json!({ "command": "read_tokens", "items": items }))?;
    let mut found = [0; 2];
    for (place, (id, found)) in TOKENS.into_iter().zip(&mut found).enumerate() {
        let value = answer.pointer(&format!("/values/{place}/value")).and_then(Value::as_u64);
        *found = u32::try_from(value.with_context(|| format!("{id:#06x} cannot be read: {answer}"))?)?;
        let acknowledged = facts.iter().rev().find_map(|fact| match fact {
            Acknowledged::Token { id: of, value } if *of == id => Some(*value),
            _ => None,
        });
        let logged = told.last_of(id).or(acknowledged);
        if acknowledged.is_some_and(|value| logged.is_none_or(|logged| logged < value)) {
            lost.push(format!("token {id:#06x}: acknowledged {acknowledged:?}, the log has {logged:?}"));
        }
        if logged.is_some_and(|logged| logged != *found) {
            lost.push(format!("token {id:#06x}: the log says {logged:?}, the firmware {found}"));
        }
    }
    Ok(found)
}

/// All are listed; the new ones are read wholly.
fn checkpoints(
    client: &mut Client,
    facts: &[Acknowledged],
    new: &[Acknowledged],
    lost: &mut Vec<String>,
) -> anyhow::Result<()> {
    let answer = answer(client, &json!({ "command": "checkpoints" }))?;
    let listed = answer.get("checkpoints").and_then(Value::as_array).context("no checkpoints")?;
    let listed: BTreeSet<&str> = listed.iter().filter_map(|one| one.get("name")?.as_str()).collect();
    for name in facts.iter().filter_map(name) {
        if !listed.contains(name) {
            lost.push(format!("checkpoint {name}: is not listed"));
        }
    }
    for name in new.iter().filter_map(name).filter(|name| listed.contains(name)) {
        let verified = client.ask(&json!({ "command": "verify_checkpoint", "which": name }))?;
        if let Err(Refused { message, .. }) = verified {
            lost.push(format!("checkpoint {name}: {message}"));
        }
    }
    Ok(())
}

fn name(fact: &Acknowledged) -> Option<&str> {
    match fact {
        Acknowledged::Checkpoint { name } => Some(name),
        _ => None,
    }
}

fn answer(client: &mut Client, command: &Value) -> anyhow::Result<Value> {
    match client.ask(command)? {
        Ok(answer) => Ok(answer),
        Err(Refused { code, message }) => bail!("{command} is refused: {code}: {message}"),
    }
}
