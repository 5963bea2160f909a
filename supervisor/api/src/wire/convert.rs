//! Between the wire and `engine`.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::command::{Command, Point, Query, RequestId, Which};
use engine::order::{Item, VaultChange, digest};
use engine::reply::{Answer, PlanReport, Prepared, Refusal};
use engine::run::decide::Control;
use types::token::{Change, Select, TokenId};
use zeroize::Zeroizing;

use crate::wire;
use crate::wire::secret::Secret;
use crate::workflow;

/// A request that cannot be understood: what is wrong, where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// The id of a request from its text.
///
/// # Errors
///
/// The text is not 32 hexadecimal digits in lower case: replies name the id as it was sent.
pub fn request_id(text: &str) -> Result<RequestId, Fault> {
    u128::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        .map(|id| RequestId(id.to_be_bytes()))
        .ok_or_else(|| Fault("a request's id is 32 hexadecimal digits in lower case".to_owned()))
}

/// The text of a request's id.
#[must_use]
pub fn request_text(id: RequestId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.0))
}

/// Translates a command.
///
/// # Errors
///
/// The first part that makes no sense.
pub fn command(command: wire::Command) -> Result<Command, Fault> {
    Ok(match command {
        wire::Command::Status => Command::Query(Query::Status),
        wire::Command::Tpm => Command::Query(Query::Tpm),
        wire::Command::Quote { nonce, pcrs } => Command::Query(quote(&nonce, &pcrs)?),
        wire::Command::Certify { nonce } => Command::Query(Query::Certify { nonce: read_nonce(&nonce)? }),
        wire::Command::Vault => Command::Query(Query::Vault),
        wire::Command::Seal { data } => {
            Command::Seal { bytes: u32::try_from(bytes_of(&data)?.len()).unwrap_or(u32::MAX) }
        }
        wire::Command::Unseal { blob } => Command::Unseal { blob: digest(&bytes_of(&blob)?) },
        wire::Command::PrepareVault { policy_key, pcrs, repository } => {
            Command::Vault(VaultChange::Prepare {
                key: digest(&base64(&policy_key)?).0,
                registers: registers(&pcrs, "a policy")?,
                anew: repository.is_some(),
            })
        }
        wire::Command::InstallVault { vault } => {
            Command::Vault(VaultChange::Install { vault: digest(&bytes_of(&vault)?).0 })
        }
        wire::Command::InstallPolicy { policy } => {
            Command::Vault(VaultChange::InstallPolicy { policy: digest(&bytes_of(&policy)?).0 })
        }
        wire::Command::RevokePolicy => Command::Vault(VaultChange::Revoke),
        wire::Command::ForgetVault { anchor } => Command::Vault(VaultChange::Forget { anchor }),
        wire::Command::Tokens => Command::Query(Query::Tokens),
        wire::Command::Checkpoints => Command::Query(Query::Checkpoints),
        wire::Command::Schedule => Command::Query(Query::Schedule),
        wire::Command::Checkpoint { which } => Command::Query(Query::Checkpoint(Which::parse(&which))),
        wire::Command::Past { fact: Some(fact), wall_ns: None } => {
            Command::Query(Query::Past(Point::Fact(fact)))
        }
        wire::Command::Past { fact: None, wall_ns: Some(wall_ns) } => {
            Command::Query(Query::Past(Point::Wall(wall_ns)))
        }
        wire::Command::Past { .. } => {
            return Err(Fault("the past is asked for by “fact” or by “wall_ns”, one of the two".to_owned()));
        }
        wire::Command::Facts { from, limit } => {
            Command::Query(Query::Facts { from, limit: limit.min(wire::FACTS_MAX) })
        }
        wire::Command::Note { kind, text, base64 } => Command::Note { kind, content: content(text, base64)? },
        wire::Command::ReadTokens { items } => Command::ReadTokens(
            items
                .iter()
                .map(|item| Ok((token(&item.id)?, select(&item.select)?)))
                .collect::<Result<_, Fault>>()?,
        ),
        wire::Command::WriteTokens { changes } => {
            Command::WriteTokens(changes.iter().map(change).collect::<Result<_, Fault>>()?)
        }
        wire::Command::CreateCheckpoint { name, paranoid } => Command::CreateCheckpoint { name, paranoid },
        wire::Command::VerifyCheckpoint { which } => Command::VerifyCheckpoint(Which::parse(&which)),
        wire::Command::PlanRestore { which, paranoid, scope, in_place } => Command::PlanRestore {
            which: Which::parse(&which),
            paranoid,
            scope: scope.map(Into::into),
            in_place,
        },
        wire::Command::Restore { which, leave_denied, paranoid, scope, in_place, confirm_s } => {
            Command::Restore {
                which: Which::parse(&which),
                leave_denied,
                paranoid,
                scope: scope.map(Into::into),
                in_place,
                confirm_s,
            }
        }
        wire::Command::Confirm { undo } => Command::Confirm { undo },
        wire::Command::Diff { from, to, paths, paranoid } => Command::Diff {
            from: Which::parse(&from),
            to: to.map(|to| Which::parse(&to)),
            paths: wire::checkpoint::paths(paths),
            paranoid,
        },
        wire::Command::DeleteCheckpoint { which, force } => {
            Command::DeleteCheckpoint { which: Which::parse(&which), force }
        }
        wire::Command::Prune { keep, dry_run } => Command::Prune { keep: keep.map(Into::into), dry_run },
        wire::Command::Agents => Command::Query(Query::Agents),
        wire::Command::AgentLog { name } => Command::Query(Query::AgentLog(agent(&name)?)),
        wire::Command::ApproveAgents { agents } => Command::ApproveAgents(
            agents
                .iter()
                .map(|one| Ok((agent(&one.name)?, hash(&one.hash)?)))
                .collect::<Result<_, Fault>>()?,
        ),
        wire::Command::RestartAgent { name } => Command::RestartAgent(agent(&name)?),
        wire::Command::Run { file, params } => run(&file, &params)?,
        wire::Command::Runs => Command::Query(Query::Runs),
        wire::Command::ShowRun { run } => Command::Query(Query::Run(run)),
        wire::Command::ControlRun { run, action } => Command::ControlRun { run, control: control(&action)? },
        wire::Command::EmergencyStop => Command::EmergencyStop,
    })
}

