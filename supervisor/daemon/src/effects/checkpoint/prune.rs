//! Finding out what checkpoints need, and removing what none does.
//!
//! What is needed is read from the folder of checkpoints, not from the log: what lies there and cannot be read stops the pruning, for
//! nobody could say which chunks it needs.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use engine::StepResult;
use engine::reply::{Freed, Survey};
use engine::retention::Going;
use store::chunk::prune::Pruned;
use store::chunk::{ChunkId, Chunks};

use super::Done;
use super::repository::{Reader, text};

/// Damages that are told one by one; of more only how many there are.
const DAMAGES_MAX: usize = 8;

/// The checkpoints in the folder. One of which the log tells must be among them: it may come back, and then needs its chunks.
fn present(reader: Reader<'_>) -> Result<Vec<u64>, String> {
    let present = store::manifest::list(reader.dir).map_err(text)?;
    match reader.told.keys().find(|number| !present.contains(number)) {
        Some(number) => Err(format!(
            "checkpoint {number}, of which the log tells, is missing: nothing is removed until it is there again or deleted \
             (“dsmil checkpoint delete {number}”)"
        )),
        None => Ok(present),
    }
}

/// Calls `each` with every chunk that a checkpoint needs.
fn each_chunk(reader: Reader<'_>, number: u64, each: &mut dyn FnMut(ChunkId)) -> Result<(), String> {
    let read = || {
        let stored = reader.present(number)?;
        let manifest = stored.manifest(reader.chunks).map_err(text)?;
        Ok((stored, manifest))
    };
    let (stored, manifest) = read().map_err(|why: String| {
        format!(
            "checkpoint {number} cannot be read, so nobody knows which chunks it needs: {why}; nothing is removed until it is \
             deleted (“dsmil checkpoint delete {number}”) or can be read again"
        )
    })?;
    stored.chunks(&manifest).for_each(each);
    Ok(())
}

/// What is needed on the disk if the first of the expendable ones go, for each number of them.
pub(super) fn survey(reader: Reader<'_>, going: Going) -> Result<Done, String> {
    let gone: HashSet<u64> = going.gone.iter().copied().collect();
    let place: HashMap<u64, usize> = going.expendable.iter().copied().zip(0..).collect();
    // For each chunk: how many of the expendable ones must have gone before it is needed no more.
    let mut last: HashMap<ChunkId, usize> = HashMap::new();
    let present = present(reader)?;
    for number in present.iter().filter(|number| !gone.contains(number)) {
        let until = place.get(number).map_or(usize::MAX, |place| place + 1);
        each_chunk(reader, *number, &mut |id| {
            let known = last.entry(id).or_default();
            *known = until.max(*known);
        })?;
    }
    let mut needed = vec![0_u64; going.expendable.len() + 1];
    for (id, until) in last {
        let bytes = reader.chunks.disk_bytes(&id).unwrap_or_default();
        // First only where it is needed for the last time.
        if let Some(needed) = needed.get_mut(until.min(going.expendable.len() + 1) - 1) {
            *needed += bytes;
        }
    }
    let mut sum = 0;
    for needed in needed.iter_mut().rev() {
        sum += *needed;
        *needed = sum;
    }
    let stored_bytes = reader.chunks.stats().stored_bytes;
    Ok(Done::Step(StepResult::Surveyed(Survey { going, stored_bytes, needed, present })))
}

/// Removes checkpoints, and says which are gone; a failure does not keep the others.
pub(super) fn remove_all(dir: &Path, numbers: &[u64]) -> Done {
    let (mut gone, mut failure) = (Vec::new(), None);
    for number in numbers {
        match store::manifest::remove(dir, *number) {
            // Removed before a crash, or by an earlier try whose flush failed.
            Ok(()) | Err(store::Error::Absent { .. }) => gone.push(*number),
            Err(error) => {
                failure.get_or_insert_with(|| {
                    format!("checkpoint {number} could not be removed: {}", text(error))
                });
            }
        }
    }
    Done::Step(StepResult::Removed(gone, failure))
}

/// Every chunk that a checkpoint in the folder needs.
pub(super) fn wanted(reader: Reader<'_>) -> Result<HashSet<ChunkId>, String> {
    let mut wanted = HashSet::new();
    for number in present(reader)? {
        each_chunk(reader, number, &mut |id| {
            wanted.insert(id);
        })?;
    }
    Ok(wanted)
}

/// Removes the others.
pub(super) fn prune(chunks: &mut Chunks, wanted: &HashSet<ChunkId>) -> Result<Done, String> {
    let pruned = chunks
        .prune(wanted, &mut |now| {
            tracing::debug!(done = now.packs_done, of = now.packs, removed = now.bytes_removed, "pruning");
        })
        .map_err(text)?;
    Ok(Done::Step(StepResult::Pruned(freed(&pruned))))
}

fn freed(pruned: &Pruned) -> Freed {
    let more = pruned.damage.len().saturating_sub(DAMAGES_MAX);
    let mut damage: Vec<_> = pruned.damage.iter().take(DAMAGES_MAX).map(ToString::to_string).collect();
    damage.extend((more > 0).then(|| format!("{more} more packs are damaged")));
    damage.extend((pruned.chunks_missing > 0).then(|| {
        format!(
            "{} chunks that checkpoints need are missing: “dsmil checkpoint verify” tells of which",
            pruned.chunks_missing
        )
    }));
    Freed {
        packs: pruned.packs_removed,
        rewritten: pruned.packs_rewritten,
        chunks: pruned.chunks_removed,
        bytes: pruned.bytes_freed,
        left_bytes: pruned.bytes_unwanted,
        damage,
    }
}

#[cfg(test)]
mod tests;
