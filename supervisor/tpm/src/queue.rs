//! What waits for the chip: bounded, urgent before normal before background, and nobody overtaken for ever.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::Error;
use crate::counters::{Kind, Waiting};
use crate::owner::Backend;

/// In which order requests are served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Priority {
    /// Stopping and undoing: what must not wait behind anything.
    Urgent,
    /// What somebody waits for.
    #[default]
    Normal,
    /// What nobody waits for, such as housekeeping.
    Background,
}

/// Lanes, one a priority.
const LANES: usize = 3;
/// How often a lane may be passed over while it has something, before it comes next. So a request of the lowest
/// priority waits for at most this many others, times the requests before it in its own lane.
pub(crate) const PASSED_OVER_MAX: u32 = 8;
/// How many urgent requests may wait beyond the limit: a full queue must not keep the machine from stopping.
pub(crate) const URGENT_EXTRA: usize = 16;

/// Something asked of the chip, and where the answer goes.
pub(crate) trait Work: Send {
    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Does it; true if it succeeded.
    fn run(self: Box<Self>, backend: &mut Backend) -> Answered;
}

/// The answer is there, and how to give it; counted first.
pub(crate) struct Answered {
    pub(crate) failed: bool,
    pub(crate) give: Box<dyn FnOnce()>,
}

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) work: Box<dyn Work>,
    pub(crate) since: Instant,
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
}

/// Why a request is not taken.
pub(crate) enum Refused {
    Full,
    Closed,
}

/// Told when the chip is closed.
pub(crate) type Closer = oneshot::Sender<Result<(), Error>>;

/// The queue between the handles and the owner.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    len_max: usize,
}

#[derive(Default)]
struct State {
    lanes: [VecDeque<Job>; LANES],
    /// How often each lane was passed over since it was served last.
    passed_over: [u32; LANES],
    is_closed: bool,
    closers: Vec<Closer>,
    is_over: bool,
    /// Requests that were dropped because nobody waited for them any more.
    cancelled: u64,
}

impl Queue {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), len_max: len_max.max(1) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics with the lock held; if it did, the queue would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request.
    pub(crate) fn push(&self, job: Job, priority: Priority) -> Result<(), Refused> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        let extra = if priority == Priority::Urgent { URGENT_EXTRA } else { 0 };
        if state.len() >= self.len_max + extra {
            // Those whose callers gave up need no place.
            state.forget_abandoned();
        }
        if state.len() >= self.len_max + extra {
            return Err(Refused::Full);
        }
        if let Some(lane) = state.lanes.get_mut(priority as usize) {
            lane.push_back(job);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next request; `None` when no more will come.
    pub(crate) fn pop(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            // Before one is chosen: those who gave up must not count as if they had been served.
            state.forget_abandoned();
            if let Some(job) = state.next() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more requests. What waits is still served.
    pub(crate) fn close(&self, closer: Option<Closer>) {
        let mut state = self.state();
        state.is_closed = true;
        match closer {
            // It has been closed: dropping the sender tells.
            Some(closer) if !state.is_over => state.closers.push(closer),
            _ => {}
        }
        self.changed.notify_all();
    }

    /// Tells those who wait for the end; the first gets the result, the others that it is over.
    pub(crate) fn finish(&self, result: Result<(), Error>) {
        let mut state = self.state();
        state.is_over = true;
        let mut result = Some(result);
        for closer in state.closers.drain(..) {
            // Nobody may wait for it any more; it is closed all the same.
            let _ = closer.send(result.take().unwrap_or(Ok(())));
        }
    }

    /// How many wait, by kind.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::default();
        for job in self.state().lanes.iter().flatten() {
            if let Some(count) = waiting.get_mut(job.kind as usize) {
                *count += 1;
            }
        }
        waiting
    }

    /// Requests that were dropped because nobody waited for them any more.
    pub(crate) fn cancelled(&self) -> u64 {
        self.state().cancelled
    }

    pub(crate) const fn len_max(&self) -> usize {
        self.len_max
    }
}