/// What a command hands over beside the engine, which knows its hash or length alone: data to seal, a blob, a vault, a policy; to
/// prepare a vault the policy key, and behind it the repository's key if that comes too.
///
/// # Errors
///
/// It is no base64, or too much.
pub fn payload(command: &wire::Command) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    match command {
        wire::Command::Seal { data: secret }
        | wire::Command::Unseal { blob: secret }
        | wire::Command::InstallVault { vault: secret }
        | wire::Command::InstallPolicy { policy: secret } => bytes_of(secret).map(Some),
        wire::Command::PrepareVault { policy_key, repository, .. } => {
            let key = base64(policy_key)?;
            let repository = repository.as_ref().map(bytes_of).transpose()?;
            let repository = repository.as_deref().map_or(&[][..], Vec::as_slice);
            let mut payload = Zeroizing::new(Vec::with_capacity(key.len() + repository.len()));
            payload.extend_from_slice(&key);
            payload.extend_from_slice(repository);
            Ok(Some(payload))
        }
        _ => Ok(None),
    }
}

fn bytes_of(secret: &Secret) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let most = wire::secret::SECRET_MAX;
    secret.bytes().ok_or_else(|| Fault(format!("what is handed over is base64 of at most {most} bytes")))
}

fn base64(text: &str) -> Result<Vec<u8>, Fault> {
    let most = wire::secret::SECRET_MAX;
    let decoded = (text.len() <= most).then(|| STANDARD.decode(text).ok()).flatten();
    decoded.ok_or_else(|| Fault("a policy key is base64 of its SubjectPublicKeyInfo".to_owned()))
}

/// An answer as it goes over the wire, with what comes beside it.
///
/// # Errors
///
/// What should come beside it is not there: it was forgotten.
pub fn answer(answer: Answer, beside: Option<&[u8]>) -> Result<wire::Answer, Fault> {
    let secret = || {
        let gone = || Fault("what was opened is no longer there: ask again as a new request".to_owned());
        beside.map(Secret::new).ok_or_else(gone)
    };
    Ok(match answer {
        Answer::Unsealed => wire::Answer::Unsealed { data: secret()? },
        Answer::Prepared(Prepared { terms, machine, sealed, .. }) => {
            wire::Answer::VaultPrepared(Box::new(wire::vault::Prepared {
                terms: STANDARD.encode(terms),
                machine: machine.to_string(),
                sealed: STANDARD.encode(sealed),
                repository: secret()?,
            }))
        }
        other => plain(other),
    })
}

