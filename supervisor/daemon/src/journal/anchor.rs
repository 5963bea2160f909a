//! The log's anchor in the TPM: what heads say of it, and how a start holds it against the log.
//!
//! Each head names the counts that the chip will have once it is stored: so at a start the chip has counted to what the newest
//! head names, or one less if the power failed in between. An *anchoring* also writes the log's size and root into the chip,
//! which wears its memory; between anchorings heads are counted in the chip's RAM, which wears it far less.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use engine::Event;
use store::head::{Head, SignedHead};
use store::log::Log;
use store::tiles::prover::Prover;
use tpm::{Anchor, AnchorHandles, AnchorNames, Expected, HeadDigest, KeyOrigin, Standing, Violation};
use types::hash::Hash;

use super::counts::{Counts, Named, hash, point};

/// Holds the log against the anchor, makes the anchor where there is none yet, and anchors the log as it is. Gives back what is to
/// be recorded. With a reason to `accept` it, an anchor that is not the log's is replaced.
pub async fn begin(
    log: &mut Log,
    (dir, origin): (&Path, &str),
    tpm: &tpm::Handle,
    (every, accept): (Duration, Option<String>),
    sign: impl AsyncFn(Head) -> anyhow::Result<SignedHead>,
) -> anyhow::Result<(Counts, Vec<Event>)> {
    let mut events = Vec::new();
    let writes_every =
        tpm.orderly_writes_every().await.context("asking how often the TPM writes a counter down")?;
    let found = tpm.read_anchor(AnchorHandles::default()).await;
    let (found, standing) = match found {
        Ok(None) if named(log)?.is_none() && !is_first(log, tpm) => (None, Err(NEVER.to_owned())),
        Ok(found) => {
            let standing = compare(log, dir, found.as_ref(), writes_every)?;
            (found, standing)
        }
        Err(tpm::Error::NvMissing { .. } | tpm::Error::NvUnwritten { .. }) if is_first(log, tpm) => {
            (None, Ok(None))
        }
        Err(
            error @ (tpm::Error::NvMissing { .. }
            | tpm::Error::NvForeign { .. }
            | tpm::Error::NvUnwritten { .. }),
        ) => (None, Err(error.to_string())),
        Err(error) => return Err(error).context("reading the log's anchor in the TPM"),
    };
    // One that is made anew is not what was found.
    let stands = standing.as_ref().ok().copied().flatten();
    let anchor = match (standing, found, accept) {
        (Ok(Some(standing)), Some(anchor), _) => {
            if standing.is_window_open && standing.orderly_jump > 1 {
                let named = anchor.orderly.saturating_sub(standing.orderly_jump);
                events.push(Event::PowerLost { named, counted: anchor.orderly });
            }
            anchor
        }
        // Cut off between making it and saying so.
        (Ok(None), Some(anchor), _) => {
            events.push(Event::Anchored { reason: "for the first time".to_owned() });
            anchor
        }
        (Ok(None), None, _) => {
            events.push(Event::Anchored { reason: "for the first time".to_owned() });
            // What there may be of it.
            tpm.forget_anchor(AnchorHandles::default()).await.context("removing half an anchor")?;
            define(log, origin, tpm).await?
        }
        (Ok(Some(_)), None, _) => bail!("the TPM says that it has no anchor after it showed one"),
        (Err(why), _, Some(reason)) => {
            tracing::warn!("going on although {why}: {reason}");
            events.push(Event::Anchored { reason: format!("{why}; accepted: {reason}") });
            tpm.forget_anchor(AnchorHandles::default()).await.context("removing the old anchor")?;
            define(log, origin, tpm).await?
        }
        (Err(why), _, None) => bail!(
            "{why}. dsmild does not start on a log that may have been put back, cut or emptied. If you know why it is so, after a new \
             mainboard, a restored disk, or a very first start that was cut off: “dsmild run --accept-anchor 'WHY'” makes a new anchor and \
             records the reason"
        ),
    };
    let mut counts = Counts::new(&anchor, writes_every, every, stands);
    // A daemon that starts over and over must not wear the chip out.
    let anchors = counts.is_due(true);
    if !anchors {
        tracing::warn!("the log is not anchored at this start: there were too many within the last hours");
    }
    let (line, promise) = counts.promise(anchors);
    let head = log.head(origin, vec![line]);
    let signed = sign(head).await?;
    match log.store_head(&signed) {
        // What is to be undone is undone on a full disk too; the head before stands, and says what the chip has counted.
        Err(error @ store::Error::Full { .. }) if stands.is_some() => {
            tracing::warn!("no head is stored at this start: {error}");
            return Ok((counts, events));
        }
        stored => stored.context("storing the first head")?,
    }
    let owed = counts.stored(log.id(), signed.head(), promise);
    let (paid, done) = owed.pay(tpm).await;
    counts.paid(&paid, done.is_err());
    done.context("anchoring the log in the TPM")?;
    Ok((counts, events))
}

