use std::collections::HashMap;

use types::token::Denied;

use super::*;

/// A token device in memory that keeps the module's rules.
#[derive(Default)]
pub(crate) struct Bank {
    pub(crate) tokens: Vec<Token>,
    pub(crate) held: HashMap<u16, u32>,
    pub(crate) reads: usize,
    pub(crate) writes: Vec<Vec<Change>>,
    /// Transactions that still succeed.
    pub(crate) patience: usize,
}

impl Bank {
    /// Tokens 0x8000… with a location each, all holding their number; all writable.
    pub(crate) fn new(count: u16) -> Self {
        let tokens = (0..count).map(|n| token(0x8000 + n, n)).collect();
        let held = (0..count).map(|n| (n, u32::from(n))).collect();
        Self { tokens, held, patience: usize::MAX, ..Self::default() }
    }

    fn location(&self, id: TokenId) -> Option<u16> {
        self.tokens.iter().find(|token| token.id == id).map(|token| token.location)
    }
}

pub(crate) fn token(id: u16, location: u16) -> Token {
    Token { id: TokenId(id), location, table_value: 1, denied: None, writable: true, shares_location: false }
}

impl TokenPort for Bank {
    fn tokens(&mut self) -> Result<Vec<Token>, Error> {
        Ok(self.tokens.clone())
    }

    fn read(&mut self, wanted: &[(TokenId, Select)]) -> Result<Vec<Option<u32>>, Error> {
        self.reads += wanted.len();
        let location = |id| self.location(id);
        Ok(wanted.iter().map(|(id, _)| self.held.get(&location(*id)?).copied()).collect())
    }

    fn write_confirmed(&mut self, changes: &[Change]) -> Result<(), Error> {
        let refused = |why: &str| Err(Error::Device(why.into()));
        assert!((1..=CHANGES_MAX).contains(&changes.len()));
        let mut held = self.held.clone();
        for (place, change) in changes.iter().enumerate() {
            let token = *self.tokens.iter().find(|token| token.id == change.id).unwrap();
            assert!(changes[..place].iter().all(|other| self.location(other.id) != Some(token.location)));
            let now = held.insert(token.location, change.value);
            if !token.writable
                || token.denied.is_some()
                || (change.expected.is_some() && change.expected != now)
            {
                return refused("not allowed");
            }
        }
        if self.patience == 0 {
            return refused("the firmware failed");
        }
        self.patience -= 1;
        self.held = held;
        self.writes.push(changes.to_vec());
        Ok(())
    }
}

fn chunks() -> (tempfile::TempDir, Chunks) {
    let dir = tempfile::tempdir().unwrap();
    let chunks = Chunks::open(&dir.path().join("store"), &[1; 32]).unwrap();
    (dir, chunks)
}

fn captured(bank: &mut Bank, chunks: &mut Chunks) -> Part {
    Tokens::new(bank, false).capture(chunks).unwrap()
}

#[test]
fn differing_values_are_written_back_in_batches_and_the_rest_left_alone() {
    let (_dir, mut chunks) = chunks();
    let mut bank = Bank::new(100);
    let want = captured(&mut bank, &mut chunks);
    let before = bank.held.clone();
    for location in 0..70 {
        bank.held.insert(location, 999);
    }
    let mut tokens = Tokens::new(&mut bank, false);
    assert_eq!(tokens.plan(&want, &chunks).unwrap().len(), 70);
    tokens.prepare(&want, &chunks).unwrap();
    tokens.execute().unwrap();
    assert!(tokens.verify(&want, &chunks).unwrap().is_empty());
    tokens.clean_up().unwrap();
    assert_eq!(bank.held, before);
    assert_eq!(bank.writes.iter().map(Vec::len).collect::<Vec<_>>(), [64, 6]);
}

