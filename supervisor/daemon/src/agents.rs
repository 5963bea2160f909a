//! The processes' side of agents: which there are, and those that run.
//!
//! ```text
//! folders ─► what is defined             loop ─ Fleet ─► stdin ─► agent
//!                                          ▲               kill, brake
//!                                          └─ batches ─ driver ◄─ stdout, stderr, helper
//! ```
//!
//! # Layout
//!
//! - [`folders`]: the definitions, read anew when a file changes
//! - [`fleet`]: what the loop asks of agents that run, from any thread
//! - [`happened`]: what it is told of them
//! - `instance`: one agent, as both sides see it: its stdin, its open tasks; `shared`: all of them, and the helper
//! - `driver`: the one thread that reads them all; `events`: what wakes it; `heard`: what an agent said; `timers`: what is due when
//! - `record`: what agents write to stderr, kept
//!
//! # Invariants
//!
//! - No agent holds up another one, the driver or the loop: what it does not read is queued up to a bound, what it writes is
//!   taken up to a rate, and beyond either it is killed or waits itself.
//! - What is told of an instance comes in the order in which it happened, and [`Ended`](happened::Happened::Ended) comes last, once.

pub mod fleet;
pub mod folders;
pub mod happened;

mod driver;
mod events;
mod heard;
mod instance;
mod record;
mod shared;
mod timers;

#[cfg(test)]
mod tests;