/// A note of any bytes as it goes over the wire.
#[must_use]
pub fn note(kind: String, content: Vec<u8>) -> wire::Command {
    let (text, base64) = match String::from_utf8(content) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
    wire::Command::Note { kind, text, base64 }
}

fn content(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, Fault> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => {
            STANDARD.decode(base64).map_err(|error| Fault(format!("the note's base64 is none: {error}")))
        }
        _ => Err(Fault("a note has either “text” or “base64”".to_owned())),
    }
}

/// Bytes in a nonce, at most: what every TPM takes.
const NONCE_MAX: usize = 32;
/// Registers of a TPM.
const REGISTERS: u8 = 24;

fn quote(nonce: &str, pcrs: &[u8]) -> Result<Query, Fault> {
    Ok(Query::Quote { nonce: read_nonce(nonce)?, registers: registers(pcrs, "a quote")? })
}

fn read_nonce(nonce: &str) -> Result<Vec<u8>, Fault> {
    bytes(nonce)
        .filter(|nonce| (1..=NONCE_MAX).contains(&nonce.len()))
        .ok_or_else(|| Fault(format!("a nonce is 1 to {NONCE_MAX} bytes, two hexadecimal digits each")))
}

fn registers(pcrs: &[u8], what: &str) -> Result<u32, Fault> {
    let mask = pcrs.iter().try_fold(0, |mask, pcr| (*pcr < REGISTERS).then(|| mask | 1 << *pcr));
    mask.filter(|mask| *mask != 0)
        .ok_or_else(|| Fault(format!("{what} is of one or more PCRs, 0 to {}", REGISTERS - 1)))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits =
        text.bytes().map(|digit| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None }).collect()
}

fn token(text: &str) -> Result<TokenId, Fault> {
    text.parse().map_err(|_| {
        Fault(format!(
            "“{text}” is not a token's id: write 0x0000 to 0xFFFF, or a decimal number up to 65535"
        ))
    })
}

fn agent(name: &str) -> Result<types::agent::Name, Fault> {
    name.parse().map_err(|bad| Fault(format!("“{name}” is not an agent's name: it {bad}")))
}

fn hash(text: &str) -> Result<types::hash::Hash, Fault> {
    text.parse().map_err(|_| Fault(format!("“{text}” is not a SHA-256: 64 hexadecimal digits")))
}

fn control(action: &str) -> Result<Control, Fault> {
    match action {
        "cancel" => Ok(Control::Cancel),
        "pause" => Ok(Control::Pause),
        "resume" => Ok(Control::Resume),
        _ => Err(Fault(format!("“{action}” cannot be done to a run: write cancel, pause or resume"))),
    }
}

/// A workflow is read where it is run: what runs is what was checked.
fn run(file: &str, params: &[String]) -> Result<Command, Fault> {
    /// Mistakes that are told at most.
    const TOLD_MAX: usize = 20;
    let found = recent(file, || {
        workflow::read(file.as_bytes()).map_err(|mistakes| {
            let told: Vec<_> = mistakes.iter().take(TOLD_MAX).map(ToString::to_string).collect();
            Fault(format!("the workflow has mistakes:\n{}", told.join("\n")))
        })
    })?;
    let values = workflow::arguments::read(&found, params).map_err(|refused| {
        let told: Vec<_> = refused.iter().take(TOLD_MAX).map(ToString::to_string).collect();
        Fault(told.join("\n"))
    })?;
    let params = serde_json::Value::from(values).to_string();
    Ok(Command::Run { workflow: found, params })
}

/// The workflow of a file that was read before, or is read now: who runs one again and again has it read once.
fn recent(
    file: &str,
    read: impl FnOnce() -> Result<workflow::Checked, Fault>,
) -> Result<Arc<types::workflow::Workflow>, Fault> {
    /// Files that are remembered; the one that was used the longest ago is forgotten.
    const REMEMBERED_MAX: usize = 16;
    static REMEMBERED: Mutex<Vec<(Box<str>, Arc<types::workflow::Workflow>)>> = Mutex::new(Vec::new());
    let mut remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match remembered.iter().position(|(known, _)| **known == *file) {
        Some(place) => remembered.remove(place),
        None => (file.into(), Arc::new(read()?.workflow)),
    };
    let workflow = Arc::clone(&found.1);
    remembered.push(found);
    if remembered.len() > REMEMBERED_MAX {
        remembered.remove(0);
    }
    Ok(workflow)
}

