//! Where else a folder is mounted.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount {
    device: String,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// Where.
    at: PathBuf,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(2);
        let (device, root, at) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { device: device.to_owned(), root: unescaped(root), at: unescaped(at) })
    }
}

/// A path in which white space and backslashes are written as octal numbers.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let octal = tail.first_chunk::<3>().filter(|_| *first == b'\\').and_then(|digits| {
            digits.iter().try_fold(0_u8, |value, digit| {
                value.checked_mul(8)?.checked_add(digit.checked_sub(b'0').filter(|digit| *digit < 8)?)
            })
        });
        bytes.push(octal.unwrap_or(*first));
        rest = tail.get(if octal.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// A place at which a folder, or one in it, is mounted besides the one under this path, as far as this process can see. Such a mount keeps
/// the folder that it was made of when another one takes that one's place.
pub(crate) fn elsewhere(folder: &Path) -> Option<PathBuf> {
    elsewhere_of(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, folder)
}

fn elsewhere_of(mounts: &str, folder: &Path) -> Option<PathBuf> {
    let mounts: Vec<_> = mounts.lines().filter_map(Mount::parse).collect();
    let holds = |mount: &&Mount| folder.starts_with(&mount.at);
    // Of those at one place the last one counts.
    let own = mounts.iter().filter(holds).max_by_key(|mount| mount.at.components().count())?;
    let inside = own.root.join(folder.strip_prefix(&own.at).ok()?);
    let other = |mount: &&Mount| mount.device == own.device && mount.root.starts_with(&inside);
    mounts.iter().find(other).map(|mount| mount.at.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_mounted_elsewhere_is_found() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      22 21 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
                      23 21 8:2 /work /run/a\\040b rw - ext4 /dev/sda2 rw\n\
                      24 21 8:2 /deep/in/it /run/c rw - ext4 /dev/sda2 rw\n\
                      25 21 8:1 /work /run/d rw - ext4 /dev/sda1 rw\n";
        let found = |folder: &str| elsewhere_of(mounts, Path::new(folder));
        assert_eq!(found("/srv/work"), Some("/run/a b".into()));
        assert_eq!(found("/srv/deep"), Some("/run/c".into()), "something in it");
        assert_eq!(found("/srv/work/in"), None, "the folder above it keeps its place");
        assert_eq!(found("/srv/other"), None);
        assert_eq!(found("/work"), Some("/run/d".into()));
        assert_eq!(found("/home/work"), None);
        assert_eq!(unescaped("a\\134\\011b\\9"), PathBuf::from("a\\\tb\\9"));
    }
}
