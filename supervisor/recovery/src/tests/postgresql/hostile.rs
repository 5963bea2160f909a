//! Names, dumps and neighbours that mean no good.

use super::*;
use crate::files::entry::{Meta, Stamp};
use crate::manifest::Part;
use crate::worker::effect::{Body, Progress, Way};

#[test]
fn odd_names_are_names_and_nothing_else() {
    let odd = [
        "-d",
        "--help",
        "a=b",
        "dbname=postgres",
        "host=/nonexistent dbname=postgres",
        "postgresql://nobody@/x",
        "it's \"q\" \\ :db :'db' %s",
        "$(touch x); `id`",
        "../../ü",
        " ",
    ];
    let Some(mut desk) = Desk::new(&odd) else { return };
    for (place, name) in odd.iter().enumerate() {
        desk.server.sql(name, &format!("CREATE TABLE t AS SELECT {place} AS x"));
    }
    let manifest = desk.capture();
    assert_eq!((manifest.databases().0.len(), manifest.databases().1.len()), (odd.len(), 0));
    for name in odd {
        desk.server.sql(name, "UPDATE t SET x = 99");
    }
    // One is gone altogether.
    desk.server.sql("postgres", "DROP DATABASE \"a=b\"");
    desk.back(&manifest);
    for (place, name) in odd.iter().enumerate() {
        assert_eq!(desk.server.sql(name, "SELECT x FROM t"), place.to_string(), "{name}");
    }
    assert_eq!(desk.left(), Vec::<String>::new());
    // As files of an archive they stay below its folder.
    let mut archive = Vec::new();
    crate::export::tar(&manifest, None, &desk.bench.chunks(), &mut archive).unwrap();
    let names: Vec<_> = archive
        .chunks(512)
        .filter(|block| block[257..].starts_with(b"ustar") && block[156] == b'0')
        .map(|block| {
            String::from_utf8(block[..100].split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
        })
        .collect();
    assert_eq!(names.len(), odd.len());
    let is_below =
        |name: &String| name.matches('/').count() == 1 && !name["postgresql/".len()..].starts_with('.');
    assert!(names.iter().all(|name| name.starts_with("postgresql/") && is_below(name)), "{names:?}");
}

fn stage(worker: &mut Worker, dump: &[u8]) -> Result<(), Error> {
    let time = Stamp { secs: 0, nanos: 0 };
    let meta = Meta { mode: 0, uid: 0, gid: 0, mtime: time, atime: time, xattrs: Vec::new() };
    let size = dump.len().try_into().unwrap();
    worker.perform(&Effect::Open { root: 0, way: Way::InPlace })?;
    worker.perform(&Effect::Stage { root: 0, number: 0, meta, body: Body::Regular { size } })?;
    worker.perform(&Effect::Data { root: 0, bytes: dump.to_vec() })?;
    worker.perform(&Effect::Seal { root: 0 })?;
    worker.perform(&Effect::Commit { root: 0 }).map(drop)
}

fn whole(worker: &mut Worker, note: bool) -> Vec<u8> {
    assert_eq!(worker.perform(&Effect::Dump { root: 0, note }).unwrap(), Progress::Loose);
    let mut dump = Vec::new();
    loop {
        let bytes = worker.read(0).unwrap();
        if bytes.is_empty() {
            return dump;
        }
        dump.extend(bytes);
    }
}

#[test]
fn only_what_came_out_goes_in_and_a_failure_changes_nothing() {
    let Some(mut desk) = Desk::new(&["shop", "other"]) else { return };
    desk.server.sql("shop", "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let dump = whole(&mut desk.worker, false);
    // It was looked at, but not captured: nobody has said that it may come back.
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Refused(_)));
    assert!(refused(stage(&mut desk.worker, &dump)));
    let dump = whole(&mut desk.worker, true);
    let evil = [dump.as_slice(), b"COPY t TO PROGRAM 'id';\n"].concat();
    assert!(refused(stage(&mut desk.worker, &evil)));
    // What came out of one database is not let into another.
    let addresses = [desk.addresses[1].clone()];
    let mut other = worker(&addresses, &desk.keeping);
    assert!(refused(stage(&mut other, &dump)));
    other.perform(&Effect::Undo { root: 0 }).unwrap();
    other.perform(&Effect::Clean { root: 0 }).unwrap();
    stage(&mut desk.worker, &dump).unwrap();
    desk.worker.perform(&Effect::Undo { root: 0 }).unwrap();
    desk.worker.perform(&Effect::Clean { root: 0 }).unwrap();
    assert_eq!(desk.left(), Vec::<String>::new());

    // Root may bring anything back; what fails half-way leaves all as it was.
    let anything = Keeping { witness: Witness::Anything, ..desk.keeping.clone() };
    let mut root = worker(&desk.addresses, &anything);
    let no_head = dump
        .split(|byte| *byte == b'\n')
        .skip_while(|line| !line.starts_with(b"SET"))
        .collect::<Vec<_>>()
        .join(&b'\n');
    let broken = [dump.as_slice(), b"INSERT INTO public.t VALUES (2);\nSELECT nonsense;\n"].concat();
    let torn = &dump[..dump.len() / 2];
    for (bad, named) in
        [(broken.as_slice(), "nonsense"), (&no_head, "which database"), (b"", "which database")]
    {
        let error = stage(&mut root, bad).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        root.perform(&Effect::Undo { root: 0 }).unwrap();
        root.perform(&Effect::Clean { root: 0 }).unwrap();
        assert_eq!(desk.server.sql("shop", "SELECT x FROM t"), "1");
        assert_eq!(desk.left(), Vec::<String>::new());
    }
    // Half a dump may be valid; it is found by looking again.
    if stage(&mut root, torn).is_ok() {
        root.perform(&Effect::Execute { root: 0 }).unwrap();
        assert_ne!(whole(&mut root, false), dump);
    }
    root.perform(&Effect::Undo { root: 0 }).unwrap();
    root.perform(&Effect::Clean { root: 0 }).unwrap();
    assert_eq!(desk.server.sql("shop", "SELECT x FROM t"), "1");
    // The order of the phases holds, and so do sizes.
    for effect in [
        Effect::Execute { root: 0 },
        Effect::Commit { root: 0 },
        Effect::Data { root: 0, bytes: vec![1] },
        Effect::Seal { root: 0 },
    ] {
        assert!(refused(root.perform(&effect).map(drop)), "{effect:?}");
    }
    assert!(refused(root.perform(&Effect::Image { root: 0 }).map(drop)));
    assert!(root.read(0).is_err() && root.read(7).is_err());
}

