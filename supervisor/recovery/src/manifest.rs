//! What a checkpoint states.
//!
//! # Layout
//!
//! - this file: the manifest, which is encrypted in the chunk store
//! - [`statement`]: the short text about it that is signed
//! - [`stored`]: both as they lie in the folder of checkpoints

pub mod statement;
pub mod stored;

use std::collections::HashMap;

use minicbor::{Decode, Encode};
use store::chunk::ChunkId;
use types::time::{BootId, Time};

use crate::Error;
use crate::databases::Database;
use crate::error::{length, shown};
use crate::files::entry::{Entry, Kind, Piece, check_path, split};
use crate::files::known::Marks;
use crate::files::read;
use crate::files::scan::Note;
use crate::services::Service;
use crate::settings::{Setting, Unread};
use crate::tokens::Value;

/// The newest version: what has databases of servers.
pub const VERSION: u32 = 4;

/// The version that these parts take: the lowest one, which the most releases read.
#[must_use]
pub fn version(parts: &[Part]) -> u32 {
    let of = |part: &Part| match part {
        Part::Tokens { .. } | Part::Files { .. } => 1,
        Part::Databases { databases, .. } if databases.iter().any(|one| one.postgresql.is_some()) => VERSION,
        Part::Settings { .. } | Part::Databases { .. } => 2,
        Part::Services { .. } => 3,
    };
    parts.iter().map(of).max().unwrap_or(1)
}
/// Largest encoded manifest, in bytes.
pub const BYTES_MAX: usize = 1 << 30;
/// Longest name of a checkpoint, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Everything that a checkpoint says.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// Format version.
    #[n(0)]
    pub version: u32,
    /// The checkpoint's number, unique on this machine.
    #[n(1)]
    pub number: u64,
    /// Its name, for people.
    #[n(2)]
    pub name: String,
    /// When it was taken.
    #[n(3)]
    pub created: Moment,
    /// What the machine says it is, such as `product=Latitude 5450`; only compared for equality.
    #[n(4)]
    pub machine: Vec<String>,
    /// What was captured of each component.
    #[n(5)]
    pub parts: Vec<Part>,
}

/// A [`Time`] on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Moment {
    #[cbor(n(0), with = "minicbor::bytes")]
    boot: [u8; 16],
    #[n(1)]
    boottime_ns: u64,
    #[n(2)]
    wall_ns: i64,
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Self { boot: time.boot.0, boottime_ns: time.boottime_ns, wall_ns: time.wall_ns }
    }
}

impl From<Moment> for Time {
    fn from(moment: Moment) -> Self {
        Self { boot: BootId(moment.boot), boottime_ns: moment.boottime_ns, wall_ns: moment.wall_ns }
    }
}

/// What was captured of one component.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Part {
    /// Firmware tokens.
    #[n(0)]
    Tokens {
        /// Values, ascending by token and select.
        #[n(0)]
        values: Vec<Value>,
        /// Tokens whose value the firmware did not give.
        #[n(1)]
        unread: Vec<u16>,
    },
    /// Files.
    #[n(1)]
    Files {
        /// Each captured folder.
        #[n(0)]
        roots: Vec<Tree>,
    },
    /// Settings of the kernel. Since version 2.
    #[n(2)]
    Settings {
        /// Values, ascending by path.
        #[n(0)]
        values: Vec<Setting>,
        /// Settings whose value the kernel did not give.
        #[n(1)]
        unread: Vec<Unread>,
    },
    /// Databases. Since version 2.
    #[n(3)]
    Databases {
        /// Ascending by path.
        #[n(0)]
        databases: Vec<Database>,
        /// Those that were not there.
        #[n(1)]
        unread: Vec<Unread>,
    },
    /// Services. Since version 3.
    #[n(4)]
    Services {
        /// Ascending by unit.
        #[n(0)]
        services: Vec<Service>,
        /// Those of which nothing could be told.
        #[n(1)]
        unread: Vec<Unread>,
    },
}

