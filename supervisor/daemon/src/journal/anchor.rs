//! The log's anchor in the TPM: what heads say of it, and how a start holds it against the log.
//!
//! Each head names the counts that the chip will have once it is stored: so at a start the chip has counted to what the newest
//! head names, or one less if the power failed in between. An *anchoring* also writes the log's size and root into the chip,
//! which wears its memory; between anchorings heads are counted in the chip's RAM alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use api::wire;
use engine::Event;
use sha2::{Digest as _, Sha256};
use store::head::{Head, SignedHead};
use store::log::Log;
use store::tiles::prover::Prover;
use tpm::{Anchor, AnchorHandles, AnchorNames, Expected, HeadDigest, LogPoint, Standing, Violation};
use types::hash::Hash;

use super::window::Window;

/// What a head's line about the anchor begins with.
const MARK: &str = "dsmil-anchor/1";
/// Anchorings that may follow each other quickly, as checkpoints do.
const BURST: u32 = 24;
/// How long one anchoring more takes to be allowed: 88,000 in ten years, where a chip's memory bears 100,000.
const REFILL: Duration = Duration::from_secs(3600);

/// What a head says of the anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Named {
    /// Anchorings.
    counter: u64,
    /// Heads.
    orderly: u64,
    /// The chip's resets and restarts.
    epoch: (u32, u32),
    /// SHA-256 of the names of the anchor's indices.
    names: Hash,
}

impl Named {
    fn line(&self) -> String {
        let Self { counter, orderly, epoch: (resets, restarts), names } = self;
        format!("{MARK} {counter} {orderly} {resets} {restarts} {names}")
    }

    fn read<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let (counter, orderly) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let epoch = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { counter, orderly, epoch, names: words.next()?.parse().ok()? })
    }

    /// From a head; none where it says nothing.
    fn of(head: &Head) -> anyhow::Result<Option<Self>> {
        let Some(rest) = head.extensions.iter().find_map(|line| line.strip_prefix(MARK)) else {
            return Ok(None);
        };
        let mut words = rest.split_ascii_whitespace();
        let read = Self::read(&mut words);
        read.map(Some)
            .context("the newest head says something of the anchor that this program does not understand")
    }
}

fn hash(names: &AnchorNames) -> Hash {
    let all = [names.counter.0, names.record.0, names.orderly.0];
    Hash(Sha256::digest(all.as_flattened()).into())
}

fn point(id: [u8; 16], head: &Head) -> LogPoint {
    LogPoint { log_id: id, size: head.size, root: head.root }
}

/// The chip's counts as they stand, for the next head.
#[derive(Debug)]
pub struct Counts {
    now: Named,
    /// An increment that the chip has not confirmed: it comes first.
    owed: Owed,
    allowed: u32,
    refilled: Instant,
    anchored: Instant,
    every: Duration,
    /// For those who ask.
    window: Window,
}

/// What a stored head has promised and the chip has not counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// An anchoring at this point.
    point: Option<LogPoint>,
    /// The count of a head.
    head: bool,
}

impl Counts {
    fn new(anchor: &Anchor, every: Duration, found: Option<Standing>) -> Self {
        let now = Named {
            counter: anchor.counter,
            orderly: anchor.orderly,
            epoch: (anchor.clock.resets, anchor.clock.restarts),
            names: hash(&anchor.names),
        };
        let moment = Instant::now();
        let window = Window::new(anchor, found);
        Self { now, owed: Owed::default(), allowed: BURST, refilled: moment, anchored: moment, every, window }
    }

    /// Whether an anchoring is due, or allowed where somebody `asks` for it.
    pub fn is_due(&mut self, asks: bool) -> bool {
        let hours = self.refilled.elapsed().as_secs() / REFILL.as_secs();
        if hours > 0 {
            self.allowed = BURST.min(self.allowed.saturating_add(u32::try_from(hours).unwrap_or(BURST)));
            self.refilled = Instant::now();
        }
        self.anchored.elapsed() >= self.every || (asks && self.allowed > 0)
    }

    /// The line of the next head, and what is owed to the chip once that is stored.
    pub fn promise(&self, anchors: bool) -> (String, bool) {
        let counter = self.now.counter.saturating_add(u64::from(anchors));
        let orderly = self.now.orderly.saturating_add(1);
        (Named { counter, orderly, ..self.now }.line(), anchors)
    }

    /// A head with this promise is stored.
    pub fn stored(&mut self, id: [u8; 16], head: &Head, anchors: bool) -> Owed {
        self.window.stored(head.size);
        self.owed = Owed { point: anchors.then(|| point(id, head)), head: true };
        self.owed
    }

    /// What is owed from before.
    pub const fn owed(&self) -> Owed {
        self.owed
    }

    /// The chip has counted, or a part of it.
    pub fn paid(&mut self, paid: Owed) {
        if paid.head {
            self.owed.head = false;
            self.now.orderly = self.now.orderly.saturating_add(1);
            self.window.counted();
        }
        if let Some(point) = paid.point {
            self.owed.point = None;
            self.window.anchored(point.size);
            self.now.counter = self.now.counter.saturating_add(1);
            self.allowed = self.allowed.saturating_sub(1);
            self.anchored = Instant::now();
        }
    }

    /// How the log is anchored, for the wire.
    pub fn describe(&self) -> wire::tpm::Anchor {
        self.window.describe(self.now.counter, !self.owed.is_none(), (self.anchored, self.every))
    }
}