#[test]
fn what_is_in_the_way_is_refused_before_anything_is_made() {
    let Some(mut desk) = Desk::new(&["shop"]) else { return };
    desk.server.sql("shop", "CREATE TABLE t (x int)");
    let manifest = desk.capture();
    desk.server.sql("shop", "INSERT INTO t VALUES (1)");
    let chunks = desk.bench.chunks();
    let server = [
        (
            "shop",
            "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'it''s'",
            "prepared transaction",
            "ROLLBACK PREPARED 'it''s'",
        ),
        (
            "postgres",
            "CREATE DATABASE \"shop.dsmil-undo\"",
            "rename or drop it",
            "DROP DATABASE \"shop.dsmil-undo\"",
        ),
    ];
    for (database, make, named, end) in server {
        desk.server.sql(database, make);
        let mut restore = desk.begin(&manifest, &chunks).unwrap();
        let error = restore.prepare().unwrap_err();
        assert!(matches!(error, Error::Refused(_)) && error.to_string().contains(named), "{error}");
        drop(restore);
        desk.server.sql(database, end);
        assert_eq!(desk.left(), Vec::<String>::new());
    }
    // Whoever takes the new one's place in between is found out by its number.
    let mut restore = desk.begin(&manifest, &chunks).unwrap();
    restore.prepare().unwrap();
    drop(restore);
    desk.server.sql("postgres", "ALTER DATABASE \"shop.dsmil-new\" RENAME TO mine");
    desk.server.sql("postgres", "CREATE DATABASE \"shop.dsmil-new\"");
    let error = desk.worker.perform(&Effect::Execute { root: 0 }).unwrap_err().to_string();
    assert!(error.contains("another database"), "{error}");
    assert_eq!(desk.server.sql("shop", "SELECT x FROM t"), "1");
    assert_eq!(restore::resume(&mut desk.worker, 1).unwrap(), Outcome::PutBack);
    desk.server.sql("postgres", "DROP DATABASE mine");
    drop(chunks);
    desk.back(&manifest);
    assert_eq!(desk.server.sql("shop", "SELECT count(*) FROM t"), "0");
}

#[test]
fn hostile_parts_are_refused() {
    let Some(mut desk) = Desk::new(&["shop"]) else { return };
    let manifest = desk.capture();
    type Twist = fn(&mut Manifest);
    let twists: [Twist; 4] = [
        |manifest| manifest.version = 3,
        |manifest| databases(manifest)[0].path = b"/etc/passwd".to_vec(),
        |manifest| databases(manifest)[0].postgresql = None,
        |manifest| databases(manifest)[0].path = b"postgresql:other".to_vec(),
    ];
    for twist in twists {
        let mut manifest = manifest.clone();
        twist(&mut manifest);
        let bytes = minicbor::to_vec(&manifest).unwrap();
        assert!(matches!(Manifest::decode(&bytes), Err(Error::Damaged(_))));
    }
    // A database that the configuration does not name is no way to another.
    let chunks = desk.bench.chunks();
    desk.addresses = vec![desk.server.address("postgres")];
    desk.another();
    let mut restore = desk.begin(&manifest, &chunks).unwrap();
    assert_eq!(restore.plan().summary().obstacles, 1);
    assert!(matches!(restore.prepare(), Err(Error::Refused(_))));
}

fn databases(manifest: &mut Manifest) -> &mut Vec<crate::databases::Database> {
    let Part::Databases { databases, .. } = &mut manifest.parts[0] else { panic!() };
    databases
}
