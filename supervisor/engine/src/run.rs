//! Runs of workflows: what is recorded of them, how they stand, and what follows from what is heard.
//!
//! ```text
//! accepted ─► steps open as what they need ends ─► tasks wait for an agent ─► attempts ─► ends ─► the next turn
//! ```
//!
//! # Layout
//!
//! - [`fact`]: what is recorded
//! - [`encoding`]: a workflow as bytes
//! - [`state`]: runs as they stand, with queues and timers
//! - `evolve`: what a fact changes
//! - [`decide`]: what follows from requests, results and time
//! - `turn`: one turn of a run; `verdict`: what results make of a step; `look`: templates and conditions
//! - `desk`: which process gets which task
//! - [`act`]: what is to be done for it in the world
//!
//! # Invariants
//!
//! - A fact holds all that was decided: folding it needs no rule that a later version may have changed.
//! - An attempt begins only by a fact, and a step that is done never begins again.
//! - A process never has more tasks than it takes; what nobody waits for any more still counts until it is let go of.

pub mod act;

pub mod decide;

pub(crate) mod desk;

pub mod encoding;

pub(crate) mod evolve;

pub mod fact;

mod look;

pub mod state;

mod turn;

mod verdict;

pub use self::act::{Act, What};
pub use self::state::{Run, Runs};
