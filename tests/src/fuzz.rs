//! A fuzzer of the whole interface of `/dev/dsmil`, run inside the virtual laptop as root (`docs/fuzzing.md`).
//!
//! # Layout
//!
//! - [`drive`]: the loop: which program next, what it reached, whether everything is as it must be
//! - [`arms`]: which ends of which operation were seen, in one run and in several
//! - `program`: a sequence of operations, as data and as text
//! - `generate`, `mutate`: new programs from a seed, and from old ones
//! - `pieces`: programs that lead to ends which chance seldom comes to
//! - `conduct`, `actor`: running one: processes, threads, kills; one operation
//! - `request`: an ioctl's bytes, and what bytes ask for
//! - `model`: what may stand in the firmware afterwards
//! - `known`, `laptop`, `reports`, `watch`: the laptop's tokens, its states, its kernel's log, what never ends
//! - `raw`: system calls and shared memory, the only unsafe code
//! - `uapi`: generated from `include/uapi/dsmil.h`
//!
//! # Invariants
//!
//! - A program is one of the pieces, or made from the seed and from the programs that reached something new, nothing else.
//! - What is right is judged by the laptop's description and its storage, past the module.

pub mod arms;
pub mod drive;

mod program;

mod generate;
mod mutate;
mod pieces;

mod actor;
mod conduct;

mod model;
mod request;

pub(crate) mod dice;
mod known;
mod laptop;
mod reports;
mod watch;

#[expect(
    unsafe_code,
    reason = "system calls with arguments that are wrong on purpose, and memory between processes"
)]
mod raw;
#[path = "../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

#[cfg(test)]
mod tests;
