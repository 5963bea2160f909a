//! What a checkpoint says of one file.

use std::fmt;

use minicbor::{Decode, Encode};
use rustix::fs::{Statx, StatxTimestamp, Timespec, Timestamps};
use store::chunk::ChunkId;

/// Longest path below a root, in bytes: what the kernel takes in one call, less its closing NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// Deepest folder below a root: each level holds one open file while a tree is walked.
pub const DEPTH_MAX: usize = 256;
/// The most bytes of extended attributes of one entry, names and values together.
pub const XATTR_BYTES_MAX: usize = 256 << 10;
/// The folder in a root in which a restore works; it is never captured and no path may begin with it.
pub const STAGING: &[u8] = b".dsmil-restore";

/// One entry of a root.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Relative to the root, `/` between names; empty for the root itself.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Owner, mode, times, attributes.
    #[n(1)]
    pub meta: Meta,
    /// What it is.
    #[n(2)]
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Kind {
    /// A regular file.
    #[n(0)]
    Regular {
        /// Bytes.
        #[n(0)]
        size: u64,
        /// Its contents in order; their sizes add up to `size`.
        #[n(1)]
        pieces: Vec<Piece>,
    },
    /// A folder.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Symlink {
        /// Where it points; any bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        target: Vec<u8>,
    },
    /// The same file, symbolic link or pipe as an earlier entry of the same root.
    #[n(3)]
    HardLink {
        /// The path of that entry.
        #[cbor(n(0), with = "minicbor::bytes")]
        to: Vec<u8>,
    },
    /// A named pipe.
    #[n(4)]
    Fifo,
}

impl Entry {
    /// Where its content is.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        match &self.kind {
            Kind::Regular { pieces, .. } => pieces,
            Kind::Directory | Kind::Symlink { .. } | Kind::HardLink { .. } | Kind::Fifo => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular { .. } => "file",
            Self::Directory => "folder",
            Self::Symlink { .. } => "symbolic link",
            Self::HardLink { .. } => "hard link",
            Self::Fifo => "named pipe",
        })
    }
}

/// One chunk of a content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Piece {
    /// The chunk's address.
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 32],
    /// Its size in bytes.
    #[n(1)]
    pub bytes: u32,
}

impl Piece {
    /// A chunk of this address and size.
    #[must_use]
    pub const fn new(id: ChunkId, bytes: u32) -> Self {
        Self { id: id.0, bytes }
    }

    /// The chunk's address.
    #[must_use]
    pub const fn id(&self) -> ChunkId {
        ChunkId(self.id)
    }
}

/// What an entry has besides its content.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Meta {
    /// Permission bits with set-user-id, set-group-id and sticky: at most 0o7777.
    #[n(0)]
    pub mode: u32,
    /// Owner.
    #[n(1)]
    pub uid: u32,
    /// Group.
    #[n(2)]
    pub gid: u32,
    /// Last change of the content.
    #[n(3)]
    pub mtime: Stamp,
    /// Last access.
    #[n(4)]
    pub atime: Stamp,
    /// Extended attributes that a checkpoint keeps, ascending by name.
    #[n(5)]
    pub xattrs: Vec<Xattr>,
}

/// A point in time as file systems keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Stamp {
    /// Seconds since 1970, UTC.
    #[n(0)]
    pub secs: i64,
    /// Nanoseconds below one second.
    #[n(1)]
    pub nanos: u32,
}

impl From<StatxTimestamp> for Stamp {
    fn from(stamp: StatxTimestamp) -> Self {
        Self { secs: stamp.tv_sec, nanos: stamp.tv_nsec }
    }
}

impl Meta {
    /// Of what the kernel says, without attributes.
    pub(crate) fn of(stat: &Statx) -> Self {
        Self {
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: stat.stx_mtime.into(),
            atime: stat.stx_atime.into(),
            xattrs: Vec::new(),
        }
    }

    /// The times as the kernel takes them.
    pub(crate) fn times(&self) -> Timestamps {
        times(self.mtime, self.atime)
    }

    /// Why it cannot be set, if so: what a damaged or hostile message could hold.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let sum: usize = self.xattrs.iter().map(|x| x.name.len() + x.value.len()).sum();
        if self.mode > 0o7777 {
            Some("a mode has unknown bits")
        } else if self.mtime.nanos >= 1_000_000_000 || self.atime.nanos >= 1_000_000_000 {
            Some("a time has more than a second of nanoseconds")
        } else if self.uid == u32::MAX || self.gid == u32::MAX {
            Some("an owner is the number that means none")
        } else if sum > XATTR_BYTES_MAX {
            Some("the extended attributes are too large")
        } else if !self.xattrs.iter().all(|x| is_kept(&x.name)) {
            Some("an extended attribute is of a kind that is not kept")
        } else {
            None
        }
    }
}

/// Both times as the kernel takes them.
pub(crate) fn times(mtime: Stamp, atime: Stamp) -> Timestamps {
    let spec = |stamp: Stamp| Timespec { tv_sec: stamp.secs, tv_nsec: stamp.nanos.into() };
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Xattr {
    /// With its namespace, such as `user.comment`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Any bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// Whether a checkpoint keeps an attribute: the owner's own, access control lists, capabilities, SELinux labels.
/// Others are the kernel's own bookkeeping (`trusted.*`, integrity measurement), which a copy would make wrong.
#[must_use]
pub fn is_kept(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 4] = [
        b"security.capability",
        b"security.selinux",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    (name.starts_with(b"user.") || EXACT.contains(&name)) && !name.contains(&0)
}

/// Checks that a path stays below its root and is none of ours.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_path(path: &[u8]) -> Result<(), &'static str> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("a path is too long");
    }
    let mut depth = 0;
    for name in path.split(|byte| *byte == b'/') {
        depth += 1;
        match name {
            b"" => return Err("a path is absolute or has an empty name"),
            b"." | b".." => return Err("a path has a name of dots"),
            _ if name.len() > 255 => return Err("a path has a name that is too long"),
            _ if name.contains(&0) => return Err("a path has a NUL"),
            _ => {}
        }
    }
    if depth > DEPTH_MAX {
        return Err("a path is too deep");
    }
    if path.split(|byte| *byte == b'/').next() == Some(STAGING) {
        return Err("a path is in the folder of restores");
    }
    Ok(())
}

/// A path's folder and last name. The root has neither.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        None => Some((&[], path)),
        Some(at) => Some((path.get(..at)?, path.get(at + 1..)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_root() {
        for good in ["", "a", "a/b", "..a", "a/.dsmil-restore", ".dsmil-restore2", "a\nb"] {
            assert_eq!(check_path(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            ".",
            "a/.",
            "a\0b",
            ".dsmil-restore",
            ".dsmil-restore/new/0",
        ] {
            assert!(check_path(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check_path(&b"a/".repeat(3000)).is_err());
        assert!(check_path(&[b'a'; 256]).is_err());
        assert!(check_path(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn paths_split_at_the_last_name() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
    }
}
