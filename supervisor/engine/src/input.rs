//! What the world tells: commands, results of effects, samples, start and stop.

use types::hash::Hash;
use types::peer::Peer;
use types::time::Time;
use types::unit::MilliCelsius;

use crate::command::{Command, RequestId};
use crate::fleet::decide::{Found, Heard};
use crate::order::{Item, Valued};
use crate::reply::{Captured, DiffReport, Freed, PlanReport, Prepared, Survey, VerifyReport};

/// One event and when it happened. Whatever the engine must not find out by itself comes with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Input {
    /// By all clocks.
    pub time: Time,
    /// What the log's disk has room for.
    pub room: Room,
    /// What happened.
    pub event: Event,
}

/// What the log's disk has room for; each level holds those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Room {
    /// For stopping and undo alone: what the log keeps for them.
    #[default]
    Reserve,
    /// For orders too, but not for what users tell of their own accord.
    Orders,
    /// For everything.
    Notes,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The daemon is up; the log is replayed.
    Started {
        /// The program's version.
        version: String,
        /// SHA-256 of the configuration in force.
        config: Hash,
        /// What this start lacks, in words for people; empty when every guarantee holds.
        missing: Vec<String>,
    },
    /// The daemon is asked to stop.
    Stopping,
    /// The state was written to a snapshot.
    Snapshotted {
        /// After how many facts.
        facts: u64,
        /// SHA-256 of its file.
        hash: Hash,
    },
    /// The log was tied to the TPM's anchor anew.
    Anchored {
        /// Why, in words for people.
        reason: String,
    },
    /// The TPM lost its power since the newest head.
    PowerLost {
        /// The count of heads that the newest head names.
        named: u64,
        /// The count that the TPM went on from.
        counted: u64,
    },
    /// The TPM is another one than that of earlier heads, and the owner goes on with it.
    Moved {
        /// The key that signed heads so far, SubjectPublicKeyInfo.
        from: Vec<u8>,
        /// The key that signed everything else so far.
        general: Vec<u8>,
        /// The key that signs heads from here on.
        to: Vec<u8>,
        /// Why.
        reason: String,
    },
    /// Somebody asks for something with an effect.
    Asked {
        /// Which request.
        request: RequestId,
        /// Who, as the kernel attests.
        peer: Peer,
        /// For what.
        command: Command,
    },
    /// An effect has ended.
    Stepped {
        /// Whose work.
        work: u64,
        /// How.
        result: StepResult,
    },
    /// Something is heard of an agent's process.
    Agent {
        /// Its number.
        instance: u64,
        /// What.
        heard: Heard,
    },
    /// These are the files that describe agents, all of them.
    Agents(Vec<Found>),
    /// Everything was stopped at once.
    EmergencyStop {
        /// The request.
        request: RequestId,
        /// Who asked.
        peer: Peer,
        /// Until all agents stood still, nanoseconds.
        frozen_ns: Option<u64>,
        /// Until all were gone.
        killed_ns: Option<u64>,
        /// Processes that are left.
        left: Vec<i32>,
    },
    /// The time of something that a run waits for has come.
    Due,
    /// Time has passed: something may be due.
    Tick,
    /// A thermal zone was read; `None` is missing or implausible.
    Temperature {
        /// The zone's type.
        zone: String,
        /// What it read.
        temperature: Option<MilliCelsius>,
    },
}

/// How an effect ended.
#[derive(Clone, PartialEq, Debug)]
pub enum StepResult {
    /// Done, with nothing to tell.
    Done,
    /// Locations were read: a value or a reason each.
    Read(Vec<(Item, Result<u32, String>)>),
    /// All locations of a write were read before it.
    Before(Vec<Valued>),
    /// A checkpoint's content is stored.
    Captured(Captured),
    /// A checkpoint's statement is signed and stored.
    Signed {
        /// Short id of the key, hexadecimal.
        key: String,
    },
    /// What a restore would change.
    Planned(PlanReport),
    /// A checkpoint holds.
    Verified(VerifyReport),
    /// What differs.
    Compared(DiffReport),
    /// What checkpoints need on the disk.
    Surveyed(Survey),
    /// Checkpoints are gone: which, and what kept others from going, if something did.
    Removed(Vec<u64>, Option<String>),
    /// What no checkpoint needed is gone.
    Pruned(Freed),
    /// Data is sealed.
    Sealed(Vec<u8>),
    /// A vault can be made.
    Prepared(Prepared),
    /// The revocation counter went on.
    Counted {
        /// Its name.
        counter: [u8; 34],
        /// Where it stands.
        value: u64,
    },
    /// It failed: what, where, and what to do.
    Failed(String),
}
