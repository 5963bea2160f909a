//! Programs that lead to ends which chance alone seldom comes to.
//!
//! Each is run in its phase until its ends were seen; it is then kept and changed like any other that reached something new.

mod programs;

use programs::*;

use super::known::Known;
use super::laptop::Phase;
use super::program::{Op, Program};

/// A program that leads somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) phase: Phase,
    /// The ends that it leads to, as the table names them.
    pub(crate) ends: &'static [&'static str],
    pub(crate) needs: Needs,
    make: fn(&Known) -> Option<Vec<Op>>,
}

/// What a piece cannot do without, besides its phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    Nothing,
    /// Calls of the firmware that take a millisecond, not a third of a second.
    QuickCalls,
    /// Allocations that can be made to fail.
    Failures,
}

impl Piece {
    /// The program for this laptop; none where its table has not what that takes.
    pub(crate) fn program(&self, known: &Known) -> Option<Program> {
        (self.make)(known).map(Program)
    }
}

/// All of them.
pub(crate) const PIECES: &[Piece] = &[
    Piece {
        phase: Phase::Unsealed,
        ends: &[
            "READ entry ENODATA",
            "ALLOW EPERM CAPABILITY",
            "ALLOW EBADF READ_ONLY_FILE",
            "BEGIN EPERM CAPABILITY",
            "BEGIN EBADF READ_ONLY_FILE",
            "BEGIN EPERM NOT_SEALED",
            "COMMIT EPERM CAPABILITY",
            "COMMIT EBADF READ_ONLY_FILE",
        ],
        needs: Needs::Nothing,
        make: rights,
    },
    Piece {
        phase: Phase::Unsealed,
        ends: &[
            "ALLOW EINVAL DUPLICATE",
            "ALLOW ENOENT UNKNOWN",
            "ALLOW EPERM NEVER_WRITTEN",
            "ALLOW EINVAL PARTIAL_LOCATION",
            "ALLOW E2BIG COUNT",
            "ALLOW ok",
            "ALLOW EPERM SEALED",
        ],
        needs: Needs::Nothing,
        make: lists,
    },
    Piece {
        phase: Phase::Unsealed,
        ends: &["ALLOW ENOMEM MEMORY"],
        needs: Needs::Failures,
        make: no_memory_to_allow,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &[
            "LIST EINVAL",
            "LIST E2BIG",
            "READ EINVAL COUNT",
            "READ E2BIG COUNT",
            "SNAPSHOT EINVAL SELECT",
            "SNAPSHOT E2BIG COUNT",
            "SNAPSHOT ENOSPC ROOM",
            "STAGE EINVAL COUNT",
            "STAGE E2BIG COUNT",
        ],
        needs: Needs::Nothing,
        make: counts,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &[
            "STAGE EINVAL SELECT",
            "STAGE EINVAL DUPLICATE",
            "STAGE ENOENT UNKNOWN",
            "STAGE EPERM NEVER_WRITTEN",
            "STAGE EPERM NOT_ALLOWED",
            "STAGE EINVAL VALUE",
            "COMMIT EINVAL EMPTY",
            "COMMIT EINVAL COUNT",
            "CONFIRM EINVAL NOT_COMMITTED",
            "STAGE EINVAL COMMITTED",
            "COMMIT EINVAL COMMITTED",
            "STAGE EPERM NOT_OWNER",
            "COMMIT EPERM NOT_OWNER",
            "CONFIRM EPERM NOT_OWNER",
            "UNDO EPERM NOT_OWNER",
            "CONFIRM ok",
        ],
        needs: Needs::Nothing,
        make: steps,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &[
            "READ entry EIO",
            "READ entry ENXIO",
            "COMMIT EIO FIRMWARE",
            "COMMIT ENXIO FIRMWARE",
            "COMMIT EINVAL FIRMWARE",
            "COMMIT EIO NOT_STUCK",
            "COMMIT ESTALE EXPECTED",
            "COMMIT undo 1",
            "COMMIT undo 2",
        ],
        needs: Needs::Nothing,
        make: failing_commits,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &[
            "UNDO EIO FIRMWARE",
            "BEGIN EBUSY UNDOING",
            "STAGE EBUSY UNDOING",
            "COMMIT EBUSY UNDOING",
            "CONFIRM EBUSY UNDOING",
            "UNDO EBUSY UNDOING",
        ],
        needs: Needs::Nothing,
        make: undoing,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &["UNDO EIO NOT_STUCK"],
        needs: Needs::Nothing,
        make: undo_that_does_not_stick,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &["READ EINTR INTERRUPTED", "SNAPSHOT EINTR INTERRUPTED", "read EINTR"],
        needs: Needs::Nothing,
        make: interrupted,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &["COMMIT undo 3"],
        needs: Needs::QuickCalls,
        make: left_by_a_commit,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &["SNAPSHOT EAGAIN CHANGED"],
        needs: Needs::QuickCalls,
        make: changing,
    },
    Piece {
        phase: Phase::Sealed,
        ends: &["READ ENOMEM MEMORY", "STAGE ENOMEM MEMORY", "COMMIT ENOMEM MEMORY"],
        needs: Needs::Failures,
        make: no_memory,
    },
    Piece { phase: Phase::Sealed, ends: &["READ entry EACCES"], needs: Needs::Nothing, make: write_only },
    Piece { phase: Phase::Sealed, ends: &["STAGE E2BIG FULL"], needs: Needs::Nothing, make: full },
    Piece {
        phase: Phase::Limited,
        ends: &["READ EAGAIN RATE", "SNAPSHOT EAGAIN RATE", "COMMIT EAGAIN RATE"],
        needs: Needs::Nothing,
        make: too_fast,
    },
    Piece {
        phase: Phase::Password,
        ends: &["COMMIT EACCES PASSWORD"],
        needs: Needs::Nothing,
        make: one_change,
    },
    Piece {
        phase: Phase::LockedDown,
        ends: &["ALLOW EPERM LOCKED_DOWN", "BEGIN EPERM LOCKED_DOWN", "COMMIT EPERM LOCKED_DOWN"],
        needs: Needs::Nothing,
        make: one_change_after_a_list,
    },
];

#[cfg(test)]
mod tests {
    use super::super::arms::Arms;
    use super::super::tests::known;
    use super::*;

    #[test]
    fn pieces_can_be_run_and_lead_to_ends_that_are_wanted() {
        let (required, special) = Arms::default().missing();
        for piece in PIECES {
            if let Some(program) = piece.program(&known()) {
                program.check().unwrap();
                assert!(!program.0.is_empty());
            }
            for end in piece.ends {
                assert!(required.iter().chain(&special).any(|wanted| wanted == end), "{end}");
            }
        }
    }
}
