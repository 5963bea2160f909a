//! Databases of a real PostgreSQL server of the test's own, changed by real programs (psql) while they are captured and restored.

mod hostile;
mod kills;
mod server;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use store::chunk::Chunks;
use types::time::Time;

use super::tree::*;
use crate::Error;
use crate::databases::postgresql::Address;
use crate::diff::{Difference, Presence, diff};
use crate::helper::{Client, serve};
use crate::manifest::Manifest;
use crate::restore::{self, Machine, Outcome, Phase, Restore};
use crate::services::Witness;
use crate::worker::effect::{Effect, Executor};
use crate::worker::{Keeping, Worker};
use server::Server;

/// A server with databases, and the one who may change them.
struct Desk {
    server: Server,
    bench: Bench,
    addresses: Vec<Address>,
    keeping: Keeping,
    worker: Worker,
}

const SHOP: &str = r#"
CREATE SCHEMA "Odd schema";
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE customers (id serial PRIMARY KEY, name text UNIQUE NOT NULL, tint colour DEFAULT 'red');
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, customer int REFERENCES customers (id) ON DELETE CASCADE, what bytea);
CREATE TABLE "Odd schema"."odd ""table""" (a int[], b jsonb, c numeric(20, 5) CHECK (c > 0));
CREATE INDEX ON orders (customer) WHERE what IS NOT NULL;
CREATE VIEW first AS SELECT name, count(o.id) AS orders FROM customers c LEFT JOIN orders o ON o.customer = c.id GROUP BY name;
CREATE VIEW second AS SELECT * FROM first WHERE orders > 1;
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) || E'\n\\connect :"db"\nSET x -- Dumped by pg_dump version 99' $$;
CREATE VIEW third AS SELECT shout(name) FROM second;
COMMENT ON VIEW third IS 'of "first" and second';
INSERT INTO customers (name) SELECT 'customer ' || n || E'\t\\.\n' FROM generate_series(1, 200) n;
INSERT INTO customers (name) VALUES (E'\\connect :"db"'), (E'-- Dumped by pg_dump version 15.1');
INSERT INTO orders (customer, what) SELECT 1 + n % 200, decode(md5(n::text), 'hex') FROM generate_series(1, 3000) n;
INSERT INTO "Odd schema"."odd ""table""" VALUES ('{1,2}', '{"a": [null, "x"]}', 1.5), (NULL, NULL, NULL);
SELECT lo_from_bytea(4711, decode(repeat('00ff10', 5000), 'hex'));
"#;

/// All that a program sees of it.
const SEEN: &str = r#"
SELECT count(*), md5(string_agg(c::text, ',' ORDER BY id)) FROM customers c;
SELECT count(*), md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o;
SELECT * FROM "Odd schema"."odd ""table""";
SELECT * FROM third ORDER BY 1 LIMIT 3;
SELECT md5(lo_get(4711));
SELECT nextval('customers_id_seq') - 1, setval('customers_id_seq', currval('customers_id_seq') - 1) > 0;
SELECT relname, relkind FROM pg_class WHERE relnamespace::regnamespace::text NOT LIKE 'pg_%' AND relnamespace <> 'information_schema'::regnamespace ORDER BY 1, 2;
SELECT current_setting('search_path'), current_setting('work_mem'), current_setting('my.word', true);
SELECT pg_get_userbyid(datdba), datconnlimit, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a), shobj_description(oid, 'pg_database')
    FROM pg_database WHERE datname = current_database();
"#;

impl Desk {
    fn new(names: &[&str]) -> Option<Self> {
        let server = Server::start()?;
        let addresses: Vec<_> = names.iter().map(|name| server.address(name)).collect();
        for name in names {
            server.sql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
        }
        let folder = server.folder().join("helper");
        let keeping = Keeping { folder: folder.clone(), witness: Witness::Folder(folder) };
        let worker = worker(&addresses, &keeping);
        Some(Self { server, bench: Bench::new(), addresses, keeping, worker })
    }

