//! Turning a plan into effects.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::thread;

use store::chunk::{Ahead, Chunks};

use super::entry::{Entry, Kind, Piece};
use super::plan::RootPlan;
use super::root::Root;
use crate::Error;
use crate::error::{length, shown};
use crate::limit::Limit;
use crate::manifest::Tree;
use crate::worker::effect::{Body, Effect, Step, Way};

/// What each staged entry may take besides its content: an inode and its share of a folder.
const ENTRY_BYTES: u64 = 4096;

/// Checks that every chunk of the entries at these places is there and authentic.
pub(super) fn check_chunks(
    tree: &Tree,
    places: impl Iterator<Item = usize>,
    chunks: &Chunks,
    limit: &Limit,
) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let mut needed = Vec::new();
    for entry in places.filter_map(|place| tree.entries.get(place)) {
        let Kind::Regular { pieces, .. } = &entry.kind else { continue };
        needed.extend(pieces.iter().filter(|piece| seen.insert(piece.id())).map(|piece| (entry, piece)));
    }
    let wanted: Vec<_> = needed.iter().map(|(_, piece)| piece.id()).collect();
    thread::scope(|scope| {
        let mut ahead = chunks.ahead(scope, &wanted)?;
        needed.iter().try_for_each(|(entry, piece)| {
            limit.check()?;
            next(entry, piece, &mut ahead).map(drop)
        })
    })
}

/// The next chunk, which must be this piece of an entry.
fn next(entry: &Entry, piece: &Piece, ahead: &mut Ahead) -> Result<Vec<u8>, Error> {
    let bytes = ahead.take()?;
    if length(bytes.len()) != u64::from(piece.bytes) {
        return Err(Error::Damaged(format!("a chunk of {} has another size", shown(&entry.path))));
    }
    Ok(bytes)
}

/// Checks that the new contents have room beside the old ones.
pub(super) fn check_space(root: &Root, tree: &Tree, plan: &RootPlan) -> Result<(), Error> {
    let path = root.path().as_os_str().as_bytes();
    let sizes =
        plan.places.iter().filter_map(|place| tree.entries.get(*place)).map(|entry| match entry.kind {
            Kind::Regular { size, .. } => size.saturating_add(ENTRY_BYTES),
            _ => ENTRY_BYTES,
        });
    let needed = sizes.fold(0, u64::saturating_add);
    let disk = rustix::fs::fstatvfs(root).map_err(|e| Error::io("ask for the space of", path, e))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed > free {
        return Err(Error::Full { path: shown(path), needed, free });
    }
    Ok(())
}

/// Stages everything that a plan puts anew, and its steps. Chunks that are not whole are found here, before anything is in its place.
pub(super) fn stage(
    (root, way): (u16, Way),
    tree: &Tree,
    plan: &RootPlan,
    chunks: &Chunks,
    perform: &mut dyn FnMut(&Effect) -> Result<(), Error>,
) -> Result<(), Error> {
    let entries = plan.places.iter().filter_map(|place| tree.entries.get(*place));
    let wanted: Vec<_> = entries
        .flat_map(|entry| match &entry.kind {
            Kind::Regular { pieces, .. } => pieces.as_slice(),
            _ => &[],
        })
        .map(Piece::id)
        .collect();
    perform(&Effect::Open { root, way })?;
    thread::scope(|scope| {
        let mut ahead = chunks.ahead(scope, &wanted)?;
        stage_new(root, tree, plan, &mut ahead, perform)
    })?;
    for path in &plan.removes {
        perform(&Effect::Add { root, step: Step::Remove { path: path.clone() } })?;
    }
    for (place, number) in plan.places.iter().zip(0u64..) {
        let Some(entry) = tree.entries.get(*place) else { continue };
        perform(&Effect::Add { root, step: Step::Place { path: entry.path.clone(), number } })?;
    }
    for entry in plan.metas.iter().filter_map(|place| tree.entries.get(*place)) {
        let step = Step::Meta { path: entry.path.clone(), meta: entry.meta.clone() };
        perform(&Effect::Add { root, step })?;
    }
    perform(&Effect::Commit { root })
}

/// Stages the new entries.
fn stage_new(
    root: u16,
    tree: &Tree,
    plan: &RootPlan,
    ahead: &mut Ahead,
    perform: &mut dyn FnMut(&Effect) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut numbers: HashMap<&[u8], u64> = HashMap::new();
    for (place, number) in plan.places.iter().zip(0u64..) {
        let Some(entry) = tree.entries.get(*place) else { continue };
        let body = match &entry.kind {
            Kind::Regular { size, .. } => Body::Regular { size: *size },
            Kind::Directory => Body::Directory,
            Kind::Symlink { target } => Body::Symlink { target: target.clone() },
            Kind::Fifo => Body::Fifo,
            Kind::HardLink { to } => match numbers.get(to.as_slice()) {
                Some(number) => Body::LinkStaged { number: *number },
                None => Body::LinkPresent { path: to.clone() },
            },
        };
        perform(&Effect::Stage { root, number, meta: entry.meta.clone(), body })?;
        if let Kind::Regular { pieces, .. } = &entry.kind {
            for piece in pieces {
                perform(&Effect::Data { root, bytes: next(entry, piece, ahead)? })?;
            }
            perform(&Effect::Seal { root })?;
        }
        numbers.insert(&entry.path, number);
    }
    Ok(())
}
