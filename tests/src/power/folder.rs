//! What a folder holds, in a word: the laptop tells it before and after each restore, and says it again after the power was gone.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What staging folders are called, which a restore in place leaves in the folder until it is ended.
const STAGING: &str = ".dsmil-restore";

/// Names, kinds, modes, owners and contents of all that is in a folder, and of the folder itself: sixteen hexadecimal digits.
///
/// # Errors
///
/// It cannot be read.
pub fn contents(dir: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    walk(dir, Path::new(""), &mut |path, here| {
        let meta = fs::symlink_metadata(here)?;
        (path, meta.mode(), meta.uid(), meta.gid()).hash(&mut hasher);
        if meta.is_symlink() {
            fs::read_link(here)?.hash(&mut hasher);
        } else if meta.is_file() {
            fs::read(here)?.hash(&mut hasher);
        }
        Ok(())
    })?;
    Ok(format!("{:016x}", hasher.finish()))
}

/// When each of it was last modified, which a look at a disk from outside does not tell to the nanosecond.
///
/// # Errors
///
/// It cannot be read.
pub fn times(dir: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    walk(dir, Path::new(""), &mut |path, here| {
        let meta = fs::symlink_metadata(here)?;
        (path, meta.mtime(), meta.mtime_nsec()).hash(&mut hasher);
        Ok(())
    })?;
    Ok(format!("{:016x}", hasher.finish()))
}

fn walk(dir: &Path, path: &Path, see: &mut dyn FnMut(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let here = dir.join(path);
    see(path, &here)?;
    if !fs::symlink_metadata(&here)?.is_dir() {
        return Ok(());
    }
    let mut names: Vec<_> =
        fs::read_dir(&here)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.retain(|name| name != STAGING);
    names.sort();
    names.iter().try_for_each(|name| walk(dir, &path.join(name), see))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn each_difference_makes_another_word() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut seen = vec![contents(dir).unwrap()];
        let mut is_new = |what: &str| {
            let word = contents(dir).unwrap();
            assert!(!seen.contains(&word), "{what}");
            seen.push(word);
        };
        fs::create_dir(dir.join("sub")).unwrap();
        is_new("a folder");
        fs::write(dir.join("sub/file"), "one").unwrap();
        is_new("a file");
        fs::write(dir.join("sub/file"), "two").unwrap();
        is_new("a content");
        fs::set_permissions(dir.join("sub/file"), fs::Permissions::from_mode(0o600)).unwrap();
        is_new("a mode");
        fs::rename(dir.join("sub/file"), dir.join("file")).unwrap();
        is_new("a name");
        symlink("file", dir.join("link")).unwrap();
        is_new("a link");
        let (before, when) = (contents(dir).unwrap(), times(dir).unwrap());
        fs::create_dir(dir.join(STAGING)).unwrap();
        assert_eq!(contents(dir).unwrap(), before, "what is staged is not there yet");
        assert_ne!(times(dir).unwrap(), when, "the folder's own time");
    }
}
