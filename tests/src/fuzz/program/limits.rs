//! What can be run, and at what cost.

use super::{ACTORS, Body, Call, ENTRIES_MAX, FILES, Ioctl, MAPS, OPS_MAX, Op, Program};
use crate::fuzz::uapi::DSMIL_AGE_ANY;
use crate::machine::fault::Fault;

/// Room for old values that no transaction of a program needs.
const NO_ROOM: u16 = 1000;

impl Op {
    /// An operation of an actor that the next one waits for.
    pub(crate) fn new(on: u8, call: Call) -> Self {
        Self { on, later: false, fail: 0, call }
    }

    /// It takes a second or more: a wait for a deadline, or a fault that also hits the undo.
    pub(crate) fn is_slow(&self) -> bool {
        match &self.call {
            Call::Wait { ms } => *ms > 100,
            Call::Fault { spec } => !spec.contains("count=1,") && !spec.ends_with("count=1"),
            _ => false,
        }
    }

    /// The numbers are of the sizes named above.
    fn is_valid(&self) -> bool {
        let call = match &self.call {
            Call::Open { file, .. } | Call::Close { file } | Call::Events { file, .. } => *file < FILES,
            Call::Poll { file, .. } | Call::Other { file, .. } => *file < FILES,
            Call::Dup { from, to } => *from < FILES && *to < FILES,
            Call::Spawn { slot, .. } | Call::Kill { slot } | Call::Signal { slot } => {
                (1..ACTORS).contains(slot)
            }
            Call::Ioctl(ioctl) => ioctl.file < FILES && ioctl.body.entries() <= ENTRIES_MAX,
            Call::Map { file, map, .. } => *file < FILES && *map < MAPS,
            Call::Protect { map, .. } | Call::Unmap { map } | Call::Touch { map, .. } => *map < MAPS,
            Call::Fault { spec } => spec.parse::<Fault>().is_ok(),
            Call::Poke { select, .. } => *select < 3,
            Call::Exit | Call::Wait { .. } | Call::ClearFaults | Call::Heat { .. } => true,
        };
        call && self.on < ACTORS
    }
}

impl Call {
    /// Calls of the firmware that it may take, roughly.
    fn calls(&self) -> u32 {
        match self {
            Self::Ioctl(ioctl) => ioctl.body.calls(),
            Self::Fault { .. } | Self::ClearFaults | Self::Poke { .. } | Self::Heat { .. } => 2,
            _ => 0,
        }
    }
}

impl Body {
    fn calls(&self) -> u32 {
        match self {
            Self::Read { age, entries } if *age != DSMIL_AGE_ANY => {
                u32::try_from(entries.len()).unwrap_or(u32::MAX)
            }
            Self::Snapshot { age, .. } if *age != DSMIL_AGE_ANY => 200,
            // Two entries: old value, write, read back; undone perhaps.
            Self::Commit { .. } => 10,
            _ => 0,
        }
    }

    /// Entries of its array, or room for them.
    pub(crate) fn entries(&self) -> usize {
        match self {
            Self::List { room, .. } | Self::Snapshot { room, .. } | Self::Commit { room, .. } => {
                usize::from(*room)
            }
            Self::Read { entries, .. } => entries.len(),
            Self::Allow { ids } => ids.len(),
            Self::Stage { entries, .. } => entries.len(),
            _ => 0,
        }
    }
}

impl Program {
    /// Why it cannot be run, if it cannot.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.0.len() <= OPS_MAX, "more than {OPS_MAX} operations");
        for (index, op) in self.0.iter().enumerate() {
            anyhow::ensure!(op.is_valid(), "operation {index} names something out of range: {op:?}");
        }
        Ok(())
    }
}

impl Program {
    /// The same with fewer calls of the firmware, about so many at most: what is beyond is read from the cache instead,
    /// or its commit refused.
    pub(crate) fn calmed(mut self, calls: u32) -> Self {
        let mut left = calls;
        self.0.retain_mut(|op| {
            let cost = op.call.calls();
            if cost <= left {
                left -= cost;
                return true;
            }
            match &mut op.call {
                Call::Ioctl(Ioctl { body: Body::Read { age, .. } | Body::Snapshot { age, .. }, .. }) => {
                    *age = DSMIL_AGE_ANY;
                    true
                }
                // Refused last of all, before the firmware is asked: the other refusals are still reached.
                Call::Ioctl(Ioctl { count, body: Body::Commit { room, .. }, .. }) => {
                    (*count, *room) = (None, NO_ROOM);
                    true
                }
                _ => false,
            }
        });
        self
    }
}
