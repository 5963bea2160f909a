//! Reading and setting what an entry has besides its content.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::ops;
use crate::Error;
use crate::files::entry::{Meta, Xattr};
use crate::files::read;

/// The metadata of an open file, and its inode number.
pub(super) fn get(file: impl AsFd, path: &[u8]) -> Result<(Meta, u64), Error> {
    let stat = read::stat_open(file.as_fd()).map_err(|e| Error::io("look at", path, e))?;
    let attributes = read::xattrs(file).map_err(|e| Error::io("read the attributes of", path, e))?;
    let xattrs = attributes.ok_or_else(|| {
        Error::Refused(format!("{} has too large extended attributes", crate::error::shown(path)))
    })?;
    Ok((Meta { xattrs, ..Meta::of(&stat) }, stat.stx_ino))
}

/// Checks that an open file is one whose metadata may be changed where it is: a folder, or a file with one name. That of a
/// file with several names would change for names outside the root as well.
pub(super) fn check_alone(file: impl AsFd, path: &[u8]) -> Result<(), Error> {
    let stat = read::stat_open(file).map_err(|e| Error::io("look at", path, e))?;
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => Ok(()),
        FileType::RegularFile if stat.stx_nlink == 1 => Ok(()),
        _ => Err(Error::Refused(format!(
            "{} is neither a folder nor a file with one name",
            crate::error::shown(path)
        ))),
    }
}

/// Sets the metadata of an open file or folder.
pub(super) fn set(file: impl AsFd, meta: &Meta, path: &[u8]) -> Result<(), Error> {
    let file = file.as_fd();
    let failed = |action| move |e: Errno| Error::io(action, path, e);
    let (now, _) = get(file, path)?;
    let stale = stale(&now.xattrs, &meta.xattrs);
    for name in stale {
        ops::remove_xattr_open(file, name).map_err(failed("remove an attribute of"))?;
    }
    // A change of owner clears set-user-id bits and capabilities, so it comes before both.
    if (now.uid, now.gid) != (meta.uid, meta.gid) {
        ops::chown_open(file, meta.uid, meta.gid).map_err(failed("set the owner of"))?;
    }
    ops::chmod_open(file, meta.mode).map_err(failed("set the mode of"))?;
    for xattr in &meta.xattrs {
        ops::set_xattr_open(file, &xattr.name, &xattr.value).map_err(failed("set an attribute of"))?;
    }
    ops::times_open(file, &meta.times()).map_err(failed("set the times of"))
}

/// Sets the metadata of a symbolic link or a pipe in a folder that nobody else can enter.
pub(super) fn set_at(dir: impl AsFd, name: &CStr, meta: &Meta, is_symlink: bool) -> Result<(), Error> {
    let dir = dir.as_fd();
    let path = name.to_bytes();
    let failed = |action| move |e: Errno| Error::io(action, path, e);
    let now = read::xattrs_at(dir, name).map_err(failed("read the attributes of"))?.unwrap_or_default();
    let through = read::through_proc(dir, name);
    for name in stale(&now, &meta.xattrs) {
        ops::remove_xattr(&through, name).map_err(failed("remove an attribute of"))?;
    }
    ops::chown(dir, name, meta.uid, meta.gid).map_err(failed("set the owner of"))?;
    if !is_symlink {
        ops::chmod(dir, name, meta.mode).map_err(failed("set the mode of"))?;
    }
    for xattr in &meta.xattrs {
        ops::set_xattr(&through, &xattr.name, &xattr.value).map_err(failed("set an attribute of"))?;
    }
    ops::times(dir, name, &meta.times()).map_err(failed("set the times of"))
}

/// Attributes that are there and shall not be.
fn stale<'a>(now: &'a [Xattr], want: &[Xattr]) -> Vec<&'a [u8]> {
    now.iter()
        .map(|xattr| xattr.name.as_slice())
        .filter(|name| !want.iter().any(|x| x.name == *name))
        .collect()
}