    fn capture(&mut self) -> Manifest {
        let mut chunks = self.bench.chunks();
        let machine = machine(&mut self.worker, &self.addresses);
        let manifest = restore::capture(machine, &mut chunks, 1, "x", Time::default()).unwrap().manifest;
        manifest.store(&mut chunks).unwrap();
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
        manifest
    }

    fn begin<'a>(&'a mut self, manifest: &Manifest, chunks: &'a Chunks) -> Result<Restore<'a>, Error> {
        Restore::begin(machine(&mut self.worker, &self.addresses), manifest.clone(), chunks, false)
    }

    fn back(&mut self, manifest: &Manifest) {
        let chunks = self.bench.chunks();
        through(self.begin(manifest, &chunks).unwrap());
    }

    fn is_as(&mut self, manifest: &Manifest) -> bool {
        let chunks = self.bench.chunks();
        self.begin(manifest, &chunks).unwrap().plan().differences.is_empty()
    }

    /// Another helper, after the first has ended.
    fn another(&mut self) {
        self.worker = worker(&self.addresses, &self.keeping);
    }

    /// What a restore has left: databases, and files besides the notes.
    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(&self.keeping.folder).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files = names.filter(|name| name.len() != 64);
        files.chain(self.server.databases().into_iter().filter(|name| name.contains("dsmil"))).collect()
    }
}

fn worker(addresses: &[Address], keeping: &Keeping) -> Worker {
    Worker::new(&[]).unwrap().with_postgresql(addresses, keeping).unwrap()
}

fn machine<'a>(executor: &'a mut dyn Executor, addresses: &'a [Address]) -> Machine<'a> {
    Machine { executor: Some(executor), postgresql: addresses, ..Machine::default() }
}

fn through(mut restore: Restore<'_>) {
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
}

