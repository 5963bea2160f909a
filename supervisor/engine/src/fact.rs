//! What is recorded, and its encoding.
//!
//! A record is one CBOR item: a map with integer keys, so that a reader in ten years finds its way with any CBOR
//! tool. A variant is an array of its number and such a map. Keys and variants are only ever added;
//! `docs/facts.md` lists them.
//!
//! A key that an older reader may skip is added under the same version, as an `Option` or with a default. A variant,
//! or a key that an older reader must not skip, takes a new version.

use minicbor::{Decode, Encode};
use types::hash::Hash;
use types::peer::Peer;
use types::time::{BootId, Time};

use crate::command::RequestId;
use crate::fleet::fact::AgentFact;
use crate::order::{Order, Valued, Write};
use crate::run::fact::{Advance, RunAccepted};
use crate::scope::{Held, Others};

/// The newest encoding that this build writes.
pub const VERSION: u32 = 5;

/// What most records need at most, and a note besides its content, in bytes.
const FRAME_BYTES: usize = 256;

/// A record could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The encoder failed.
    #[error("encoding a fact: {0}")]
    Encode(String),
    /// The bytes are not a record that this build knows.
    #[error("decoding a fact: {0}")]
    Decode(String),
    /// The record was written by a newer build.
    #[error("the fact has version {0}, newer than this program: use the program that wrote it")]
    Newer(u32),
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// Version of the encoding.
    #[n(0)]
    pub version: u32,
    /// The boot in which it happened.
    #[cbor(n(1), with = "minicbor::bytes")]
    boot: [u8; 16],
    /// CLOCK_BOOTTIME, nanoseconds.
    #[n(2)]
    boottime_ns: u64,
    /// CLOCK_REALTIME, nanoseconds since 1970.
    #[n(3)]
    wall_ns: i64,
    /// What happened.
    #[n(4)]
    pub fact: Fact,
}

impl Record {
    /// A record of the newest version.
    #[must_use]
    pub const fn new(time: Time, fact: Fact) -> Self {
        Self {
            version: VERSION,
            boot: time.boot.0,
            boottime_ns: time.boottime_ns,
            wall_ns: time.wall_ns,
            fact,
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn time(&self) -> Time {
        Time { boot: BootId(self.boot), boottime_ns: self.boottime_ns, wall_ns: self.wall_ns }
    }

    /// Encodes it.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`].
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        // Grown by the encoder, a note would be copied seven times.
        let content = match &self.fact {
            Fact::Noted { content, .. } => content.len(),
            _ => 0,
        };
        let mut bytes = Vec::with_capacity(FRAME_BYTES + content);
        minicbor::encode(self, &mut bytes).map_err(|error| Error::Encode(error.to_string()))?;
        Ok(bytes)
    }

    /// Decodes one.
    ///
    /// # Errors
    ///
    /// [`Error::Newer`] for a record of a newer build, [`Error::Decode`] for anything that is not one record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        // First, because a newer record may well look like one of ours and mean something else.
        if let Some(version) = version(bytes).filter(|version| *version > VERSION) {
            return Err(Error::Newer(version));
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let record = decoder.decode().map_err(|error| Error::Decode(error.to_string()))?;
        match bytes.len() - decoder.position() {
            0 => Ok(record),
            more => Err(Error::Decode(format!("{more} bytes follow the record"))),
        }
    }
}

/// The version of an encoded record, readable whatever follows it: it is always the first key.
pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.map().ok()?;
    (decoder.u32().ok()? == 0).then(|| decoder.u32().ok()).flatten()
}

/// Who asked, as the kernel attested.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Asker {
    /// Process id.
    #[n(0)]
    pub pid: i32,
    /// User id.
    #[n(1)]
    pub uid: u32,
    /// Group id.
    #[n(2)]
    pub gid: u32,
}

impl From<Peer> for Asker {
    fn from(peer: Peer) -> Self {
        Self { pid: peer.pid, uid: peer.uid, gid: peer.gid }
    }
}

