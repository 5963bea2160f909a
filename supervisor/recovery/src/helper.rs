//! The root helper: a worker at the other end of a socket, for a daemon that has given up its privileges.
//!
//! A frame is a length (u32, little-endian) and that many bytes of CBOR: an [`Effect`](crate::worker::effect::Effect)
//! one way, a [`Reply`](crate::worker::effect::Reply) the other, strictly in turns.
//!
//! # Layout
//!
//! - `frame`: frames
//! - `client`: the daemon's side
//! - `serve`: the helper's side
//!
//! # Invariants
//!
//! - The helper changes nothing but the roots that it was started with, and nothing that its worker refuses.
//! - Whatever the daemon sends, the helper answers with an error or ends; it never fails otherwise.

mod client;
mod frame;
mod serve;

pub use client::Client;
pub use frame::FRAME_BYTES_MAX;
pub use serve::serve;

#[cfg(test)]
mod tests;