#[test]
fn a_shared_location_is_read_once_and_written_once() {
    let (_dir, mut chunks) = chunks();
    let mut bank = Bank::new(2);
    bank.tokens.push(token(0x9100, 1));
    let want = captured(&mut bank, &mut chunks);
    assert_eq!((want.entries(), bank.reads), (3, 2));
    bank.held.insert(1, 77);
    let mut tokens = Tokens::new(&mut bank, false);
    assert_eq!(tokens.plan(&want, &chunks).unwrap().len(), 2);
    tokens.prepare(&want, &chunks).unwrap();
    tokens.execute().unwrap();
    assert_eq!(bank.held[&1], 1);
    assert_eq!(bank.writes.iter().map(Vec::len).sum::<usize>(), 1);
}

#[test]
fn what_may_not_be_written_refuses_before_anything_is_done_unless_left() {
    let (_dir, mut chunks) = chunks();
    let mut bank = Bank::new(4);
    let want = captured(&mut bank, &mut chunks);
    bank.tokens[1].writable = false;
    bank.tokens[2].denied = Some(Denied::Quarantine);
    bank.tokens.remove(3);
    for location in 0..4 {
        bank.held.insert(location, 50);
    }
    let mut tokens = Tokens::new(&mut bank, false);
    let plan = tokens.plan(&want, &chunks).unwrap();
    let obstacles: Vec<_> = plan
        .iter()
        .map(|difference| match difference {
            component::Difference::Token(difference) => difference.obstacle,
            other => panic!("{other}"),
        })
        .collect();
    let denied = Obstacle::Denied(Denied::Quarantine);
    assert_eq!(obstacles, [None, Some(Obstacle::NotAllowed), Some(denied), Some(Obstacle::Unknown)]);
    assert!(matches!(tokens.prepare(&want, &chunks), Err(Error::Refused(_))));
    assert!(bank.writes.is_empty());
    let mut tokens = Tokens::new(&mut bank, true);
    tokens.plan(&want, &chunks).unwrap();
    tokens.prepare(&want, &chunks).unwrap();
    tokens.execute().unwrap();
    assert!(tokens.verify(&want, &chunks).unwrap().is_empty());
    assert_eq!((bank.held[&0], bank.held[&1], bank.held[&2]), (0, 50, 50));
}

#[test]
fn a_failed_batch_is_undone_with_those_before_it() {
    let (_dir, mut chunks) = chunks();
    let mut bank = Bank::new(100);
    let want = captured(&mut bank, &mut chunks);
    for location in 0..100 {
        bank.held.insert(location, 999);
    }
    let spoiled = bank.held.clone();
    bank.patience = 1;
    let mut tokens = Tokens::new(&mut bank, false);
    tokens.plan(&want, &chunks).unwrap();
    tokens.prepare(&want, &chunks).unwrap();
    tokens.execute().unwrap_err();
    drop(tokens);
    assert_ne!(bank.held, spoiled);
    bank.patience = usize::MAX;
    // As after a crash: nothing but the plan is known.
    let mut tokens = Tokens::new(&mut bank, false);
    tokens.changes = (0..100)
        .map(|n| Change {
            id: TokenId(0x8000 + n),
            select: Select::Current,
            value: u32::from(n),
            expected: Some(999),
        })
        .collect();
    tokens.undo().unwrap();
    assert_eq!(bank.held, spoiled);
}

#[test]
fn a_value_that_moved_since_the_plan_is_not_overwritten() {
    let (_dir, mut chunks) = chunks();
    let mut bank = Bank::new(1);
    let want = captured(&mut bank, &mut chunks);
    bank.held.insert(0, 5);
    let mut tokens = Tokens::new(&mut bank, false);
    tokens.plan(&want, &chunks).unwrap();
    let changes = tokens.changes.clone();
    drop(tokens);
    bank.held.insert(0, 6);
    let mut tokens = Tokens::new(&mut bank, false);
    tokens.changes = changes;
    tokens.execute().unwrap_err();
    assert_eq!(bank.held[&0], 6);
}

#[test]
fn unreadable_tokens_are_named() {
    let (_dir, mut chunks) = chunks();
    let mut bank = Bank::new(2);
    bank.held.remove(&1);
    let Part::Tokens { values, unread } = captured(&mut bank, &mut chunks) else { panic!() };
    assert_eq!((values.len(), unread), (1, vec![0x8001]));
}
