//! The component *databases*: SQLite databases, page by page, as SQLite's own backup interface gives them; and those of PostgreSQL
//! servers, as pg_dump writes them.
//!
//! # Layout
//!
//! - this file: the component
//! - `plan`: what differs and what stands in the way
//! - `image`: copying a database, and what tells two of them apart
//! - [`postgresql`]: those of servers
//! - `dump`: copying one of these, and what tells two of them apart
//!
//! # Invariants
//!
//! - What opens a live database acts as its owner, and takes SQLite's locks: see `worker/database.rs`.
//! - What a database holds is looked at in an image, by the daemon, never in the one who may do more.
//! - What comes back into a server was dumped there by the one who may do more: see `worker/postgresql.rs`.

mod dump;
pub(crate) mod image;
mod plan;
pub mod postgresql;

pub use plan::{Difference, Obstacle};

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};
use store::chunk::Chunks;

use crate::Error;
use crate::component::{self, Component};
use crate::error::{length, shown};
use crate::files::entry::{Meta, Piece, Stamp};
use crate::files::read;
use crate::manifest::Part;
use crate::settings::Unread;
use crate::worker::effect::{Body, Effect, Executor, Progress, Shared, Way};
use dump::{Dump, Streams};
use postgresql::{Address, Origin};

/// The most databases of a machine.
pub const DATABASES_MAX: usize = 256;

/// A captured database.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Database {
    /// Its absolute path; of one of a server what [`Address::label`] says.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Permission bits, for one that is gone; 0 for one of a server.
    #[n(1)]
    pub mode: u32,
    /// Bytes of the image, or of the dump.
    #[n(2)]
    pub size: u64,
    /// The image in order.
    #[n(3)]
    pub pieces: Vec<Piece>,
    /// SHA-256 of the image without what SQLite counts in its header, or of the dump without the comments that name releases.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// What SQLite's check found wrong, if anything.
    #[n(5)]
    pub damage: Option<String>,
    /// Of one of a PostgreSQL server where it is. Since version 4.
    #[n(6)]
    pub postgresql: Option<Origin>,
}

/// Checks databases that were read from a disk.
pub(crate) fn check(databases: &[Database]) -> Result<(), Error> {
    let ordered = databases.is_sorted_by(|a, b| a.path < b.path);
    let is_named = |one: &Database| match &one.postgresql {
        None => one.path.starts_with(b"/"),
        Some(origin) => postgresql::is_sound(&one.path, origin),
    };
    let whole = databases
        .iter()
        .all(|one| one.mode <= 0o7777 && one.size == read::size(&one.pieces) && is_named(one));
    let sound = ordered && whole;
    if sound { Ok(()) } else { Err(Error::Damaged("the databases are out of order".into())) }
}

/// Where the databases are, and which numbers they have among the executor's roots.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    /// The paths, in the executor's order.
    pub paths: &'a [PathBuf],
    /// The number of the first: they follow the folders.
    pub first: usize,
    /// Those of servers, which follow.
    pub postgresql: &'a [Address],
}

/// One of them.
#[derive(Clone, Copy)]
enum Place<'a> {
    File(&'a Path),
    Server(&'a Address),
}

impl Place<'_> {
    /// What it is called in checkpoints.
    fn name(self) -> Vec<u8> {
        match self {
            Self::File(path) => path.as_os_str().as_bytes().to_vec(),
            Self::Server(address) => address.label().into_bytes(),
        }
    }
}

impl<'a> Places<'a> {
    /// All of them with their numbers.
    fn all(self) -> Result<Vec<(u16, Place<'a>)>, Error> {
        let files = self.paths.iter().map(|path| Place::File(path));
        let all = files.chain(self.postgresql.iter().map(Place::Server)).enumerate();
        let number = |place| u16::try_from(self.first + place);
        let numbered = all.map(|(place, one)| Ok((number(place)?, one)));
        let many = |_: std::num::TryFromIntError| Error::Invalid("there are too many databases".into());
        numbered.collect::<Result<_, _>>().map_err(many)
    }

    fn find(self, name: &[u8]) -> Option<(u16, Place<'a>)> {
        self.all().ok()?.into_iter().find(|(_, place)| place.name() == name)
    }
}

