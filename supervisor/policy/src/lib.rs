//! Who may do what: pure decisions over rules and requests.
//!
//! # Layout
//!
//! - [`rules`]: the table that a machine's configuration gives
//! - [`request`]: what somebody asks for
//! - [`decide`]: rules and request make a [`Grant`] or a [`Denial`]
//! - [`capability`]: what an agent's capabilities mean for repeating and holding back
//! - [`permit`]: a grant, looked at again when its effect is about to happen, makes a [`Permit`]
//!
//! # Invariants
//!
//! - Only this crate constructs a [`Permit`]; it is neither `Clone` nor serializable and is consumed once.
//! - A rule that errs denies. What no rule allows is denied.
//! - Undo and stop are never denied: they restore what a granted effect changed.

#![forbid(unsafe_code)]

pub mod request;

pub mod rules;

pub mod decide;

pub mod capability;

pub mod permit;

pub use decide::{Denial, Grant, decide};
pub use permit::{Permit, redeem, redeem_next, redeem_undo};
pub use request::{Action, Request};
pub use rules::{Notes, Risky, Role, Rules};
