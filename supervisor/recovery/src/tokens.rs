//! The component *tokens*: values of firmware tokens.
//!
//! # Layout
//!
//! - this file: the component, over any [`TokenPort`]
//! - `plan`: what differs and what stands in the way
//! - `device`: the port of `/dev/dsmil`

mod device;
mod plan;

pub use plan::{Difference, Obstacle};

use minicbor::{Decode, Encode};
use store::chunk::Chunks;
use types::token::{Change, Select, Token, TokenId};

use crate::Error;
use crate::component::{self, Component};
use crate::manifest::Part;

/// The most changes of one transaction.
pub const CHANGES_MAX: usize = 64;

/// What the component needs of the token device.
pub trait TokenPort {
    /// Every token that the firmware's table has.
    ///
    /// # Errors
    ///
    /// [`Error::Device`]
    fn tokens(&mut self) -> Result<Vec<Token>, Error>;

    /// Reads locations, one value for each that is wanted, in order; `None` where the firmware does not give one.
    ///
    /// # Errors
    ///
    /// [`Error::Device`]
    fn read(&mut self, wanted: &[(TokenId, Select)]) -> Result<Vec<Option<u32>>, Error>;

    /// Writes at most [`CHANGES_MAX`] values in one transaction, all or none, and confirms it.
    ///
    /// # Errors
    ///
    /// [`Error::Device`]: none is written
    fn write_confirmed(&mut self, changes: &[Change]) -> Result<(), Error>;
}

/// A captured value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Value {
    #[n(0)]
    id: u16,
    #[n(1)]
    select: u8,
    /// The location's value, as the firmware gave it.
    #[n(2)]
    pub value: u32,
}

impl Value {
    /// The value of a token.
    #[must_use]
    pub const fn new(id: TokenId, select: Select, value: u32) -> Self {
        // Numbers of the format, which stay whatever the words are called.
        let select = match select {
            Select::Current => 0,
            Select::Battery => 1,
            Select::Ac => 2,
        };
        Self { id: id.0, select, value }
    }

    /// The token.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        TokenId(self.id)
    }

    /// Which of its values; none only in a damaged checkpoint.
    #[must_use]
    pub const fn select(&self) -> Option<Select> {
        match self.select {
            0 => Some(Select::Current),
            1 => Some(Select::Battery),
            2 => Some(Select::Ac),
            _ => None,
        }
    }
}

/// Checks values that were read from a disk.
pub(crate) fn check(values: &[Value]) -> Result<(), Error> {
    let known = values.iter().all(|value| value.select().is_some());
    let ordered = values.is_sorted_by(|a, b| (a.id, a.select) < (b.id, b.select));
    if known && ordered {
        Ok(())
    } else {
        Err(Error::Damaged("the values of tokens are out of order".into()))
    }
}

/// The component.
pub struct Tokens<'a> {
    port: &'a mut dyn TokenPort,
    /// Whether tokens that cannot be written are left as they are, rather than refused.
    leave_obstacles: bool,
    /// What will be written.
    changes: Vec<Change>,
    /// How many of them are written and confirmed.
    written: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens behind `port`. With `leave_obstacles` a restore leaves those as they are that may not be written.
    pub fn new(port: &'a mut dyn TokenPort, leave_obstacles: bool) -> Self {
        Self { port, leave_obstacles, changes: Vec::new(), written: 0 }
    }

    fn differences(&mut self, want: &[Value]) -> Result<Vec<Difference>, Error> {
        let tokens = self.port.tokens()?;
        let have = read_all(self.port, &tokens, want)?;
        Ok(plan::differences(want, &have, &tokens))
    }
}

/// Puts values back that a restore had written before it was cut short: `changes` as its plan gave them, with what
/// stood there before as `expected`. Those that stand there already are left.
///
/// # Errors
///
/// [`Error::Device`]
pub fn put_back(port: &mut dyn TokenPort, changes: &[Change]) -> Result<(), Error> {
    for batch in changes.chunks(CHANGES_MAX) {
        let wanted: Vec<_> = batch.iter().map(|change| (change.id, change.select)).collect();
        let now = port.read(&wanted)?;
        let back: Vec<_> = batch
            .iter()
            .zip(now)
            .filter(|(change, now)| *now != change.expected)
            .filter_map(|(change, now)| Some(Change { value: change.expected?, expected: now, ..*change }))
            .collect();
        if !back.is_empty() {
            port.write_confirmed(&back)?;
        }
    }
    Ok(())
}