impl State {
    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    fn forget_abandoned(&mut self) {
        for lane in &mut self.lanes {
            let before = lane.len();
            lane.retain(|job| !job.work.is_abandoned());
            self.cancelled += u64::try_from(before - lane.len()).unwrap_or_default();
        }
    }

    fn next(&mut self) -> Option<Job> {
        let waiting = |lane: &usize| self.lanes.get(*lane).is_some_and(|lane| !lane.is_empty());
        let patient = |lane: &usize| self.passed_over.get(*lane).is_some_and(|n| *n < PASSED_OVER_MAX);
        let chosen = (0..LANES).rev().filter(waiting).find(|lane| !patient(lane));
        let chosen = chosen.or_else(|| (0..LANES).find(waiting))?;
        for (lane, (jobs, passed_over)) in self.lanes.iter().zip(&mut self.passed_over).enumerate() {
            if lane == chosen {
                *passed_over = 0;
            } else if !jobs.is_empty() {
                *passed_over += 1;
            }
        }
        self.lanes.get_mut(chosen)?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    struct Idle(Arc<AtomicBool>);

    impl Work for Idle {
        fn is_abandoned(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn run(self: Box<Self>, _: &mut Backend) -> Answered {
            Answered { failed: false, give: Box::new(|| {}) }
        }
    }

    /// A job that can be told from others by its deadline.
    fn job(start: Instant, n: u64, abandoned: &Arc<AtomicBool>) -> Job {
        let work = Box::new(Idle(abandoned.clone()));
        Job { kind: Kind::Sign, work, since: start, deadline: start + Duration::from_secs(n) }
    }

    fn order(pushed: &[(Priority, u64)]) -> Vec<u64> {
        let (queue, start, live) = (Queue::new(1000), Instant::now(), Arc::default());
        for (priority, n) in pushed {
            assert!(queue.push(job(start, *n, &live), *priority).is_ok());
        }
        queue.close(None);
        std::iter::from_fn(|| queue.pop()).map(|job| (job.deadline - start).as_secs()).collect()
    }

    #[test]
    fn urgent_comes_first_and_each_lane_keeps_its_order() {
        use Priority::{Background, Normal, Urgent};
        let pushed = [(Background, 5), (Normal, 3), (Urgent, 1), (Normal, 4), (Urgent, 2)];
        assert_eq!(order(&pushed), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn nobody_is_overtaken_for_ever() {
        let mut pushed: Vec<_> = (0..100).map(|n| (Priority::Urgent, n)).collect();
        pushed.push((Priority::Normal, 200));
        pushed.push((Priority::Background, 300));
        let order = order(&pushed);
        let place = |n| order.iter().position(|found| *found == n).unwrap();
        let limit = usize::try_from(PASSED_OVER_MAX).unwrap() + LANES;
        assert!(place(200) <= limit && place(300) <= limit, "{} {}", place(200), place(300));
        // And the urgent ones are not starved in turn.
        assert_eq!(place(99), 101);
    }

    #[test]
    fn it_is_bounded_but_for_what_is_urgent_and_who_gave_up_takes_no_place() {
        let (queue, start, live, gone) = (Queue::new(2), Instant::now(), Arc::default(), Arc::default());
        assert!(queue.push(job(start, 1, &live), Priority::Normal).is_ok());
        assert!(queue.push(job(start, 2, &gone), Priority::Normal).is_ok());
        assert!(matches!(queue.push(job(start, 3, &live), Priority::Normal), Err(Refused::Full)));
        for n in 0..URGENT_EXTRA {
            assert!(queue.push(job(start, n as u64, &live), Priority::Urgent).is_ok());
        }
        assert!(matches!(queue.push(job(start, 9, &live), Priority::Urgent), Err(Refused::Full)));
        gone.store(true, Ordering::Relaxed);
        assert!(queue.push(job(start, 10, &live), Priority::Urgent).is_ok());
        queue.close(None);
        assert!(matches!(queue.push(job(start, 11, &live), Priority::Urgent), Err(Refused::Closed)));
        assert_eq!(queue.waiting()[Kind::Sign as usize], 2 + URGENT_EXTRA);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 2 + URGENT_EXTRA);
        assert_eq!(queue.cancelled(), 1);
    }
}
