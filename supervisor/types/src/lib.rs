//! The words that every crate shares: identifiers, units, time, tokens, samples. No behaviour.
//!
//! # Layout
//!
//! - [`token`]: firmware tokens and DSMIL devices
//! - [`time`]: the three clocks that an input carries
//! - [`unit`]: temperatures and other measured quantities
//! - [`hash`]: a 32-byte digest and its text form
//! - [`peer`]: who is at the other end of a socket
//! - [`sample`]: what telemetry measures
//! - [`agent`]: agents as their files describe them
//! - [`workflow`]: workflows as their files describe them
//!
//! # Invariant
//!
//! Nothing here reads a clock, a file or a device, and nothing here is serialized as it stands.

#![forbid(unsafe_code)]

pub mod agent;
pub mod hash;
pub mod peer;
pub mod sample;
pub mod time;
pub mod token;
pub mod unit;
pub mod workflow;