impl Part {
    /// The component's name.
    #[must_use]
    pub const fn component(&self) -> &'static str {
        match self {
            Self::Tokens { .. } => "tokens",
            Self::Files { .. } => "files",
            Self::Settings { .. } => "settings",
            Self::Databases { .. } => "databases",
            Self::Services { .. } => "services",
        }
    }

    /// Whether it says nothing, not even what could not be read.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Tokens { .. } | Self::Files { .. } => self.entries() == 0,
            Self::Settings { unread, .. }
            | Self::Databases { unread, .. }
            | Self::Services { unread, .. } => self.entries() == 0 && unread.is_empty(),
        }
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> u64 {
        match self {
            Self::Tokens { values, .. } => length(values.len()),
            Self::Settings { values, .. } => length(values.len()),
            Self::Databases { databases, .. } => length(databases.len()),
            Self::Services { services, .. } => length(services.len()),
            Self::Files { roots } => roots.iter().map(|root| length(root.entries.len())).sum(),
        }
    }

    /// The chunks that it refers to, one as often as it is referred to.
    pub fn chunks(&self) -> Box<dyn Iterator<Item = ChunkId> + '_> {
        match self {
            Self::Tokens { .. } | Self::Settings { .. } | Self::Services { .. } => {
                Box::new(std::iter::empty())
            }
            Self::Databases { databases, .. } => {
                Box::new(databases.iter().flat_map(|database| &database.pieces).map(Piece::id))
            }
            Self::Files { roots } => {
                Box::new(roots.iter().flat_map(|root| &root.entries).flat_map(Entry::pieces).map(Piece::id))
            }
        }
    }
}

/// One captured folder.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Tree {
    /// Its absolute path.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// The folder itself with an empty path, then what it holds: a folder before what is in it, names ascending by bytes.
    #[n(1)]
    pub entries: Vec<Entry>,
    /// What was left out, or may be torn.
    #[n(2)]
    pub notes: Vec<Note>,
    /// How the entries looked to the kernel, so that the next capture knows what has not changed.
    #[n(3)]
    pub marks: Option<Marks>,
    /// The patterns of what the rules left out.
    #[cbor(n(4), default, skip_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

