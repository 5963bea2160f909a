//! Effects on the kernel device.

use std::sync::Arc;
use std::time::Duration;

use device::{Device, Pending};
use engine::StepResult;
use engine::order::{Item, Valued, Write};
use policy::Permit;
use types::token::Change;

use super::{World, blocking, lock};
use crate::run::failed;

impl World {
    fn node(&self) -> Result<Arc<Device>, String> {
        self.device.clone().ok_or_else(|| {
            "the kernel device is not there: load the module and start dsmild again".to_owned()
        })
    }

    pub(super) async fn read(&self, items: Vec<Item>, _permit: Permit) -> StepResult {
        let node = self.node();
        blocking(move || {
            let answers = look(&*node?, &items);
            Ok(StepResult::Read(items.into_iter().zip(answers).collect()))
        })
        .await
    }

    pub(super) async fn read_before(&self, items: Vec<Item>, _permit: Permit) -> StepResult {
        let node = self.node();
        blocking(move || Ok(StepResult::Before(values(&*node?, &items)?))).await
    }

    pub(super) async fn write(
        &self,
        work: u64,
        writes: Vec<Write>,
        before: Vec<Valued>,
        _permit: Permit,
    ) -> StepResult {
        let (node, deadline) = (self.node(), self.config.confirm());
        let written = tokio::task::spawn_blocking(move || -> Result<Pending, String> {
            let changes: Vec<_> = writes.iter().map(|write| change(write, &before)).collect();
            node?.write(&changes, deadline).map_err(|error| error.to_string())
        });
        match written.await {
            Ok(Ok(pending)) => {
                lock(&self.pending).insert(work, pending);
                StepResult::Done
            }
            Ok(Err(reason)) => failed(&reason),
            Err(error) => failed(&error),
        }
    }

    pub(super) async fn confirm(&self, work: u64, _permit: Permit) -> StepResult {
        let pending = lock(&self.pending).remove(&work);
        blocking(move || match pending {
            Some(pending) => pending.confirm().map(|()| StepResult::Done).map_err(|error| error.to_string()),
            None => Err("there is no written change to confirm".to_owned()),
        })
        .await
    }

    /// Has the kernel take back what nobody has confirmed. It may take the firmware some time, so it is not waited for: a work whose change is gone
    /// finds so when it confirms, and looks at what stands there.
    pub fn undo_pending(&self) {
        let pending = std::mem::take(&mut *lock(&self.pending));
        if !pending.is_empty() {
            std::thread::spawn(move || drop(pending));
        }
    }

    /// Brings old values back, through the kernel where it still holds the change, else by a write of our own.
    pub(super) async fn undo_write(
        &self,
        work: u64,
        writes: Vec<Write>,
        before: Vec<Valued>,
        _permit: Permit,
    ) -> StepResult {
        // Dropping it undoes; what counts is what stands there afterwards.
        drop(lock(&self.pending).remove(&work));
        let (node, deadline) = (self.node(), self.config.confirm());
        blocking(move || {
            bring_back(&*node?, &writes, &before, deadline)?;
            Ok(StepResult::Done)
        })
        .await
    }
}

fn look(node: &Device, items: &[Item]) -> Vec<Result<u32, String>> {
    let wanted: Vec<_> = items.iter().map(|item| (item.token(), item.select())).collect();
    node.read(&wanted)
        .into_iter()
        .map(|answer| answer.map(|reading| reading.value).map_err(|error| error.to_string()))
        .collect()
}

fn values(node: &Device, items: &[Item]) -> Result<Vec<Valued>, String> {
    items
        .iter()
        .zip(look(node, items))
        .map(|(item, answer)| Ok(Valued { item: *item, value: answer? }))
        .collect()
}

/// A write must find what was read before it.
fn change(write: &Write, before: &[Valued]) -> Change {
    let held = before.iter().find(|held| held.item == write.item).map(|held| held.value);
    Change {
        id: write.item.token(),
        select: write.item.select(),
        value: write.value,
        expected: held.or(write.expected),
    }
}

/// Writes the old value wherever the new one still stands. What somebody else changed meanwhile is left.
fn bring_back(node: &Device, writes: &[Write], before: &[Valued], deadline: Duration) -> Result<(), String> {
    let items: Vec<_> = before.iter().map(|held| held.item).collect();
    let now = values(node, &items)?;
    let changes: Vec<_> = before
        .iter()
        .zip(&now)
        .filter_map(|(old, now)| {
            let written = writes.iter().find(|write| write.item == old.item)?;
            (now.value == written.value && now.value != old.value).then_some(Change {
                id: old.item.token(),
                select: old.item.select(),
                value: old.value,
                expected: Some(now.value),
            })
        })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    node.write(&changes, deadline)
        .and_then(Pending::confirm)
        .map_err(|error| format!("bringing the old values back: {error}"))
}
