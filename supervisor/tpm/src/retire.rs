//! The key folder of another TPM: after a new mainboard its keys are put aside, and their public halves kept.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::key_dir::{KeyDir, Role};
use crate::public::Public;
use crate::{Error, PublicKey};

/// Where retired keys lie, below the key folder.
const FOLDER: &str = "retired";

/// The keys of the TPM that was there before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retired {
    /// Signed heads of the log.
    pub head: PublicKey,
    /// Signed everything else.
    pub general: PublicKey,
    /// Where the files are now: no other TPM can use them, but the old mainboard may come back.
    pub dir: PathBuf,
}

/// Puts the keys of a key folder aside, so that the next start makes new ones. No TPM is asked, and nothing is removed.
///
/// The head key's file goes last: it is what makes a folder belong to a TPM, so after a crash this can be done again.
///
/// # Errors
/// - `KeyDir`: the folder cannot be read or written
/// - `DamagedKey`: a key's file is damaged, or there is none
/// - `Busy`: another program starts with the same folder
pub fn retire(key_dir: &Path) -> Result<Retired, Error> {
    let dir = KeyDir::open(key_dir)?;
    let head = public(&dir, Role::Head)?
        .ok_or_else(|| Error::damaged_key(&dir.file(Role::Head), "it is not there"))?;
    let id: String = head.key_id().iter().map(|byte| format!("{byte:02x}")).collect();
    let aside = dir.below(FOLDER)?.below(&id)?;
    // A crash may have moved it the last time.
    let general = match public(&dir, Role::General)? {
        Some(general) => general,
        None => public(&aside, Role::General)?.unwrap_or(head),
    };
    for role in [Role::General, Role::Attestation, Role::Head] {
        dir.move_to(role, &aside)?;
    }
    Ok(Retired { head, general, dir: aside.path().to_owned() })
}

/// The keys that were put aside so far.
///
/// # Errors
/// - `KeyDir`, `DamagedKey`: as said there
pub fn retired(key_dir: &Path) -> Result<Vec<Retired>, Error> {
    let path = key_dir.join(FOLDER);
    let failed = |source| Error::KeyDir { action: "read the folder", path: path.clone(), source };
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let retired = KeyDir::open(key_dir)?.below(FOLDER)?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let dir = retired.below(name)?;
        if let Some(head) = public(&dir, Role::Head)? {
            let general = public(&dir, Role::General)?.unwrap_or(head);
            found.push(Retired { head, general, dir: dir.path().to_owned() });
        }
    }
    Ok(found)
}

fn public(dir: &KeyDir, role: Role) -> Result<Option<PublicKey>, Error> {
    let Some(file) = dir.read(role)? else { return Ok(None) };
    let key = Public::from_bytes(&file.public).and_then(|public| public.point());
    key.map(Some).ok_or_else(|| Error::damaged_key(&dir.file(role), "its public half is no P-256 key"))
}
