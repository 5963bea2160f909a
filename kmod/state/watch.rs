// SPDX-License-Identifier: GPL-2.0-only

//! The temperature, looked at while somebody has the node open, and once when the module is loaded.
//!
//! Nobody's asking makes for a look: one may evaluate code of the firmware, and who may open the node may do so as often
//! as they like. So the work alone looks, never twice within its period.

use super::Shared;
use crate::{
    event::event,
    glue::{
        self,
        Who, //
    },
    time::NSEC_PER_MSEC,
    uapi, //
};
use kernel::{
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        self,
        WorkItem, //
    },
};

/// Pause between two looks, in milliseconds: processors warm up in seconds.
const PERIOD_MS: u32 = 1000;
/// The same in nanoseconds.
const PERIOD_NS: i64 = PERIOD_MS as i64 * NSEC_PER_MSEC;

impl Shared {
    /// Has the work look, at once unless it has looked within its period.
    pub(super) fn look_soon(self: &Arc<Self>) {
        let due = self.looked.load(Relaxed).saturating_add(PERIOD_NS);
        let delay_ms = due.saturating_sub(glue::now()).clamp(0, PERIOD_NS) / NSEC_PER_MSEC;
        // Never more than the period, so it always fits.
        self.look_again(delay_ms.try_into().unwrap_or(PERIOD_MS));
    }

    fn look_again(self: &Arc<Self>, delay_ms: u32) {
        // Queued already means that it will look, and then again while a file is open.
        let _queued_already = workqueue::system_freezable()
            .enqueue_delayed::<_, { Shared::WATCH }>(self.clone(), msecs_to_jiffies(delay_ms));
    }

    /// Looks at the temperature, and tells if it has crossed a threshold.
    pub(super) fn look(&self) {
        self.looked.store(glue::now(), Relaxed);
        let temperature = glue::temperature();
        let (before, level) = self.board.set_temperature(temperature);
        if level != before.heat {
            self.tell(uapi::dsmil_event {
                detail: level,
                old: before.temperature_mc as u32,
                new_value: temperature.unwrap_or(0) as u32,
                ..event(uapi::DSMIL_EVENT_HEAT, Who::default())
            });
        }
    }
}

impl WorkItem<{ Shared::WATCH }> for Shared {
    type Pointer = Arc<Shared>;

    fn run(this: Arc<Shared>) {
        this.look();
        if this.present.load(Relaxed) > 0 {
            this.look_again(PERIOD_MS);
        }
    }
}
