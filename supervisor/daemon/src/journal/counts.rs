//! The chip's counts as they stand, what heads promise of them, and what of it the chip has confirmed.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::wire;
use sha2::{Digest as _, Sha256};
use store::head::Head;
use tpm::{ANCHORINGS_AT_ONCE, Anchor, AnchorHandles, AnchorNames, LogPoint, Standing};
use types::hash::Hash;

use super::window::Window;

/// What a head's line about the anchor begins with.
const MARK: &str = "dsmil-anchor/1";
/// How long one anchoring more takes to be allowed: 88,000 in ten years, where a chip's memory bears 100,000.
const ANCHORING_EVERY: Duration = Duration::from_secs(3600);
/// Times that the chip writes its count of heads down, one after the other.
const WRITES_AT_ONCE: u32 = 2;
/// How long one more takes to be allowed: 77,000 in ten years. A chip that writes each 256th count down counts a head in 16 seconds
/// then; one each second would be 1,200,000 writes.
const WRITE_EVERY: Duration = Duration::from_secs(16 * 256);

/// What a head says of the anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// Anchorings.
    pub counter: u64,
    /// Heads.
    pub orderly: u64,
    /// The chip's resets and restarts.
    pub epoch: (u32, u32),
    /// SHA-256 of the names of the anchor's indices.
    pub names: Hash,
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
    pub fn of(head: &Head) -> anyhow::Result<Option<Self>> {
        let Some(rest) = head.extensions.iter().find_map(|line| line.strip_prefix(MARK)) else {
            return Ok(None);
        };
        let mut words = rest.split_ascii_whitespace();
        let read = Self::read(&mut words);
        read.map(Some)
            .context("the newest head says something of the anchor that this program does not understand")
    }
}

/// What a head says of the names.
pub fn hash(names: &AnchorNames) -> Hash {
    let all = [names.counter.0, names.record.0, names.orderly.0];
    Hash(Sha256::digest(all.as_flattened()).into())
}

/// What is anchored of a head.
pub const fn point(id: [u8; 16], head: &Head) -> LogPoint {
    LogPoint { log_id: id, size: head.size, root: head.root }
}

/// So many at once, then one more after each interval.
#[derive(Debug)]
struct Allowance {
    left: u32,
    at_once: u32,
    every: Duration,
    since: Instant,
}

impl Allowance {
    fn new(left: u32, at_once: u32, every: Duration) -> Self {
        Self { left, at_once, every, since: Instant::now() }
    }

    fn left(&mut self) -> u32 {
        let more = self.since.elapsed().as_secs().checked_div(self.every.as_secs()).unwrap_or_default();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.at_once.min(self.left.saturating_add(more));
            self.since = Instant::now();
        }
        self.left
    }

    const fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

/// The chip's counts as they stand, for the next head.
#[derive(Debug)]
pub struct Counts {
    now: Named,
    /// What the chip has not confirmed: it comes first.
    owed: Owed,
    anchorings: Allowance,
    countings: Allowance,
    anchored: Instant,
    every: Duration,
    /// The chip has lost power since the log was anchored last.
    lost_power: bool,
    /// For those who ask.
    window: Window,
}

/// What a head promises that the chip will have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// It is anchored.
    pub anchors: bool,
    /// It is counted.
    pub counts: bool,
}

/// What a stored head has promised and the chip has not confirmed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// An anchoring at this point, which brings the counter to this value.
    point: Option<(LogPoint, u64)>,
    /// The count of a head, which brings the counter of heads to this value.
    head: Option<u64>,
    /// An answer was lost: some of it may have been done.
    is_doubtful: bool,
}

/// What of it the chip has confirmed.
#[derive(Debug, Default)]
pub struct Paid {
    /// Entries that are anchored.
    size: Option<u64>,
    /// The head is counted.
    head: bool,
    /// What the chip remembers then, where it was asked.
    anchor: Option<Anchor>,
}

/// Heads that may be counted.
fn countings(writes_every: u32) -> Allowance {
    let at_once = WRITES_AT_ONCE.saturating_mul(writes_every);
    // Whole seconds are what an allowance counts in.
    let every = (WRITE_EVERY / writes_every.max(1)).max(Duration::from_secs(1));
    Allowance::new(at_once, at_once, every)
}

