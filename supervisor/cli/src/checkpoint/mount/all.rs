//! All checkpoints, each as a folder.
//!
//! A number's upper half says which checkpoint, and the lower half which node of it; 1 is the folder of all and 2 the link to the newest.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use recovery::browse::contents::Contents;
use recovery::browse::kept::Kept;
use recovery::browse::{TOP, Table};
use recovery::manifest::stored::Stored;
use view::tree::{Kind, Node, ROOT, Refusal, Stamp, Tree};

use super::one::{LASTING, Numbered, Told, wall};
use crate::checkpoint::offline::{Signers, fault};
use crate::fault::Fault;

/// The most checkpoints whose entries are kept in memory: as many as a comparison looks at, and two more.
const TABLES_MAX: usize = 4;
/// The number of the link to the newest.
const LATEST: u64 = 2;
/// Its name.
const LATEST_NAME: &[u8] = b"latest";
/// How long a list of checkpoints is true: others come and go.
const LIST_LASTING: Duration = Duration::from_secs(1);
/// The bits of a number that say which node.
const NODE_BITS: u32 = 32;
/// Checkpoints whose number leaves no room for those.
const NUMBER_MAX: u64 = (1 << NODE_BITS) - 1;

/// All checkpoints of a state folder.
pub struct All {
    dir: PathBuf,
    signers: Signers,
    contents: Contents,
    list: Mutex<List>,
    tables: Kept<u64, Table>,
    told: Told,
}

/// The list, as it was read.
#[derive(Default)]
struct List {
    /// When the folder had changed last.
    changed: Option<SystemTime>,
    /// Ascending by number.
    shown: Arc<Vec<Shown>>,
}

/// A checkpoint in the list.
struct Shown {
    name: Vec<u8>,
    stored: Stored,
}

impl All {
    pub fn new(dir: PathBuf, signers: Signers, contents: Contents) -> Result<Self, Fault> {
        // A folder that is none shows now, and not when somebody looks.
        store::manifest::list(&dir)?;
        let (tables, list) = (Kept::new(TABLES_MAX), Mutex::default());
        Ok(Self { dir, signers, contents, list, tables, told: Told::default() })
    }

    /// The list as it is now.
    fn list(&self) -> Result<Arc<Vec<Shown>>, Refusal> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = std::fs::metadata(&self.dir).and_then(|meta| meta.modified());
        let changed = changed.map_err(|error| self.told.tell(&format!("{}: {error}", self.dir.display())))?;
        if list.changed != Some(changed) {
            let numbers = store::manifest::list(&self.dir);
            let numbers = numbers.map_err(|error| self.told.tell(&error.to_string()))?;
            let shown = numbers.into_iter().filter_map(|number| self.shown(number)).collect();
            *list = List { changed: Some(changed), shown: Arc::new(shown) };
        }
        Ok(Arc::clone(&list.shown))
    }

    /// A checkpoint for the list; what is no checkpoint, or not signed as asked, is told of and left out.
    fn shown(&self, number: u64) -> Option<Shown> {
        let read = || {
            if number == 0 || number > NUMBER_MAX {
                return Err(Fault::Failed(format!("checkpoint {number} has too large a number to be shown")));
            }
            let stored = Stored::decode(number, &store::manifest::get(&self.dir, number)?).map_err(fault)?;
            self.signers.check(&stored)?;
            Ok(stored)
        };
        match read() {
            Ok(stored) => {
                // A slash is what no name in a folder has.
                let name = format!("{number}-{}", stored.statement.name.replace('/', "_"));
                Some(Shown { name: name.into_bytes(), stored })
            }
            Err(error) => {
                self.told.tell(&format!("checkpoint {number} is left out: {error}"));
                None
            }
        }
    }

    fn of(&self, number: u64) -> Result<(Arc<Vec<Shown>>, usize), Refusal> {
        let list = self.list()?;
        let place = list.iter().position(|shown| shown.stored.statement.number == number >> NODE_BITS);
        place.map(|place| (list, place)).ok_or(Refusal::Absent)
    }

    /// Does something with the checkpoint that a number is in.
    fn within<T>(
        &self,
        number: u64,
        act: impl FnOnce(Numbered<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let checkpoint = number >> NODE_BITS;
        let table = self.tables.get(&checkpoint, || {
            let (list, place) = self.of(number)?;
            let shown = list.get(place).ok_or(Refusal::Absent)?;
            let table = self.contents.with(|chunks| shown.stored.manifest(chunks)).and_then(Table::new);
            table.map_err(|error| self.told.tell(&format!("checkpoint {checkpoint}: {error}")))
        })?;
        let base = checkpoint << NODE_BITS;
        act(Numbered { table: &table, contents: &self.contents, base, told: &self.told })
    }

    /// The folder of all, the link, or a checkpoint's own folder, which needs no entries to be looked at.
    fn outer(&self, number: u64) -> Result<Node, Refusal> {
        let list = self.list()?;
        let newest =
            list.last().map_or(Stamp::default(), |shown| wall(shown.stored.statement.created_wall_ns));
        let folders = u32::try_from(list.len()).unwrap_or(u32::MAX);
        match number {
            ROOT => Ok(made(ROOT, Kind::Folder, (folders.saturating_add(2), 0), newest)),
            LATEST => {
                let target = list.last().ok_or(Refusal::Absent)?.name.len();
                let size = u64::try_from(target).unwrap_or(u64::MAX);
                Ok(made(LATEST, Kind::Link, (1, size), newest))
            }
            number => {
                let (list, place) = self.of(number)?;
                let shown = list.get(place).ok_or(Refusal::Absent)?;
                Ok(top(shown))
            }
        }
    }
}

