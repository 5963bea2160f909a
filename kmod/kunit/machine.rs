// SPDX-License-Identifier: GPL-2.0-only

//! Cases of `machine`; the host runs them too, beside its properties.

use crate::{
    machine::{
        Machine,
        Owner,
        Phase,
        Step,
        Terms, //
    },
    time::NSEC_PER_SEC,
    transaction::{
        Failure,
        Undone, //
    },
    uapi, //
};

const ME: Owner = Owner {
    file: 3,
    process: 7,
};
const OTHERS: [Owner; 3] = [
    Owner { file: 4, ..ME },
    Owner { process: 8, ..ME },
    Owner {
        file: 4,
        process: 8,
    },
];
const PERIOD: i64 = 30 * NSEC_PER_SEC;

/// A transaction of mine is open since 0.
fn open(undo_on_suspend: bool) -> Machine {
    let mut machine = Machine::new();
    let terms = Terms {
        period: PERIOD,
        undo_on_suspend,
    };
    let _its_number = machine.begin(ME, terms, 0);
    machine
}

/// One is pending since 0.
fn pending(undo_on_suspend: bool) -> Machine {
    let mut machine = open(undo_on_suspend);
    machine.committed(0);
    machine
}

/// An attempt to undo that failed.
fn failed() -> Undone {
    Undone {
        failure: Some(Failure {
            reason: uapi::DSMIL_REASON_NOT_STUCK,
            index: Some(0),
            fault: None,
            found: 0,
        }),
        ..Undone::default()
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(dsmil_machine))]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_transaction_at_a_time() {
        let terms = Terms {
            period: PERIOD,
            undo_on_suspend: false,
        };
        let mut machine = open(false);
        for owner in [ME, OTHERS[0]] {
            assert_eq!(machine.begin(owner, terms, 0), Err(uapi::DSMIL_REASON_BUSY));
        }
        machine.committed(0);
        machine.confirmed();
        assert_eq!(machine.outcome(), uapi::DSMIL_OUTCOME_CONFIRMED);
        assert_eq!(machine.begin(OTHERS[0], terms, 0), Ok(2));
        assert_eq!(machine.file(), OTHERS[0].file);
    }

    #[test]
    fn only_its_owner_takes_steps() {
        let machine = pending(false);
        assert_eq!(machine.may(Step::Confirm, 1, ME), Ok(()));
        assert_eq!(
            machine.may(Step::Build, 1, ME),
            Err(uapi::DSMIL_REASON_COMMITTED)
        );
        assert_eq!(
            machine.may(Step::Confirm, 2, ME),
            Err(uapi::DSMIL_REASON_NO_TRANSACTION)
        );
        for owner in OTHERS {
            assert_eq!(
                machine.may(Step::Confirm, 1, owner),
                Err(uapi::DSMIL_REASON_NOT_OWNER)
            );
            assert!(!machine.closes(owner.file, Some(owner.process)));
        }
        assert!(machine.closes(ME.file, Some(ME.process)));
        assert!(machine.closes(ME.file, None));
    }

    #[test]
    fn deadlines_run_from_begin_and_anew_from_commit() {
        let mut machine = open(false);
        assert_eq!(machine.due_in(PERIOD - 1), Some(1));
        assert_eq!(machine.due_in(PERIOD + 5), Some(0));
        machine.committed(PERIOD - 1);
        assert_eq!(machine.due_at(), Some(2 * PERIOD - 1));
        machine.confirmed();
        assert_eq!(machine.due_in(0), None);
    }

    #[test]
    fn failed_undos_are_tried_again_after_pauses_that_double() {
        let mut machine = pending(false);
        for pause in [1, 2, 4, 8, 16, 32, 64, 64] {
            assert_eq!(
                machine.undone(&failed(), uapi::DSMIL_OUTCOME_EXPIRED, 9),
                None
            );
            assert_eq!(machine.due_in(9), Some(pause * NSEC_PER_SEC));
            assert!(!machine.is_owned());
        }
        assert_eq!(
            machine.may(Step::Undo, 1, ME),
            Err(uapi::DSMIL_REASON_UNDOING)
        );
        // Why the first was made is what counts.
        let ended = machine.undone(&Undone::default(), uapi::DSMIL_OUTCOME_CLOSED, 9);
        assert_eq!(ended, Some(uapi::DSMIL_OUTCOME_EXPIRED));
        assert!(machine.phase() == Phase::Idle);
    }

    #[test]
    fn sleep_ends_what_asked_for_it_and_power_off_what_is_written() {
        assert!(!open(false).ends_in_sleep(false) && !open(false).ends_in_sleep(true));
        assert!(open(true).ends_in_sleep(false) && open(true).ends_in_sleep(true));
        assert!(!pending(false).ends_in_sleep(false) && pending(false).ends_in_sleep(true));
        assert!(pending(true).ends_in_sleep(false) && pending(true).ends_in_sleep(true));
        for asked in [false, true] {
            let mut machine = pending(asked);
            machine.undone(&failed(), uapi::DSMIL_OUTCOME_SUSPENDED, 0);
            assert_eq!(machine.keeps_awake(), asked);
            machine.undone(&Undone::default(), uapi::DSMIL_OUTCOME_SUSPENDED, 0);
            assert!(!machine.keeps_awake() && !machine.ends_in_sleep(true));
        }
    }
}