impl Counts {
    /// As the anchor has them, and what the start found. The chip writes the count of heads down once in `writes_every` of them.
    pub fn new(anchor: &Anchor, writes_every: u32, every: Duration, found: Option<Standing>) -> Self {
        let now = Named {
            counter: anchor.counter,
            orderly: anchor.orderly,
            epoch: (anchor.clock.resets, anchor.clock.restarts),
            names: hash(&anchor.names),
        };
        // What other starts have used up is used up.
        let allowed = u32::from(anchor.allowed());
        Self {
            now,
            owed: Owed::default(),
            anchorings: Allowance::new(allowed, ANCHORINGS_AT_ONCE.into(), ANCHORING_EVERY),
            countings: countings(writes_every),
            anchored: Instant::now(),
            every,
            lost_power: false,
            window: Window::new(anchor, found),
        }
    }

    /// Whether an anchoring is due, or allowed where somebody `asks` for it.
    pub fn is_due(&mut self, asks: bool) -> bool {
        self.anchored.elapsed() >= self.every || self.lost_power || (asks && self.anchorings.left() > 0)
    }

    /// When the chip is to be asked again although nothing was appended.
    pub fn due_at(&self) -> Option<Instant> {
        if !self.owed.is_none() || self.lost_power {
            return Some(self.anchored);
        }
        self.window.is_ahead().then(|| self.anchored + self.every)
    }

    /// The line of the next head, and what is owed to the chip once that is stored: also what the one before has promised, which
    /// then means this one.
    pub fn promise(&mut self, anchors: bool) -> (String, Promise) {
        let anchors = anchors || self.owed.point.is_some();
        let promise = Promise { anchors, counts: self.owed.head.is_some() || self.countings.left() > 0 };
        let counter = self.now.counter.saturating_add(u64::from(anchors));
        let orderly = self.now.orderly.saturating_add(u64::from(promise.counts));
        (Named { counter, orderly, ..self.now }.line(), promise)
    }

    /// A head with this promise is stored.
    pub fn stored(&mut self, id: [u8; 16], head: &Head, promise: Promise) -> Owed {
        self.window.stored(head.size);
        let Promise { anchors, counts } = promise;
        let point = anchors.then(|| (point(id, head), self.now.counter.saturating_add(1)));
        let counted = counts.then(|| self.now.orderly.saturating_add(1));
        if counts {
            self.countings.take();
        }
        self.owed = Owed { point, head: counted, is_doubtful: self.owed.is_doubtful };
        self.owed
    }

    /// What is owed from before.
    pub const fn owed(&self) -> Owed {
        self.owed
    }

    /// The chip has counted, or a part of it; it `failed` if it did not confirm all.
    pub fn paid(&mut self, paid: &Paid, failed: bool) {
        self.owed.is_doubtful = failed;
        if paid.head {
            self.owed.head = None;
            self.now.orderly = self.now.orderly.saturating_add(1);
            self.window.counted();
        }
        if let Some(anchor) = &paid.anchor {
            // Where it was asked, what it says counts: it may have lost power meanwhile. One that slept has lost nothing.
            let epoch = (anchor.clock.resets, anchor.clock.restarts);
            self.lost_power |= epoch.0 != self.now.epoch.0;
            self.now = Named { counter: anchor.counter, orderly: anchor.orderly, epoch, ..self.now };
        }
        if let Some(size) = paid.size {
            self.owed.point = None;
            self.window.anchored(size);
            self.anchorings.take();
            self.anchored = Instant::now();
            self.lost_power = false;
        }
    }

    /// How the log is anchored, for the wire.
    pub fn describe(&self) -> wire::tpm::Anchor {
        self.window.describe(self.now.counter, !self.owed.is_none(), (self.anchored, self.every))
    }
}

impl Owed {
    /// Nothing is.
    pub const fn is_none(&self) -> bool {
        self.point.is_none() && self.head.is_none()
    }

    /// Has the chip count; what of it was done, and what went wrong.
    pub async fn pay(self, tpm: &tpm::Handle) -> (Paid, Result<(), tpm::Error>) {
        let mut paid = Paid::default();
        let done = self.pay_into(tpm, &mut paid).await;
        (paid, done)
    }

