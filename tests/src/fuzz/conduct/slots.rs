//! The actors other than the fuzzer itself: made, told, ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context as _;

use super::Conductor;
use crate::fuzz::actor::{Actor, Done, STOP};
use crate::fuzz::program::{Kind, Program};
use crate::fuzz::raw;

/// Whether an actor is at something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Busy {
    No,
    Working,
    /// At what ends by an event, or by a signal.
    Waiting,
}

/// An actor other than the fuzzer itself.
#[derive(Debug)]
pub(super) enum Slot {
    Empty,
    Process {
        pid: i32,
        commands: PipeWriter,
        busy: Busy,
        /// Its end of the pipe, which must stay open here if the table of descriptors is one.
        kept: Option<File>,
    },
    Thread {
        id: i32,
        commands: PipeWriter,
        busy: Busy,
        handle: JoinHandle<()>,
    },
}

impl Conductor {
    pub(super) fn spawn(
        &mut self,
        slot: u8,
        kind: Kind,
        program: &Program,
        own: &mut Done,
    ) -> anyhow::Result<()> {
        // A thread that is in the middle of something may hold a lock that the child would wait for.
        let stops = |slot: &Slot| matches!(slot, Slot::Thread { busy: Busy::Working | Busy::Waiting, .. });
        let is_empty = matches!(self.slots.get(usize::from(slot)), Some(Slot::Empty));
        if !is_empty || self.slots.iter().any(stops) {
            own.flags |= Done::SKIPPED;
            return Ok(());
        }
        let (from, commands) = std::io::pipe().context("a pipe")?;
        let from = File::from(OwnedFd::from(from));
        let common = self.common;
        let filled = if kind == Kind::Thread {
            let (program, told) = (program.clone(), self.told.try_clone().context("a descriptor")?);
            let (say, ask) = mpsc::channel();
            let handle = std::thread::spawn(move || {
                let mut actor = Actor::new(slot, common);
                if say.send(raw::thread()).is_ok() {
                    actor.serve(&program, &from, &told);
                }
            });
            Slot::Thread { id: ask.recv().context("a thread")?, commands, busy: Busy::No, handle }
        } else {
            let told = &self.told;
            let pid = raw::spawn(kind == Kind::Sharer, || {
                Actor::new(slot, common).serve(program, &from, told);
            });
            let kept = (kind == Kind::Sharer).then_some(from);
            Slot::Process { pid: pid.context("a process")?, commands, busy: Busy::No, kept }
        };
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = filled;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self, slot: u8, done: &mut BTreeMap<u32, Done>) -> anyhow::Result<()> {
        if matches!(self.slots.get(usize::from(slot)), Some(Slot::Thread { .. })) {
            self.settle(slot, done)?;
        }
        let Some(place) = self.slots.get_mut(usize::from(slot)) else { return Ok(()) };
        match std::mem::replace(place, Slot::Empty) {
            Slot::Empty => {}
            Slot::Process { pid, kept, .. } => {
                raw::end(pid);
                drop(kept);
            }
            Slot::Thread { mut commands, handle, .. } => {
                commands.write_all(&STOP.to_le_bytes()).context("the end of a thread")?;
                drop(handle.join());
            }
        }
        Ok(())
    }

    /// A process exits by itself.
    pub(super) fn exit(
        &mut self,
        slot: u8,
        index: u32,
        done: &mut BTreeMap<u32, Done>,
    ) -> anyhow::Result<Option<Done>> {
        self.settle(slot, done)?;
        let Some(Slot::Process { pid, commands, .. }) = self.slots.get_mut(usize::from(slot)) else {
            return Ok(Some(Done { index, flags: Done::SKIPPED, ..Done::default() }));
        };
        commands.write_all(&index.to_le_bytes()).context("the end of a process")?;
        raw::wait(*pid);
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Slot::Empty;
        }
        Ok(Some(Done { index, ..Done::default() }))
    }

    pub(super) fn signal(&self, slot: u8) {
        match self.slots.get(usize::from(slot)) {
            Some(Slot::Process { pid, .. }) => raw::signal(*pid, *pid),
            Some(Slot::Thread { id, .. }) => raw::signal(self.process, *id),
            _ => {}
        }
    }
}
