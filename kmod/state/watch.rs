// SPDX-License-Identifier: GPL-2.0-only

//! The temperature, looked at while somebody has the node open.

use super::Shared;
use crate::{
    event::event,
    glue::{
        self,
        Who, //
    },
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

impl Shared {
    /// Has the work look in so many milliseconds.
    pub(super) fn look_again(self: &Arc<Self>, delay_ms: u32) {
        // Queued already means that it will look, and then again while a file is open.
        let _queued_already = workqueue::system_freezable()
            .enqueue_delayed::<_, { Shared::WATCH }>(self.clone(), msecs_to_jiffies(delay_ms));
    }

    /// Looks at the temperature, and tells if it has crossed a threshold.
    pub(super) fn look(&self) {
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
