//! SIGKILL in the middle of a restore, and who takes it up.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const DIR: &str = "RECOVERY_POSTGRESQL_DIR";

#[test]
#[ignore = "the one who is killed by the test beside it"]
fn child_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let addresses: Vec<Address> = minicbor::decode(&read("addresses")).unwrap();
    let manifest = Manifest::decode(&read("manifest")).unwrap();
    let folder = PathBuf::from(String::from_utf8(read("folder")).unwrap());
    let store = PathBuf::from(String::from_utf8(read("store")).unwrap());
    let chunks = Chunks::open(&store, &KEY).unwrap();
    let mut worker = worker(&addresses, &Keeping { witness: Witness::Folder(folder.clone()), folder });
    through(Restore::begin(machine(&mut worker, &addresses), manifest, &chunks, false).unwrap());
}

#[test]
fn who_is_killed_leaves_the_old_or_the_new_to_the_next() {
    let Some(mut desk) = Desk::new(&["a", "b"]) else { return };
    for name in ["a", "b"] {
        desk.server.sql(name, "CREATE TABLE t (x int); INSERT INTO t SELECT 1 FROM generate_series(1, 20000); CREATE INDEX ON t (x)");
    }
    let dir = tempfile::tempdir().unwrap();
    let manifest = desk.capture();
    fs::write(dir.path().join("manifest"), manifest.encode().unwrap()).unwrap();
    fs::write(dir.path().join("addresses"), minicbor::to_vec(&desk.addresses).unwrap()).unwrap();
    fs::write(dir.path().join("store"), desk.bench.store.to_str().unwrap()).unwrap();
    fs::write(dir.path().join("folder"), desk.keeping.folder.to_str().unwrap()).unwrap();
    let change = |desk: &Desk| {
        for name in ["a", "b"] {
            desk.server.sql(name, "DELETE FROM t WHERE x = 2; INSERT INTO t VALUES (2)");
        }
    };
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::postgresql::kills::child_process", "--ignored", "--quiet"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    change(&desk);
    let began = Instant::now();
    assert!(start().wait().unwrap().success());
    let whole = began.elapsed();
    let mut seen = std::collections::BTreeSet::new();
    for step in 1..=6 {
        change(&desk);
        let mut child = start();
        std::thread::sleep(whole * step / 7 + Duration::from_millis(7));
        child.kill().unwrap();
        child.wait().unwrap();
        desk.another();
        let end = if step % 2 == 0 { restore::abandon } else { restore::resume };
        let outcome = end(&mut desk.worker, 2).unwrap();
        let sums = ["a", "b"].map(|name| desk.server.sql(name, "SELECT sum(x) FROM t"));
        let (old, new) = (["20002", "20002"], ["20000", "20000"]);
        match outcome {
            Outcome::PutBack => assert_eq!(sums, old, "{step}"),
            Outcome::Finished => assert_eq!(sums, new, "{step}"),
            Outcome::Nothing => assert!(sums == old || sums == new, "{step}: {sums:?}"),
        }
        seen.insert(format!("{outcome:?}"));
        assert_eq!(end(&mut desk.worker, 2).unwrap(), Outcome::Nothing);
        let left: Vec<_> = desk.left();
        // What was being made goes with the next restore at the latest.
        assert!(left.iter().all(|name| name.ends_with(".dsmil-new")), "{left:?}");
        desk.back(&manifest);
        assert_eq!(desk.left(), Vec::<String>::new(), "{step}");
    }
    eprintln!("6 kills within {whole:?}: {seen:?}");
}