#[test]
fn a_database_comes_back_with_all_that_is_in_it_and_about_it() {
    let _alone = children();
    let Some(mut desk) = Desk::new(&["shop"]) else { return };
    desk.server.sql("shop", SHOP);
    desk.server.sql(
        "postgres",
        r#"CREATE ROLE "odd ""role"; CREATE ROLE owner; GRANT TEMPORARY ON DATABASE shop TO "odd ""role" WITH GRANT OPTION;
        REVOKE CONNECT ON DATABASE shop FROM PUBLIC; ALTER DATABASE shop OWNER TO owner; ALTER DATABASE shop CONNECTION LIMIT 7;
        ALTER DATABASE shop SET search_path TO public, "Odd schema", "a;b"; ALTER DATABASE shop SET work_mem TO '5MB';
        ALTER DATABASE shop SET my.word TO E'it''s \\ "x"\nSET :x \\connect :"db"'; ALTER ROLE "odd ""role" IN DATABASE shop SET work_mem TO '6MB';
        ALTER DATABASE shop SET default_transaction_read_only TO on; COMMENT ON DATABASE shop IS 'it''s';"#,
    );
    let seen = |server: &Server| {
        let settings = "SELECT string_agg(setrole || c, ' ' ORDER BY setrole, c) FROM pg_db_role_setting \
                        JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) c WHERE datname = 'shop'";
        let shop = server.sql("shop", &format!("SET default_transaction_read_only = off; {SEEN}"));
        format!("{shop}\n{}", server.sql("postgres", settings))
    };
    let before = seen(&desk.server);
    assert!(
        before.contains("owner|7|") && before.contains("Odd schema") && before.contains("it's \\"),
        "{before}"
    );
    let manifest = desk.capture();
    assert_eq!(manifest.version, 4);
    let kept = &manifest.databases().0[0];
    assert_eq!(kept.path, desk.addresses[0].label().into_bytes());
    assert!(kept.postgresql.as_ref().unwrap().version >= 13);
    assert_eq!(desk.capture().parts, manifest.parts, "what is unchanged deduplicates as a whole");

    desk.server.sql(
        "shop",
        r#"SET default_transaction_read_only = off; DROP VIEW third; DROP TABLE "Odd schema"."odd ""table"""; UPDATE customers SET name = name || '!' WHERE id < 9;
        CREATE TABLE later (x int); CREATE VIEW of_later AS SELECT * FROM later, first; DELETE FROM orders WHERE id > 100; SELECT lo_unlink(4711);
        ALTER DATABASE shop RESET ALL; GRANT ALL ON DATABASE shop TO PUBLIC; ALTER DATABASE shop OWNER TO CURRENT_USER;"#,
    );
    let changed = desk.server.sql("shop", "SELECT count(*) FROM orders; SELECT * FROM later;");
    let chunks = desk.bench.chunks();
    let now = restore::observe(machine(&mut desk.worker, &desk.addresses), &chunks, Time::default()).unwrap();
    let path = desk.addresses[0].label().into_bytes();
    assert_eq!(diff(&manifest, &now), [Difference::Database { path, change: Presence::Changed }]);

    // A program that is connected and does nothing is ended when the time comes, and not before.
    let idle = desk.server.program("shop", "SELECT 1;\n");
    let server = &desk.server;
    let machine = machine(&mut desk.worker, &desk.addresses);
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    assert_eq!(restore.plan().summary().databases, 1);
    restore.prepare().unwrap();
    assert_eq!(server.sql("shop", "SELECT count(*) FROM orders; SELECT * FROM later;"), changed);
    restore.execute().unwrap();
    restore.verify().unwrap();
    assert_eq!(seen(server), before);
    restore.undo().unwrap();
    assert_eq!(server.sql("shop", "SELECT count(*) FROM orders; SELECT * FROM later;"), changed);
    restore.clean_up().unwrap();
    drop(restore);
    assert!(!idle.ends_well("SELECT 2;\n"));
    assert_eq!(desk.left(), Vec::<String>::new());
    drop(chunks);
    desk.back(&manifest);
    assert_eq!(seen(&desk.server), before);
    assert!(desk.is_as(&manifest) && desk.left().is_empty());
    assert_eq!(desk.capture().databases().0[0].digest, manifest.databases().0[0].digest);
}

#[test]
fn a_database_that_is_gone_is_made_anew_through_the_helper() {
    let _alone = children();
    let Some(mut desk) = Desk::new(&["shop", "other"]) else { return };
    desk.server.sql("shop", SHOP);
    let seen = desk.server.sql("shop", SEEN);
    // As the daemon does it: by the socket.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let helper = std::mem::replace(&mut desk.worker, Worker::new(&[]).unwrap());
    let served = std::thread::spawn(move || serve(&theirs, helper));
    let mut client = Client::new(ours);
    let mut chunks = desk.bench.chunks();
    let captured =
        restore::capture(machine(&mut client, &desk.addresses), &mut chunks, 1, "x", Time::default())
            .unwrap();
    captured.manifest.store(&mut chunks).unwrap();
    drop(chunks);
    let chunks = desk.bench.chunks();
    desk.server.sql("postgres", "DROP DATABASE shop");
    let again = restore::observe(machine(&mut client, &desk.addresses), &chunks, Time::default()).unwrap();
    assert_eq!(again.databases().1[0].why, "there is no such database");
    let mut begin = |undo: bool| {
        let machine = machine(&mut client, &desk.addresses);
        let mut restore = Restore::begin(machine, captured.manifest.clone(), &chunks, false).unwrap();
        assert!(restore.plan().differences[0].to_string().starts_with("create database postgresql:shop at "));
        assert_eq!(restore.plan().differences.len(), 1);
        if !undo {
            return through(restore);
        }
        restore.prepare().unwrap();
        restore.execute().unwrap();
        restore.verify().unwrap();
        restore.undo().unwrap();
        restore.clean_up().unwrap();
    };
    begin(true);
    assert_eq!(desk.server.databases(), ["other", "postgres"]);
    begin(false);
    assert_eq!(desk.server.databases(), ["other", "postgres", "shop"]);
    assert_eq!(desk.server.sql("shop", SEEN), seen);
    drop(client);
    served.join().unwrap().unwrap();
    assert_eq!(desk.left(), Vec::<String>::new());
}

