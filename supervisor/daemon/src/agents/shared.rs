//! What the driver and who asks it share.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use sandbox::Brake;
use sandbox::helper::{Client, Effect};

use super::events::Token;
use super::fleet::Patience;
use super::happened::Why;
use super::instance::{Instance, Sent, State};
use super::timers::{Due, Timer};

/// Most effects that may wait for the helper to take them: far more than there are agents.
const ASKS_MAX: usize = 4096;
/// How long an agent that has closed its stdin, or its stdout, may take to end.
pub const CLOSED_MAX: Duration = Duration::from_secs(1);

/// What driver and callers share.
pub struct Shared {
    pub client: Client,
    pub brake: Brake,
    /// What the helper has no room for yet.
    pub asks: Mutex<VecDeque<Effect>>,
    pub instances: RwLock<HashMap<u64, Arc<Instance>>>,
    pub epoll: OwnedFd,
    pub wake: OwnedFd,
    /// For the driver to set.
    pub timers: Mutex<Vec<Timer>>,
    /// Counts freezing and thawing: odd while all stand still.
    pub freezes: AtomicU64,
    pub is_over: AtomicBool,
    pub patience: Patience,
}

impl Shared {
    pub fn instances(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Arc<Instance>>> {
        self.instances.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn instance(&self, number: u64) -> Option<Arc<Instance>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Instance>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// A number that is odd while all stand still, and another one after.
    pub fn freezes(&self) -> u64 {
        self.freezes.load(Ordering::Acquire)
    }

    pub fn is_frozen(&self) -> bool {
        self.freezes() % 2 == 1
    }

    /// Wakes the driver.
    pub fn wake(&self) {
        // It can only be full of wake-ups.
        _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Has the driver look at something when it is due.
    pub fn due(&self, at: Instant, instance: u64, due: Due) {
        lock(&self.timers).push(Timer { at, instance, due });
        self.wake();
    }

    /// What the driver is to set.
    pub fn take_timers(&self) -> Vec<Timer> {
        std::mem::take(&mut *lock(&self.timers))
    }

    /// Asks the helper; false where it will never be.
    pub fn ask(&self, effect: Effect) -> bool {
        let mut asks = lock(&self.asks);
        if asks.is_empty() {
            match self.client.ask(&effect) {
                Ok(true) => return true,
                // That it has ended is told by its socket.
                Err(_) => return false,
                Ok(false) => {}
            }
            self.watch_helper(true);
        }
        if asks.len() >= ASKS_MAX {
            return false;
        }
        asks.push_back(effect);
        true
    }

    /// Asks the helper for what waits.
    pub fn ask_on(&self) {
        let mut asks = lock(&self.asks);
        while let Some(effect) = asks.front() {
            match self.client.ask(effect) {
                Ok(true) => drop(asks.pop_front()),
                Ok(false) => return,
                Err(_) => asks.clear(),
            }
        }
        self.watch_helper(false);
    }

    fn watch_helper(&self, is_full: bool) {
        let also = if is_full { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        _ = epoll::modify(&self.epoll, &self.client, Token::HELPER.data(), epoll::EventFlags::IN | also);
    }

    /// Writes a line to an agent; what does not fit waits, and too much of it ends the agent.
    pub fn send(&self, found: &Instance, state: &mut State, line: &str) -> bool {
        match state.send(line) {
            Sent::Now | Sent::Waits => true,
            Sent::Begins => {
                if let Some(stdin) = state.stdin() {
                    let token = Token::stdin(found.number).data();
                    _ = epoll::add(&self.epoll, stdin, token, epoll::EventFlags::OUT);
                }
                true
            }
            Sent::Full => {
                self.condemn(found, state, Why::NotReading);
                false
            }
            Sent::Closed => {
                // If it has ended, that will be told; if not, it cannot be reached any more.
                self.due(Instant::now() + CLOSED_MAX, found.number, Due::Stdin);
                false
            }
            Sent::Gone => false,
        }
    }

    /// Wants an agent's end.
    pub fn condemn(&self, found: &Instance, state: &mut State, why: Why) {
        if !state.condemn(why) {
            self.ask(Effect::Kill { instance: found.number });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
