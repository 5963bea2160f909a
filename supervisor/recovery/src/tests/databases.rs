//! Real databases, changed by real programs (connections of SQLite) while they are captured and restored.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use store::chunk::Chunks;
use types::time::Time;

use super::tree::*;
use crate::Error;
use crate::diff::{Difference, Presence, diff};
use crate::manifest::{Manifest, Part};
use crate::restore::{self, Machine, Outcome, Restore};
use crate::worker::Worker;
use crate::worker::effect::{Body, Effect, Executor, Progress, Way};

const NOBODY: u32 = 65534;

/// A folder with databases and the one who may change them.
struct Desk {
    bench: Bench,
    paths: Vec<PathBuf>,
    worker: Worker,
}

impl Desk {
    fn new(names: &[&str]) -> Self {
        let bench = Bench::new();
        let folder = bench.root.parent().unwrap().join("data");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        let worker = Worker::new(&[]).unwrap().with_databases(&paths).unwrap();
        Self { bench, paths, worker }
    }

    fn capture(&mut self) -> Manifest {
        let mut chunks = self.bench.chunks();
        let captured =
            restore::capture(machine(&mut self.worker, &self.paths), &mut chunks, 1, "x", Time::default());
        let manifest = captured.unwrap().manifest;
        manifest.store(&mut chunks).unwrap();
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
        manifest
    }

    /// What is left beside the databases that is neither theirs nor SQLite's.
    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(self.paths[0].parent().unwrap()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("dsmil")).collect()
    }

    fn back(&mut self, manifest: &Manifest, chunks: &Chunks) {
        let mut restore =
            Restore::begin(machine(&mut self.worker, &self.paths), manifest.clone(), chunks, false).unwrap();
        restore.prepare().unwrap();
        restore.execute().unwrap();
        restore.verify().unwrap();
        restore.clean_up().unwrap();
    }
}

fn machine<'a>(worker: &'a mut Worker, paths: &'a [PathBuf]) -> Machine<'a> {
    Machine { executor: Some(worker), databases: Some(paths), ..Machine::default() }
}

fn fill(path: &Path, mode: &str, rows: u32) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", mode).unwrap();
    connection.execute_batch("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v TEXT)").unwrap();
    connection.execute_batch("BEGIN").unwrap();
    for row in 0..rows {
        connection
            .execute("INSERT INTO t (v) VALUES (?1)", [format!("row {row} {}", "x".repeat(500))])
            .unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    connection
}

