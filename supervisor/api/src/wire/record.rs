//! An entry of the log as JSON and as a line.

mod run;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::fact::{Error, Fact, Level, Outcome, Progress, Record};
use engine::fleet::fact::AgentFact;
use engine::order::{Order, Valued, VaultChange};
use engine::scope::{Others, Scope, listed};
use serde::{Deserialize, Serialize};
use types::hash::Hash;
use types::time::Time;

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the log, from 0.
    pub index: u64,
    /// When, RFC 3339, UTC.
    pub time: String,
    /// What kind of fact.
    pub fact: String,
    /// The work that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<u64>,
    /// Who asked: user and process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asker: Option<Asker>,
    /// The rest in words.
    pub text: String,
    /// A note's content in base64 where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// Who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asker {
    /// User id.
    pub uid: u32,
    /// Process id.
    pub pid: i32,
}

/// When an entry of the log happened, by all clocks.
///
/// # Errors
///
/// The bytes are not a record, or one of a newer version.
pub fn time(bytes: &[u8]) -> Result<Time, Error> {
    Record::decode(bytes).map(|record| record.time())
}

impl Entry {
    /// Decodes an entry of the log.
    ///
    /// # Errors
    ///
    /// The bytes are not a record, or one of a newer version.
    pub fn decode(index: u64, bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self::new(index, &Record::decode(bytes)?))
    }

    /// From a record.
    #[must_use]
    pub fn new(index: u64, record: &Record) -> Self {
        let asker = match &record.fact {
            Fact::Denied { asker, .. }
            | Fact::Accepted { asker, .. }
            | Fact::Noted { asker, .. }
            | Fact::Agent(AgentFact::Approved { asker, .. } | AgentFact::EmergencyStop { asker, .. }) => {
                Some(Asker { uid: asker.uid, pid: asker.pid })
            }
            Fact::RunAccepted(fact) => Some(Asker { uid: fact.asker.uid, pid: fact.asker.pid }),
            _ => None,
        };
        Self {
            index,
            time: rfc3339(record.time().wall_ns),
            fact: name(&record.fact).to_owned(),
            work: record.fact.work(),
            asker,
            text: text(&record.fact),
            base64: match &record.fact {
                Fact::Noted { content, .. } if std::str::from_utf8(content).is_err() => {
                    Some(STANDARD.encode(content))
                }
                _ => None,
            },
        }
    }
}

/// The kinds of facts, as [`Entry::fact`] has them.
pub const FACTS: [&str; 15] = [
    "started",
    "stopped",
    "denied",
    "accepted",
    "progressed",
    "finished",
    "heat",
    "noted",
    "snapshot",
    "anchored",
    "power_lost",
    "moved",
    "agent",
    "run_accepted",
    "run",
];

const fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::Started { .. } => "started",
        Fact::Stopped => "stopped",
        Fact::Denied { .. } => "denied",
        Fact::Accepted { .. } => "accepted",
        Fact::Progressed { .. } => "progressed",
        Fact::Finished { .. } => "finished",
        Fact::Heat { .. } => "heat",
        Fact::Noted { .. } => "noted",
        Fact::Snapshotted { .. } => "snapshot",
        Fact::Anchored { .. } => "anchored",
        Fact::PowerLost { .. } => "power_lost",
        Fact::Moved { .. } => "moved",
        Fact::Agent(_) => "agent",
        Fact::RunAccepted(_) => "run_accepted",
        Fact::Advanced(_) => "run",
    }
}

