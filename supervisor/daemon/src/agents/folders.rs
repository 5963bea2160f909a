//! Which agents are defined: all files of the configured folders, read anew when one changes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::agent::definition;
use api::document::mistake::{Mistake, Place};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sandbox::folders::{Folder, Folders, is_definition};
use tokio::sync::mpsc;
use types::agent::Definition;
use types::hash::Hash;

/// Most files.
pub const FILES_MAX: usize = 1024;
/// Most entries of a folder that are looked at: one that holds more is used for something else.
const ENTRIES_MAX: usize = 16 << 10;
/// Who saves several files, or one in several steps, is waited for.
const QUIET: Duration = Duration::from_millis(100);
/// But not for ever.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether a folder that was missing is there, or another one by now.
const LOOK: Duration = Duration::from_secs(5);

/// A file in a folder of definitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What its agent is called: by its definition, or, where that cannot be read, by the file without its ending.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its owner; 0 also where it cannot be opened.
    pub uid: u32,
    /// SHA-256 of it; zeros where it cannot be opened.
    pub hash: Hash,
    /// What it says, or what is wrong with it: also that no agent may be started from it.
    pub definition: Result<Definition, Vec<Mistake>>,
}

/// Reads all folders.
pub fn scan(folders: &Folders) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    let mut names: HashMap<String, PathBuf> = HashMap::new();
    for folder in folders.list() {
        let left = FILES_MAX - all.len();
        let (files, is_cut) = match list(folder, left) {
            Ok(listed) => listed,
            // Folders that are not there are usual: most users define no agents.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                let advice = "make it a folder that dsmild may read";
                all.push(wrong(&folder.path, format!("the folder cannot be read: {error}"), advice));
                continue;
            }
        };
        for path in files {
            let mut found = read(folders, path);
            if found.definition.is_ok() {
                match names.get(&found.name) {
                    None => drop(names.insert(found.name.clone(), found.path.clone())),
                    Some(first) => {
                        let what =
                            format!("the agent “{}” is already defined in {}", found.name, first.display());
                        found.definition = Err(vec![
                            Mistake::new(Place::default(), what, "give it another name").of("name"),
                        ]);
                    }
                }
            }
            all.push(found);
        }
        if is_cut {
            let what = format!(
                "there are more than {FILES_MAX} files in all folders, or {ENTRIES_MAX} entries in this one"
            );
            all.push(wrong(&folder.path, what, "remove some"));
            break;
        }
        if all.len() >= FILES_MAX {
            break;
        }
    }
    all
}

/// The definitions of a folder by their names, at most so many; and whether there are more.
fn list(folder: &Folder, max: usize) -> std::io::Result<(Vec<PathBuf>, bool)> {
    let mut names: Vec<OsString> = Vec::new();
    let mut is_cut = false;
    for (count, entry) in std::fs::read_dir(&folder.path)?.enumerate() {
        if count == ENTRIES_MAX {
            is_cut = true;
            break;
        }
        let name = entry?.file_name();
        if is_definition(Path::new(&name)) {
            names.push(name);
        }
    }
    names.sort();
    is_cut |= names.len() > max;
    names.truncate(max);
    Ok((names.into_iter().map(|name| folder.path.join(name)).collect(), is_cut))
}

fn read(folders: &Folders, path: PathBuf) -> Found {
    match folders.open(&path) {
        Err(refusal) => {
            wrong(&path, refusal.to_string(), "no agent is started from it as long as this is so")
        }
        Ok(file) => {
            let definition = definition::read(&file.bytes);
            let name = definition.as_ref().map_or_else(|_| stem(&path), |found| found.name.to_string());
            Found { name, path, uid: file.uid, hash: file.hash, definition }
        }
    }
}

fn wrong(path: &Path, what: String, advice: &str) -> Found {
    let mistake = Mistake::new(Place::default(), what, advice);
    Found {
        name: stem(path),
        path: path.to_owned(),
        uid: 0,
        hash: Hash::default(),
        definition: Err(vec![mistake]),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Watches the folders as long as it is kept.
#[derive(Debug)]
pub struct Watch {
    is_over: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// Tells the complete list now, and again each time it has changed. A thread of its own reads: a slow disk holds up nobody else.
///
/// # Errors
///
/// The kernel refused to watch anything.
pub fn watch(folders: Folders, told: mpsc::Sender<Vec<Found>>) -> anyhow::Result<Watch> {
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = Watcher {
        folders,
        inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .context("watching the folders of agents")?,
        seen: HashMap::new(),
        is_over: Arc::clone(&is_over),
    };
    std::thread::Builder::new()
        .name("agents-folders".to_owned())
        .spawn(move || watcher.run(&told))
        .context("starting the thread that watches the folders of agents")?;
    Ok(Watch { is_over })
}

struct Watcher {
    folders: Folders,
    inotify: Inotify,
    /// The folders that are watched, each by its identity.
    seen: HashMap<PathBuf, (u64, u64)>,
    is_over: Arc<AtomicBool>,
}

impl Watcher {
    fn run(mut self, told: &mpsc::Sender<Vec<Found>>) {
        let mut last: Option<Vec<Found>> = None;
        // Watched before it is read: what changes while it is read is read again.
        self.watch_all();
        let mut is_due = true;
        while !self.is_over.load(Ordering::Acquire) && !told.is_closed() {
            if is_due {
                let found = scan(&self.folders);
                if last.as_ref() != Some(&found) {
                    if told.blocking_send(found.clone()).is_err() {
                        return;
                    }
                    last = Some(found);
                }
            }
            is_due = self.wait(LOOK);
            if is_due {
                let until = Instant::now() + QUIET_MAX;
                while Instant::now() < until && self.wait(QUIET) {}
            }
            is_due |= self.watch_all();
        }
    }

    /// Watches what is there and was not watched; whether there is any such folder, or one is gone.
    fn watch_all(&mut self) -> bool {
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut is_new = false;
        for Folder { path, .. } in self.folders.list() {
            let identity = std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
            if self.seen.get(path) == identity.as_ref() {
                continue;
            }
            is_new = true;
            match identity {
                Some(identity) if self.inotify.add_watch(path, flags).is_ok() => {
                    self.seen.insert(path.clone(), identity);
                }
                _ => drop(self.seen.remove(path)),
            }
        }
        is_new
    }

    /// Waits for a change, at most so long; true if there was one.
    fn wait(&self, within: Duration) -> bool {
        let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => false,
            Ok(_) => {
                // What happened does not matter: all is read anew.
                while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
                true
            }
            Err(error) => {
                tracing::warn!("the folders of agents cannot be watched: {error}");
                std::thread::sleep(within);
                false
            }
        }
    }
}
