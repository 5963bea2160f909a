//! Rules and request make a grant or a denial.

use std::fmt;

use types::hash::Hash;
use types::token::TokenId;

use crate::request::{Action, Request};
use crate::rules::{Role, Rules};

/// A decision for an order, as it is kept in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// SHA-256 of the order that is granted.
    pub order: Hash,
    /// Version of the rules that granted it.
    pub rules: Hash,
    /// The wall clock at which it ends, nanoseconds since 1970.
    pub expires_ns: i64,
}

/// Why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denial {
    /// The peer's role does not reach.
    Role {
        /// What it would take.
        needed: Role,
    },
    /// The token is not on the machine's allow-list.
    Token(TokenId),
    /// Nothing is asked for, or more than the limit allows.
    Amount {
        /// The limit.
        max: usize,
    },
    /// The machine is too hot, or its temperature is not known.
    Thermal,
    /// The grant has ended.
    Expired,
    /// The grant is for another order.
    OtherOrder,
    /// The rules have changed since, and the new ones do not grant it.
    RulesChanged,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { needed: Role::Owner } => f.write_str("only root and the configured owners may do this"),
            Self::Role { needed: Role::Operator } => {
                f.write_str("only root, the configured owners and operators may do this")
            }
            Self::Role { needed: Role::Observer } => f.write_str("this user may do nothing here"),
            Self::Token(id) => write!(f, "token {id} is not on the allow-list of the configuration"),
            Self::Amount { max } => write!(f, "a request holds 1 to {max} changes"),
            Self::Thermal => f.write_str(
                "the machine is too hot, or its temperature cannot be read: risky actions wait until it is known and below 95 °C",
            ),
            Self::Expired => f.write_str("the permission has expired; ask again"),
            Self::OtherOrder => f.write_str("the permission is for another order"),
            Self::RulesChanged => f.write_str("the rules have changed since the permission was given; ask again"),
        }
    }
}

/// Decides a request.
///
/// # Errors
///
/// The first rule that stands against it.
pub fn decide(rules: &Rules, request: &Request<'_>) -> Result<Grant, Denial> {
    let needed = match request.action {
        Action::ReadTokens | Action::Inspect => Role::Observer,
        Action::Checkpoint | Action::Run => Role::Operator,
        Action::WriteTokens(_)
        | Action::Restore
        | Action::Delete
        | Action::Seal
        | Action::Vault
        | Action::Approve => Role::Owner,
    };
    if rules.role(&request.peer) < needed {
        return Err(Denial::Role { needed });
    }
    if let Action::WriteTokens(ids) = request.action {
        if ids.is_empty() || ids.len() > rules.changes_max {
            return Err(Denial::Amount { max: rules.changes_max });
        }
        if let Some(id) = ids.iter().find(|id| !rules.tokens.contains(id)) {
            return Err(Denial::Token(*id));
        }
        // A restore takes risk away and stays possible on a hot machine; a write adds to it.
        if request.thermal_unsafe {
            return Err(Denial::Thermal);
        }
    }
    Ok(Grant {
        order: request.order,
        rules: rules.version,
        expires_ns: request.now_ns.saturating_add(rules.grant_ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::peer::Peer;

    fn rules() -> Rules {
        Rules {
            version: Hash([1; 32]),
            operators: [1000].into(),
            owners: [1001].into(),
            tokens: [TokenId(0x8030)].into(),
            changes_max: 2,
            grant_ns: 10,
            notes: crate::rules::Notes::default(),
            risky: crate::rules::Risky::default(),
        }
    }

    fn ask(uid: u32, action: Action<'_>, thermal_unsafe: bool) -> Result<Grant, Denial> {
        let peer = Peer { pid: 1, uid, gid: uid };
        decide(&rules(), &Request { peer, action, order: Hash([2; 32]), now_ns: 5, thermal_unsafe })
    }

    #[test]
    fn roles_order_what_is_allowed() {
        let write = [TokenId(0x8030)];
        for (uid, read, checkpoint, restore) in [
            (0, true, true, true),
            (1001, true, true, true),
            (1000, true, true, false),
            (1002, true, false, false),
        ] {
            assert_eq!(ask(uid, Action::ReadTokens, false).is_ok(), read, "{uid}");
            assert_eq!(ask(uid, Action::Checkpoint, false).is_ok(), checkpoint, "{uid}");
            assert_eq!(ask(uid, Action::Restore, false).is_ok(), restore, "{uid}");
            assert_eq!(ask(uid, Action::Delete, true).is_ok(), restore, "{uid}");
            assert_eq!(ask(uid, Action::Seal, false).is_ok(), restore, "{uid}");
            assert_eq!(ask(uid, Action::Vault, true).is_ok(), restore, "{uid}");
            assert_eq!(ask(uid, Action::WriteTokens(&write), false).is_ok(), restore, "{uid}");
        }
    }

    #[test]
    fn what_is_risky_is_marked_by_the_rules() {
        let write = [TokenId(0x8030)];
        let marked = |writes, restores| Rules { risky: crate::Risky { writes, restores }, ..rules() };
        for (action, of_writes, of_restores) in [
            (Action::WriteTokens(&write), true, false),
            (Action::Restore, false, true),
            (Action::Delete, false, false),
            (Action::Checkpoint, false, false),
        ] {
            assert_eq!(marked(true, false).is_risky(&action), of_writes, "{action:?}");
            assert_eq!(marked(false, true).is_risky(&action), of_restores, "{action:?}");
        }
    }

    #[test]
    fn writes_are_bounded_listed_and_cool() {
        let (good, other) = (TokenId(0x8030), TokenId(0x8031));
        assert_eq!(ask(0, Action::WriteTokens(&[]), false), Err(Denial::Amount { max: 2 }));
        assert_eq!(ask(0, Action::WriteTokens(&[good; 3]), false), Err(Denial::Amount { max: 2 }));
        assert_eq!(ask(0, Action::WriteTokens(&[good, other]), false), Err(Denial::Token(other)));
        assert_eq!(ask(0, Action::WriteTokens(&[good]), true), Err(Denial::Thermal));
        assert!(ask(0, Action::Restore, true).is_ok());
    }
}
