//! `dsmil tpm provision`

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use recovery::vault::offline::{Key, PolicyKey, public_key};
use recovery::vault::{Signer, Vault};
use serde::Serialize;
use zeroize::Zeroizing;

use super::vault::{self, failed};
use crate::fault::Fault;
use crate::session::Context;
use crate::{output, question, secret};

/// Makes the vault: the repository's key sealed under a policy that you sign, and a recovery key for paper.
///
/// The recovery key is made here and shown once; the daemon never sees it. It is the second way to the checkpoints: after a
/// firmware update that changed the PCRs, after a new mainboard, or in a rescue shell. Write it down; you are asked for one group of it.
///
/// Data opens only while PCRs and revocation counter are as the policy says. Its key is made here too and kept in the vault, wrapped with the
/// recovery key; or give the public half of one that stays with you (--policy-key-public), and sign elsewhere: “dsmil tpm policy --help”.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm provision
  dsmil tpm provision --pcrs 0,7 --recovery-key-out /media/stick/recovery
  dsmil tpm provision --policy-key-public policy.pem")]
pub struct Provision {
    /// The public half of a policy key that stays with you, PEM (P-256); without it one is made and wrapped with the recovery key.
    #[arg(long, value_name = "FILE")]
    policy_key_public: Option<PathBuf>,
    /// Which PCRs of the SHA-256 bank must be as they are now, 0 to 23.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = super::PCRS)]
    pcrs: Vec<u8>,
    /// Write the recovery key to this new file, readable for you alone, instead of the terminal; “-” is the standard output.
    #[arg(long, value_name = "FILE")]
    recovery_key_out: Option<PathBuf>,
    /// Do not ask for a group of the recovery key.
    #[arg(long, short)]
    yes: bool,
}

/// What was made, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "provisioned")]
struct Provisioned<'a> {
    policy_key: String,
    wrapped: bool,
    pcrs: &'a [u8],
    /// A policy is in force.
    policy: bool,
    /// Only where it was asked for with `--recovery-key-out -`.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key: Option<&'a str>,
}

impl Provision {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        let signer = self.signer()?;
        let is_shown = self.recovery_key_out.is_none();
        if is_shown && !question::is_possible() {
            return Err(Fault::Usage(
                "the recovery key is shown on a terminal: else name a file for it with --recovery-key-out"
                    .to_owned(),
            ));
        }
        if vault::report(&mut session)?.standing.provisioned {
            return Err(failed(
                "there is a vault already: “dsmil tpm policy renew” signs new terms, “dsmil tpm recover” makes it anew with its \
                 recovery key, “dsmil tpm forget” removes it",
            ));
        }
        let recovery = Key::generate().map_err(failed)?;
        let text = recovery.to_text();
        self.hand_over(context, &text)?;
        let made = vault::make(&mut session, &recovery, (&signer, &self.pcrs), None);
        let made = made.map_err(|fault| self.take_back(fault))?;
        self.tell(context, &made, &text)
    }

    fn signer(&self) -> Result<Signer, Fault> {
        let Some(path) = &self.policy_key_public else {
            return Ok(Signer::Wrapped(PolicyKey::generate().map_err(failed)?));
        };
        let bytes = secret::read(path, "the policy key", secret::READ_MAX)?;
        let pem = std::str::from_utf8(&bytes).unwrap_or_default();
        let key = public_key(pem).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        Ok(Signer::Offline(key))
    }

    /// Shows the recovery key, or writes it where it is wanted, before anything is changed.
    fn hand_over(&self, context: &Context, text: &Zeroizing<String>) -> Result<(), Fault> {
        let line = Zeroizing::new(format!("{}\n", text.as_str()));
        match self.recovery_key_out.as_deref() {
            Some(path) if !secret::is_stream(path) => secret::write_new(path, line.as_bytes()),
            // As JSON it is a field of the one document.
            Some(_) if context.json => Ok(()),
            Some(_) => output::raw(line.as_bytes()),
            None => {
                let mut err = io::stderr().lock();
                let shown = err.write_all(
                    b"The recovery key, shown this once. Write it down and keep it away from this machine:\n\n    ",
                );
                shown
                    .and_then(|()| err.write_all(line.as_bytes()))
                    .and_then(|()| err.write_all(b"\n"))
                    .map_err(|error| failed(format!("cannot show the recovery key: {error}")))?;
                if self.yes { Ok(()) } else { typed_back(text) }
            }
        }
    }

    /// A recovery key that opens nothing must not be kept.
    fn take_back(&self, fault: Fault) -> Fault {
        if let Some(path) = self.recovery_key_out.as_deref().filter(|path| !secret::is_stream(path)) {
            // We have made it a moment ago.
            let _ = std::fs::remove_file(path);
        }
        output::warning(
            "nothing was provisioned: the recovery key that was just made opens nothing, throw it away",
        );
        fault
    }

    fn tell(&self, context: &Context, made: &Vault, text: &str) -> Result<(), Fault> {
        let is_asked = self.recovery_key_out.as_deref().is_some_and(secret::is_stream);
        let provisioned = Provisioned {
            policy_key: short(made),
            wrapped: made.has_policy_key(),
            pcrs: &self.pcrs,
            policy: made.policy.is_some(),
            recovery_key: Some(text).filter(|_| is_asked),
        };
        if context.json {
            // It may hold the recovery key.
            return output::raw(&output::document_text(&provisioned, None)?);
        }
        let place = recovery_place(self.recovery_key_out.as_deref());
        let next = if provisioned.policy {
            "The policy is signed and in force: “dsmil tpm policy show”.".to_owned()
        } else {
            "No policy is in force yet: sign what “dsmil tpm policy terms” gives where the policy key is, and install it.".to_owned()
        };
        // The standard output has the key alone where it goes there.
        let told = format!(
            "provisioned: policy key {}, PCRs {}; recovery key {place}\n{next}\n",
            provisioned.policy_key,
            vault::pcrs(&self.pcrs)
        );
        if is_asked {
            told.lines().for_each(output::note);
            return Ok(());
        }
        output::print(&told)
    }
}

fn recovery_place(out: Option<&Path>) -> String {
    match out {
        None => "on your paper".to_owned(),
        Some(path) if secret::is_stream(path) => "on the standard output".to_owned(),
        Some(path) => format!("in {}: move it away from this machine", path.display()),
    }
}

/// The short id of the policy key.
pub fn short(vault: &Vault) -> String {
    vault.policy_key.key_id().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks for one group, so that the key is on paper before anything depends on it.
fn typed_back(text: &str) -> Result<(), Fault> {
    let groups: Vec<&str> = text.split('-').collect();
    let count = u64::try_from(groups.len()).unwrap_or(1).max(1);
    // Any of them: which one need not be a secret.
    let place = usize::try_from(RandomState::new().build_hasher().finish() % count).unwrap_or_default();
    let mut err = io::stderr().lock();
    let asked = err.write_all(format!("Type group {} of it, from your paper: ", place + 1).as_bytes());
    asked.and_then(|()| err.flush()).map_err(|error| failed(format!("cannot ask: {error}")))?;
    let mut typed = Zeroizing::new(String::with_capacity(64));
    io::stdin()
        .lock()
        .take(64)
        .read_line(&mut typed)
        .map_err(|error| failed(format!("cannot ask: {error}")))?;
    if groups.get(place).is_some_and(|group| typed.trim().eq_ignore_ascii_case(group)) {
        return Ok(());
    }
    Err(failed(
        "that is not the group, so nothing was changed, and the key that was shown opens nothing: begin again",
    ))
}
