//! Folds a log's entries into the tree and compares it with each stored head.

use std::path::Path;
use std::sync::Arc;

use types::hash::Hash;

use super::cursor::{Batch, Cursor, Step, Tail};
use super::leaves::ArchivedLeaves;
use crate::bytes::size;
use crate::disk::Disk;
use crate::error::{Error, Place};
use crate::head::{Head, SignedHead};
use crate::merkle::leaf_hashes;
use crate::tiles::{Edge, Made};

/// Says of a head what is wrong with it besides its root.
pub(crate) type CheckHead<'a> = dyn FnMut(&SignedHead) -> Result<(), &'static str> + 'a;

/// What a log was found to be.
pub(crate) struct Audit {
    pub(crate) tree: Edge,
    pub(super) entries_tail: Tail,
    pub(super) heads_tail: Tail,
    /// The newest head.
    pub(crate) head: Option<SignedHead>,
    /// How many heads there are.
    pub(crate) heads: u64,
}

/// Who looks on while a log is audited.
pub(crate) struct Watch<'a> {
    /// Sees every entry.
    pub(crate) each: &'a mut dyn FnMut(u64, &[u8]),
    /// Sees every head.
    pub(crate) check: &'a mut CheckHead<'a>,
    /// A size at which the tree is to be seen.
    pub(crate) stop: Option<u64>,
    /// Sees the tree at its beginning, at `stop`, and at some sizes else.
    pub(crate) tree: &'a mut dyn FnMut(&Edge),
    /// Sees every tile that becomes whole.
    pub(crate) made: &'a mut Made<'a>,
}

/// What an audit begins with, for a log whose first entries are not read.
#[derive(Default)]
pub(super) struct Begin<'a> {
    /// The tree of the entries before, which a head must prove yet.
    pub(super) edge: Edge,
    /// The leaves that follow before the first entry: those of entries that were archived.
    pub(super) archived: Option<ArchivedLeaves>,
    /// Ends with the first head that covers this many entries; without it, with the log.
    pub(super) goal: Option<u64>,
    /// Asked after each batch, with its bytes, whether to go on.
    pub(super) goes_on: Option<&'a mut dyn FnMut(u64) -> bool>,
}

impl Begin<'_> {
    /// From the first entry, be it archived.
    pub(super) fn of_log(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        let archived = ArchivedLeaves::of_log(Arc::clone(disk), dir)?;
        Ok(Self { archived: Some(archived), ..Self::default() })
    }

    /// The first entry that is read.
    pub(super) fn first(&self) -> u64 {
        self.archived.as_ref().map_or(self.edge.size(), ArchivedLeaves::until)
    }
}

/// Goes through both cursors, from where they are to their ends. Heads of trees that are smaller than the first one are
/// left out.
pub(super) fn audit(
    entries: &mut Cursor,
    heads: &mut Cursor,
    mut begin: Begin<'_>,
    watch: &mut Watch<'_>,
) -> Result<Audit, Error> {
    let mut heads = Heads::new(heads);
    let mut audit = Audit {
        tree: begin.edge,
        entries_tail: Tail::default(),
        heads_tail: Tail::default(),
        head: None,
        heads: 0,
    };
    let mut expected = heads.next()?;
    while expected.as_ref().is_some_and(|stored| stored.signed.head().size < audit.tree.size()) {
        expected = heads.next()?;
    }
    compare(&mut audit, &mut expected, &mut heads, watch)?;
    (watch.tree)(&audit.tree);
    if let Some(mut leaves) = begin.archived {
        for leaf in leaves.by_ref() {
            audit.tree.append(leaf?, watch.made);
            (watch.tree)(&audit.tree);
            compare(&mut audit, &mut expected, &mut heads, watch)?;
        }
        leaves.check(&audit.tree, entries.id())?;
    }
    if entries.next() > audit.tree.size() {
        let range = audit.tree.size()..entries.next();
        let why = "the files that hold them are missing";
        return Err(Error::damaged(entries.path(), 0, Place::Entries(range), why));
    }
    let mut ended = false;
    let mut gathered = Gathered::default();
    let is_reached = |audit: &Audit| {
        begin.goal.is_some_and(|goal| audit.head.as_ref().is_some_and(|head| head.head().size >= goal))
    };
    while !is_reached(&audit) {
        match entries.step() {
            Ok(Step::Batch(batch)) => {
                ended = false;
                let goes_on = begin.goes_on.as_mut().is_none_or(|goes_on| goes_on(batch.bytes()));
                for entry in batch.entries() {
                    (watch.each)(entry.index, entry.bytes);
                    gathered.add(entry.bytes);
                }
                if gathered.bytes.len() >= GATHERED_BYTES || !goes_on {
                    settle(&mut audit, &mut gathered, &mut expected, &mut heads, watch)?;
                }
                if !goes_on {
                    break;
                }
            }
            Err(error) => {
                // What is wrong with the entries before it comes first.
                settle(&mut audit, &mut gathered, &mut expected, &mut heads, watch)?;
                return Err(error);
            }
            Ok(Step::End(tail)) => {
                audit.entries_tail = tail;
                settle(&mut audit, &mut gathered, &mut expected, &mut heads, watch)?;
                compare(&mut audit, &mut expected, &mut heads, watch)?;
                match &expected {
                    None => break,
                    // A head is stored after its entries: seen first, it makes them worth a second look.
                    Some(_) if !ended => ended = true,
                    Some(head) => {
                        let range = audit.tree.size()..head.signed.head().size;
                        let why = "a stored head covers them, but they are not there";
                        return Err(Error::damaged(
                            entries.path(),
                            entries.offset(),
                            Place::Entries(range),
                            why,
                        ));
                    }
                }
            }
        }
    }
    audit.heads_tail = heads.tail;
    audit.heads = heads.read;
    Ok(audit)
}

