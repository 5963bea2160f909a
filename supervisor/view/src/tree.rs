//! What is shown: a read-only tree of files.

use std::time::Duration;

/// The number of the tree's own folder.
pub const ROOT: u64 = 1;

/// A read-only tree. A number stands for the same entry as long as the tree is shown, and calls come from several threads.
pub trait Tree: Send + Sync + 'static {
    /// What has this name in a folder.
    ///
    /// # Errors
    ///
    /// - [`Refusal::Absent`][]: nothing
    /// - [`Refusal::Failed`][]
    fn find(&self, folder: u64, name: &[u8]) -> Result<Node, Refusal>;

    /// What a number stands for.
    ///
    /// # Errors
    ///
    /// As [`Tree::find`].
    fn node(&self, number: u64) -> Result<Node, Refusal>;

    /// The folder above a folder; of the first one itself.
    fn parent(&self, folder: u64) -> u64;

    /// What a folder holds: from the place `from` on, 0 being the first, `take` gets the place after each entry, its name and what it is, until it
    /// says false.
    ///
    /// # Errors
    ///
    /// As [`Tree::find`].
    fn list(
        &self,
        folder: u64,
        from: u64,
        take: &mut dyn FnMut(u64, &[u8], &Node) -> bool,
    ) -> Result<(), Refusal>;

    /// Where a symbolic link points.
    ///
    /// # Errors
    ///
    /// As [`Tree::find`].
    fn target(&self, link: u64) -> Result<Vec<u8>, Refusal>;

    /// As many bytes of a file from this place on as were asked for, and fewer only at its end.
    ///
    /// # Errors
    ///
    /// - [`Refusal::Failed`][]: they are damaged or cannot be read
    fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, Refusal>;

    /// The names of the extended attributes.
    ///
    /// # Errors
    ///
    /// As [`Tree::find`].
    fn attributes(&self, number: u64) -> Result<Vec<Vec<u8>>, Refusal>;

    /// The value of an extended attribute; none where there is no such attribute.
    ///
    /// # Errors
    ///
    /// As [`Tree::find`].
    fn attribute(&self, number: u64, name: &[u8]) -> Result<Option<Vec<u8>>, Refusal>;

    /// How long the kernel may take what it was told of an entry for true without asking again.
    fn lasting(&self, number: u64) -> Duration;
}

/// Why a tree does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such entry: ENOENT.
    Absent,
    /// It cannot be read, and whoever shows the tree was told why: EIO.
    Failed,
}

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its number; the same for all names of a file.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: at most 0o7777.
    pub mode: u16,
    /// How many names it has; of a folder how many folders it holds, and two.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Last access.
    pub atime: Stamp,
    /// Last change of the content.
    pub mtime: Stamp,
    /// Last change of anything.
    pub ctime: Stamp,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Pipe,
}

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// Nanoseconds below one second, counted forwards also before 1970.
    pub nanoseconds: u32,
}
