//! What has stood in the administrator's files, so that nothing else is put there.
//!
//! A unit's file says what runs as root, and whoever asks for a restore, with a manifest that the TPM has signed, may have been
//! taken over. So the helper notes what it has itself seen there, where only root writes, and writes nothing that it has not.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::UnitFile;
use crate::Error;
use crate::error::length;

/// Where the helper notes it; root's alone, and in no folder of the daemon's.
pub const WITNESS_FOLDER: &str = "/var/lib/dsmil-helper";

/// What may be written.
#[derive(Clone, Debug)]
pub enum Witness {
    /// Anything: for root, who restores without the daemon.
    Anything,
    /// What is noted in this folder: an empty file for each, whose name is a digest.
    Folder(PathBuf),
}

impl Default for Witness {
    fn default() -> Self {
        Self::Folder(WITNESS_FOLDER.into())
    }
}

impl Witness {
    /// Notes durably what stands there.
    pub(super) fn note(&self, unit: &str, files: &[UnitFile]) -> Result<(), Error> {
        self.note_names(&files.iter().map(|file| digest(unit, file)).collect::<Vec<_>>())
    }

    /// Notes names, each of which stands for one content.
    pub(crate) fn note_names(&self, names: &[String]) -> Result<(), Error> {
        let Self::Folder(folder) = self else { return Ok(()) };
        let shown = folder.as_os_str().as_encoded_bytes();
        let fail = |action, error| Error::io(action, shown, error);
        let mut is_new = false;
        for name in names {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok() {
                continue;
            }
            if !is_new {
                make(folder)?;
                is_new = true;
            }
            let note = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match note.and_then(|note| note.sync_all()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail("note in", error)),
            }
        }
        if is_new {
            let folder = fs::File::open(folder).map_err(|error| fail("open", error))?;
            folder.sync_all().map_err(|error| fail("flush", error))?;
        }
        Ok(())
    }

    /// Whether a name is noted.
    pub(crate) fn knows(&self, name: &str) -> Result<bool, Error> {
        let Self::Folder(folder) = self else { return Ok(true) };
        if folder.symlink_metadata().is_err() {
            return Ok(false);
        }
        check(folder)?;
        Ok(folder.join(name).symlink_metadata().is_ok())
    }

    /// The first of the files that never stood there, as far as is known.
    pub(super) fn stranger<'f>(
        &self,
        unit: &str,
        files: &'f [UnitFile],
    ) -> Result<Option<&'f UnitFile>, Error> {
        let Self::Folder(folder) = self else { return Ok(None) };
        if files.is_empty() {
            return Ok(None);
        }
        match folder.symlink_metadata() {
            Ok(_) => check(folder)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files.first()),
            Err(error) => return Err(Error::io("look at", folder.as_os_str().as_encoded_bytes(), error)),
        }
        Ok(files.iter().find(|file| folder.join(digest(unit, file)).symlink_metadata().is_err()))
    }
}

/// Makes that folder where it is missing, durably.
pub(crate) fn make(folder: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("make", folder.as_os_str().as_encoded_bytes(), error)),
    }
    check(folder)?;
    // Its own name is to outlive a power cut, too.
    let above = folder.parent().unwrap_or(Path::new("/"));
    let flushed = fs::File::open(above).and_then(|above| above.sync_all());
    flushed.map_err(|error| Error::io("flush", above.as_os_str().as_encoded_bytes(), error))
}

/// That only root can have noted anything there.
pub(crate) fn check(folder: &Path) -> Result<(), Error> {
    let meta = folder
        .symlink_metadata()
        .map_err(|error| Error::io("look at", folder.as_os_str().as_encoded_bytes(), error))?;
    if meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::Refused(format!("{} is not root's alone", folder.display())))
}

/// A name for one content of one file of one unit; each field with its length, so that none can pass for another.
fn digest(unit: &str, file: &UnitFile) -> String {
    let mut digest = Sha256::new_with_prefix(b"dsmil unit file 1\n");
    for field in [unit.as_bytes(), file.name.as_bytes(), &file.mode.to_le_bytes(), &file.content] {
        digest.update(length(field.len()).to_le_bytes());
        digest.update(field);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
