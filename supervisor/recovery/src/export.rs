//! The files of a checkpoint as a tar archive that other programs read.
//!
//! POSIX pax interchange format (IEEE 1003.1, `pax`): before each entry an extended header with what the old header has no room
//! for: times in nanoseconds, long names, large numbers, and attributes as `SCHILY.xattr.NAME`, as GNU tar, star and libarchive
//! write and read them. Names are absolute paths without the first slash.

use std::io::{self, Write};

use store::chunk::Chunks;

use crate::Error;
use crate::databases::Database;
use crate::error::{length, shown};
use crate::files::entry::{Entry, Kind, Meta, Stamp};
use crate::manifest::{Manifest, Tree};

/// The unit of the format, bytes.
const BLOCK: usize = 512;
/// An archive is a multiple of this, bytes: what tape drives took at once, and readers of pipes still expect.
const RECORD: u64 = 20 * 512;
/// The largest number in a field of seven octal digits.
const SEVEN_DIGITS_MAX: u64 = 0o7_777_777;
/// The same of eleven.
const ELEVEN_DIGITS_MAX: u64 = 0o77_777_777_777;
/// Room for a name in the old header, bytes.
const NAME_BYTES: usize = 100;

/// Where dumps of databases of servers are in an archive: they have no path of their own.
const DUMPS: &[u8] = b"/postgresql";

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    /// Entries.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// Writes all roots and the dumps of databases of servers, or the one root of this absolute path. The caller has checked that the manifest is authentic; contents are
/// authenticated as they are read.
///
/// # Errors
///
/// - [`Error::Refused`]: there is no such root
/// - [`Error::Store`], [`Error::Damaged`]: a content is missing or damaged; the archive is not whole
/// - [`Error::Io`]: it cannot be written
pub fn tar(
    manifest: &Manifest,
    root: Option<&[u8]>,
    chunks: &Chunks,
    out: &mut dyn Write,
) -> Result<Exported, Error> {
    let trees: Vec<_> =
        manifest.roots().iter().filter(|tree| root.is_none_or(|root| root == tree.path)).collect();
    if let (Some(root), []) = (root, trees.as_slice()) {
        return Err(Error::Refused(format!("{} is none of the checkpoint's folders", shown(root))));
    }
    let mut archive = Archive { out, written: Exported::default() };
    for tree in trees {
        for entry in &tree.entries {
            archive.entry(tree, entry, chunks)?;
        }
    }
    let dumps = manifest.databases().0.iter().filter(|one| root.is_none() && one.postgresql.is_some());
    for database in dumps {
        let tree = Tree {
            path: DUMPS.to_vec(),
            entries: Vec::new(),
            notes: Vec::new(),
            marks: None,
            rules: Vec::new(),
        };
        archive.entry(&tree, &dump(database, manifest), chunks)?;
    }
    archive.end()
}

/// A dump as a file that psql reads, readable for its owner alone.
fn dump(database: &Database, manifest: &Manifest) -> Entry {
    let created = types::time::Time::from(manifest.created).wall_ns;
    let nanos = u32::try_from(created.rem_euclid(1_000_000_000)).unwrap_or(0);
    let time = Stamp { secs: created.div_euclid(1_000_000_000), nanos };
    let meta = Meta { mode: 0o600, uid: 0, gid: 0, mtime: time, atime: time, xattrs: Vec::new() };
    let kind = Kind::Regular { size: database.size, pieces: database.pieces.clone() };
    let label = database.path.strip_prefix(b"postgresql:").unwrap_or(&database.path);
    Entry { path: [file_name(label), b".sql".to_vec()].concat(), meta, kind }
}

/// A name as one of a file: what is not a plain letter is written in hexadecimal digits, as in an address of the web.
fn file_name(label: &[u8]) -> Vec<u8> {
    let is_plain = |place: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (byte == b'.' && place > 0)
    };
    let written = label.iter().enumerate().map(|(place, byte)| match is_plain(place, *byte) {
        true => vec![*byte],
        false => format!("%{byte:02X}").into_bytes(),
    });
    written.flatten().collect()
}

struct Archive<'a> {
    out: &'a mut dyn Write,
    written: Exported,
}

impl Archive<'_> {
    fn entry(&mut self, tree: &Tree, entry: &Entry, chunks: &Chunks) -> Result<(), Error> {
        let mut name = name(tree, &entry.path);
        let (kind, size, link) = match &entry.kind {
            Kind::Regular { size, .. } => (b'0', *size, Vec::new()),
            Kind::HardLink { to } => (b'1', 0, self::name(tree, to)),
            Kind::Symlink { target } => (b'2', 0, target.clone()),
            Kind::Directory => {
                name.push(b'/');
                (b'5', 0, Vec::new())
            }
            Kind::Fifo => (b'6', 0, Vec::new()),
        };
        let records = records(entry, &name, &link, size);
        let head = Head { name: b"PaxHeaders/entry", link: b"", kind: b'x', size: length(records.len()) };
        self.put(&head.block(None))?;
        self.put(&records)?;
        self.pad(BLOCK_BYTES)?;
        self.put(&Head { name: &name, link: &link, kind, size }.block(Some(entry)))?;
        if let Kind::Regular { pieces, .. } = &entry.kind {
            let mut found = 0;
            for piece in pieces {
                let bytes = chunks.get(&piece.id())?;
                found += length(bytes.len());
                self.put(&bytes)?;
            }
            if found != size {
                return Err(Error::Damaged(format!(
                    "{} has {found} bytes instead of {size}",
                    shown(&entry.path)
                )));
            }
            self.pad(BLOCK_BYTES)?;
        }
        self.written.entries += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(failed)?;
        self.written.bytes += length(bytes.len());
        Ok(())
    }

    /// Fills up with zeros to a multiple.
    fn pad(&mut self, multiple: u64) -> Result<(), Error> {
        let more = self.written.bytes.next_multiple_of(multiple) - self.written.bytes;
        io::copy(&mut io::Read::take(io::repeat(0), more), self.out).map_err(failed)?;
        self.written.bytes += more;
        Ok(())
    }

    fn end(mut self) -> Result<Exported, Error> {
        self.put(&[0; 2 * BLOCK])?;
        self.pad(RECORD)?;
        self.out.flush().map_err(failed)?;
        Ok(self.written)
    }
}