impl Component for Tokens<'_> {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn after(&self) -> &'static [&'static str] {
        // Files can be put back at no cost, so the firmware is written last.
        &["files"]
    }

    fn capture(&mut self, chunks: &mut Chunks) -> Result<Part, Error> {
        self.observe(chunks)
    }

    fn observe(&mut self, _chunks: &Chunks) -> Result<Part, Error> {
        let tokens = self.port.tokens()?;
        let wanted: Vec<_> = tokens.iter().map(|token| Value::new(token.id, Select::Current, 0)).collect();
        let mut values = read_all(self.port, &tokens, &wanted)?;
        values.sort_unstable_by_key(|value| (value.id, value.select));
        let read: std::collections::HashSet<_> = values.iter().map(|value| value.id).collect();
        let unread = wanted.iter().map(|value| value.id).filter(|id| !read.contains(id)).collect();
        Ok(Part::Tokens { values, unread })
    }

    fn plan(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let Part::Tokens { values, .. } = want else { return Ok(Vec::new()) };
        let differences = self.differences(values)?;
        let tokens = self.port.tokens()?;
        self.changes = plan::changes(&differences, &tokens)?;
        self.written = 0;
        Ok(differences.into_iter().map(component::Difference::Token).collect())
    }

    fn prepare(&mut self, want: &Part, _chunks: &Chunks) -> Result<(), Error> {
        let Part::Tokens { values, .. } = want else { return Ok(()) };
        if self.leave_obstacles {
            return Ok(());
        }
        let blocked: Vec<_> =
            self.differences(values)?.into_iter().filter(|d| d.obstacle.is_some()).collect();
        match blocked.first() {
            None => Ok(()),
            Some(first) => Err(Error::Refused(format!(
                "{} tokens cannot be restored, the first: {first}; allow them, or ask to leave them",
                blocked.len()
            ))),
        }
    }

    fn execute(&mut self) -> Result<(), Error> {
        while let Some(rest) = self.changes.get(self.written..).filter(|rest| !rest.is_empty()) {
            let batch = rest.get(..CHANGES_MAX).unwrap_or(rest);
            self.port.write_confirmed(batch)?;
            self.written += batch.len();
        }
        Ok(())
    }

    fn undo(&mut self) -> Result<(), Error> {
        // A write whose result got lost may have been done, so all are looked at.
        put_back(self.port, &self.changes)?;
        self.written = 0;
        Ok(())
    }

    fn verify(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let Part::Tokens { values, .. } = want else { return Ok(Vec::new()) };
        let leave = self.leave_obstacles;
        let differences = self.differences(values)?;
        let counted = differences.into_iter().filter(|difference| !leave || difference.obstacle.is_none());
        Ok(counted.map(component::Difference::Token).collect())
    }

    fn clean_up(&mut self) -> Result<(), Error> {
        self.changes.clear();
        self.written = 0;
        Ok(())
    }
}

/// Reads what `wanted` names, each location once: tokens that share one get the same value.
fn read_all(port: &mut dyn TokenPort, tokens: &[Token], wanted: &[Value]) -> Result<Vec<Value>, Error> {
    let location = plan::locations(tokens);
    let mut asked: Vec<(u16, Select, TokenId)> = wanted
        .iter()
        .filter_map(|value| Some((*location.get(&value.id())?, value.select()?, value.id())))
        .collect();
    asked.sort_unstable();
    asked.dedup_by_key(|(location, select, _)| (*location, *select));
    let call: Vec<_> = asked.iter().map(|(_, select, id)| (*id, *select)).collect();
    let values = port.read(&call)?;
    if values.len() != call.len() {
        return Err(Error::Device(format!("{} values for {} tokens", values.len(), call.len())));
    }
    let held: std::collections::HashMap<_, _> = asked
        .iter()
        .zip(values)
        .map(|((location, select, _), value)| ((*location, *select), value))
        .collect();
    let found = wanted.iter().filter_map(|value| {
        let select = value.select()?;
        let held = (*held.get(&(*location.get(&value.id())?, select))?)?;
        Some(Value::new(value.id(), select, held))
    });
    Ok(found.collect())
}

#[cfg(test)]
pub(crate) mod tests;