#[test]
fn who_is_at_work_there_is_waited_for_and_nothing_is_changed() {
    let _alone = children();
    let Some(mut desk) = Desk::new(&["shop"]) else { return };
    desk.server.sql("shop", "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let manifest = desk.capture();
    desk.server.sql("shop", "INSERT INTO t VALUES (2)");
    let chunks = desk.bench.chunks();
    let program =
        desk.server.program("shop", "BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE; INSERT INTO t VALUES (3);\n");
    let mut restore = desk.begin(&manifest, &chunks).unwrap();
    restore.prepare().unwrap();
    let error = restore.execute().unwrap_err();
    assert!(matches!(error, Error::Busy(_)) && error.to_string().contains("idle in transaction"), "{error}");
    assert_eq!(restore.phase(), Phase::Undone);
    restore.clean_up().unwrap();
    drop(restore);
    assert!(program.ends_well("COMMIT;\n"), "its work is its own");
    assert_eq!(desk.server.sql("shop", "SELECT sum(x) FROM t"), "6");
    assert_eq!(desk.left(), Vec::<String>::new());
    // A lock that even readers wait for.
    let program = desk.server.program("shop", "BEGIN; LOCK TABLE t;\n");
    let error = desk.begin(&manifest, &chunks).err().unwrap().to_string();
    assert!(error.contains("LOCK TABLE public.t"), "{error}");
    drop(chunks);
    let mut store = desk.bench.chunks();
    let machine = machine(&mut desk.worker, &desk.addresses);
    let error = restore::capture(machine, &mut store, 2, "y", Time::default()).unwrap_err().to_string();
    assert!(error.contains("postgresql:shop at ") && error.contains("timeout"), "{error}");
    assert!(program.ends_well("COMMIT;\n"));
    drop(store);
    desk.back(&manifest);
    assert_eq!(desk.server.sql("shop", "SELECT sum(x) FROM t"), "1");
}

#[test]
fn what_cannot_be_asked_is_told_and_does_not_stop_the_others() {
    let _alone = children();
    let Some(mut desk) = Desk::new(&["shop"]) else { return };
    let manifest = desk.capture();
    let path = desk.bench.root.parent().unwrap().join("a.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let paths = [path.clone()];
    let (socket, user) = (desk.server.socket(), desk.server.user().to_owned());
    let address = |database, socket: &str, port, user: &str, role: &str| {
        Address::new(database, (socket, port), user, Some(role)).unwrap()
    };
    let elsewhere = desk.server.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o777);
    let open = elsewhere.to_str().unwrap();
    let mut others = vec![
        (address("none", &socket, server::PORT, &user, &user), "there is no such database"),
        (address("a", &socket, 1, &user, &user), "No such file or directory"),
        (address("b", "/nonexistent", 1, &user, &user), "there is no folder /nonexistent"),
        (address("c", &socket, server::PORT, "nobody-of-this-name", "x"), "there is no user"),
        (address("d", &socket, server::PORT, &user, "nobody"), "Peer authentication failed"),
        (address("e", open, 2, &user, &user), "others may not write"),
    ];
    if is_root() {
        others.push((address("f", &socket, server::PORT, "nobody", &user), "Peer authentication failed"));
        others.push((
            address("g", &socket, server::PORT, "nobody", "nobody"),
            "role \"nobody\" does not exist",
        ));
    }
    let addresses: Vec<_> = others.iter().map(|(address, _)| address.clone()).collect();
    let mut worker = Worker::new(&[]).unwrap().with_databases(&paths).unwrap();
    worker = worker.with_postgresql(&addresses, &desk.keeping).unwrap();
    let mut chunks = Chunks::open(&desk.server.folder().join("store"), &KEY).unwrap();
    let machine = Machine { databases: Some(&paths), ..machine(&mut worker, &addresses) };
    let found = restore::capture(machine, &mut chunks, 2, "y", Time::default()).unwrap().manifest;
    let (kept, unread) = found.databases();
    assert_eq!((kept.len(), found.version), (1, 2));
    assert_eq!(unread.len(), others.len());
    for ((address, why), told) in others.iter().zip(unread) {
        assert_eq!(told.path, address.label().into_bytes());
        assert!(told.why.contains(why) && !told.why.contains("postgresql:"), "{why}: {}", told.why);
    }
    // A server that does not run now stands in the way of its own databases alone.
    desk.server.sql("shop", "CREATE TABLE t (x int)");
    desk.server.stop();
    let chunks = desk.bench.chunks();
    let mut restore = desk.begin(&manifest, &chunks).unwrap();
    let summary = restore.plan().summary();
    assert_eq!((summary.databases, summary.obstacles), (0, 1));
    assert!(restore.plan().differences[0].to_string().contains("cannot be restored: "));
    assert!(matches!(restore.prepare(), Err(Error::Refused(_))));
    drop(restore);
    drop(chunks);
    // And where nothing was under way it is not asked.
    assert_eq!(restore::resume(&mut desk.worker, 1).unwrap(), Outcome::Nothing);
    desk.server.run();
    desk.back(&manifest);
    assert!(desk.server.try_sql("shop", "SELECT * FROM t").is_err());
}

#[test]
fn a_crash_leaves_the_old_or_the_new() {
    let _alone = children();
    let Some(mut desk) = Desk::new(&["a", "b"]) else { return };
    for name in ["a", "b"] {
        desk.server.sql(name, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    }
    let manifest = desk.capture();
    // What of it was done before the crash, what is made of it, and what stands there then.
    for (done, back, outcome, expected) in [
        (0, false, Outcome::PutBack, ["3", "3"]),
        (1, true, Outcome::PutBack, ["3", "3"]),
        (1, false, Outcome::PutBack, ["3", "3"]),
        (2, true, Outcome::PutBack, ["3", "3"]),
        (2, false, Outcome::Finished, ["1", "1"]),
        // Executed, and the first of them final.
        (3, true, Outcome::Finished, ["1", "1"]),
    ] {
        let chunks = desk.bench.chunks();
        for name in ["a", "b"] {
            desk.server.sql(name, "DELETE FROM t WHERE x = 2; INSERT INTO t VALUES (2)");
        }
        let mut restore = desk.begin(&manifest, &chunks).unwrap();
        restore.prepare().unwrap();
        drop(restore);
        for root in 0..done.min(2) {
            desk.worker.perform(&Effect::Execute { root }).unwrap();
        }
        if done == 3 {
            desk.worker.perform(&Effect::Finish { root: 0 }).unwrap();
        }
        // Another one finds it.
        desk.another();
        let mut blocked = desk.begin(&manifest, &chunks).unwrap();
        if blocked.plan().summary().databases > 0 {
            assert!(matches!(blocked.prepare(), Err(Error::Unfinished(_))));
        }
        drop(blocked);
        let end = if back { restore::abandon } else { restore::resume };
        assert_eq!(end(&mut desk.worker, 2).unwrap(), outcome, "{done} {back}");
        let sums = ["a", "b"].map(|name| desk.server.sql(name, "SELECT sum(x) FROM t"));
        assert_eq!(sums, expected, "{done} {back}");
        assert_eq!(desk.left(), Vec::<String>::new());
        assert_eq!(end(&mut desk.worker, 2).unwrap(), Outcome::Nothing);
    }
    desk.back(&manifest);
    assert!(desk.is_as(&manifest));
}