/// A decision in favour, see `policy::Grant`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// SHA-256 of the order.
    #[cbor(n(0), with = "minicbor::bytes")]
    order: [u8; 32],
    /// Version of the rules.
    #[cbor(n(1), with = "minicbor::bytes")]
    rules: [u8; 32],
    /// Wall clock at which it ends, nanoseconds since 1970.
    #[n(2)]
    expires_ns: i64,
}

impl From<&policy::Grant> for Grant {
    fn from(grant: &policy::Grant) -> Self {
        Self { order: grant.order.0, rules: grant.rules.0, expires_ns: grant.expires_ns }
    }
}

impl From<&Grant> for policy::Grant {
    fn from(grant: &Grant) -> Self {
        Self { order: Hash(grant.order), rules: Hash(grant.rules), expires_ns: grant.expires_ns }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Fact {
    /// The daemon came up.
    #[n(0)]
    Started {
        /// The program's version.
        #[n(0)]
        version: String,
        /// SHA-256 of the configuration.
        #[cbor(n(1), with = "minicbor::bytes")]
        config: [u8; 32],
        /// Guarantees that this start lacks.
        #[n(2)]
        missing: Vec<String>,
    },
    /// The daemon went down in order.
    #[n(1)]
    Stopped,
    /// An order was denied by the rules.
    #[n(2)]
    Denied {
        /// Who asked.
        #[n(0)]
        asker: Asker,
        /// For what.
        #[n(1)]
        order: Order,
        /// Why not.
        #[n(2)]
        reason: String,
    },
    /// An order was granted; its first effect follows.
    #[n(3)]
    Accepted {
        /// Names the work from here on.
        #[n(0)]
        work: u64,
        /// The request.
        #[cbor(n(1), with = "minicbor::bytes")]
        request: [u8; 16],
        /// Who asked.
        #[n(2)]
        asker: Asker,
        /// What is to be done.
        #[n(3)]
        order: Order,
        /// On what ground.
        #[n(4)]
        grant: Grant,
        /// It begins once this work, a checkpoint, is signed. Since version 4.
        #[n(5)]
        after: Option<u64>,
    },
    /// A work reached its next point; the next effect follows.
    #[n(4)]
    Progressed {
        /// Which work.
        #[n(0)]
        work: u64,
        /// Which point.
        #[n(1)]
        progress: Progress,
    },
    /// A work ended.
    #[n(5)]
    Finished {
        /// Which work.
        #[n(0)]
        work: u64,
        /// How.
        #[n(1)]
        outcome: Outcome,
    },
    /// A thermal zone entered another level.
    #[n(6)]
    Heat {
        /// The zone's type.
        #[n(0)]
        zone: String,
        /// The level.
        #[n(1)]
        level: Level,
        /// The temperature, thousandths of a degree Celsius, where it is known.
        #[n(2)]
        millicelsius: Option<i32>,
    },
    /// Somebody told a fact of their own. Since version 2.
    #[n(7)]
    Noted {
        /// The request.
        #[cbor(n(0), with = "minicbor::bytes")]
        request: [u8; 16],
        /// Who told it.
        #[n(1)]
        asker: Asker,
        /// What it tells of, in the asker's words.
        #[n(2)]
        kind: String,
        /// What is told.
        #[cbor(n(3), with = "minicbor::bytes")]
        content: Vec<u8>,
    },
    /// What follows from the facts before was written to a snapshot. Since version 2.
    #[n(8)]
    Snapshotted {
        /// How many facts it holds.
        #[n(0)]
        facts: u64,
        /// SHA-256 of its file.
        #[cbor(n(1), with = "minicbor::bytes")]
        hash: [u8; 32],
    },
    /// The log was tied to the TPM's anchor anew. Since version 2.
    #[n(9)]
    Anchored {
        /// Why: the first time, or what was wrong and why it was accepted.
        #[n(0)]
        reason: String,
    },
    /// The TPM lost its power: a log that was cut back to its last anchoring would look like this one. Since version 2.
    #[n(10)]
    PowerLost {
        /// The count of heads that the newest head names.
        #[n(0)]
        named: u64,
        /// The count that the TPM went on from.
        #[n(1)]
        counted: u64,
    },
    /// The machine has a new TPM: the key of earlier heads was another. Since version 3.
    #[n(11)]
    Moved {
        /// The key that signed heads so far, SubjectPublicKeyInfo.
        #[cbor(n(0), with = "minicbor::bytes")]
        from: Vec<u8>,
        /// The key that signed everything else so far.
        #[cbor(n(1), with = "minicbor::bytes")]
        general: Vec<u8>,
        /// The key that signs heads from here on.
        #[cbor(n(2), with = "minicbor::bytes")]
        to: Vec<u8>,
        /// Why, in the owner's words.
        #[n(3)]
        reason: String,
    },
    /// Something about agents and their processes. Since version 5.
    #[n(12)]
    Agent(#[n(0)] AgentFact),
    /// A run of a workflow was granted. Since version 5.
    #[n(13)]
    RunAccepted(#[n(0)] Box<RunAccepted>),
    /// A run took a turn. Since version 5.
    #[n(14)]
    Advanced(#[n(0)] Box<Advance>),
}

impl Fact {
    /// The work that it belongs to.
    #[must_use]
    pub const fn work(&self) -> Option<u64> {
        match self {
            Self::Accepted { work, .. } | Self::Progressed { work, .. } | Self::Finished { work, .. } => {
                Some(*work)
            }
            _ => None,
        }
    }

    /// The request that an accepted order or a note came with.
    #[must_use]
    pub const fn request(&self) -> Option<RequestId> {
        match self {
            Self::Accepted { request, .. }
            | Self::Noted { request, .. }
            | Self::Agent(AgentFact::Approved { request, .. } | AgentFact::EmergencyStop { request, .. }) => {
                Some(RequestId(*request))
            }
            Self::RunAccepted(accepted) => Some(RequestId(accepted.request)),
            _ => None,
        }
    }
}

/// The points between start and end of a work.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Progress {
    /// The daemon came up and found it unfinished.
    #[n(0)]
    Resumed,
    /// What stood in the locations before they are written.
    #[n(1)]
    Before {
        /// The values.
        #[n(0)]
        values: Vec<Valued>,
    },
    /// Written and read back; the kernel undoes it unless it is confirmed.
    #[n(2)]
    Written,
    /// A checkpoint's content is stored.
    #[n(3)]
    Captured {
        /// SHA-256 of the encoded manifest.
        #[cbor(n(0), with = "minicbor::bytes")]
        manifest: [u8; 32],
        /// Files, folders and links.
        #[n(1)]
        files: u64,
        /// Token values.
        #[n(2)]
        tokens: u64,
        /// Bytes of content.
        #[n(3)]
        bytes: u64,
        /// Files that were read; the others were recognised as unchanged. Missing where an older daemon captured.
        #[n(4)]
        read: Option<u64>,
        /// Entries of the other components.
        #[cbor(n(5), default, skip_if = "Others::is_empty")]
        others: Others,
    },
    /// The checkpoint was validated against its signature; what changes is known.
    #[n(4)]
    Planned {
        /// Files that come back.
        #[n(0)]
        added: u64,
        /// Files that change.
        #[n(1)]
        changed: u64,
        /// Files that go away.
        #[n(2)]
        removed: u64,
        /// Tokens that change.
        #[n(3)]
        tokens: u64,
        /// How, with what stands there before: what brings them back after a power cut.
        #[n(4)]
        writes: Vec<Write>,
        /// Differences of the other components.
        #[cbor(n(5), default, skip_if = "Others::is_empty")]
        others: Others,
        /// What the settings that change hold, in the order in which they are written, and how the services are: what brings them back
        /// after a crash.
        #[cbor(n(6), default, skip_if = "Vec::is_empty")]
        settings: Vec<Held>,
    },
    /// What comes back lies ready beside what is there.
    #[n(5)]
    Prepared,
    /// It is in place.
    #[n(6)]
    Executed,
    /// It is in place and equal to the checkpoint.
    #[n(7)]
    Verified,
    /// It is being undone.
    #[n(8)]
    Undoing {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// Which checkpoints go is known; from here on they may be gone. Since version 4.
    #[n(9)]
    Chosen {
        /// Their numbers.
        #[n(0)]
        numbers: Vec<u64>,
    },
    /// They are gone. Since version 4.
    #[n(10)]
    Removed {
        /// Their numbers.
        #[n(0)]
        numbers: Vec<u64>,
        /// What kept others from going, if something did.
        #[n(1)]
        reason: Option<String>,
    },
    /// It is in place and equal to the checkpoint, and goes back at the deadline unless it is confirmed. Since version 4.
    #[n(11)]
    Awaiting {
        /// The boot in which it was decided. In another one the deadline has passed.
        #[cbor(n(0), with = "minicbor::bytes")]
        boot: [u8; 16],
        /// CLOCK_BOOTTIME, which counts suspend, nanoseconds.
        #[n(1)]
        deadline_ns: u64,
    },
    /// Somebody has said what is to become of it. Since version 4.
    #[n(12)]
    Answered {
        /// The request.
        #[cbor(n(0), with = "minicbor::bytes")]
        request: [u8; 16],
        /// Who.
        #[n(1)]
        asker: Asker,
        /// It stays; else it goes back.
        #[n(2)]
        keep: bool,
    },
}

impl Progress {
    /// In how many nanoseconds what waits to be confirmed goes back; 0: now. None: it does not wait.
    #[must_use]
    pub fn left_ns(&self, now: Time) -> Option<u64> {
        match self {
            Self::Awaiting { boot, .. } if *boot != now.boot.0 => Some(0),
            Self::Awaiting { deadline_ns, .. } => Some(deadline_ns.saturating_sub(now.boottime_ns)),
            _ => None,
        }
    }
}

/// How a work ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Outcome {
    /// As asked.
    #[n(0)]
    Done,
    /// It failed and changed nothing, or what it changed could not be undone: the reason says which.
    #[n(1)]
    Failed {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// It was undone.
    #[n(2)]
    Undone {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// The daemon died while it ran, before it changed anything.
    #[n(3)]
    Interrupted,
    /// A checkpoint is taken and signed.
    #[n(4)]
    Signed {
        /// Short id of the key.
        #[n(0)]
        key: String,
    },
    /// Data is sealed. Since version 3.
    #[n(5)]
    Sealed {
        /// SHA-256 of what came of it.
        #[cbor(n(0), with = "minicbor::bytes")]
        blob: [u8; 32],
    },
    /// The revocation counter was made or went on. Since version 3.
    #[n(6)]
    Counted {
        /// Its name, which the TPM makes of its definition.
        #[cbor(n(0), with = "minicbor::bytes")]
        counter: [u8; 34],
        /// Where it stands.
        #[n(1)]
        value: u64,
    },
    /// What no checkpoint needs is removed. Since version 4.
    #[n(7)]
    Pruned {
        /// Pack files that are gone, those that were rewritten among them.
        #[n(0)]
        packs: u64,
        /// Chunks that are gone.
        #[n(1)]
        chunks: u64,
        /// How much less the store takes on the disk, bytes.
        #[n(2)]
        bytes: u64,
    },
}

/// How hot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Level {
    /// Below the warning.
    #[n(0)]
    Normal,
    /// 85 °C and above.
    #[n(1)]
    Warning,
    /// 95 °C and above.
    #[n(2)]
    Critical,
    /// The sensor says nothing, or nothing plausible.
    #[n(3)]
    Unknown,
}