const BLOCK_BYTES: u64 = 512;

fn failed(error: io::Error) -> Error {
    Error::io("write the archive at", b"its end", error)
}

fn name(tree: &Tree, path: &[u8]) -> Vec<u8> {
    let root = tree.path.strip_prefix(b"/").unwrap_or(&tree.path);
    match (root, path) {
        ([], []) => b".".to_vec(),
        ([], path) => path.to_vec(),
        (root, []) => root.to_vec(),
        (root, path) => [root, path].join(&b'/'),
    }
}

/// An old header, without what the extended one says better.
struct Head<'a> {
    name: &'a [u8],
    link: &'a [u8],
    kind: u8,
    size: u64,
}

impl Head<'_> {
    fn block(&self, entry: Option<&Entry>) -> [u8; BLOCK] {
        let (mode, uid, gid) =
            entry.map_or((0o644, 0, 0), |entry| (entry.meta.mode, entry.meta.uid, entry.meta.gid));
        let mtime = entry.map_or(0, |entry| u64::try_from(entry.meta.mtime.secs).unwrap_or(0));
        let mut block = Vec::with_capacity(BLOCK);
        block.extend(fitted::<NAME_BYTES>(self.name));
        for number in [mode, uid, gid] {
            block.extend(octal(u64::from(number).min(SEVEN_DIGITS_MAX), 7));
        }
        for number in [self.size, mtime] {
            block.extend(octal(number.min(ELEVEN_DIGITS_MAX), 11));
        }
        // The sum is taken with blanks in its own place.
        block.extend(b"        ");
        block.push(self.kind);
        block.extend(fitted::<NAME_BYTES>(self.link));
        block.extend(b"ustar\x0000");
        let mut fixed = fitted::<BLOCK>(&block);
        let sum: u64 = fixed.iter().map(|byte| u64::from(*byte)).sum();
        let sum = octal(sum, 6);
        fixed.iter_mut().skip(SUM_AT).zip(sum).for_each(|(to, from)| *to = from);
        fixed
    }
}

/// Where the sum stands.
const SUM_AT: usize = 148;

/// As many bytes as there is room for, then zeros.
fn fitted<const ROOM: usize>(bytes: &[u8]) -> [u8; ROOM] {
    let mut field = [0; ROOM];
    field.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    field
}

/// Digits and a closing NUL.
fn octal(number: u64, digits: usize) -> Vec<u8> {
    format!("{number:0digits$o}\0").into_bytes()
}

/// What the extended header of an entry holds.
fn records(entry: &Entry, name: &[u8], link: &[u8], size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut put = |key: &[u8], value: &[u8]| record(&mut records, key, value);
    let is_plain = |name: &[u8]| name.len() <= NAME_BYTES && name.is_ascii();
    if !is_plain(name) {
        put(b"path", name);
    }
    if !is_plain(link) {
        put(b"linkpath", link);
    }
    let meta = &entry.meta;
    for (key, owner) in [(&b"uid"[..], meta.uid), (b"gid", meta.gid)] {
        if u64::from(owner) > SEVEN_DIGITS_MAX {
            put(key, owner.to_string().as_bytes());
        }
    }
    if size > ELEVEN_DIGITS_MAX {
        put(b"size", size.to_string().as_bytes());
    }
    put(b"mtime", stamp(meta.mtime).as_bytes());
    put(b"atime", stamp(meta.atime).as_bytes());
    // The other names of a file have its attributes from the first.
    let xattrs = if matches!(entry.kind, Kind::HardLink { .. }) { &[][..] } else { &meta.xattrs };
    for xattr in xattrs {
        put(&[b"SCHILY.xattr.".to_vec(), keyword(&xattr.name)].concat(), &xattr.value);
    }
    records
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A blank, an equals sign and the line's end.
    let rest = key.len() + value.len() + 3;
    let mut whole = rest + 1;
    while rest + whole.to_string().len() != whole {
        whole = rest + whole.to_string().len();
    }
    records.extend(format!("{whole} ").as_bytes());
    records.extend([key, b"=", value, b"\n"].concat());
}

/// An attribute's name as GNU tar writes it: an equals sign would end it.
fn keyword(name: &[u8]) -> Vec<u8> {
    name.iter()
        .flat_map(|byte| match byte {
            b'%' => b"%25".to_vec(),
            b'=' => b"%3D".to_vec(),
            byte => vec![*byte],
        })
        .collect()
}

/// Seconds with nine decimals; before 1970 the fraction counts the other way than in the kernel.
fn stamp(stamp: Stamp) -> String {
    let Stamp { secs, nanos } = stamp;
    match (secs, nanos) {
        (secs, nanos) if secs >= 0 || nanos == 0 => format!("{secs}.{nanos:09}"),
        (secs, nanos) => {
            format!("-{}.{:09}", (secs + 1).unsigned_abs(), 1_000_000_000_u32.saturating_sub(nanos))
        }
    }
}
