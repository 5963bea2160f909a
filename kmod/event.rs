// SPDX-License-Identifier: GPL-2.0-only

//! What has happened, for whoever reads the node.
//!
//! Whatever is told is told after it is so. Nothing waits for a reader.

use crate::{
    glue::{
        self,
        Who, //
    },
    ring::Ring,
    uapi,
};
use kernel::{
    fs::File,
    new_poll_condvar, new_spinlock,
    prelude::*,
    sync::{
        poll::{
            PollCondVar,
            PollTable, //
        },
        SpinLock,
    },
};

/// Slots of the ring.
const SLOTS: usize = uapi::DSMIL_EVENTS_MAX as usize;

/// The ring and who waits for it.
#[pin_data]
pub(crate) struct Events {
    #[pin]
    log: SpinLock<Log>,
    #[pin]
    arrival: PollCondVar,
}

struct Log {
    ring: Ring,
    slots: KVVec<uapi::dsmil_event>,
}

impl Log {
    fn next(&self, position: u64) -> Option<uapi::dsmil_event> {
        let next = self.ring.next(position, SLOTS)?;
        let mut event = *self.slots.get(next.slot)?;
        event.lost = next.lost.try_into().unwrap_or(u32::MAX);
        Some(event)
    }
}

impl Events {
    /// No events yet; all memory that it will ever need.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            log <- new_spinlock!(Log {
                ring: Ring::default(),
                slots: KVVec::from_elem(uapi::dsmil_event::default(), SLOTS, GFP_KERNEL)?,
            }, "dsmil::Events::log"),
            arrival <- new_poll_condvar!("dsmil::Events::arrival"),
        })
    }

    /// Adds an event, with number and time; returns the number.
    pub(crate) fn post(&self, mut event: uapi::dsmil_event) -> u64 {
        event.time_ns = glue::now().try_into().unwrap_or(0);
        let mut log = self.log.lock();
        let (number, slot) = log.ring.put(SLOTS);
        event.number = number;
        if let Some(place) = log.slots.get_mut(slot) {
            *place = event;
        }
        drop(log);
        self.arrival.notify_all();
        number
    }

    /// Number of the newest event, 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.log.lock().ring.newest()
    }

    /// The event after `position`, if there is one.
    pub(crate) fn next(&self, position: u64) -> Option<uapi::dsmil_event> {
        self.log.lock().next(position)
    }

    /// Waits until there is an event after `position`.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: a signal came first.
    pub(crate) fn wait(&self, position: u64) -> Result {
        let mut log = self.log.lock();
        while log.ring.newest() <= position {
            if self.arrival.wait_interruptible(&mut log) {
                return Err(ERESTARTSYS);
            }
        }
        Ok(())
    }

    /// Has poll or epoll of a file told of the next event.
    pub(crate) fn register(&self, file: &File, table: &PollTable<'_>) {
        table.register_wait(file, &self.arrival);
    }
}

/// An event of a kind, about nobody and nothing yet.
pub(crate) fn event(kind: u32, who: Who) -> uapi::dsmil_event {
    uapi::dsmil_event {
        kind,
        pid: who.pid,
        uid: who.uid,
        ..Default::default()
    }
}
