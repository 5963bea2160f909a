//! The kernel's requests, translated.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::tree::{Kind, Node, Refusal, Stamp, Tree};

/// The unit in which `st_blocks` counts, bytes.
const BLOCK: u64 = 512;
/// What a reader is told to read at once, bytes: as much as the kernel asks for at once by default.
const READ_BYTES: u32 = 128 << 10;
/// Entries 0 and 1 of a listing: the folder itself and the one above.
const DOTS: u64 = 2;

/// A tree towards the kernel.
pub(crate) struct Bridge<T>(pub(crate) T);

impl<T: Tree> Bridge<T> {
    /// Lists the dots, then what is there; `add` says whether there was room.
    fn walk(
        &self,
        folder: INodeNo,
        from: u64,
        add: &mut dyn FnMut(u64, &[u8], &Node) -> bool,
    ) -> Result<(), Refusal> {
        let dots = [(&b"."[..], folder.0), (b"..", self.0.parent(folder.0))];
        for ((name, number), place) in dots.into_iter().zip(0..).skip(usize::try_from(from).unwrap_or(2)) {
            if !add(place + 1, name, &self.0.node(number)?) {
                return Ok(());
            }
        }
        let take = &mut |next: u64, name: &[u8], node: &Node| add(next.saturating_add(DOTS), name, node);
        self.0.list(folder.0, from.saturating_sub(DOTS), take)
    }
}

impl<T: Tree> Filesystem for Bridge<T> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // The kernel enforces access control lists as it does modes. Without them a list could only be looked at.
        config.add_capabilities(InitFlags::FUSE_POSIX_ACL).map_err(|_| {
            io::Error::new(io::ErrorKind::Unsupported, "the kernel's FUSE knows no access control lists")
        })?;
        // Older kernels ask for each name by itself, and one after the other.
        for useful in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
        ] {
            config.add_capabilities(useful).ok();
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.find(parent.0, name.as_bytes()) {
            Ok(node) => reply.entry(&self.0.lasting(node.number), &attributes(&node), Generation(0)),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.node(ino.0) {
            Ok(node) => reply.attr(&self.0.lasting(ino.0), &attributes(&node)),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.target(ino.0) {
            Ok(target) => reply.data(&target),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        // A content never changes, so what the kernel has of it stays right.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(ino.0, offset, usize::try_from(size).unwrap_or(usize::MAX)) {
            Ok(bytes) => reply.data(&bytes),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut add = |next, name: &[u8], node: &Node| {
            !reply.add(INodeNo(node.number), next, file_type(node.kind), OsStr::from_bytes(name))
        };
        match self.walk(ino, offset, &mut add) {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut add = |next, name: &[u8], node: &Node| {
            let (name, lasting) = (OsStr::from_bytes(name), self.0.lasting(node.number));
            !reply.add(INodeNo(node.number), next, name, &lasting, &attributes(node), Generation(0))
        };
        match self.walk(ino, offset, &mut add) {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // Full: nothing can be added. Names are at most as long as anywhere.
        reply.statfs(0, 0, 0, 0, 0, 512, 255, 512);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.0.attribute(ino.0, name.as_bytes()) {
            Ok(Some(value)) => sized(&value, size, reply),
            Ok(None) => reply.error(Errno::NO_XATTR),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        match self.0.attributes(ino.0) {
            Ok(names) => {
                let ended: Vec<u8> = names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect();
                sized(&ended, size, reply);
            }
            Err(refusal) => reply.error(errno(refusal)),
        }
    }
}

/// Answers with the length where that alone is asked for.
fn sized(bytes: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(bytes.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

const fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Absent => Errno::ENOENT,
        Refusal::Failed => Errno::EIO,
    }
}

const fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Link => FileType::Symlink,
        Kind::Pipe => FileType::NamedPipe,
    }
}

fn attributes(node: &Node) -> FileAttr {
    FileAttr {
        ino: INodeNo(node.number),
        size: node.size,
        blocks: node.size.div_ceil(BLOCK),
        atime: time(node.atime),
        mtime: time(node.mtime),
        ctime: time(node.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(node.kind),
        perm: node.mode,
        nlink: node.links,
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        blksize: READ_BYTES,
        flags: 0,
    }
}

/// What is beyond the clock of a program is shown as 1970.
fn time(stamp: Stamp) -> SystemTime {
    let whole = Duration::from_secs(stamp.seconds.unsigned_abs());
    let seconds =
        if stamp.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let fraction = Duration::from_nanos(stamp.nanoseconds.into());
    seconds.and_then(|seconds| seconds.checked_add(fraction)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_count_forwards_also_before_1970() {
        let stamp = |seconds, nanoseconds| time(Stamp { seconds, nanoseconds });
        assert_eq!(stamp(1, 5), UNIX_EPOCH + Duration::new(1, 5));
        assert_eq!(stamp(-2, 800_000_000), UNIX_EPOCH - Duration::new(1, 200_000_000));
        assert_eq!(stamp(i64::MIN, 0), UNIX_EPOCH - Duration::from_secs(1 << 63));
    }
}