/// A checkpoint's own folder.
fn top(shown: &Shown) -> Node {
    let statement = &shown.stored.statement;
    made(statement.number << NODE_BITS, Kind::Folder, (2, 0), wall(statement.created_wall_ns))
}

/// Something that is not in a checkpoint.
const fn made(number: u64, kind: Kind, (links, size): (u32, u64), at: Stamp) -> Node {
    let mode = if matches!(kind, Kind::Link) { 0o777 } else { 0o755 };
    Node { number, kind, mode, links, uid: 0, gid: 0, size, atime: at, mtime: at, ctime: at }
}

/// Whether it is outside of all checkpoints, or one's own folder.
const fn is_outer(number: u64) -> bool {
    number <= LATEST || number & NUMBER_MAX == TOP as u64
}

impl Tree for All {
    fn find(&self, folder: u64, name: &[u8]) -> Result<Node, Refusal> {
        if folder != ROOT {
            return self.within(folder, |tree| tree.find(folder, name));
        }
        if name == LATEST_NAME {
            return self.outer(LATEST);
        }
        self.list()?.iter().find(|shown| shown.name == name).map(top).ok_or(Refusal::Absent)
    }

    fn node(&self, number: u64) -> Result<Node, Refusal> {
        if is_outer(number) { self.outer(number) } else { self.within(number, |tree| tree.node(number)) }
    }

    fn parent(&self, folder: u64) -> u64 {
        if is_outer(folder) {
            return ROOT;
        }
        self.within(folder, |tree| Ok(tree.parent(folder))).unwrap_or(ROOT)
    }

    fn list(
        &self,
        folder: u64,
        from: u64,
        take: &mut dyn FnMut(u64, &[u8], &Node) -> bool,
    ) -> Result<(), Refusal> {
        if folder != ROOT {
            return self.within(folder, |tree| tree.list(folder, from, take));
        }
        // A checkpoint keeps its place in the list by its number, also while others come and go.
        let list = self.list()?;
        let later = |shown: &&Shown| shown.stored.statement.number >= from;
        for shown in list.iter().filter(later) {
            if !take(shown.stored.statement.number + 1, &shown.name, &top(shown)) {
                return Ok(());
            }
        }
        if from <= NUMBER_MAX + 1 && !list.is_empty() {
            take(NUMBER_MAX + 2, LATEST_NAME, &self.outer(LATEST)?);
        }
        Ok(())
    }

    fn target(&self, link: u64) -> Result<Vec<u8>, Refusal> {
        if link != LATEST {
            return self.within(link, |tree| tree.target(link));
        }
        self.list()?.last().map(|shown| shown.name.clone()).ok_or(Refusal::Absent)
    }

    fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, Refusal> {
        self.within(file, |tree| tree.read(file, offset, length))
    }

    fn attributes(&self, number: u64) -> Result<Vec<Vec<u8>>, Refusal> {
        if is_outer(number) {
            return Ok(Vec::new());
        }
        self.within(number, |tree| tree.attributes(number))
    }

    fn attribute(&self, number: u64, name: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        if is_outer(number) {
            return Ok(None);
        }
        self.within(number, |tree| tree.attribute(number, name))
    }

    fn lasting(&self, number: u64) -> Duration {
        if is_outer(number) { LIST_LASTING } else { LASTING }
    }
}
