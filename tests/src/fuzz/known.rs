//! What is known of the laptop before anything is tried: its tokens, and which of them the fuzzer allows.
//!
//! Everything comes from the laptop's description, nothing from the module that is to be judged.

use std::collections::BTreeSet;

use crate::machine::expected::Expected;

/// One value: a location and a select.
pub(crate) type Cell = (u16, u8);

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) id: u16,
    pub(crate) location: u16,
    /// The table's value.
    pub(crate) value: u16,
    pub(crate) denied: bool,
    pub(crate) shared: bool,
    /// Not write-only.
    pub(crate) readable: bool,
    /// On the fuzzer's own allow-list.
    pub(crate) allowed: bool,
}

/// The laptop's tokens, in ascending order of their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) tokens: Vec<Token>,
    /// Every location once, in ascending order: its place is that of its values in shared memory.
    pub(crate) locations: Vec<u16>,
}

impl Known {
    /// The tokens of a machine. Two thirds of what may be written at all is allowed, by location, so that both kinds are
    /// there: allowed and not.
    pub(crate) fn new(expected: &Expected) -> Self {
        let denied: BTreeSet<u16> = expected
            .tokens
            .iter()
            .filter(|token| token.denied.is_some())
            .map(|token| token.location)
            .collect();
        let mut tokens: Vec<Token> = expected
            .tokens
            .iter()
            .map(|token| Token {
                id: token.id,
                location: token.location,
                value: token.value,
                denied: denied.contains(&token.location),
                shared: token.shares_location,
                readable: token.readable,
                allowed: !denied.contains(&token.location) && token.location % 3 != 0,
            })
            .collect();
        tokens.sort_by_key(|token| token.id);
        let locations: BTreeSet<u16> = tokens.iter().map(|token| token.location).collect();
        Self { tokens, locations: locations.into_iter().collect() }
    }

    /// The ids of the fuzzer's own allow-list.
    pub(crate) fn allowed(&self) -> Vec<u16> {
        self.tokens.iter().filter(|token| token.allowed).map(|token| token.id).collect()
    }

    fn token(&self, id: u16) -> Option<&Token> {
        let at = self.tokens.binary_search_by_key(&id, |token| token.id).ok()?;
        self.tokens.get(at)
    }

    /// Where a token's values lie.
    pub(crate) fn location(&self, id: u16) -> Option<u16> {
        self.token(id).map(|token| token.location)
    }

    /// A token that is never written.
    pub(crate) fn is_denied(&self, id: u16) -> bool {
        self.token(id).is_some_and(|token| token.denied)
    }

    /// The place of a value in shared memory.
    pub(crate) fn place(&self, (location, select): Cell) -> Option<usize> {
        let at = self.locations.binary_search(&location).ok()?;
        Some(at * 3 + usize::from(select)).filter(|_| select < 3)
    }

    /// Every value there is.
    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        self.locations.iter().flat_map(|location| (0..3).map(|select| (*location, select)))
    }
}