fn text(fact: &Fact) -> String {
    match fact {
        Fact::Started { version, missing, .. } if missing.is_empty() => format!("dsmild {version}"),
        Fact::Started { version, missing, .. } => format!("dsmild {version}, without {}", missing.join(", ")),
        Fact::Stopped => "in order".to_owned(),
        Fact::Snapshotted { facts, hash } => format!("of {facts} facts, {}", Hash(*hash)),
        Fact::Anchored { reason } => reason.clone(),
        Fact::PowerLost { named, counted } => {
            format!(
                "the TPM counted {counted} heads where {named} were signed: up to the last anchoring, a log that was cut back would look like this one"
            )
        }
        Fact::Moved { from, to, reason, .. } => {
            format!(
                "heads are signed by key {} from here on, by {} before: {reason}",
                key_id(to),
                key_id(from)
            )
        }
        Fact::Agent(fact) => run::agent(fact),
        Fact::RunAccepted(fact) => format!("run {} of “{}”", fact.run, fact.name),
        Fact::Advanced(fact) => run::advanced(fact),
        Fact::Denied { order, reason, .. } => format!("{}: {reason}", describe(order)),
        Fact::Accepted { order, .. } => describe(order),
        Fact::Progressed { progress, .. } => reached(progress),
        Fact::Finished { outcome, .. } => ended(outcome),
        Fact::Heat { zone, level, millicelsius } => heat(zone, *level, *millicelsius),
        Fact::Noted { kind, content, .. } => match std::str::from_utf8(content) {
            Ok(text) => format!("{kind}: {text}"),
            Err(_) => format!("{kind}: {} bytes that are no text", content.len()),
        },
    }
}

fn describe(order: &Order) -> String {
    match order {
        Order::ReadTokens { items } => match items.as_slice() {
            [item] => format!("read token {}", item.token()),
            _ => format!("read {} tokens", items.len()),
        },
        Order::WriteTokens { writes } => {
            let writes: Vec<_> =
                writes.iter().map(|write| format!("{} = {}", write.item.token(), write.value)).collect();
            format!("write tokens {}", writes.join(", "))
        }
        Order::CreateCheckpoint { number, name, paranoid, kind } => {
            let kind = if kind.is_manual() { String::new() } else { format!("{} ", kind.word()) };
            format!("create {kind}checkpoint {number} “{name}”{}", everything(*paranoid))
        }
        Order::VerifyCheckpoint { number } => format!("verify checkpoint {number}"),
        Order::PlanRestore { number, paranoid, scope, in_place } => {
            let how = [in_its_place(*in_place), everything(*paranoid)].concat();
            format!("plan a restore of checkpoint {number}{}{how}", only(scope.as_ref()))
        }
        Order::Restore { number, paranoid, scope, in_place, confirm_s, .. } => {
            let confirm = confirm_s.map_or_else(String::new, |s| format!(", to be confirmed within {s} s"));
            let how = [in_its_place(*in_place), everything(*paranoid)].concat();
            format!("restore checkpoint {number}{}{how}{confirm}", only(scope.as_ref()))
        }
        Order::Confirm { work, .. } => format!("{} (work {work})", order.title()),
        Order::Diff { from, to, paths, paranoid } => {
            let to = to.map_or_else(|| "what is there now".to_owned(), |to| format!("checkpoint {to}"));
            let within = if paths.is_empty() { String::new() } else { format!(", in {}", listed(paths)) };
            format!("compare checkpoint {from} with {to}{within}{}", everything(*paranoid))
        }
        Order::DeleteCheckpoint { number, name } => format!("delete checkpoint {number} “{name}”"),
        Order::Prune { keep, .. } => format!("{}: {}", order.title(), super::retention::described(keep)),
        Order::Run { name, workflow, .. } => format!("run workflow “{name}”, {}", Hash(*workflow)),
        Order::ApproveAgents { files } => {
            let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
            format!("approve agents {}", names.join(", "))
        }
        Order::Seal { bytes } => format!("seal {bytes} bytes"),
        Order::Unseal { blob } => format!("unseal {}", Hash(*blob)),
        Order::Vault { change } => match change {
            VaultChange::Prepare { key, registers, .. } => {
                let pcrs: Vec<_> =
                    (0..24).filter(|pcr| registers >> pcr & 1 == 1).map(|pcr| pcr.to_string()).collect();
                format!("{} (policy key {}, PCRs {})", change.title(), Hash(*key), pcrs.join(","))
            }
            VaultChange::Install { vault: hash } | VaultChange::InstallPolicy { policy: hash } => {
                format!("{} {}", change.title(), Hash(*hash))
            }
            VaultChange::Revoke | VaultChange::Forget { .. } => change.title().to_owned(),
        },
    }
}

