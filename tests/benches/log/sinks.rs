//! Where batches go: ours and those that it is held against.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::anyhow;
use sha2::{Digest as _, Sha256};
use store::log::{Config, Log};
use tests::bench::Scratch;
use types::hash::Hash;

/// The size of an entry, in bytes.
pub const ENTRY_BYTES: usize = 512;

/// What is appended.
pub type Entry = [u8; ENTRY_BYTES];

/// How much of the bare file is zeroed before a round; then it starts over.
const BARE_BYTES: u64 = 128 << 20;

/// Something that keeps entries.
pub trait Sink {
    /// Keeps the entries with one flush. After `Ok` a power cut loses none of them.
    fn commit(&mut self, batch: &[Entry]) -> anyhow::Result<()>;

    /// Work that may be done once the writers have their acknowledgement.
    fn prepare(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Waits, after a round, for what is done beside the commits, so that nobody else's round pays for it.
    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Our log, as the daemon uses it: frames with CRC, Merkle tree, files of 64 MiB, the next one made ready beside the work. It stays
/// open over all rounds.
pub struct Ours {
    log: Log,
    dir: PathBuf,
    /// Makes the next file.
    beside: Option<JoinHandle<Result<(), store::Error>>>,
}

impl Ours {
    pub fn open(scratch: &Scratch) -> anyhow::Result<Self> {
        let dir = scratch.path().join("ours");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        Ok(Self { log: Log::create(&dir, [7; 16], &Config::default())?, dir, beside: None })
    }

    pub fn root(&self) -> Hash {
        self.log.root()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Unlocks the log.
    pub fn close(self) {}
}

impl Sink for Ours {
    fn commit(&mut self, batch: &[Entry]) -> anyhow::Result<()> {
        self.log.append(batch)?;
        Ok(())
    }

    fn prepare(&mut self) -> anyhow::Result<()> {
        self.log.prepare()?;
        if let Some(chore) = self.log.chore() {
            // What it costs counts: it is done on the same processors and the same disk.
            self.settle()?;
            self.beside = Some(thread::spawn(move || chore.run()));
        }
        Ok(())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(beside) = self.beside.take() {
            beside.join().map_err(|_| anyhow!("making the next file panicked"))??;
        }
        Ok(())
    }
}

/// The physical limit: a file of zeros that are flushed, one write and one flush for a batch.
pub struct Bare {
    file: File,
    offset: u64,
}

impl Bare {
    pub fn open(scratch: &Scratch) -> anyhow::Result<Self> {
        let path = scratch.path().join("bare");
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        if file.metadata()?.len() < BARE_BYTES {
            let zeros = vec![0; 1 << 20];
            for step in 0..BARE_BYTES >> 20 {
                file.write_all_at(&zeros, step << 20)?;
            }
            file.sync_all()?;
        }
        Ok(Self { file, offset: 0 })
    }
}

impl Sink for Bare {
    fn commit(&mut self, batch: &[Entry]) -> anyhow::Result<()> {
        let bytes = batch.as_flattened();
        if self.offset + bytes.len() as u64 > BARE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.file.sync_data()?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// The bare file and a Merkle tree of RFC 6962, written down plainly and independent of ours.
pub struct Hashed {
    bare: Bare,
    size: u64,
    edge: Vec<[u8; 32]>,
}

impl Hashed {
    pub fn open(scratch: &Scratch) -> anyhow::Result<Self> {
        Ok(Self { bare: Bare::open(scratch)?, size: 0, edge: Vec::new() })
    }
}

impl Sink for Hashed {
    fn commit(&mut self, batch: &[Entry]) -> anyhow::Result<()> {
        for entry in batch {
            let mut node: [u8; 32] = Sha256::new_with_prefix([0]).chain_update(entry).finalize().into();
            for _ in 0..self.size.trailing_ones() {
                let Some(left) = self.edge.pop() else { break };
                node = Sha256::new_with_prefix([1]).chain_update(left).chain_update(node).finalize().into();
            }
            self.edge.push(node);
            self.size += 1;
        }
        self.bare.commit(batch)
    }
}

/// SQLite as its guide wants it for durable appends: WAL, synchronous=FULL, one transaction for a batch, the statement kept.
#[cfg(feature = "sqlite")]
pub struct Sqlite(rusqlite::Connection);

#[cfg(feature = "sqlite")]
impl Sqlite {
    pub fn open(scratch: &Scratch) -> anyhow::Result<Self> {
        for name in ["sqlite", "sqlite-wal", "sqlite-shm"] {
            let path = scratch.path().join(name);
            if path.exists() {
                fs::remove_file(path)?;
            }
        }
        let connection = rusqlite::Connection::open(scratch.path().join("sqlite"))?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        anyhow::ensure!(mode == "wal", "SQLite gives journal mode {mode}, not wal");
        connection.execute_batch(
            "PRAGMA synchronous = FULL; CREATE TABLE log (id INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;",
        )?;
        Ok(Self(connection))
    }
}

#[cfg(feature = "sqlite")]
impl Sink for Sqlite {
    fn commit(&mut self, batch: &[Entry]) -> anyhow::Result<()> {
        let transaction = self.0.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO log (entry) VALUES (?1)")?;
        for entry in batch {
            insert.execute([entry.as_slice()])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }
}
