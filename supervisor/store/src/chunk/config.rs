//! The text file `config`: what a store was created with, sealed by its key.

use std::fmt::Write;
use std::path::Path;

use types::hash::Hash;

use super::CHUNK_BYTES_MAX;
use super::keys::Keys;
use super::split::Cut;
use crate::blob;
use crate::disk::Disk;
use crate::error::{Error, Place};

/// The version that is written.
const VERSION: u32 = 1;
/// Longest text that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 4096;
const TITLE: &str = "dsmil chunk store";
const CHUNKER: &str = "gear-2020-keyed";
/// Fast, and within a few per cent of the size of slower levels on configuration and program files.
const LEVEL: i32 = 3;

/// How this store cuts and compresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    /// Where streams are cut.
    pub(super) cut: Cut,
    /// The level of zstd for new chunks.
    pub(super) level: i32,
}

impl Config {
    /// Writes the `config` of a new store.
    pub(super) fn create_if_absent(disk: &dyn Disk, dir: &Path, keys: &Keys) -> Result<(), Error> {
        let path = dir.join("config");
        match blob::read_on(disk, &path, TEXT_BYTES_MAX) {
            Err(Error::Absent { .. }) => {}
            other => return other.map(drop),
        }
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|_| Error::Invalid("the machine gives no random numbers".into()))?;
        blob::create_on(disk, &path, Self::default().text(id, keys).as_bytes())
    }

    /// Reads and checks `config`.
    pub(super) fn load(disk: &dyn Disk, dir: &Path, keys: &Keys) -> Result<Self, Error> {
        let path = dir.join("config");
        let bytes = blob::read_on(disk, &path, TEXT_BYTES_MAX).map_err(|error| match error {
            Error::Absent { .. } => Error::Absent { what: "chunk store", path: dir.into() },
            other => other,
        })?;
        let damaged = |why| Error::damaged(&path, 0, Place::File, why);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is no text"))?;
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(damaged("it is not the config of a chunk store"));
        }
        // The version comes before the MAC, since a newer release may compute that differently.
        let version = lines.next().and_then(|line| line.strip_prefix("version ")?.parse().ok());
        let found: u32 = version.ok_or_else(|| damaged("it names no version"))?;
        if found > VERSION {
            return Err(Error::Version { path, found, known: VERSION });
        }
        let (sealed, mac) = text.rsplit_once("mac ").ok_or_else(|| damaged("it has no mac line"))?;
        let mac: Hash = mac.trim_end().parse().map_err(|_| damaged("its mac is not readable"))?;
        if keys.mac(sealed.as_bytes()) != mac.0 {
            return Err(Error::Key { path });
        }
        Self::parse(sealed).ok_or_else(|| damaged("it names algorithms that this release does not know"))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| Some(line.split_once(' ')?).filter(|(n, _)| *n == name))
                .map(|(_, v)| v)
        };
        let chunker = field("chunker")?.strip_prefix(CHUNKER)?;
        let mut sizes = chunker.split_whitespace().map(|size| size.parse::<usize>().ok());
        let cut = Cut { min: sizes.next()??, average: sizes.next()??, max: sizes.next()?? };
        let level = field("compression")?.strip_prefix("zstd ")?.parse().ok()?;
        let known = field("cipher")? == "aes-256-gcm" && field("hash")? == "blake3-keyed";
        (known && cut.is_sane() && cut.max <= CHUNK_BYTES_MAX).then_some(Self { cut, level })
    }

    fn text(&self, id: [u8; 16], keys: &Keys) -> String {
        let Cut { min, average, max } = self.cut;
        let mut text = format!("{TITLE}\nversion {VERSION}\nid {:032x}\n", u128::from_be_bytes(id));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "chunker {CHUNKER} {min} {average} {max}\ncompression zstd {}\ncipher aes-256-gcm\nhash blake3-keyed\n",
            self.level
        );
        let mac = keys.mac(text.as_bytes());
        let _ = writeln!(text, "mac {mac}");
        text
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { cut: Cut::default(), level: LEVEL }
    }
}
