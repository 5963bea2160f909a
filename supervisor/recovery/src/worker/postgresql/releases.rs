//! What is here of PostgreSQL, as far as only root, or the server itself, can have put it there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::error::shown;

/// Where Debian has the programs of each major version.
pub(super) const VERSIONS: &str = "/usr/lib/postgresql";
/// Where others have them.
pub(super) const USUAL: &str = "/usr/bin";
/// The programs of one release.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
}

/// The releases that are here, the newest first.
pub(super) fn releases() -> Vec<Release> {
    let listed = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let majors = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let versions = majors
        .map(|major| Release { folder: Path::new(VERSIONS).join(major.to_string()).join("bin"), major });
    let mut found: Vec<_> = versions.filter(|release| is_whole(&release.folder)).collect();
    if is_whole(Path::new(USUAL))
        && let Some(major) = usual()
    {
        found.push(Release { folder: USUAL.into(), major });
    }
    found.sort_by_key(|release| std::cmp::Reverse(release.major));
    found
}

/// Which release the usual place has.
fn usual() -> Option<u32> {
    let mut command = Command::new(Path::new(USUAL).join("pg_dump"));
    command.arg("--version").env_clear().current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    let said = command.output().ok()?.stdout;
    let word = String::from_utf8(said).ok()?;
    let version = word.split_ascii_whitespace().nth(2)?.split(['.', 'b', 'r', 'd']).next()?.to_owned();
    version.parse().ok()
}

/// Whether a folder has both programs, and only root can have put them there.
fn is_whole(folder: &Path) -> bool {
    let is_roots = |meta: &fs::Metadata| meta.uid() == 0 && meta.mode() & 0o022 == 0;
    let is_closed = folder
        .ancestors()
        .all(|place| fs::symlink_metadata(place).is_ok_and(|meta| meta.is_dir() && is_roots(&meta)));
    let is_program = |name: &str| {
        fs::symlink_metadata(folder.join(name))
            .is_ok_and(|meta| meta.is_file() && is_roots(&meta) && meta.mode() & 0o111 == 0o111)
    };
    is_closed && is_program("psql") && is_program("pg_dump")
}

/// That nobody but root and the folder's owner can have put another server's socket there.
pub(super) fn check_socket(folder: &Path) -> Result<(), Error> {
    let bytes = folder.as_os_str().as_encoded_bytes();
    let real = match fs::canonicalize(folder) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Refused(format!("no server runs there: there is no folder {}", shown(bytes))));
        }
        Err(error) => return Err(Error::io("look at", bytes, error)),
    };
    let owner = fs::symlink_metadata(&real).map_err(|error| Error::io("look at", bytes, error))?.uid();
    for (depth, place) in real.ancestors().enumerate() {
        let meta = fs::symlink_metadata(place).map_err(|error| Error::io("look at", bytes, error))?;
        let is_closed = meta.mode() & 0o002 == 0 || (depth > 0 && meta.mode() & 0o1000 != 0);
        if !meta.is_dir() || !is_closed || ![0, owner].contains(&meta.uid()) {
            return Err(Error::Refused(format!(
                "anybody could put another server's socket into {}, because of {}: that should be a folder of root's or the \
                 server's that others may not write",
                shown(bytes),
                shown(place.as_os_str().as_encoded_bytes())
            )));
        }
    }
    Ok(())
}