fn in_its_place(in_place: bool) -> &'static str {
    if in_place { ", in place" } else { "" }
}

fn everything(paranoid: bool) -> &'static str {
    if paranoid { ", reading everything" } else { "" }
}

fn only(scope: Option<&Scope>) -> String {
    scope.map_or_else(String::new, |scope| format!(", only {scope}"))
}

/// The short id of a key, as signed notes have it.
fn key_id(spki: &[u8]) -> String {
    engine::order::digest(spki).0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn reached(progress: &Progress) -> String {
    match progress {
        Progress::Resumed => "resumed after a stop".to_owned(),
        Progress::Before { values } => {
            let held = |held: &Valued| format!("{} = {}", held.item.token(), held.value);
            format!("before: {}", values.iter().map(held).collect::<Vec<_>>().join(", "))
        }
        Progress::Written => "written and read back".to_owned(),
        Progress::Captured { manifest, files, tokens, read, others, .. } => {
            let read = read.map_or_else(String::new, |read| format!(" ({read} read)"));
            format!(
                "captured {files} files{read} and {tokens} tokens{}, manifest {}",
                more(others),
                Hash(*manifest)
            )
        }
        Progress::Planned { added, changed, removed, tokens, others, .. } => {
            format!(
                "validated: {added} files to add, {changed} to change, {removed} to remove, {tokens} tokens{}",
                more(others)
            )
        }
        Progress::Prepared => "prepared".to_owned(),
        Progress::Executed => "in place".to_owned(),
        Progress::Verified => "verified".to_owned(),
        Progress::Undoing { reason } => format!("undoing: {reason}"),
        Progress::Awaiting { .. } => "verified; it goes back unless it is confirmed".to_owned(),
        Progress::Answered { asker, keep: true, .. } => format!("confirmed by user {}", asker.uid),
        Progress::Answered { asker, keep: false, .. } => format!("not wanted by user {}", asker.uid),
        Progress::Chosen { numbers } if numbers.is_empty() => "no checkpoint goes".to_owned(),
        Progress::Chosen { numbers } => format!("going: {}", super::retention::listed(numbers)),
        Progress::Removed { numbers, reason } => {
            let others = reason.as_ref().map_or_else(String::new, |reason| format!("; {reason}"));
            format!("{} checkpoints are gone{others}", numbers.len())
        }
    }
}

/// Other components, where there are any.
fn more(others: &Others) -> String {
    [(others.settings, "settings"), (others.databases, "databases"), (others.services, "services")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!(", {count} {name}"))
        .collect()
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Failed { reason } => format!("failed: {reason}"),
        Outcome::Undone { reason } => format!("undone: {reason}"),
        Outcome::Interrupted => "interrupted before anything changed".to_owned(),
        Outcome::Signed { key } => format!("signed with key {key}"),
        Outcome::Pruned { packs, chunks, bytes } => {
            format!("done: {chunks} chunks and {packs} packs are gone, {bytes} bytes freed")
        }
        Outcome::Sealed { blob } => format!("sealed as {}", Hash(*blob)),
        Outcome::Counted { counter, value } => {
            let name: String = counter.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("the revocation counter {name} stands at {value}")
        }
    }
}

fn heat(zone: &str, level: Level, millicelsius: Option<i32>) -> String {
    match millicelsius {
        Some(value) => format!("{zone} is {}: {}", level_name(level), types::unit::MilliCelsius(value)),
        None => format!("{zone} is {}", level_name(level)),
    }
}

/// A level in a word.
#[must_use]
pub const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Normal => "normal",
        Level::Warning => "warning",
        Level::Critical => "critical",
        Level::Unknown => "unknown",
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(wall_ns: i64) -> String {
    let seconds = wall_ns.div_euclid(1_000_000_000);
    let millis = wall_ns.rem_euclid(1_000_000_000) / 1_000_000;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The Gregorian date of a day counted from 1970-01-01, by counting years of 365.2425 days from a March.
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_248_000, "2026-11-21T08:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000), text);
        }
        assert_eq!(rfc3339(-1_000_000), "1969-12-31T23:59:59.999Z");
    }
}
