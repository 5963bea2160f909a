//! What the commands about the vault share: asking for it, making it, saying how it stands.

use api::wire::secret::Secret;
use api::wire::vault::{Prepared, Report, Standing};
use api::wire::{Answer, Command};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use recovery::vault::offline::{Key, PcrSelection, Terms};
use recovery::vault::{Parts, Signer, Vault};

use crate::fault::Fault;
use crate::progress::Show;
use crate::session::Session;

/// An error of the vault or its keys, as this command's.
pub fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::Failed(error.to_string())
}

/// Asks for the vault.
pub fn report(session: &mut Session<'_>) -> Result<Report, Fault> {
    match session.ask("ask about the vault", Command::Vault, Show::Late)?.0 {
        Answer::Vault(report) => Ok(*report),
        _ => Err(Fault::Unexpected),
    }
}

/// The vault of a report.
pub fn of(report: &Report) -> Result<Vault, Fault> {
    let text = report
        .vault
        .as_ref()
        .ok_or_else(|| Fault::NotFound("there is no vault: “dsmil tpm provision” makes one".to_owned()))?;
    let bytes = STANDARD.decode(text).map_err(|_| Fault::Unexpected)?;
    let vault = Vault::from_bytes(&bytes).map_err(failed)?;
    vault.check().map_err(failed)?;
    Ok(vault)
}

/// The terms that hold on the machine as it is.
pub fn terms(report: &Report) -> Result<Terms, Fault> {
    let text = report.terms.as_ref().ok_or_else(|| {
        failed("the TPM has no revocation counter of this vault, so there are no terms: “dsmil tpm recover” makes a new one")
    })?;
    Terms::from_bytes(&STANDARD.decode(text).map_err(|_| Fault::Unexpected)?).map_err(failed)
}

/// Has the daemon prepare a vault, makes it here, and puts it in place.
pub fn make(
    session: &mut Session<'_>,
    recovery: &Key,
    (signer, pcrs): (&Signer, &[u8]),
    opened: Option<&[u8]>,
) -> Result<Vault, Fault> {
    let command = Command::PrepareVault {
        policy_key: STANDARD.encode(signer.public().spki()),
        pcrs: pcrs.to_vec(),
        repository: opened.map(Secret::new),
    };
    let Answer::VaultPrepared(prepared) = session.ask("prepare the vault", command, Show::Late)?.0 else {
        return Err(Fault::Unexpected);
    };
    let Prepared { terms, machine, sealed, repository } = *prepared;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| Fault::Unexpected);
    let handed = repository.bytes().ok_or(Fault::Unexpected)?;
    // What the recovery key opened is what it is to open again.
    if opened.is_some_and(|opened| *opened != **handed) {
        return Err(Fault::Unexpected);
    }
    let parts = Parts {
        terms: Terms::from_bytes(&decode(&terms)?).map_err(failed)?,
        machine: machine.parse().map_err(|_| Fault::Unexpected)?,
        sealed: decode(&sealed)?,
        repository: handed,
    };
    // What is signed here must be what was asked for.
    if PcrSelection::new(pcrs.iter().copied()) != Some(parts.terms.pcrs) {
        return Err(Fault::Unexpected);
    }
    let vault = Vault::make(parts, recovery, signer).map_err(failed)?;
    let command = Command::InstallVault { vault: Secret::new(&vault.to_bytes().map_err(failed)?) };
    match session.ask("install the vault", command, Show::Late)?.0 {
        Answer::VaultChanged => Ok(vault),
        _ => Err(Fault::Unexpected),
    }
}

/// Registers in words.
pub fn pcrs(registers: &[u8]) -> String {
    registers.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

/// What terms say, in one line.
pub fn describe(terms: &Terms) -> String {
    let registers: Vec<u8> = terms.pcrs.registers().collect();
    format!(
        "PCRs {} with the digest {}, up to {} of the revocation counter at {:#010x}",
        pcrs(&registers),
        terms.pcr_digest,
        terms.counter_max,
        terms.revocation
    )
}

/// How the vault stands, line by line.
pub fn rows(standing: &Standing, row: &mut impl FnMut(&str, String)) {
    if !standing.provisioned {
        return row("vault", "none: “dsmil tpm provision” makes one".to_owned());
    }
    let key = standing.policy_key.as_deref().unwrap_or("unknown");
    let place = if standing.wrapped { "in the vault, wrapped" } else { "with its owner" };
    let open = match &standing.locked {
        None => "the repository is open".to_owned(),
        Some(why) => format!("the repository is LOCKED: {why}"),
    };
    row("vault", open);
    row("policy key", format!("{key}, {place}"));
    let counter = standing.counter.map_or_else(|| "missing".to_owned(), |value| value.to_string());
    let most = standing.counter_max.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let holds = match &standing.failure {
        None => "it opens now".to_owned(),
        Some(why) => format!("it does NOT open now: {why}"),
    };
    row("policy", format!("PCRs {}; {holds}", pcrs(&standing.pcrs)));
    row("revocation", format!("counter {counter}, the policy holds up to {most}"));
}