    async fn pay_into(self, tpm: &tpm::Handle, paid: &mut Paid) -> Result<(), tpm::Error> {
        let handles = AnchorHandles::default();
        if self.is_doubtful {
            // Counting once more what was counted would look like a log that was put back.
            let anchor = tpm.read_anchor(handles).await?;
            let anchor = anchor.ok_or(tpm::Error::NvMissing { index: handles.counter })?;
            paid.head = self.head.is_some_and(|value| anchor.orderly >= value);
            paid.anchor = Some(anchor);
        }
        if self.head.is_some() && !paid.head {
            tpm.increment_orderly(handles).await?;
            paid.head = true;
            if let Some(anchor) = &mut paid.anchor {
                anchor.orderly = anchor.orderly.saturating_add(1);
            }
        }
        if let Some((point, counter)) = self.point {
            paid.anchor = Some(tpm.advance_anchor(handles, point, counter).await?);
            paid.size = Some(point.size);
        }
        Ok(())
    }
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
        let name = tpm::NvName([0; 34]);
        let record = AnchorRecord {
            point: LogPoint { log_id: [7; 16], size: 2, root: Hash([1; 32]) },
            counter: 7,
            writes: 7,
            left: 1,
            hour: 0,
        };
        let clock = tpm::Clock { ms: 0, resets: 3, restarts: 0, is_safe: true };
        let names = AnchorNames { counter: name, record: name, orderly: name };
        let anchor = Anchor { names, counter: 7, orderly: 1 << 40, record, clock };
        let mut counts = Counts::new(&anchor, 256, Duration::from_secs(7200), None);
        let told = |counts: &Counts| {
            let told = counts.describe();
            (told.noticed, told.noticed_unpowered, told.heads, told.writes, told.owed)
        };
        assert_eq!(told(&counts), (2, 2, 0, 7, false));
        assert!(!counts.is_due(false) && counts.is_due(true));
        let promised = |counts: &mut Counts, anchors| {
            let (line, promise) = counts.promise(anchors);
            let Named { counter, orderly, epoch, .. } = Named::of(&head(vec![line])).unwrap().unwrap();
            (promise, (counter, orderly - (1 << 40), epoch))
        };
        let (promise, line) = promised(&mut counts, true);
        assert_eq!(line, (8, 1, (3, 0)));
        let owed = counts.stored([7; 16], &head(vec![]), promise);
        assert_eq!(told(&counts), (2, 2, 0, 7, true));
        counts.paid(&Paid { head: true, ..Paid::default() }, true);
        // Who puts back what was there before this head is noticed while the chip has power, and not after.
        assert_eq!(told(&counts), (4, 2, 1, 7, true));
        assert_eq!(counts.owed(), Owed { head: None, is_doubtful: true, ..owed });
        // It is asked again though nothing was appended; the chip was off meanwhile.
        assert!(counts.due_at().is_some());
        let clock = tpm::Clock { resets: 4, ..clock };
        let anchor = Anchor { counter: 8, orderly: (1 << 40) + 255, clock, ..anchor };
        counts.paid(&Paid { size: Some(4), head: false, anchor: Some(anchor) }, false);
        assert!(counts.owed().is_none() && counts.due_at().is_none());
        assert_eq!(told(&counts), (4, 4, 0, 8, false));
        assert_eq!((counts.describe().counter, counts.describe().found.made), (8, true));
        // No more of them for now; and heads are named after the chip.
        assert!(!counts.is_due(true));
        assert_eq!(promised(&mut counts, false).1, (8, 256, (4, 0)));
        // Where the chip is found to have lost power, what it no longer counts is anchored at once.
        let clock = tpm::Clock { resets: 5, ..clock };
        counts.paid(&Paid { size: None, head: false, anchor: Some(Anchor { clock, ..anchor }) }, false);
        assert!(counts.is_due(false) && counts.due_at().is_some());
    }

    /// As often as chips are made for, however often they write.
    #[test]
    fn counting_goes_by_what_the_chip_writes() {
        for (writes_every, at_once, seconds) in
            [(256, 512, 16), (1, 2, 4096), (0, 0, 4096), (1 << 20, 2 << 20, 1)]
        {
            let allowance = countings(writes_every);
            assert_eq!((allowance.at_once, allowance.every.as_secs()), (at_once, seconds));
        }
    }

    /// Who counts each of them wears the chip out within a year.
    #[test]
    fn counting_is_bounded() {
        let mut allowance = Allowance::new(2, 2, Duration::from_secs(16));
        for left in [2, 1, 0, 0] {
            assert_eq!(allowance.left(), left);
            allowance.take();
        }
        allowance.since = Instant::now().checked_sub(Duration::from_secs(17)).unwrap();
        assert_eq!(allowance.left(), 1);
        allowance.since = Instant::now().checked_sub(Duration::from_secs(1000)).unwrap();
        assert_eq!(allowance.left(), 2);
    }
}