fn rows(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn now(path: &Path) -> i64 {
    rows(&Connection::open(path).unwrap())
}

#[test]
fn databases_come_back_under_the_eyes_of_their_programs() {
    for mode in ["delete", "wal"] {
        let mut desk = Desk::new(&["a b?.db"]);
        let path = desk.paths[0].clone();
        // The program keeps its connection open all the time.
        let program = fill(&path, mode, 400);
        let manifest = desk.capture();
        assert_eq!(desk.left(), Vec::<String>::new());
        assert_eq!(manifest.databases().0[0].path, path.as_os_str().as_encoded_bytes());
        let again = desk.capture();
        assert_eq!(again.parts, manifest.parts, "what is unchanged deduplicates as a whole");

        program.execute_batch("DELETE FROM t WHERE k > 100; CREATE TABLE more (x); VACUUM;").unwrap();
        let chunks = desk.bench.chunks();
        let present =
            restore::observe(machine(&mut desk.worker, &desk.paths), &chunks, Time::default()).unwrap();
        let changed = Difference::Database {
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            change: Presence::Changed,
        };
        assert_eq!(diff(&manifest, &present), [changed]);
        // A reader that began before sees the old rows to its end where the journal allows it.
        let reader = Connection::open(&path).unwrap();
        if mode == "wal" {
            reader.execute_batch("BEGIN").unwrap();
            assert_eq!(rows(&reader), 100);
        }
        let mut restore =
            Restore::begin(machine(&mut desk.worker, &desk.paths), manifest.clone(), &chunks, false).unwrap();
        assert_eq!(restore.plan().summary().databases, 1);
        restore.prepare().unwrap();
        assert_eq!(rows(&program), 100, "nothing changes before it is executed");
        restore.execute().unwrap();
        restore.verify().unwrap();
        assert_eq!(rows(&program), 400, "{mode}");
        if mode == "wal" {
            assert_eq!(rows(&reader), 100);
            reader.execute_batch("COMMIT").unwrap();
            assert_eq!(rows(&reader), 400);
        }
        restore.undo().unwrap();
        assert_eq!(rows(&program), 100, "{mode}");
        assert_eq!(program.query_row("SELECT count(*) FROM more", [], |row| row.get(0)), Ok(0));
        restore.clean_up().unwrap();
        drop(restore);
        assert_eq!(desk.left(), Vec::<String>::new());

        desk.back(&manifest, &chunks);
        assert_eq!(rows(&program), 400);
        assert!(program.prepare("SELECT * FROM more").is_err());
        let answer: String = program.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(answer, "ok");
        assert_eq!(desk.left(), Vec::<String>::new());
        // What SQLite counted meanwhile is no difference.
        assert!(
            restore::plan(machine(&mut desk.worker, &desk.paths), manifest.clone(), &chunks)
                .unwrap()
                .differences
                .is_empty()
        );
        program.execute("INSERT INTO t (v) VALUES ('one more')", []).unwrap();
        assert_eq!(
            restore::plan(machine(&mut desk.worker, &desk.paths), manifest, &chunks)
                .unwrap()
                .summary()
                .databases,
            1
        );
    }
}

#[test]
fn a_small_change_stores_little() {
    let mut desk = Desk::new(&["a.db"]);
    let program = fill(&desk.paths[0], "delete", 6000);
    let first = desk.capture();
    program.execute("UPDATE t SET v = 'changed' WHERE k = 3000", []).unwrap();
    let second = desk.capture();
    let (first, second) = (&first.databases().0[0].pieces, &second.databases().0[0].pieces);
    let new = second.iter().filter(|piece| !first.contains(piece)).count();
    let all = second.len();
    assert!(all >= 4, "{all}");
    // The page with the row, and the header's counters.
    assert!((1..=3).contains(&new), "{new} of {all}");
}

#[test]
fn a_crash_leaves_the_old_or_the_new() {
    let mut desk = Desk::new(&["a.db", "b.db"]);
    for path in &desk.paths {
        fill(path, "delete", 50);
    }
    let manifest = desk.capture();
    let count = |desk: &Desk| desk.paths.iter().map(|path| now(path)).collect::<Vec<_>>();
    // What of it was done before the crash, what is made of it, and what stands there then.
    for (done, back, outcome, expected) in [
        (0, false, Outcome::PutBack, [70, 70]),
        (0, true, Outcome::PutBack, [70, 70]),
        (1, false, Outcome::PutBack, [70, 70]),
        (1, true, Outcome::PutBack, [70, 70]),
        (2, false, Outcome::Finished, [50, 50]),
        (2, true, Outcome::PutBack, [70, 70]),
    ] {
        let chunks = desk.bench.chunks();
        for path in &desk.paths {
            let program = Connection::open(path).unwrap();
            program.execute("DELETE FROM t WHERE k > 50", []).unwrap();
            fill(path, "delete", 20);
        }
        let mut restore =
            Restore::begin(machine(&mut desk.worker, &desk.paths), manifest.clone(), &chunks, false).unwrap();
        restore.prepare().unwrap();
        drop(restore);
        for root in 0..done {
            desk.worker.perform(&Effect::Execute { root }).unwrap();
        }
        // Another one finds it.
        desk.worker = Worker::new(&[]).unwrap().with_databases(&desk.paths).unwrap();
        let mut blocked =
            Restore::begin(machine(&mut desk.worker, &desk.paths), manifest.clone(), &chunks, false).unwrap();
        if blocked.plan().summary().databases > 0 {
            assert!(matches!(blocked.prepare(), Err(Error::Unfinished(_))));
        }
        drop(blocked);
        let end = if back { restore::abandon } else { restore::resume };
        assert_eq!(end(&mut desk.worker, 2).unwrap(), outcome, "{done} {back}");
        assert_eq!(count(&desk), expected, "{done} {back}");
        assert_eq!(desk.left(), Vec::<String>::new());
        assert_eq!(end(&mut desk.worker, 2).unwrap(), Outcome::Nothing);
    }
    let chunks = desk.bench.chunks();
    desk.back(&manifest, &chunks);
    assert_eq!(count(&desk), [50, 50]);
}

#[test]
fn an_undo_that_was_cut_short_goes_on() {
    let mut desk = Desk::new(&["a.db"]);
    fill(&desk.paths[0], "delete", 50);
    let manifest = desk.capture();
    fill(&desk.paths[0], "delete", 20);
    let chunks = desk.bench.chunks();
    let mut restore =
        Restore::begin(machine(&mut desk.worker, &desk.paths), manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    drop(restore);
    // As far as a crash lets it come: the first of its steps is done.
    let beside = |what: &str| PathBuf::from(format!("{}{what}", desk.paths[0].display()));
    fs::rename(beside(".dsmil-done"), beside(".dsmil-new")).unwrap();
    assert_eq!(restore::abandon(&mut desk.worker, 1).unwrap(), Outcome::PutBack);
    assert_eq!(now(&desk.paths[0]), 70);
    assert_eq!(desk.left(), Vec::<String>::new());
}

#[test]
fn a_database_that_is_gone_is_made_anew_and_taken_away_again() {
    let mut desk = Desk::new(&["a.db", "never.db"]);
    fill(&desk.paths[0], "wal", 50);
    fs::set_permissions(&desk.paths[0], fs::Permissions::from_mode(0o640)).unwrap();
    let manifest = desk.capture();
    assert_eq!(manifest.databases().1.len(), 1, "what is not there is told");
    fs::remove_file(&desk.paths[0]).unwrap();
    let chunks = desk.bench.chunks();
    let path = desk.paths[0].clone();
    let mut restore =
        Restore::begin(machine(&mut desk.worker, &desk.paths), manifest.clone(), &chunks, false).unwrap();
    assert!(restore.plan().differences[0].to_string().starts_with("create database "));
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    assert_eq!(now(&path), 50);
    restore.undo().unwrap();
    restore.clean_up().unwrap();
    drop(restore);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    desk.back(&manifest, &chunks);
    assert_eq!(now(&path), 50);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_locked_database_is_waited_for_and_then_told() {
    let mut desk = Desk::new(&["a.db"]);
    let program = fill(&desk.paths[0], "delete", 5);
    let manifest = desk.capture();
    program.execute("INSERT INTO t (v) VALUES ('more')", []).unwrap();
    let mut chunks = desk.bench.chunks();
    program.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error =
        restore::capture(machine(&mut desk.worker, &desk.paths), &mut chunks, 2, "y", Time::default())
            .unwrap_err();
    assert!(error.to_string().contains("locked by another program"), "{error}");
    program.execute_batch("COMMIT").unwrap();
    // A lock that comes between preparing and executing undoes the restore.
    let mut restore =
        Restore::begin(machine(&mut desk.worker, &desk.paths), manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    program.execute_batch("BEGIN; SELECT * FROM t;").unwrap();
    let mut held = program.prepare("SELECT * FROM t").unwrap();
    let mut reading = held.query([]).unwrap();
    reading.next().unwrap();
    let error = restore.execute().unwrap_err();
    assert!(error.to_string().contains("locked by another program"), "{error}");
    assert_eq!(restore.phase(), restore::Phase::Undone, "although it is locked: {error}");
    restore.clean_up().unwrap();
    drop(restore);
    drop(reading);
    drop(held);
    program.execute_batch("COMMIT").unwrap();
    assert_eq!(rows(&program), 6);
    assert_eq!(desk.left(), Vec::<String>::new());
}

#[test]
fn a_damaged_database_is_kept_and_never_put_back() {
    let mut desk = Desk::new(&["a.db"]);
    drop(fill(&desk.paths[0], "delete", 400));
    let mut bytes = fs::read(&desk.paths[0]).unwrap();
    bytes[4096..4400].fill(0xEE);
    fs::write(&desk.paths[0], bytes).unwrap();
    let manifest = desk.capture();
    assert!(manifest.databases().0[0].damage.is_some());
    fs::remove_file(&desk.paths[0]).unwrap();
    fill(&desk.paths[0], "delete", 1);
    let chunks = desk.bench.chunks();
    let mut restore =
        Restore::begin(machine(&mut desk.worker, &desk.paths), manifest, &chunks, false).unwrap();
    assert_eq!((restore.plan().summary().databases, restore.plan().summary().obstacles), (0, 1));
    assert!(matches!(restore.prepare(), Err(Error::Refused(_))));
    drop(restore);
    assert_eq!(desk.left(), Vec::<String>::new());
    // What lies but is no whole database does not get in either.
    fn staged(worker: &mut Worker, bytes: &[u8]) -> Result<(), Error> {
        worker.perform(&Effect::Open { root: 0, way: Way::InPlace })?;
        let meta = crate::files::entry::Meta {
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: crate::files::entry::Stamp { secs: 0, nanos: 0 },
            atime: crate::files::entry::Stamp { secs: 0, nanos: 0 },
            xattrs: Vec::new(),
        };
        worker.perform(&Effect::Stage { root: 0, number: 0, meta, body: Body::Regular { size: 9 } })?;
        worker.perform(&Effect::Data { root: 0, bytes: bytes.to_vec() })?;
        worker.perform(&Effect::Seal { root: 0 })?;
        worker.perform(&Effect::Commit { root: 0 })?;
        worker.perform(&Effect::Execute { root: 0 }).map(|_| ())
    }
    assert!(staged(&mut desk.worker, b"0123").is_err(), "less than was announced");
    assert!(staged(&mut desk.worker, b"0123456789").is_err(), "more than was announced");
    assert!(staged(&mut desk.worker, b"012345678").is_err(), "no database");
    desk.worker.perform(&Effect::Undo { root: 0 }).unwrap();
    desk.worker.perform(&Effect::Clean { root: 0 }).unwrap();
    assert_eq!(now(&desk.paths[0]), 1);
}

#[test]
fn a_folder_that_is_not_there_holds_no_database() {
    let mut desk = Desk::new(&["a.db", "gone/b.db"]);
    fill(&desk.paths[0], "delete", 5);
    let manifest = desk.capture();
    let (databases, unread) = manifest.databases();
    assert_eq!((databases.len(), unread.len()), (1, 1));
    assert_eq!(restore::abandon(&mut desk.worker, 2).unwrap(), Outcome::Nothing);
    assert!(desk.worker.perform(&Effect::Open { root: 1, way: Way::InPlace }).is_err());
}

#[test]
fn effects_have_an_order_for_databases_too() {
    let mut desk = Desk::new(&["a.db"]);
    fill(&desk.paths[0], "delete", 5);
    let root = 0;
    for early in [Effect::Commit { root }, Effect::Execute { root }, Effect::Seal { root }] {
        assert!(desk.worker.perform(&early).is_err(), "{early:?}");
    }
    assert_eq!(desk.worker.perform(&Effect::Look { root }).unwrap(), Progress::None);
    desk.worker.perform(&Effect::Undo { root }).unwrap();
    desk.worker.perform(&Effect::Clean { root }).unwrap();
    assert!(matches!(desk.worker.perform(&Effect::Image { root: 1 }), Err(Error::Refused(_))));
    let mut files = Worker::new(std::slice::from_ref(&desk.bench.root)).unwrap();
    assert!(matches!(files.perform(&Effect::Image { root }), Err(Error::Refused(_))));
    assert_eq!(now(&desk.paths[0]), 5);
}

#[test]
fn what_others_could_exchange_is_not_opened_as_root() {
    if !is_root() {
        return;
    }
    let mut desk = Desk::new(&["a.db"]);
    let path = desk.paths[0].clone();
    let folder = path.parent().unwrap().to_owned();
    let secret = desk.bench.root.join("secret.db");
    fill(&secret, "delete", 3);
    let image = |desk: &mut Desk| desk.worker.perform(&Effect::Image { root: 0 });
    symlink(&secret, &path).unwrap();
    assert!(matches!(image(&mut desk), Err(Error::Refused(_))), "a link");
    fs::remove_file(&path).unwrap();
    fs::hard_link(&secret, &path).unwrap();
    assert!(matches!(image(&mut desk), Err(Error::Refused(_))), "another name of a file");
    fs::remove_file(&path).unwrap();
    fill(&path, "delete", 3);
    let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o777, 0o775, 0o1777] {
        set(mode);
        assert!(matches!(image(&mut desk), Err(Error::Refused(_))), "{mode:o}");
    }
    set(0o755);
    image(&mut desk).unwrap();
    chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(matches!(image(&mut desk), Err(Error::Refused(_))), "root's file in another's folder");
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    // What is left of root's own try is in the way of somebody who is not root.
    fs::remove_file(folder.join("a.db.dsmil-image")).unwrap();
    image(&mut desk).unwrap();
    assert_eq!(folder.join("a.db.dsmil-image").metadata().unwrap().uid(), NOBODY, "made by its owner");
    desk.worker.perform(&Effect::Discard { root: 0 }).unwrap();
    // Their own rights do not let them where they may not go.
    chown(&folder, Some(0), Some(0)).unwrap();
    let error = image(&mut desk).unwrap_err().to_string();
    assert!(error.contains("ermission denied"), "{error}");
    assert!(fs::write(folder.join("x"), "root's rights are back").is_ok());
}

#[test]
fn a_database_of_somebody_else_stays_theirs() {
    if !is_root() {
        return;
    }
    for mode in ["delete", "wal"] {
        let mut desk = Desk::new(&["a.db"]);
        let path = desk.paths[0].clone();
        drop(fill(&path, mode, 50));
        for place in [path.as_path(), path.parent().unwrap()] {
            chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let manifest = desk.capture();
        drop(fill(&path, mode, 20));
        let chunks = desk.bench.chunks();
        desk.back(&manifest, &chunks);
        assert_eq!(now(&path), 50);
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            let meta = entry.unwrap().metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY));
        }
        fs::remove_file(&path).unwrap();
        desk.back(&manifest, &chunks);
        assert_eq!((path.metadata().unwrap().uid(), now(&path)), (NOBODY, 50));
    }
}

#[test]
fn hostile_parts_are_refused() {
    let mut desk = Desk::new(&["a.db"]);
    fill(&desk.paths[0], "delete", 5);
    let manifest = desk.capture();
    type Twist = fn(&mut Vec<crate::databases::Database>);
    let twists: [Twist; 4] = [
        |databases| databases[0].size += 1,
        |databases| databases[0].mode = 0o10_600,
        |databases| databases[0].path = b"relative".to_vec(),
        |databases| databases.push(databases[0].clone()),
    ];
    for twist in twists {
        let mut manifest = manifest.clone();
        let Part::Databases { databases, .. } = &mut manifest.parts[0] else { panic!() };
        twist(databases);
        let bytes = minicbor::to_vec(&manifest).unwrap();
        assert!(matches!(Manifest::decode(&bytes), Err(Error::Damaged(_))));
    }
    // A database that the configuration does not name is no way to another file.
    let (mut other, chunks) = (Desk::new(&["other.db"]), desk.bench.chunks());
    fill(&other.paths[0], "delete", 1);
    let mut restore =
        Restore::begin(machine(&mut other.worker, &other.paths), manifest.clone(), &chunks, false).unwrap();
    assert_eq!(restore.plan().summary().obstacles, 1);
    assert!(matches!(restore.prepare(), Err(Error::Refused(_))));
    drop(restore);
    let machine = Machine { databases: Some(&desk.paths), ..Machine::default() };
    assert!(restore::plan(machine, manifest, &chunks).is_err(), "nobody is there who may open it");
}