/// The component.
pub struct Databases<'a> {
    places: Places<'a>,
    executor: Option<Shared<'a>>,
    leave_obstacles: bool,
    /// Of those that differ the place in the checkpoint, the number, and where it is.
    plans: Vec<(usize, u16, Place<'a>)>,
    /// The first that differs and cannot be restored.
    blocked: Option<String>,
}

impl<'a> Databases<'a> {
    /// The databases at `places`; `executor` has the same and reaches them.
    pub fn new(places: Places<'a>, executor: Option<Shared<'a>>, leave_obstacles: bool) -> Self {
        Self { places, executor, leave_obstacles, plans: Vec::new(), blocked: None }
    }

    fn executor(&mut self) -> Result<&mut Shared<'a>, Error> {
        let none = || Error::Refused("nobody is there who may open databases".into());
        self.executor.as_mut().ok_or_else(none)
    }

    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        self.executor()?.perform(effect)
    }

    /// Looks at a copy of what a database holds now; gives nothing where there is none.
    fn with_image<T>(
        &mut self,
        (root, path): (u16, &Path),
        look: impl FnOnce(&File, &Path) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.perform(&Effect::Image { root })? == Progress::None {
            return Ok(None);
        }
        let image = image::beside(path, image::IMAGE);
        let result = image::open(&image).and_then(|file| look(&file, &image));
        self.perform(&Effect::Discard { root })?;
        result.map(Some)
    }

    /// Reads what a server's database holds now; gives nothing where there is none, or why the server cannot be asked.
    fn with_dump<T>(
        &mut self,
        root: u16,
        note: bool,
        look: impl FnOnce(Dump<'_, 'a>) -> Result<T, Error>,
    ) -> Result<Result<Option<T>, String>, Error> {
        // Who could not even ask is told so.
        let executor = self.executor()?;
        match executor.perform(&Effect::Dump { root, note }) {
            Ok(Progress::None) => return Ok(Ok(None)),
            Ok(_) => {}
            Err(Error::Refused(why)) => return Ok(Err(why)),
            Err(error) => return Err(error),
        }
        let result = look(Dump::new(executor, root));
        self.perform(&Effect::Discard { root })?;
        result.map(|found| Ok(Some(found)))
    }

    fn look(&mut self, contents: &mut dyn Streams, note: bool) -> Result<Part, Error> {
        let (mut databases, mut unread) = (Vec::new(), Vec::new());
        for (number, place) in self.places.all()? {
            let found = match place {
                Place::File(path) => Ok(self.image(number, path, contents)?),
                Place::Server(address) => self.dump(number, address, (contents, note))?,
            };
            let missing = || "there is no such database".to_owned();
            match found.and_then(|found| found.ok_or_else(missing)) {
                Ok(database) => databases.push(database),
                Err(why) => unread.push(Unread { why: bare(why, &place.name()), path: place.name() }),
            }
        }
        databases.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Part::Databases { databases, unread })
    }

    fn image(
        &mut self,
        number: u16,
        path: &Path,
        contents: &mut dyn Streams,
    ) -> Result<Option<Database>, Error> {
        let bytes = path.as_os_str().as_bytes();
        self.with_image((number, path), |file, image| {
            let meta = fs::symlink_metadata(path).map_err(|e| Error::io("look at", bytes, e))?;
            let digest = image::digest(file).map_err(|e| Error::io("read", bytes, e))?;
            let pieces = contents.take(file, path)?;
            let (mode, size) = (meta.permissions().mode() & 0o7777, read::size(&pieces));
            let damage = image::damage(image)?;
            Ok(Database { path: bytes.to_vec(), mode, size, pieces, digest, damage, postgresql: None })
        })
    }

    fn dump(
        &mut self,
        number: u16,
        address: &Address,
        (contents, note): (&mut dyn Streams, bool),
    ) -> Result<Result<Option<Database>, String>, Error> {
        let label = address.label();
        self.with_dump(number, note, |mut dump| {
            let pieces = contents.stream(&mut dump, Path::new(&label));
            let pieces = dump.whole(pieces)?;
            let (size, (digest, version)) = (read::size(&pieces), dump.meaning());
            let postgresql = Some(Origin { address: address.clone(), version });
            Ok(Database { path: label.into_bytes(), mode: 0, size, pieces, digest, damage: None, postgresql })
        })
    }

    /// How a database of the checkpoint is now, and what is in the way.
    fn now(
        &mut self,
        database: &Database,
        (number, place): (u16, Place<'a>),
    ) -> Result<(Option<[u8; 32]>, Option<Obstacle>), Error> {
        match (place, &database.postgresql) {
            (Place::File(path), _) => {
                let now = self.with_image((number, path), |file, _| {
                    image::digest(file).map_err(|e| Error::io("read", &database.path, e))
                })?;
                Ok((now, database.damage.is_some().then_some(Obstacle::Damaged)))
            }
            (Place::Server(_), Some(origin)) => {
                let now = self.with_dump(number, false, |mut dump| {
                    dump.skim()?;
                    Ok(dump.meaning())
                })?;
                Ok(match now {
                    Ok(None) => (None, None),
                    Ok(Some((digest, version))) if origin.version > version => {
                        (Some(digest), Some(Obstacle::Newer(origin.version, version)))
                    }
                    Ok(Some((digest, _))) => (Some(digest), None),
                    Err(why) => (None, Some(Obstacle::Unreachable(bare(why, &database.path)))),
                })
            }
            // No label begins as a path does.
            (Place::Server(_), None) => Ok((None, Some(Obstacle::NotListed))),
        }
    }

    /// What is not as in the checkpoint, with the place there.
    fn compare(&mut self, want: &Part) -> Result<Vec<(usize, Difference)>, Error> {
        let Part::Databases { databases, .. } = want else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (place, database) in databases.iter().enumerate() {
            let Some(known) = self.places.find(&database.path) else {
                found.push((place, plan::difference(database, None, Some(Obstacle::NotListed))));
                continue;
            };
            let (now, obstacle) = self.now(database, known)?;
            if now != Some(database.digest) {
                found.push((place, plan::difference(database, now, obstacle)));
            }
        }
        Ok(found)
    }

    /// One effect on every database that differs. Goes on after an error, then reports the first.
    fn each(&mut self, effect: impl Fn(u16) -> Effect) -> Result<(), Error> {
        let mut first = Ok(());
        for root in self.plans.iter().map(|(_, root, _)| *root).collect::<Vec<_>>() {
            let result = self.perform(&effect(root)).map(|_| ());
            first = first.and(result);
        }
        first
    }

    /// Looks for an earlier restore before anything is staged.
    fn make_way(&mut self) -> Result<(), Error> {
        for (_, root, place) in self.plans.clone() {
            match self.perform(&Effect::Look { root })? {
                Progress::None => {}
                Progress::Loose | Progress::Finished => {
                    self.perform(&Effect::Clean { root })?;
                }
                Progress::Committed | Progress::Executed => {
                    return Err(Error::Unfinished(shown(&place.name())));
                }
            }
        }
        Ok(())
    }

    fn stage(
        &mut self,
        database: &Database,
        (root, at): (u16, Place<'a>),
        chunks: &Chunks,
    ) -> Result<(), Error> {
        // A server's disk is the server's to look after; where its dump is staged the helper looks.
        if let Place::File(path) = at {
            check_space(database, path)?;
        }
        self.perform(&Effect::Open { root, way: Way::InPlace })?;
        let (time, mode) = (Stamp { secs: 0, nanos: 0 }, database.mode);
        let meta = Meta { mode, uid: 0, gid: 0, mtime: time, atime: time, xattrs: Vec::new() };
        let body = Body::Regular { size: database.size };
        self.perform(&Effect::Stage { root, number: 0, meta, body })?;
        for piece in &database.pieces {
            self.perform(&Effect::Data { root, bytes: get(database, piece, chunks)? })?;
        }
        self.perform(&Effect::Seal { root })?;
        if let Place::File(path) = at
            && let Some(damage) = image::damage(&image::beside(path, image::NEW))?
        {
            return Err(Error::Damaged(format!("{}: {damage}", shown(&database.path))));
        }
        self.perform(&Effect::Commit { root }).map(|_| ())
    }
}

/// What the helper says, without the name that stands before it anyway.
fn bare(why: String, name: &[u8]) -> String {
    let rest = why.strip_prefix(&shown(name)).and_then(|rest| rest.strip_prefix(": "));
    rest.map(str::to_owned).unwrap_or(why)
}

fn get(database: &Database, piece: &Piece, chunks: &Chunks) -> Result<Vec<u8>, Error> {
    let bytes = chunks.get(&piece.id())?;
    if length(bytes.len()) == u64::from(piece.bytes) {
        return Ok(bytes);
    }
    Err(Error::Damaged(format!("a chunk of {} has another size", shown(&database.path))))
}

/// The new image, a copy of what is there, and what SQLite keeps while it replaces it.
fn check_space(database: &Database, path: &Path) -> Result<(), Error> {
    let bytes = path.as_os_str().as_bytes();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let now = fs::symlink_metadata(path).map_or(0, |meta| meta.len());
    let needed = database.size.saturating_add(now.saturating_mul(2));
    let disk = rustix::fs::statvfs(folder).map_err(|e| Error::io("ask for the space of", bytes, e))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let path = shown(folder.as_os_str().as_bytes());
    if needed > free { Err(Error::Full { path, needed, free }) } else { Ok(()) }
}

impl Component for Databases<'_> {
    fn name(&self) -> &'static str {
        "databases"
    }

    fn after(&self) -> &'static [&'static str] {
        // The folder that a database lies in may be a captured one.
        &["files"]
    }

    fn capture(&mut self, chunks: &mut Chunks) -> Result<Part, Error> {
        self.look(&mut read::Keep(chunks), true)
    }

    fn observe(&mut self, chunks: &Chunks) -> Result<Part, Error> {
        self.look(&mut read::Name(chunks), false)
    }

    fn plan(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let Part::Databases { databases, .. } = want else { return Ok(Vec::new()) };
        let found = self.compare(want)?;
        let blocked = found.iter().find(|(_, difference)| difference.obstacle.is_some());
        self.blocked = blocked.map(|(_, difference)| difference.to_string());
        self.plans = Vec::new();
        for (place, difference) in found.iter().filter(|(_, difference)| difference.obstacle.is_none()) {
            let Some(database) = databases.get(*place) else { continue };
            database.pieces.iter().try_for_each(|piece| get(database, piece, chunks).map(|_| ()))?;
            let known = self.places.find(&difference.path);
            self.plans.extend(known.map(|(number, at)| (*place, number, at)));
        }
        Ok(found.into_iter().map(|(_, difference)| component::Difference::Database(difference)).collect())
    }

    fn prepare(&mut self, want: &Part, chunks: &Chunks) -> Result<(), Error> {
        let Part::Databases { databases, .. } = want else { return Ok(()) };
        if let Some(first) = self.blocked.as_ref().filter(|_| !self.leave_obstacles) {
            return Err(Error::Refused(format!("{first}; put that right, or ask to leave it")));
        }
        self.make_way()?;
        for (place, root, at) in self.plans.clone() {
            let Some(database) = databases.get(place) else { continue };
            self.stage(database, (root, at), chunks)?;
        }
        Ok(())
    }

    fn execute(&mut self) -> Result<(), Error> {
        let roots: Vec<_> = self.plans.iter().map(|(_, root, _)| *root).collect();
        roots.into_iter().try_for_each(|root| self.perform(&Effect::Execute { root }).map(|_| ()))
    }

    fn undo(&mut self) -> Result<(), Error> {
        self.each(|root| Effect::Undo { root })
    }

    fn verify(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let leave = self.leave_obstacles;
        let found = self.compare(want)?.into_iter().map(|(_, difference)| difference);
        let counted = found.filter(|difference| !leave || difference.obstacle.is_none());
        Ok(counted.map(component::Difference::Database).collect())
    }

    fn clean_up(&mut self) -> Result<(), Error> {
        self.each(|root| Effect::Finish { root })?;
        self.each(|root| Effect::Clean { root })
    }
}
