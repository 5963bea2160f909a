//! When a checkpoint is taken that nobody asks for, and what becomes of those: configuration, and what follows from it.

use types::time::Time;

use crate::order::Order;
use crate::reply::ScheduleReport;
use crate::retention::{self, Keep};
use crate::state::State;

/// When and what: configuration, not a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Schedule {
    /// A checkpoint is due so long after the last one, nanoseconds; never by time where it is missing.
    pub interval_ns: Option<u64>,
    /// One is taken before each risky action.
    pub before_risky: bool,
    /// Which stay.
    pub keep: Keep,
}

/// In how many nanoseconds the next one is due; 0: now. None: never by time.
///
/// Within a boot CLOCK_BOOTTIME counts, which nobody can set. From another boot only the wall clock is left; where it says that
/// the last one is yet to come, one is taken now: then there is a moment again that can be counted from.
#[must_use]
pub fn due_in_ns(state: &State, now: Time) -> Option<u64> {
    let interval_ns = state.schedule.interval_ns?;
    let Some(last) = state.last_taken else { return Some(0) };
    let passed_ns = if last.boot == now.boot {
        now.boottime_ns.saturating_sub(last.boottime_ns)
    } else {
        u64::try_from(now.wall_ns.saturating_sub(last.wall_ns)).unwrap_or(u64::MAX)
    };
    Some(interval_ns.saturating_sub(passed_ns))
}

/// How it stands.
#[must_use]
pub fn report(state: &State, now: Time) -> ScheduleReport {
    let Schedule { interval_ns, before_risky, keep } = state.schedule;
    let fates = retention::fates(state, &keep).into_iter().filter_map(|fate| {
        Some((state.checkpoints.get(&fate.number)?.clone(), fate.reasons.into_iter().collect()))
    });
    ScheduleReport {
        interval_ns,
        due_in_ns: due_in_ns(state, now),
        before_risky,
        awaiting: state.awaiting().and_then(|work| {
            let Order::Restore { number, .. } = &work.order else { return None };
            Some((*number, work.progress.as_ref()?.left_ns(now)?))
        }),
        keep,
        checkpoints: fates.collect(),
    }
}

#[cfg(test)]
mod tests {
    use types::time::BootId;

    use super::*;

    #[test]
    fn the_next_one_is_due_an_interval_after_the_last_one() {
        let at = |boot: u8, boottime_ns, wall_ns| Time { boot: BootId([boot; 16]), boottime_ns, wall_ns };
        let due = |interval_ns, last_taken, now| {
            let schedule = Schedule { interval_ns, ..Schedule::default() };
            due_in_ns(&State { schedule, last_taken, ..State::default() }, now)
        };
        let last = Some(at(1, 100, 5000));
        assert_eq!(due(None, last, at(1, 900, 9000)), None);
        assert_eq!(due(Some(50), None, at(1, 1, 1)), Some(0));
        // In the same boot the wall clock is no matter.
        assert_eq!(due(Some(50), last, at(1, 130, 9_999_999)), Some(20));
        assert_eq!(due(Some(50), last, at(1, 150, 0)), Some(0));
        assert_eq!(due(Some(50), last, at(2, 3, 5020)), Some(30));
        assert_eq!(due(Some(50), last, at(2, 3, 5060)), Some(0));
        // The clock was set back.
        assert_eq!(due(Some(50), last, at(2, 3, 4999)), Some(0));
    }
}
