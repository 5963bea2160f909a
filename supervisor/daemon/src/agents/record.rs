//! What agents write to stderr: the last of it at hand, more of it in a file of each name, all of it bounded.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use types::agent::Name;

/// Bytes of an agent that are at hand.
pub const TAIL_MAX: usize = 64 << 10;
/// Bytes of them that are told with its end.
const LAST_MAX: usize = 4 << 10;
/// Size at which a file is put aside, bytes; the one that was put aside before goes.
const FILE_MAX: u64 = 1 << 20;
/// Bytes that an agent may write in [`PAUSE`]; then it waits. A second's worth is 2.5 MiB.
const PAUSE_MAX: usize = 256 << 10;
/// How long it waits.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Pieces that may wait for the disk; what comes beyond is not in the file.
const PIECES_MAX: usize = 256;

/// The thread that writes the files: a disk that is slow must not keep the driver.
pub struct Record {
    pieces: SyncSender<(Name, Vec<u8>)>,
}

/// One agent's.
pub struct Stderr {
    name: Name,
    pieces: SyncSender<(Name, Vec<u8>)>,
    since: Instant,
    count: usize,
    /// Bytes that are not in the file.
    missed: u64,
}

impl Record {
    /// Keeps files in this folder, `NAME.log` and the older `NAME.log.1`.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let (pieces, inbox) = sync_channel(PIECES_MAX);
        let folder = folder.to_owned();
        std::thread::Builder::new()
            .name("agents-stderr".to_owned())
            .spawn(move || write(&folder, &inbox))
            .context("starting the thread that keeps what agents write to stderr")?;
        Ok(Self { pieces })
    }

    /// For one agent.
    pub fn stderr(&self, name: &Name, now: Instant) -> Stderr {
        Stderr { name: name.clone(), pieces: self.pieces.clone(), since: now, count: 0, missed: 0 }
    }
}

impl Stderr {
    /// How many bytes it may write now.
    pub fn allowance(&mut self, now: Instant) -> usize {
        if now >= self.since + PAUSE {
            self.since = now;
            self.count = 0;
        }
        PAUSE_MAX.saturating_sub(self.count)
    }

    /// Keeps what it wrote.
    pub fn keep(&mut self, bytes: &[u8], tail: &mut VecDeque<u8>) {
        self.count += bytes.len();
        let kept = bytes.get(bytes.len().saturating_sub(TAIL_MAX)..).unwrap_or_default();
        let surplus = (tail.len() + kept.len()).saturating_sub(TAIL_MAX);
        tail.drain(..surplus.min(tail.len()));
        tail.extend(kept);
        let mut piece = Vec::new();
        if self.missed > 0 {
            piece =
                format!("\n[{} bytes are missing here: the disk was too slow]\n", self.missed).into_bytes();
        }
        piece.extend_from_slice(bytes);
        match self.pieces.try_send((self.name.clone(), piece)) {
            Ok(()) => self.missed = 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.missed = self.missed.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
        }
    }
}

/// The last of what an agent wrote, as text.
pub fn last(tail: &VecDeque<u8>) -> String {
    let bytes: Vec<u8> = tail.iter().skip(tail.len().saturating_sub(LAST_MAX)).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where an agent's file is.
pub fn path(folder: &Path, name: &Name) -> PathBuf {
    folder.join(format!("{name}.log"))
}

fn write(folder: &Path, inbox: &Receiver<(Name, Vec<u8>)>) {
    let mut is_told = false;
    while let Ok((name, bytes)) = inbox.recv() {
        let result = append(folder, &name, &bytes);
        // Once is enough: it is likely to stay so, and the tail is still there.
        if let Err(error) = &result
            && !is_told
        {
            tracing::warn!("what agents write to stderr cannot be kept in {}: {error}", folder.display());
        }
        is_told = result.is_err();
    }
}

fn append(folder: &Path, name: &Name, bytes: &[u8]) -> std::io::Result<()> {
    let path = path(folder, name);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let mut file: File = open()?;
    if file.metadata()?.len().saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) > FILE_MAX {
        fs::rename(&path, folder.join(format!("{name}.log.1")))?;
        file = open()?;
    }
    file.write_all(bytes)
}