fn select(text: &str) -> Result<Select, Fault> {
    [Select::Current, Select::Ac, Select::Battery]
        .into_iter()
        .find(|select| select.to_string() == text)
        .ok_or_else(|| Fault(format!("“{text}” is not a select: write current, ac or battery")))
}

fn change(change: &wire::Change) -> Result<Change, Fault> {
    Ok(Change {
        id: token(&change.id)?,
        select: select(&change.select)?,
        value: change.value,
        expected: change.expected,
    })
}

fn plain(answer: Answer) -> wire::Answer {
    match answer {
        Answer::Read(values) => wire::Answer::Read {
            values: values.into_iter().map(|(item, value)| reading(item, value)).collect(),
        },
        Answer::Written(before) => wire::Answer::Written {
            before: before.into_iter().map(|held| reading(held.item, Ok(held.value))).collect(),
        },
        Answer::Checkpoint(checkpoint) => wire::Answer::Created { checkpoint: (&checkpoint).into() },
        Answer::Verified(report) => wire::Answer::Verified {
            number: report.number,
            entries: report.entries,
            bytes: report.bytes,
            key: report.key,
        },
        Answer::Plan(report) => wire::Answer::Plan(report.into()),
        Answer::Restored(report) => wire::Answer::Restored(report.into()),
        Answer::Awaiting { report, left_ns } => {
            wire::Answer::Awaiting { plan: report.into(), left_s: left_ns.div_ceil(1_000_000_000) }
        }
        Answer::TakenBack { number } => wire::Answer::TakenBack { number },
        Answer::Diff(report) => wire::Answer::Diff(report.into()),
        Answer::Deleted { number, name } => wire::Answer::Deleted { number, name },
        Answer::Pruning(report) => wire::Answer::Pruning(report.into()),
        Answer::Pruned { numbers, freed } => wire::Answer::Pruned((numbers, freed).into()),
        Answer::Noted { index } => wire::Answer::Noted { index },
        Answer::Sealed(blob) => {
            wire::Answer::Sealed { sha256: digest(&blob).to_string(), blob: STANDARD.encode(blob) }
        }
        // Told with what comes beside them.
        Answer::Unsealed | Answer::Prepared(_) | Answer::VaultChanged => wire::Answer::VaultChanged,
        Answer::Ran { run } => wire::Answer::Ran { run },
        Answer::Controlled { run } => wire::Answer::Controlled { run },
        Answer::Approved => wire::Answer::Approved,
        Answer::Restarted { ended } => {
            wire::Answer::Restarted { ended: u64::try_from(ended).unwrap_or(u64::MAX) }
        }
        Answer::Stopped { frozen_ns, killed_ns, left } => wire::Answer::Stopped {
            frozen_us: frozen_ns.map(|ns| ns / 1_000),
            killed_us: killed_ns.map(|ns| ns / 1_000),
            left,
        },
        Answer::Counted { value } => wire::Answer::Revoked { counter: value },
    }
}

fn reading(item: Item, value: Result<u32, String>) -> wire::Reading {
    let (value, error) = match value {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    };
    wire::Reading { id: item.token().to_string(), select: item.select().to_string(), value, error }
}

impl From<&engine::state::Checkpoint> for wire::Checkpoint {
    fn from(checkpoint: &engine::state::Checkpoint) -> Self {
        Self {
            number: checkpoint.number,
            name: checkpoint.name.clone(),
            created: super::record::rfc3339(checkpoint.created_ns),
            manifest: checkpoint.manifest.to_string(),
            files: checkpoint.files,
            tokens: checkpoint.tokens,
            bytes: checkpoint.bytes,
            key: checkpoint.key.clone(),
            read: checkpoint.read,
            kind: checkpoint.kind.word().to_owned(),
            settings: checkpoint.others.settings,
            databases: checkpoint.others.databases,
            services: checkpoint.others.services,
        }
    }
}

impl From<PlanReport> for wire::Plan {
    fn from(report: PlanReport) -> Self {
        Self {
            number: report.number,
            added: report.added,
            changed: report.changed,
            removed: report.removed,
            tokens: report.tokens,
            denied: report.denied,
            lines: report.lines,
            in_place: report.in_place,
            settings: report.others.settings,
            databases: report.others.databases,
            services: report.others.services,
        }
    }
}