/// A new anchor, for the log as its newest head has it.
async fn define(log: &mut Log, origin: &str, tpm: &tpm::Handle) -> anyhow::Result<Anchor> {
    let head = match log.newest_head() {
        Some(signed) => signed.head().clone(),
        None => log.head(origin, Vec::new()),
    };
    let anchor = tpm.define_anchor(AnchorHandles::default(), point(log.id(), &head)).await;
    anchor.context("making the log's anchor in the TPM")
}

/// How the log stands to what was found; none where there was never an anchor; or what is wrong with it.
fn compare(
    log: &Log,
    dir: &Path,
    found: Option<&Anchor>,
    jump_max: u32,
) -> anyhow::Result<Result<Option<Standing>, String>> {
    let Some(named) = named(log)? else {
        return Ok(match found {
            None => Ok(None),
            Some(anchor) if is_being_made(log, anchor) => Ok(None),
            Some(_) => Err(Violation::Unknown.to_string()),
        });
    };
    let size = log.newest_head().map_or(0, |newest| newest.head().size);
    let names = found.map(|anchor| anchor.names);
    if names.is_some_and(|names| hash(&names) != named.names) {
        return Ok(Err(Violation::Redefined.to_string()));
    }
    let expected = Expected {
        log_id: log.id(),
        size,
        // Where the chip has none, any will do to say that the log has one.
        names: names.or(Some(NOBODYS)),
        counter: named.counter,
        orderly: named.orderly,
        epoch: named.epoch,
        jump_max,
    };
    let mut fault = None;
    let standing = tpm::check(&expected, found, |at| {
        let root = root_at(log, dir, at);
        root.map_err(|error| fault = Some(error)).ok()
    });
    match fault {
        Some(error) => Err(error).context("finding the log's root where it was anchored"),
        None => Ok(standing.map(Some).map_err(|violation| violation.to_string())),
    }
}

/// What the newest head says of the anchor.
fn named(log: &Log) -> anyhow::Result<Option<Named>> {
    Ok(log.newest_head().map(SignedHead::head).map(Named::of).transpose()?.flatten())
}

/// Names that no index has.
const NOBODYS: AnchorNames = AnchorNames {
    counter: tpm::NvName([0; 34]),
    record: tpm::NvName([0; 34]),
    orderly: tpm::NvName([0; 34]),
};

/// A log that says nothing of an anchor, and a chip without one, under keys that are not new.
const NEVER: &str = "neither the TPM nor the log knows of an anchor, although this is not the first start: the TPM's was removed, and the log's \
                     heads with it; or the log had none until now";

/// Whether the keys were made at this very start, so that there was no log before which somebody could have emptied. Nothing on the disk could
/// tell that: who empties the log can write it, too.
fn is_first(log: &Log, tpm: &tpm::Handle) -> bool {
    tpm.key_origin() == KeyOrigin::Created && log.newest_head().is_none() && log.size() == 0
}

/// The first start was cut off after the anchor was made and before a head names it: it is the log's, and was written once.
fn is_being_made(log: &Log, anchor: &Anchor) -> bool {
    let record = &anchor.record;
    let is_at_its_place = match log.newest_head() {
        Some(newest) => (newest.head().size, newest.head().root) == (record.point.size, record.point.root),
        None => (record.point.size, record.point.root) == (log.size(), log.root()),
    };
    record.writes == 1 && record.point.log_id == log.id() && is_at_its_place
}

/// The log's root at an earlier size, proven by its newest head.
fn root_at(log: &Log, dir: &Path, size: u64) -> Result<Hash, store::Error> {
    match log.newest_head() {
        Some(newest) if newest.head().size == size => Ok(newest.head().root),
        Some(newest) => Ok(Prover::open(dir)?.consistency(size, newest.head().size)?.from_root),
        None => Ok(log.root()),
    }
}

/// The digest of a head, which the head key signs.
pub fn digest(head: &Head) -> anyhow::Result<HeadDigest> {
    Ok(HeadDigest(head.digest()?))
}
