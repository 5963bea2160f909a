//! Which tokens differ from a checkpoint, and what stands in the way of changing them back.

use std::collections::HashMap;
use std::fmt;

use types::token::{Change, Denied, Select, Token, TokenId};

use super::Value;
use crate::Error;

/// A token that is not as in the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The token.
    pub id: TokenId,
    /// Which of its values.
    pub select: Select,
    /// What its location holds now; none where it cannot be read.
    pub now: Option<u32>,
    /// What the checkpoint holds.
    pub want: u32,
    /// Why it cannot be restored, if so.
    pub obstacle: Option<Obstacle>,
}

/// Why a token cannot be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It is never written.
    Denied(Denied),
    /// It is not on the machine's allow-list.
    NotAllowed,
    /// The firmware's table no longer has it.
    Unknown,
    /// Its present value cannot be read, so it could not be put back.
    Unreadable,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "never written ({why})"),
            Self::NotAllowed => f.write_str("not on the allow-list"),
            Self::Unknown => f.write_str("not in the firmware's table"),
            Self::Unreadable => f.write_str("not readable now"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, select, now, want, obstacle } = self;
        write!(f, "token {id} ({select}): ")?;
        match now {
            Some(now) => write!(f, "0x{now:X} -> 0x{want:X}")?,
            None => write!(f, "? -> 0x{want:X}")?,
        }
        obstacle.map_or(Ok(()), |obstacle| write!(f, ", cannot be restored: {obstacle}"))
    }
}

/// Where each token is kept.
pub(super) fn locations(tokens: &[Token]) -> HashMap<TokenId, u16> {
    tokens.iter().map(|token| (token.id, token.location)).collect()
}

/// What differs between a checkpoint's values and those that were read now.
pub(super) fn differences(want: &[Value], have: &[Value], tokens: &[Token]) -> Vec<Difference> {
    let by_id: HashMap<_, _> = tokens.iter().map(|token| (token.id, token)).collect();
    let now: HashMap<_, _> = have.iter().map(|value| ((value.id(), value.select()), value.value)).collect();
    let differing = want.iter().filter_map(|value| {
        let select = value.select()?;
        let now = now.get(&(value.id(), Some(select))).copied();
        let obstacle = match by_id.get(&value.id()) {
            None => Some(Obstacle::Unknown),
            Some(token) => match token.denied {
                Some(why) => Some(Obstacle::Denied(why)),
                None if !token.writable => Some(Obstacle::NotAllowed),
                None => now.is_none().then_some(Obstacle::Unreadable),
            },
        };
        let difference = Difference { id: value.id(), select, now, want: value.value, obstacle };
        (now != Some(value.value)).then_some(difference)
    });
    let mut differences: Vec<_> = differing.collect();
    share(&mut differences, tokens);
    differences
}

/// Of tokens with one location it is enough that one may be written.
fn share(differences: &mut [Difference], tokens: &[Token]) {
    let location = locations(tokens);
    let writable: Vec<_> = differences
        .iter()
        .filter(|difference| difference.obstacle.is_none())
        .filter_map(|difference| Some((*location.get(&difference.id)?, difference.select, difference.want)))
        .collect();
    for difference in differences.iter_mut().filter(|d| d.obstacle == Some(Obstacle::NotAllowed)) {
        let Some(place) = location.get(&difference.id) else { continue };
        if writable.contains(&(*place, difference.select, difference.want)) {
            difference.obstacle = None;
        }
    }
}

/// The writes that take the differences away: one for each location, through a token that may be written.
pub(super) fn changes(differences: &[Difference], tokens: &[Token]) -> Result<Vec<Change>, Error> {
    let by_id: HashMap<_, _> = tokens.iter().map(|token| (token.id, token)).collect();
    let mut changes: Vec<Change> = Vec::new();
    let mut seen: HashMap<(u16, Select), u32> = HashMap::new();
    for difference in differences.iter().filter(|difference| difference.obstacle.is_none()) {
        let Some(token) = by_id.get(&difference.id).filter(|token| token.writable) else { continue };
        match seen.insert((token.location, difference.select), difference.want) {
            None => changes.push(Change {
                id: difference.id,
                select: difference.select,
                value: difference.want,
                expected: difference.now,
            }),
            Some(other) if other == difference.want => {}
            Some(_) => {
                return Err(Error::Damaged(format!(
                    "the checkpoint holds two values for the location of {}",
                    difference.id
                )));
            }
        }
    }
    Ok(changes)
}