impl Manifest {
    /// Encodes it.
    ///
    /// # Errors
    ///
    /// - [`Error::Empty`]: it has no entry
    /// - [`Error::Limit`]: more than [`BYTES_MAX`]
    /// - [`Error::Invalid`]: its name is too long or not printable
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let bytes = minicbor::to_vec(self).map_err(|e| Error::Invalid(e.to_string()))?;
        if bytes.len() > BYTES_MAX {
            let limit = length(BYTES_MAX);
            return Err(Error::Limit { what: "a manifest", found: length(bytes.len()), limit });
        }
        Ok(bytes)
    }

    /// Decodes it and checks that it can be what a capture wrote.
    ///
    /// # Errors
    ///
    /// - [`Error::Version`]: a newer release wrote it
    /// - [`Error::Damaged`], [`Error::Empty`], [`Error::Invalid`]: it is not a manifest
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        // First, because a later version has parts that are none here.
        if let Some(found) = peek(bytes).filter(|found| *found > VERSION) {
            return Err(Error::Version { found, known: VERSION });
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let manifest: Self = decoder.decode().map_err(|e| Error::Damaged(format!("the manifest: {e}")))?;
        if decoder.position() != bytes.len() {
            return Err(Error::Damaged("something follows the manifest".into()));
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// The values of tokens, if they were captured.
    #[must_use]
    pub fn tokens(&self) -> Option<&[Value]> {
        self.parts.iter().find_map(|part| match part {
            Part::Tokens { values, .. } => Some(values.as_slice()),
            _ => None,
        })
    }

    /// The captured folders.
    #[must_use]
    pub fn roots(&self) -> &[Tree] {
        let roots = self.parts.iter().find_map(|part| match part {
            Part::Files { roots } => Some(roots.as_slice()),
            _ => None,
        });
        roots.unwrap_or_default()
    }

    /// The captured settings, and those that could not be read.
    #[must_use]
    pub fn settings(&self) -> (&[Setting], &[Unread]) {
        let found = self.parts.iter().find_map(|part| match part {
            Part::Settings { values, unread } => Some((values.as_slice(), unread.as_slice())),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// The captured databases, and those that were not there.
    #[must_use]
    pub fn databases(&self) -> (&[Database], &[Unread]) {
        let found = self.parts.iter().find_map(|part| match part {
            Part::Databases { databases, unread } => Some((databases.as_slice(), unread.as_slice())),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// The captured services, and those of which nothing could be told.
    #[must_use]
    pub fn services(&self) -> (&[Service], &[Unread]) {
        let found = self.parts.iter().find_map(|part| match part {
            Part::Services { services, unread } => Some((services.as_slice(), unread.as_slice())),
            _ => None,
        });
        found.unwrap_or_default()
    }

    fn check(&self) -> Result<(), Error> {
        if self.version > VERSION {
            return Err(Error::Version { found: self.version, known: VERSION });
        }
        if self.version < version(&self.parts) {
            return Err(Error::Damaged("the manifest has parts that its version has not".into()));
        }
        statement::check_name(&self.name)?;
        if self.parts.iter().all(|part| part.entries() == 0) {
            return Err(Error::Empty);
        }
        for (place, part) in self.parts.iter().enumerate() {
            if self.parts.iter().take(place).any(|before| before.component() == part.component()) {
                return Err(Error::Damaged(format!("the component {} is there twice", part.component())));
            }
            match part {
                Part::Tokens { values, .. } => crate::tokens::check(values)?,
                Part::Files { roots } => roots.iter().try_for_each(check_tree)?,
                Part::Settings { values, .. } => crate::settings::check(values)?,
                Part::Databases { databases, .. } => crate::databases::check(databases)?,
                Part::Services { services, .. } => crate::services::check(services)?,
            }
        }
        Ok(())
    }
}

/// The version, readable whatever follows it: it is always the first key.
fn peek(bytes: &[u8]) -> Option<u32> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.map().ok()?;
    (decoder.u32().ok()? == 0).then(|| decoder.u32().ok()).flatten()
}

fn check_tree(tree: &Tree) -> Result<(), Error> {
    let mut kinds: HashMap<&[u8], &Kind> = HashMap::new();
    for (place, entry) in tree.entries.iter().enumerate() {
        let path = entry.path.as_slice();
        let damaged = |why: &str| Err(Error::Damaged(format!("{}: {why}", shown(path))));
        if let Err(why) = check_path(path) {
            return damaged(why);
        }
        if let Some(why) = entry.meta.fault() {
            return damaged(why);
        }
        let parent = split(path).map(|(parent, _)| kinds.get(parent));
        match (place, parent) {
            (0, None) if entry.kind == Kind::Directory => {}
            (1.., Some(Some(Kind::Directory))) => {}
            _ => return damaged("it is in no folder"),
        }
        match &entry.kind {
            Kind::Regular { size, pieces } if *size != read::size(pieces) => {
                return damaged("its size is not that of its contents");
            }
            Kind::HardLink { to } => match kinds.get(to.as_slice()) {
                Some(Kind::Regular { .. } | Kind::Symlink { .. } | Kind::Fifo) => {}
                _ => return damaged("it is linked to no earlier file"),
            },
            Kind::Symlink { target } if target.is_empty() || target.contains(&0) => {
                return damaged("its target is no path");
            }
            _ => {}
        }
        if kinds.insert(path, &entry.kind).is_some() {
            return damaged("it is there twice");
        }
    }
    Ok(())
}