/// A refusal's kind on the wire.
#[must_use]
pub const fn code(refusal: &Refusal) -> wire::Code {
    match refusal {
        Refusal::Denied(_) => wire::Code::Denied,
        Refusal::Busy(_) => wire::Code::Busy,
        Refusal::NotFound(_) => wire::Code::NotFound,
        Refusal::Invalid(_) => wire::Code::Invalid,
        Refusal::NoRoom => wire::Code::NoRoom,
        Refusal::Failed(_) => wire::Code::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_requests_read_back_and_nothing_else_is_one() {
        let id = RequestId([7; 16]);
        assert_eq!(request_id(&request_text(id)), Ok(id));
        for text in
            ["", "7", "+7777777777777777777777777777777", &"7".repeat(33), &"g".repeat(32), &"A".repeat(32)]
        {
            assert!(request_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_note_is_text_or_base64() {
        let note = |text: Option<&str>, base64: Option<&str>| {
            let (text, base64) = (text.map(str::to_owned), base64.map(str::to_owned));
            command(wire::Command::Note { kind: "k".to_owned(), text, base64 })
        };
        let noted = |content: &[u8]| Ok(Command::Note { kind: "k".to_owned(), content: content.to_vec() });
        assert_eq!(note(Some("ü"), None), noted("ü".as_bytes()));
        assert_eq!(note(None, Some("/wD+")), noted(&[0xFF, 0, 0xFE]));
        for content in ["ü".as_bytes(), &[], &[0xFF, 0, 0xFE]] {
            assert_eq!(command(super::note("k".to_owned(), content.to_vec())), noted(content));
        }
        for (text, base64) in [(None, None), (Some(""), Some("")), (None, Some("/wD")), (None, Some("ü"))] {
            assert!(note(text, base64).is_err());
        }
    }

    #[test]
    fn what_is_handed_over_goes_beside_the_command() {
        let secret = Secret::new(b"a secret");
        let seal = wire::Command::Seal { data: secret.clone() };
        assert_eq!(**payload(&seal).unwrap().unwrap(), *b"a secret");
        assert_eq!(command(seal), Ok(Command::Seal { bytes: 8 }));
        let unseal = wire::Command::Unseal { blob: secret.clone() };
        assert_eq!(command(unseal), Ok(Command::Unseal { blob: digest(b"a secret") }));
        let prepare = wire::Command::PrepareVault {
            policy_key: STANDARD.encode(b"key"),
            pcrs: vec![0, 7],
            repository: Some(secret),
        };
        assert_eq!(**payload(&prepare).unwrap().unwrap(), *b"keya secret");
        let change = VaultChange::Prepare { key: digest(b"key").0, registers: 0x81, anew: true };
        assert_eq!(command(prepare), Ok(Command::Vault(change)));
        assert_eq!(payload(&wire::Command::Tpm), Ok(None));
        let opened = answer(Answer::Unsealed, Some(b"it"));
        assert_eq!(opened, Ok(wire::Answer::Unsealed { data: Secret::new(b"it") }));
        assert!(answer(Answer::Unsealed, None).is_err());
    }

    #[test]
    fn a_quote_is_of_registers_that_are_there_and_answers_a_nonce() {
        let quote = |nonce: &str, pcrs: &[u8]| {
            command(wire::Command::Quote { nonce: nonce.to_owned(), pcrs: pcrs.to_vec() })
        };
        let expected = Query::Quote { nonce: vec![0, 0xAB, 0xC1], registers: 0x80_0005 };
        assert_eq!(quote("00aBc1", &[23, 0, 2, 0]), Ok(Command::Query(expected)));
        assert!(quote(&"00".repeat(32), &[0]).is_ok());
        for nonce in ["", "0", "000", "+0", "0x", "ü0", &"00".repeat(33)] {
            assert!(quote(nonce, &[0]).is_err(), "{nonce}");
        }
        for pcrs in [&[][..], &[24], &[0, 255]] {
            assert!(quote("00", pcrs).unwrap_err().0.contains("0 to 23"), "{pcrs:?}");
        }
    }

    #[test]
    fn commands_name_what_is_wrong_with_them() {
        let item = |id: &str, select: &str| wire::Item { id: id.to_owned(), select: select.to_owned() };
        let read = |item| command(wire::Command::ReadTokens { items: vec![item] });
        assert_eq!(read(item("0x8000", "ac")), Ok(Command::ReadTokens(vec![(TokenId(0x8000), Select::Ac)])));
        assert!(read(item("0x18000", "ac")).unwrap_err().0.contains("0x18000"));
        assert!(read(item("0x8000", "AC")).unwrap_err().0.contains("“AC”"));
    }
}