/// How much is read before it is hashed, in bytes: small batches fill the lanes together, and it stays in the cache.
const GATHERED_BYTES: usize = 128 << 10;

/// Entries that were read and are not hashed yet, one behind the other.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    leaves: Vec<Hash>,
}

impl Gathered {
    fn add(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len());
    }

    /// Hashes what was added since the last time.
    fn hash(&mut self) -> &[Hash] {
        let mut rest = self.bytes.as_slice();
        let mut start = 0;
        let cut = |end: &usize| {
            let (entry, later) = rest.split_at_checked(end - start).unwrap_or_default();
            (start, rest) = (*end, later);
            entry
        };
        let entries: Vec<&[u8]> = self.ends.iter().map(cut).collect();
        self.leaves.clear();
        leaf_hashes(&entries, &mut self.leaves);
        self.ends.clear();
        self.bytes.clear();
        &self.leaves
    }
}

/// Adds what was gathered to the tree, and stops at the size of each head.
fn settle(
    audit: &mut Audit,
    gathered: &mut Gathered,
    expected: &mut Option<Stored>,
    heads: &mut Heads<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), Error> {
    let mut rest = gathered.hash();
    while !rest.is_empty() {
        let tree = audit.tree.size();
        let stops = expected.iter().map(|stored| stored.signed.head().size).chain(watch.stop);
        let next = stops.filter_map(|stop| stop.checked_sub(tree)).filter(|more| *more > 0).min();
        let (now, later) = rest.split_at(next.map_or(rest.len(), size).min(rest.len()));
        audit.tree.extend(now, watch.made);
        (watch.tree)(&audit.tree);
        compare(audit, expected, heads, watch)?;
        rest = later;
    }
    Ok(())
}

/// Compares the tree with the heads of its present size.
fn compare(
    audit: &mut Audit,
    expected: &mut Option<Stored>,
    heads: &mut Heads<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), Error> {
    while let Some(stored) = expected.take_if(|stored| stored.signed.head().size <= audit.tree.size()) {
        let head = stored.signed.head();
        let place = |place, why| Err(Error::damaged(heads.cursor.path(), stored.offset, place, why));
        if head.size < audit.tree.size() {
            return place(Place::Head(stored.number), "it covers less than the head before it");
        }
        if let Err(why) = (watch.check)(&stored.signed) {
            return place(Place::Head(stored.number), why);
        }
        if head.root != audit.tree.root() {
            let from = audit.head.as_ref().map_or(0, |head| head.head().size);
            if from == head.size {
                return place(Place::Head(stored.number), "its root is not the one of the entries");
            }
            let why = "the root of the entries is not the one of this head, and is right in the head before";
            return place(Place::Entries(from..head.size), why);
        }
        audit.head = Some(stored.signed);
        *expected = heads.next()?;
    }
    Ok(())
}

/// A head as it was found.
pub(super) struct Stored {
    signed: SignedHead,
    number: u64,
    offset: u64,
}

impl Stored {
    pub(super) fn signed(&self) -> &SignedHead {
        &self.signed
    }

    pub(super) fn head(&self) -> &Head {
        self.signed.head()
    }
}

/// The stored heads, one after another.
pub(super) struct Heads<'a> {
    cursor: &'a mut Cursor,
    /// The rest of a batch, the last first.
    queue: Vec<Stored>,
    tail: Tail,
    read: u64,
    /// Set where they ended once: a head that a running writer stores later covers a size that may be behind already.
    ended: bool,
}

impl<'a> Heads<'a> {
    pub(super) fn new(cursor: &'a mut Cursor) -> Self {
        Self { cursor, queue: Vec::new(), tail: Tail::default(), read: 0, ended: false }
    }

    pub(super) fn next(&mut self) -> Result<Option<Stored>, Error> {
        if self.ended {
            return Ok(None);
        }
        if self.queue.is_empty() {
            let bad = match self.cursor.step()? {
                Step::Batch(batch) => parse(&batch, &mut self.queue),
                Step::End(tail) => {
                    self.tail = tail;
                    self.ended = true;
                    return Ok(None);
                }
            };
            if let Some((number, offset)) = bad {
                let why = "it is no signed checkpoint";
                return Err(Error::damaged(self.cursor.path(), offset, Place::Head(number), why));
            }
            self.queue.reverse();
        }
        let next = self.queue.pop();
        self.read += u64::from(next.is_some());
        Ok(next)
    }
}

/// Reads the heads of a batch; says which is none and where it lies.
fn parse(batch: &Batch<'_>, queue: &mut Vec<Stored>) -> Option<(u64, u64)> {
    for entry in batch.entries() {
        let (number, offset) = (entry.index, batch.place(&entry));
        let text = std::str::from_utf8(entry.bytes).ok();
        match text.and_then(|text| SignedHead::parse(text).ok()) {
            Some(signed) => queue.push(Stored { signed, number, offset }),
            None => return Some((number, offset)),
        }
    }
    None
}
