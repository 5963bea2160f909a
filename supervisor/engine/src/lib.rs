//! Decides what happens: inputs make facts, facts make state, facts make effects.
//!
//! ```text
//! world ──► Input ──► decide(&State, &Input) ──► facts + replies
//!                                                  │
//!                      append facts, one flush per batch (the log)
//!                                                  │
//!                      evolve(&mut State, &Fact) ──► state
//!                      effects(&State, &Fact)    ──► Effect ──► world
//! ```
//!
//! # Layout
//!
//! - [`command`]: what anybody can ask for, the one public interface of every face
//! - [`order`]: a request with an effect, as it is granted, hashed and recorded
//! - [`scope`]: of what a restore is
//! - [`fleet`]: agents and their processes
//! - [`run`]: runs of workflows
//! - [`retention`]: which checkpoints stay
//! - [`schedule`]: when one is taken that nobody asks for
//! - [`workflow`]: what a workflow's expressions come to
//! - [`input`]: what the world tells
//! - [`fact`]: what is recorded, and its encoding
//! - [`state`]: what follows from the facts
//! - [`snapshot`]: the state as bytes
//! - [`decide`]: state and input make facts and replies
//! - [`evolve`]: state and fact make state
//! - [`effect`]: state and fact make effects
//! - [`reply`]: what those who asked are told
//!
//! # Invariants
//!
//! - `decide`, `evolve` and `effects` are pure and synchronous: no I/O, no clock, no randomness.
//! - Replay is `evolve` alone and performs nothing.
//! - The encodings of facts and snapshots only grow; those of any released version open for ever.

#![forbid(unsafe_code)]

pub mod command;

pub mod order;

pub mod scope;

pub mod fleet;

pub mod run;

pub mod retention;

pub mod schedule;

pub mod workflow;

pub mod input;

pub mod fact;

pub mod state;

pub mod snapshot;

pub mod decide;

pub mod evolve;

pub mod effect;

pub mod reply;

pub use command::{Command, Query, RequestId, Which};
pub use decide::{Decision, decide};
pub use effect::{Effect, Standing, Step, Told, effects};
pub use evolve::evolve;
pub use fact::{Fact, Outcome, Progress, Record};
pub use input::{Event, Input, Room, StepResult};
pub use order::Order;
pub use reply::{Answer, Refusal, Reply};
pub use state::State;
