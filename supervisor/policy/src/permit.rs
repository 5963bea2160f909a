//! A grant, looked at again when its effect is about to happen, makes a permit.

use types::hash::Hash;

use crate::decide::{Denial, Grant};
use crate::rules::Rules;

/// The right to perform one effect of one order, now.
///
/// It cannot be made outside this crate, not be copied and not be kept: the function that acts consumes it.
#[derive(Debug)]
pub struct Permit {
    order: Hash,
}

impl Permit {
    /// The order that it is for.
    #[must_use]
    pub fn order(&self) -> Hash {
        self.order
    }
}

/// Makes the permit for an order's next effect.
///
/// # Errors
///
/// The grant is for another order, has ended, or was given under other rules.
pub fn redeem(rules: &Rules, grant: &Grant, order: Hash, now_ns: i64) -> Result<Permit, Denial> {
    if grant.order != order {
        Err(Denial::OtherOrder)
    } else if grant.rules != rules.version {
        Err(Denial::RulesChanged)
    } else if now_ns > grant.expires_ns {
        Err(Denial::Expired)
    } else {
        Ok(Permit { order })
    }
}

/// Makes the permit for a later effect of a work that is under way: the grant's end is that of its beginning, or a work that
/// takes longer could never finish.
///
/// # Errors
///
/// The grant is for another order, or was given under other rules.
pub fn redeem_next(rules: &Rules, grant: &Grant, order: Hash) -> Result<Permit, Denial> {
    redeem(rules, grant, order, grant.expires_ns)
}

/// Makes the permit for undoing, stopping or finishing an effect that was under way: it rests on the original
/// grant, whose end and rules no longer matter, because leaving a half-done change is the greater harm.
///
/// # Errors
///
/// The grant is for another order.
pub fn redeem_undo(grant: &Grant, order: Hash) -> Result<Permit, Denial> {
    if grant.order == order { Ok(Permit { order }) } else { Err(Denial::OtherOrder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_needs_the_same_order_the_same_rules_and_time() {
        let rules = Rules { version: Hash([1; 32]), ..Rules::default() };
        let order = Hash([2; 32]);
        let grant = Grant { order, rules: rules.version, expires_ns: 100 };
        assert_eq!(redeem(&rules, &grant, order, 100).unwrap().order(), order);
        assert_eq!(redeem(&rules, &grant, order, 101).unwrap_err(), Denial::Expired);
        assert_eq!(redeem(&rules, &grant, Hash([3; 32]), 1).unwrap_err(), Denial::OtherOrder);
        let newer = Rules { version: Hash([9; 32]), ..Rules::default() };
        assert_eq!(redeem(&newer, &grant, order, 1).unwrap_err(), Denial::RulesChanged);
        assert!(redeem_next(&rules, &grant, order).is_ok());
        assert_eq!(redeem_next(&rules, &grant, Hash([3; 32])).unwrap_err(), Denial::OtherOrder);
        assert_eq!(redeem_next(&newer, &grant, order).unwrap_err(), Denial::RulesChanged);
        assert!(redeem_undo(&grant, order).is_ok());
        assert!(redeem_undo(&grant, Hash([3; 32])).is_err());
    }
}
