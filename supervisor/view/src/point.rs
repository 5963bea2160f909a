//! Where something is mounted, as the kernel lists it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// Who unmounts for users who are not root; package fuse3.
const HELPER: &str = "fusermount3";

/// A mount, by where it is and what its source is called; a name that nobody else uses makes it this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// The folder, without links in its path.
    pub folder: PathBuf,
    /// The mount's source.
    pub source: String,
}

impl Point {
    /// Whether it is what a look-up of its folder leads to.
    ///
    /// # Errors
    ///
    /// The kernel's list cannot be read.
    pub fn is_mounted(&self) -> io::Result<bool> {
        let list = fs::read("/proc/self/mountinfo")?;
        Ok(top(&list, &self.folder).is_some_and(|source| source == self.source.as_bytes()))
    }

    /// Takes it out of the tree of folders at once; files that are open stay so until their readers are done or its process ends.
    /// Another mount that is in its place by now is left alone.
    ///
    /// # Errors
    ///
    /// What the kernel says, or the helper of users.
    pub fn detach(&self) -> io::Result<()> {
        if !self.is_mounted()? {
            return Ok(());
        }
        match umount2(&self.folder, MntFlags::MNT_DETACH) {
            Err(Errno::EPERM) => self.ask_helper(),
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn ask_helper(&self) -> io::Result<()> {
        let mut command = Command::new(HELPER);
        command.args(["-u", "-z", "--"]).arg(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// The source of the last mount at a folder: `proc_pid_mountinfo(5)`.
fn top(list: &[u8], folder: &Path) -> Option<Vec<u8>> {
    let mut found = None;
    for line in list.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let Some(point) = fields.nth(4) else { continue };
        if plain(point).as_slice() != folder.as_os_str().as_bytes() {
            continue;
        }
        // Optional fields, a dash, the type, the source.
        found = fields.skip_while(|field| *field != b"-").nth(2).map(plain);
    }
    found
}

/// Blanks, tabs, line feeds and backslashes are written as three octal digits.
fn plain(field: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((byte, after)) = rest.split_first() {
        let code = after
            .first_chunk::<3>()
            .filter(|_| *byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(*byte));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    plain
}

/// A folder without links in its path, which must be empty: a mount hides what is in it.
pub(crate) fn empty_folder(folder: &Path) -> io::Result<PathBuf> {
    let whole = folder.canonicalize()?;
    if fs::read_dir(&whole)?.next().is_some() {
        return Err(io::Error::new(
            io::ErrorKind::DirectoryNotEmpty,
            "it is not empty: name an empty folder",
        ));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_folder_counts() {
        let list = b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
            40 22 0:50 / /mnt/a\\040b ro - fuse dsmil\\0401 ro\n\
            41 22 0:51 / /mnt rw - tmpfs one rw\n\
            42 22 0:52 / /mnt ro shared:7 master:3 - fuse two ro,user_id=0\n";
        let source =
            |folder: &str| top(list, Path::new(folder)).map(|source| String::from_utf8(source).unwrap());
        assert_eq!(source("/mnt").as_deref(), Some("two"));
        assert_eq!(source("/mnt/a b").as_deref(), Some("dsmil 1"));
        assert_eq!(source("/").as_deref(), Some("/dev/sda1"));
        assert_eq!(source("/mn"), None);
    }
}