impl Owed {
    /// Nothing is.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Has the chip count; what of it was done, and what went wrong.
    pub async fn pay(self, tpm: &tpm::Handle) -> (Self, Result<(), tpm::Error>) {
        let mut paid = Self::default();
        if self.head {
            if let Err(error) = tpm.increment_orderly(AnchorHandles::default()).await {
                return (paid, Err(error));
            }
            paid.head = true;
        }
        if let Some(point) = self.point {
            if let Err(error) = tpm.advance_anchor(AnchorHandles::default(), point).await {
                return (paid, Err(error));
            }
            paid.point = self.point;
        }
        (paid, Ok(()))
    }
}

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
    let found = tpm.read_anchor(AnchorHandles::default()).await;
    let (found, standing) = match found {
        Ok(found) => {
            let standing = compare(log, dir, found.as_ref())?;
            (found, standing)
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
            "{why}. dsmild does not start on a log that may have been put back or cut. If you know why it is so, after a new mainboard or a \
             restored disk: “dsmild run --accept-anchor 'WHY'” makes a new anchor and records the reason"
        ),
    };
    let mut counts = Counts::new(&anchor, every, stands);
    let (line, _) = counts.promise(true);
    let head = log.head(origin, vec![line]);
    let signed = sign(head).await?;
    log.store_head(&signed).context("storing the first head")?;
    let owed = counts.stored(log.id(), signed.head(), true);
    let (paid, done) = owed.pay(tpm).await;
    counts.paid(paid);
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
) -> anyhow::Result<Result<Option<Standing>, String>> {
    let newest = log.newest_head().map(SignedHead::head);
    let named = newest.map(Named::of).transpose()?.flatten();
    let Some(named) = named else {
        return Ok(match found {
            None => Ok(None),
            Some(anchor) if is_being_made(log, anchor) => Ok(None),
            Some(_) => Err(Violation::Unknown.to_string()),
        });
    };
    let size = newest.map_or(0, |head| head.size);
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

/// Names that no index has.
const NOBODYS: AnchorNames = AnchorNames {
    counter: tpm::NvName([0; 34]),
    record: tpm::NvName([0; 34]),
    orderly: tpm::NvName([0; 34]),
};

/// The first start was cut off after the anchor was made and before a head names it: it is the log's, and was written once.
fn is_being_made(log: &Log, anchor: &Anchor) -> bool {
    let record = &anchor.record;
    let is_at_its_place = match log.newest_head() {
        Some(newest) => (newest.head().size, newest.head().root) == (record.point.size, record.point.root),
        None => record.point.size <= log.size(),
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

#[cfg(test)]
mod tests {
    use tpm::AnchorRecord;

    use super::*;

    fn named() -> Named {
        Named { counter: 7, orderly: 1 << 40, epoch: (3, u32::MAX), names: Hash([0xab; 32]) }
    }

    fn head(extensions: Vec<String>) -> Head {
        Head { origin: "dsmil/test".into(), size: 4, root: Hash([1; 32]), extensions }
    }

    #[test]
    fn a_head_says_what_it_was_given() {
        let line = named().line();
        assert_eq!(Named::of(&head(vec!["other".into(), line.clone()])).unwrap(), Some(named()));
        assert_eq!(Named::of(&head(vec![])).unwrap(), None);
        for cut in 1..line.len() - MARK.len() {
            assert!(Named::of(&head(vec![line[..line.len() - cut].into()])).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_promise_is_owed_until_it_is_paid() {
        let moment = Instant::now();
        let record = AnchorRecord {
            point: LogPoint { log_id: [7; 16], size: 2, root: Hash([1; 32]) },
            counter: 7,
            writes: 7,
        };
        let clock = tpm::Clock { ms: 0, resets: 3, restarts: 0, is_safe: true };
        let anchor = Anchor { names: NOBODYS, counter: 7, orderly: 1 << 40, record, clock };
        let mut counts = Counts {
            now: named(),
            owed: Owed::default(),
            allowed: 1,
            refilled: moment,
            anchored: moment,
            every: Duration::from_secs(7200),
            window: Window::new(&anchor, None),
        };
        let told = |counts: &Counts| {
            let told = counts.describe();
            (told.noticed, told.noticed_unpowered, told.heads, told.writes, told.owed)
        };
        assert_eq!(told(&counts), (2, 2, 0, 7, false));
        assert!(!counts.is_due(false) && counts.is_due(true));
        let (line, anchors) = counts.promise(true);
        assert_eq!(
            Named::of(&head(vec![line])).unwrap(),
            Some(Named { counter: 8, orderly: (1 << 40) + 1, ..named() })
        );
        let owed = counts.stored([7; 16], &head(vec![]), anchors);
        assert_eq!(told(&counts), (2, 2, 0, 7, true));
        counts.paid(Owed { head: true, point: None });
        // Who puts back what was there before this head is noticed while the chip has power, and not after.
        assert_eq!(told(&counts), (4, 2, 1, 7, true));
        assert_eq!(counts.owed(), Owed { head: false, ..owed });
        counts.paid(Owed { head: false, ..owed });
        assert!(counts.owed().is_none());
        assert_eq!(told(&counts), (4, 4, 0, 8, false));
        assert_eq!((counts.describe().counter, counts.describe().found.made), (8, true));
        // No more of them for now.
        assert!(!counts.is_due(true));
    }
}
