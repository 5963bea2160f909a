//! The component *databases*: SQLite databases, page by page, as SQLite's own backup interface gives them.
//!
//! # Layout
//!
//! - this file: the component
//! - `plan`: what differs and what stands in the way
//! - `image`: copying a database, and what tells two of them apart
//!
//! # Invariants
//!
//! - What opens a live database acts as its owner, and takes SQLite's locks: see `worker/database.rs`.
//! - What a database holds is looked at in an image, by the daemon, never in the one who may do more.

pub(crate) mod image;
mod plan;

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
use crate::files::read::{self, Contents};
use crate::manifest::Part;
use crate::settings::Unread;
use crate::worker::effect::{Body, Effect, Executor, Progress, Shared, Way};

/// The most databases of a machine.
pub const DATABASES_MAX: usize = 256;

/// A captured database.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Database {
    /// Its absolute path.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Permission bits, for one that is gone.
    #[n(1)]
    pub mode: u32,
    /// Bytes of the image.
    #[n(2)]
    pub size: u64,
    /// The image in order.
    #[n(3)]
    pub pieces: Vec<Piece>,
    /// SHA-256 of the image without what SQLite counts in its header.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// What SQLite's check found wrong, if anything.
    #[n(5)]
    pub damage: Option<String>,
}

/// Checks databases that were read from a disk.
pub(crate) fn check(databases: &[Database]) -> Result<(), Error> {
    let ordered = databases.is_sorted_by(|a, b| a.path < b.path);
    let whole = databases
        .iter()
        .all(|one| one.mode <= 0o7777 && one.size == read::size(&one.pieces) && one.path.starts_with(b"/"));
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
}

impl<'a> Places<'a> {
    fn number(&self, place: usize) -> Result<u16, Error> {
        u16::try_from(self.first + place).map_err(|_| Error::Invalid("there are too many databases".into()))
    }

    fn find(&self, path: &[u8]) -> Option<(u16, &'a Path)> {
        let place = self.paths.iter().position(|known| known.as_os_str().as_bytes() == path)?;
        Some((self.number(place).ok()?, self.paths.get(place)?))
    }
}

/// The component.
pub struct Databases<'a> {
    places: Places<'a>,
    executor: Option<Shared<'a>>,
    leave_obstacles: bool,
    /// Of those that differ the place in the checkpoint, the number, and the path.
    plans: Vec<(usize, u16, &'a Path)>,
}

impl<'a> Databases<'a> {
    /// The databases at `places`; `executor` has the same and reaches them.
    pub fn new(places: Places<'a>, executor: Option<Shared<'a>>, leave_obstacles: bool) -> Self {
        Self { places, executor, leave_obstacles, plans: Vec::new() }
    }

    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        match &mut self.executor {
            Some(executor) => executor.perform(effect),
            None => Err(Error::Refused("nobody is there who may open databases".into())),
        }
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

    fn look(&mut self, contents: &mut dyn Contents) -> Result<Part, Error> {
        let (mut databases, mut unread) = (Vec::new(), Vec::new());
        for (place, path) in self.places.paths.iter().enumerate() {
            let bytes = path.as_os_str().as_bytes();
            let number = self.places.number(place)?;
            let found = self.with_image((number, path), |file, image| {
                let meta = fs::symlink_metadata(path).map_err(|e| Error::io("look at", bytes, e))?;
                let digest = image::digest(file).map_err(|e| Error::io("read", bytes, e))?;
                let pieces = contents.take(file, path)?;
                let (mode, size) = (meta.permissions().mode() & 0o7777, read::size(&pieces));
                let damage = image::damage(image)?;
                Ok(Database { path: bytes.to_vec(), mode, size, pieces, digest, damage })
            })?;
            match found {
                Some(database) => databases.push(database),
                None => unread.push(Unread { path: bytes.to_vec(), why: "there is no such database".into() }),
            }
        }
        databases.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Part::Databases { databases, unread })
    }

    /// What is not as in the checkpoint, with the place there.
    fn compare(&mut self, want: &Part) -> Result<Vec<(usize, Difference)>, Error> {
        let Part::Databases { databases, .. } = want else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (place, database) in databases.iter().enumerate() {
            let Some((number, path)) = self.places.find(&database.path) else {
                found.push((place, plan::difference(database, None, Some(Obstacle::NotListed))));
                continue;
            };
            let now = self.with_image((number, path), |file, _| {
                image::digest(file).map_err(|e| Error::io("read", &database.path, e))
            })?;
            if now != Some(database.digest) {
                let obstacle = database.damage.is_some().then_some(Obstacle::Damaged);
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
        for (_, root, path) in self.plans.clone() {
            match self.perform(&Effect::Look { root })? {
                Progress::None => {}
                Progress::Loose | Progress::Finished => {
                    self.perform(&Effect::Clean { root })?;
                }
                Progress::Committed | Progress::Executed => {
                    return Err(Error::Unfinished(path.display().to_string()));
                }
            }
        }
        Ok(())
    }

    fn stage(
        &mut self,
        database: &Database,
        (root, path): (u16, &Path),
        chunks: &Chunks,
    ) -> Result<(), Error> {
        check_space(database, path)?;
        self.perform(&Effect::Open { root, way: Way::InPlace })?;
        let (time, mode) = (Stamp { secs: 0, nanos: 0 }, database.mode);
        let meta = Meta { mode, uid: 0, gid: 0, mtime: time, atime: time, xattrs: Vec::new() };
        let body = Body::Regular { size: database.size };
        self.perform(&Effect::Stage { root, number: 0, meta, body })?;
        for piece in &database.pieces {
            self.perform(&Effect::Data { root, bytes: get(database, piece, chunks)? })?;
        }
        self.perform(&Effect::Seal { root })?;
        if let Some(damage) = image::damage(&image::beside(path, image::NEW))? {
            return Err(Error::Damaged(format!("{}: {damage}", shown(&database.path))));
        }
        self.perform(&Effect::Commit { root }).map(|_| ())
    }
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
        self.look(&mut read::Keep(chunks))
    }

    fn observe(&mut self, chunks: &Chunks) -> Result<Part, Error> {
        self.look(&mut read::Name(chunks))
    }

    fn plan(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let Part::Databases { databases, .. } = want else { return Ok(Vec::new()) };
        let found = self.compare(want)?;
        self.plans = Vec::new();
        for (place, difference) in found.iter().filter(|(_, difference)| difference.obstacle.is_none()) {
            let Some(database) = databases.get(*place) else { continue };
            database.pieces.iter().try_for_each(|piece| get(database, piece, chunks).map(|_| ()))?;
            let known = self.places.find(&difference.path);
            self.plans.extend(known.map(|(number, path)| (*place, number, path)));
        }
        Ok(found.into_iter().map(|(_, difference)| component::Difference::Database(difference)).collect())
    }

    fn prepare(&mut self, want: &Part, chunks: &Chunks) -> Result<(), Error> {
        let Part::Databases { databases, .. } = want else { return Ok(()) };
        if !self.leave_obstacles
            && let Some((_, first)) =
                self.compare(want)?.into_iter().find(|(_, difference)| difference.obstacle.is_some())
        {
            return Err(Error::Refused(format!("{first}; put that right, or ask to leave it")));
        }
        self.make_way()?;
        for (place, root, path) in self.plans.clone() {
            let Some(database) = databases.get(place) else { continue };
            self.stage(database, (root, path), chunks)?;
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
