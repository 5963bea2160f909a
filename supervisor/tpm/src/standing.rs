//! How a log stands to the anchor in the chip: a pure comparison.

use types::hash::Hash;

use crate::anchor::{Anchor, AnchorNames};

/// What the log itself says about its anchor: facts and the newest head name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The log's id.
    pub log_id: [u8; 16],
    /// The log's size.
    pub size: u64,
    /// The names of the anchor's indices when it was defined; `None` if none was.
    pub names: Option<AnchorNames>,
    /// The counter that the newest head names.
    pub counter: u64,
    /// The orderly counter that the newest head names.
    pub orderly: u64,
    /// The chip's resets and restarts when the newest head was made.
    pub epoch: (u32, u32),
    /// How far the chip lets an orderly counter jump at a loss of power, as its `TPM_PT_ORDERLY_COUNT` says; 0 where it does not say.
    pub jump_max: u32,
}

/// The log is the newest that the chip knows of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The newest head names the next counter: the power failed before the increment. Anchor anew.
    pub is_increment_missing: bool,
    /// How far the orderly counter is ahead of what the newest head names: it jumps at a power loss.
    pub orderly_jump: u64,
    /// The chip lost power since the newest head: heads after the last anchoring may be missing, unseen, as many as it can have jumped over.
    pub is_window_open: bool,
}

/// The log is not the newest that the chip knows of, or the anchor is not that of the log.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The log has an anchor, the chip has none.
    #[error("the TPM holds no anchor, but this log has one: it was removed, or the log is another machine's")]
    Missing,
    /// The chip has an anchor, the log knows of none.
    #[error("the TPM holds an anchor that this log does not know of: the log is older, or another one")]
    Unknown,
    /// Other indices are where the anchor's were.
    #[error("the TPM's anchor was defined anew since this log was written")]
    Redefined,
    /// The anchor is that of another log.
    #[error("the TPM's anchor belongs to another log")]
    OtherLog,
    /// The log is an older copy.
    #[error("this log is an older copy: it names counter {named}, and the TPM has counted to {counted}")]
    RolledBack {
        /// By the newest head.
        named: u64,
        /// By the chip.
        counted: u64,
    },
    /// The log ends before what was anchored.
    #[error("this log was truncated: it has {size} entries, and {anchored} were anchored")]
    Truncated {
        /// Of the log.
        size: u64,
        /// Of the record.
        anchored: u64,
    },
    /// The log has another history.
    #[error("this log has another history: its root at {size} entries is not the one that was anchored")]
    Forked {
        /// Of the record.
        size: u64,
    },
    /// The log names a counter that the chip has not reached: it is not the chip that it was.
    #[error("this log names counter {named}, and the TPM has counted to {counted} only: it is another TPM")]
    ChipBehind {
        /// By the newest head.
        named: u64,
        /// By the chip.
        counted: u64,
    },
}

/// Compares a log with the anchor. `root_at` gives the log's root at an earlier size.
///
/// # Errors
/// - one for each way in which the log is not what the chip remembers
pub fn check(
    expected: &Expected,
    anchor: Option<&Anchor>,
    root_at: impl FnOnce(u64) -> Option<Hash>,
) -> Result<Standing, Violation> {
    let (anchor, names) = match (anchor, expected.names) {
        (Some(anchor), Some(names)) => (anchor, names),
        (None, Some(_)) => return Err(Violation::Missing),
        (Some(_), None) => return Err(Violation::Unknown),
        (None, None) => {
            return Ok(Standing { is_increment_missing: false, orderly_jump: 0, is_window_open: true });
        }
    };
    let point = anchor.record.point;
    if point.log_id != expected.log_id {
        return Err(Violation::OtherLog);
    }
    if anchor.names != names {
        return Err(Violation::Redefined);
    }
    let is_increment_missing = counted(expected.counter, anchor.counter)?;
    if point.size > expected.size {
        return Err(Violation::Truncated { size: expected.size, anchored: point.size });
    }
    if root_at(point.size) != Some(point.root) {
        return Err(Violation::Forked { size: point.size });
    }
    // A chip that slept was told to before, and has kept all it knew: then only its restarts are counted.
    let is_window_open = anchor.clock.resets != expected.epoch.0;
    let orderly_jump = anchor.orderly.saturating_sub(expected.orderly);
    if !is_window_open || orderly_jump > jump_max(expected, anchor) || orderly_jump == 0 {
        // Without a power loss it counts as the other does.
        counted(expected.orderly, anchor.orderly)?;
    }
    Ok(Standing { is_increment_missing, orderly_jump, is_window_open })
}

/// How far the orderly counter can have jumped since the newest head: at each loss of power as far as the chip says, and by the count of that
/// head itself. What is beyond counts heads that are missing.
fn jump_max(expected: &Expected, anchor: &Anchor) -> u64 {
    if expected.jump_max == 0 {
        return u64::MAX;
    }
    let losses = anchor.clock.resets.saturating_sub(expected.epoch.0).max(1);
    u64::from(losses).saturating_mul(expected.jump_max.into()).saturating_add(1)
}

/// Whether the increment is missing between what the newest head names and what the chip has counted.
fn counted(named: u64, counted: u64) -> Result<bool, Violation> {
    match named.checked_sub(counted) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(Violation::ChipBehind { named, counted }),
        None => Err(Violation::RolledBack { named, counted }),
    }
}
