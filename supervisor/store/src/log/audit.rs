//! Folds a log's entries into the tree and compares it with each stored head.

use super::cursor::{Batch, Cursor, Step, Tail};
use crate::error::{Error, Place};
use crate::head::SignedHead;
use crate::merkle::{Tree, leaf_hash};

/// Says of a head what is wrong with it besides its root.
pub(crate) type CheckHead<'a> = dyn FnMut(&SignedHead) -> Result<(), &'static str> + 'a;

/// What a log was found to be.
pub(crate) struct Audit {
    pub(crate) tree: Tree,
    pub(super) entries_tail: Tail,
    pub(super) heads_tail: Tail,
    /// The newest head.
    pub(crate) head: Option<SignedHead>,
    /// How many heads there are.
    pub(crate) heads: u64,
}

/// Goes through both cursors, from their beginnings to their ends. `each` sees every entry, `check` every head.
pub(super) fn audit(
    entries: &mut Cursor,
    heads: &mut Cursor,
    each: &mut dyn FnMut(u64, &[u8]),
    check: &mut CheckHead<'_>,
) -> Result<Audit, Error> {
    let mut heads = Heads { cursor: heads, queue: Vec::new(), tail: Tail::default(), read: 0, ended: false };
    let mut audit = Audit {
        tree: Tree::default(),
        entries_tail: Tail::default(),
        heads_tail: Tail::default(),
        head: None,
        heads: 0,
    };
    let mut expected = heads.next()?;
    let mut ended = false;
    loop {
        compare(&mut audit, &mut expected, &mut heads, check)?;
        match entries.step()? {
            Step::Batch(batch) => {
                ended = false;
                for entry in batch.entries() {
                    each(entry.index, entry.bytes);
                    audit.tree.append(leaf_hash(entry.bytes));
                    compare(&mut audit, &mut expected, &mut heads, check)?;
                }
            }
            Step::End(tail) => {
                audit.entries_tail = tail;
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

/// Compares the tree with the heads of its present size.
fn compare(
    audit: &mut Audit,
    expected: &mut Option<Stored>,
    heads: &mut Heads<'_>,
    check: &mut CheckHead<'_>,
) -> Result<(), Error> {
    while let Some(stored) = expected.take_if(|stored| stored.signed.head().size <= audit.tree.size()) {
        let head = stored.signed.head();
        let place = |place, why| Err(Error::damaged(heads.cursor.path(), stored.offset, place, why));
        if head.size < audit.tree.size() {
            return place(Place::Head(stored.number), "it covers less than the head before it");
        }
        if let Err(why) = check(&stored.signed) {
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

struct Stored {
    signed: SignedHead,
    number: u64,
    offset: u64,
}

/// The stored heads, one after another.
struct Heads<'a> {
    cursor: &'a mut Cursor,
    /// The rest of a batch, the last first.
    queue: Vec<Stored>,
    tail: Tail,
    read: u64,
    /// Set where they ended once: a head that a running writer stores later covers a size that may be behind already.
    ended: bool,
}

impl Heads<'_> {
    fn next(&mut self) -> Result<Option<Stored>, Error> {
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
