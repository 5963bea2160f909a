//! What the TPM would notice if the log were put back, and since when: kept for those who ask.

use std::time::{Duration, Instant};

use api::wire;
use recovery::vault::offline::anchor_name;
use tpm::{Anchor, Standing};
use types::hash::Hash;

use crate::clock;

/// What the chip remembers of the log, in entries.
#[derive(Debug)]
pub struct Window {
    /// What this start found; none: the anchor was made at this start.
    found: Option<Standing>,
    /// Entries under the newest stored head, which the chip may not have counted.
    stored: u64,
    /// Entries under the newest head that the chip has counted.
    counted: u64,
    /// Entries that are anchored.
    anchored: u64,
    /// Heads counted since the last anchoring.
    heads: u64,
    /// Writes of the record.
    writes: u64,
    /// When this start has anchored the log last, nanoseconds since 1970.
    anchored_ns: Option<i64>,
    /// One word for the anchor's indices.
    name: Hash,
}

impl Window {
    /// As the anchor has it.
    pub fn new(anchor: &Anchor, found: Option<Standing>) -> Self {
        let size = anchor.record.point.size;
        let writes = anchor.record.writes;
        let name = anchor_name(&anchor.names.counter, &anchor.names.record);
        Self { found, stored: size, counted: size, anchored: size, heads: 0, writes, anchored_ns: None, name }
    }

    /// A head over so many entries is stored.
    pub const fn stored(&mut self, size: u64) {
        self.stored = size;
    }

    /// The chip has counted that head.
    pub const fn counted(&mut self) {
        self.counted = self.stored;
        self.heads = self.heads.saturating_add(1);
    }

    /// The chip has taken so many entries for the anchored ones.
    pub fn anchored(&mut self, size: u64) {
        self.anchored = size;
        self.heads = 0;
        self.writes = self.writes.saturating_add(1);
        self.anchored_ns = Some(clock::wall_ns());
    }

    /// Entries are stored that are not anchored.
    pub const fn is_ahead(&self) -> bool {
        self.stored > self.anchored
    }

    /// For the wire. The last anchoring was at `since`, and the next is due after `every`.
    pub fn describe(
        &self,
        counter: u64,
        is_owed: bool,
        (since, every): (Instant, Duration),
    ) -> wire::tpm::Anchor {
        let found = match self.found {
            Some(standing) => wire::tpm::Found {
                made: false,
                window_open: standing.is_window_open,
                heads_ahead: standing.orderly_jump,
            },
            None => wire::tpm::Found { made: true, ..wire::tpm::Found::default() },
        };
        wire::tpm::Anchor {
            counter,
            heads: self.heads,
            writes: self.writes,
            writes_max: tpm::NV_ENDURANCE,
            anchored: self.anchored_ns.map(wire::record::rfc3339).unwrap_or_default(),
            next_s: every.saturating_sub(since.elapsed()).as_secs(),
            owed: is_owed,
            found,
            noticed: self.counted,
            noticed_unpowered: self.anchored,
            name: self.name.to_string(),
        }
    }
}
