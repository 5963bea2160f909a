//! Chunks that are wanted one after the other, opened by several threads ahead of who takes them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use super::{CHUNK_BYTES_MAX, ChunkId, Chunks};
use crate::error::Error;

/// Threads that open chunks: what takes them from here writes them, and that is slower from then on.
const LANES_MAX: usize = 4;
/// Chunks that wait in each lane.
const WAITING_MAX: usize = 8;
/// How many chunks ahead the disk is asked for one, by each lane.
const EXPECTED: usize = 8;

/// So many bytes of contents are in memory at most.
pub const AHEAD_BYTES_MAX: usize = LANES_MAX * (WAITING_MAX + 1) * CHUNK_BYTES_MAX;

/// The chunks in their order.
#[derive(Debug)]
pub struct Ahead {
    lanes: Vec<Receiver<Result<Vec<u8>, Error>>>,
    next: usize,
}

impl Chunks {
    /// Opens these chunks ahead, in threads that end when all were taken or nobody takes them any more.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`]: no thread can be started
    pub fn ahead<'s>(&'s self, scope: &'s Scope<'s, '_>, wanted: &'s [ChunkId]) -> Result<Ahead, Error> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
        let lane = |first: usize| {
            let (give, take) = sync_channel(WAITING_MAX);
            let run = move || self.open_each(wanted, (first, count), &give);
            thread::Builder::new()
                .name("chunks".into())
                .spawn_scoped(scope, run)
                .map_err(|e| Error::io("start a thread for", &self.dir, e))?;
            Ok(take)
        };
        Ok(Ahead { lanes: (0..count).map(lane).collect::<Result<_, _>>()?, next: 0 })
    }

    fn open_each(
        &self,
        wanted: &[ChunkId],
        (first, step): (usize, usize),
        give: &SyncSender<Result<Vec<u8>, Error>>,
    ) {
        let mine = || wanted.iter().skip(first).step_by(step);
        let mut soon = mine();
        soon.by_ref().take(EXPECTED).for_each(|id| self.expect(id));
        for id in mine() {
            if let Some(id) = soon.next() {
                self.expect(id);
            }
            if give.send(self.get(id)).is_err() {
                return;
            }
        }
    }
}

impl Ahead {
    /// The next chunk.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: all were taken
    /// - else as [`Chunks::get`]
    pub fn take(&mut self) -> Result<Vec<u8>, Error> {
        let lane = self.lanes.get(self.next).map(Receiver::recv);
        self.next = (self.next + 1) % self.lanes.len().max(1);
        match lane {
            Some(Ok(chunk)) => chunk,
            _ => Err(Error::Invalid("more chunks are taken than were wanted".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [3; 32];

    fn stored(count: u32) -> (tempfile::TempDir, Vec<Vec<u8>>, Vec<ChunkId>) {
        let dir = tempfile::tempdir().unwrap();
        let mut chunks = Chunks::open(dir.path(), &KEY).unwrap();
        let plain: Vec<_> = (0..count).map(|n| n.to_le_bytes().repeat(1 + n as usize * 37 % 5000)).collect();
        let ids = plain.iter().map(|plain| chunks.put(plain).unwrap()).collect();
        chunks.sync().unwrap();
        (dir, plain, ids)
    }

    #[test]
    fn they_come_in_their_order() {
        let (dir, plain, mut ids) = stored(300);
        ids.extend(ids.clone());
        let chunks = Chunks::open_read_only(dir.path(), &KEY).unwrap();
        thread::scope(|scope| {
            let mut ahead = chunks.ahead(scope, &ids).unwrap();
            for plain in plain.iter().chain(&plain) {
                assert_eq!(ahead.take().unwrap(), *plain);
            }
            assert!(matches!(ahead.take(), Err(Error::Invalid(_))));
        });
    }

    #[test]
    fn an_error_comes_in_its_place_and_who_stops_early_waits_for_nobody() {
        let (dir, plain, mut ids) = stored(300);
        ids[5] = ChunkId([9; 32]);
        let chunks = Chunks::open_read_only(dir.path(), &KEY).unwrap();
        thread::scope(|scope| {
            let mut ahead = chunks.ahead(scope, &ids).unwrap();
            for plain in &plain[..5] {
                assert_eq!(ahead.take().unwrap(), *plain);
            }
            assert!(matches!(ahead.take(), Err(Error::Absent { .. })));
        });
    }
}
