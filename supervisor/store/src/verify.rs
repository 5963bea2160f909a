//! The offline check of a log: also by another process while the log grows, also on another machine.
//!
//! It reads alone and takes no lock. What it proves depends on what it is given: without a key the CRCs and the roots of
//! the heads; with the key that the heads are signed by the covered entries against everybody who lacks that key; with a
//! head that the verifier trusts also that nothing was rewound or forked since.

use std::path::Path;
use std::sync::Arc;

use types::hash::Hash;

use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};
use crate::head::{Head, PublicKey};
use crate::log::archived::steadily;
use crate::log::audit::Watch;
use crate::log::meter::Meter;
use crate::log::{Position, Unlocked, audit_unlocked};
use crate::tiles::Edge;

/// What was checked, and found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The random identity of the log.
    pub id: [u8; 16],
    /// How many entries it has, the archived ones too; the CRC of each that is there was checked.
    pub entries: u64,
    /// How many of them, the first ones, were archived. Their hashes are there, and were proven as the others by the heads.
    pub archived: u64,
    /// How many stored heads it has; each root was checked.
    pub heads: u64,
    /// Whether the signature of each head was checked, too.
    pub signed: bool,
    /// The newest stored head.
    pub head: Option<Head>,
    /// How many entries the newest head covers. Whether those after it were changed cannot be known.
    pub covered: u64,
    /// Whether the log goes on from the head that the verifier trusts; false where none was given.
    pub trusted: bool,
    /// What a crash, or a write that is under way, left of incomplete batches at the ends of entries and heads, in bytes.
    pub torn_bytes: u64,
}

/// Checks the log in the folder `dir`: CRCs, batches, the Merkle root against each stored head, each head's signature if
/// `key` is given, and that the log contains the tree of the head `trusted`, if one is given.
///
/// # Errors
///
/// - [`Error::Damaged`]: it is not what was written. Names the entry; where the attacker repaired the CRCs, the range
///   between two heads that it lies in; or the head
/// - [`Error::Absent`]: there is no log
/// - [`Error::Version`], [`Error::Io`]: it cannot be read, which says nothing about it
pub fn verify(dir: &Path, key: Option<&PublicKey>, trusted: Option<&Head>) -> Result<Report, Error> {
    verify_on(Arc::new(Real), dir, (key, trusted), true)
}

/// The same for a log whose heads are signed by several keys, one after the other: its machine got another TPM. `watcher` is told
/// how far it has come.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_by(
    dir: &Path,
    keys: &[PublicKey],
    trusted: Option<&Head>,
    watcher: &mut dyn FnMut(Position),
) -> Result<Report, Error> {
    let disk: Arc<dyn Disk> = Arc::new(Real);
    steadily(&*disk, dir, &mut || {
        verify_once(Arc::clone(&disk), dir, (keys, trusted), true, &mut Meter::new(watcher))
    })
}

/// `live`: whether another process may write meanwhile, so that bad bytes at the end are worth a second look.
pub(crate) fn verify_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    (key, trusted): (Option<&PublicKey>, Option<&Head>),
    live: bool,
) -> Result<Report, Error> {
    let keys = key.map(std::slice::from_ref).unwrap_or_default();
    steadily(&*disk, dir, &mut || {
        verify_once(Arc::clone(&disk), dir, (keys, trusted), live, &mut Meter::new(&mut |_| ()))
    })
}

fn verify_once(
    disk: Arc<dyn Disk>,
    dir: &Path,
    (keys, trusted): (&[PublicKey], Option<&Head>),
    live: bool,
    meter: &mut Meter<'_>,
) -> Result<Report, Error> {
    let mut check = |signed: &crate::head::SignedHead| {
        if keys.is_empty() || keys.iter().any(|key| signed.verify(key).is_ok()) {
            Ok(())
        } else {
            Err("its signature is not one of the given key")
        }
    };
    let mut anchor = trusted.map(|head| Anchor { head, root: None });
    let mut watch = Watch {
        each: &mut |_, _| (),
        check: &mut check,
        stop: trusted.map(|head| head.size),
        tree: &mut |tree| anchor.iter_mut().for_each(|anchor| anchor.see(tree)),
        made: &mut |_, _, _| (),
    };
    let Unlocked { audit, id, torn_bytes, archived } = audit_unlocked(disk, dir, live, &mut watch, meter)?;
    if let Some(anchor) = &anchor {
        anchor.check(dir, audit.tree.size())?;
    }
    let head = audit.head.map(|signed| signed.head().clone());
    Ok(Report {
        id,
        entries: audit.tree.size(),
        archived,
        heads: audit.heads,
        signed: !keys.is_empty() && head.is_some(),
        covered: head.as_ref().map_or(0, |head| head.size),
        head,
        trusted: trusted.is_some(),
        torn_bytes,
    })
}

/// A head that the verifier trusts.
struct Anchor<'a> {
    head: &'a Head,
    /// Of the tree when it had the size of this head.
    root: Option<Hash>,
}

impl Anchor<'_> {
    fn see(&mut self, tree: &Edge) {
        if tree.size() == self.head.size {
            self.root = Some(tree.root());
        }
    }

    fn check(&self, dir: &Path, found: u64) -> Result<(), Error> {
        let size = self.head.size;
        if found < size {
            let why = "the trusted head covers them, but they are not there: the log was cut or rewound";
            return Err(Error::damaged(dir, 0, Place::Entries(found..size), why));
        }
        if self.root != Some(self.head.root) {
            let why = "the root of the entries is not the one of the trusted head";
            return Err(Error::damaged(dir, 0, Place::Entries(0..size), why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
