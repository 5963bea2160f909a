//! Bytes that must not be lost, changed or rewound: the log, its proofs, and the chunks of checkpoints.
//!
//! # Layout
//!
//! - [`log`]: the append-only log, one flush per batch, and its reader
//! - [`merkle`]: the RFC 6962 tree over its entries, and proofs
//! - [`sha256`]: hashing many entries at once
//! - [`tiles`]: the tree's hashes as C2SP tiles, and the prover that reads them
//! - [`head`]: tree heads as C2SP checkpoints, signed notes under ECDSA P-256
//! - [`proof`]: the proof of one entry as a file
//! - [`verify`]: the offline check of a log's folder
//! - [`snapshot`]: places to start from, with the state there
//! - [`chunk`]: the encrypted, deduplicating, content-addressed chunk store
//! - [`manifest`]: numbered files that are written once
//! - [`blob`]: small files that are replaced as a whole or not at all
//! - [`writers`]: who has a file open for writing
//! - `disk`: the file operations that all of these are built on, real and simulated
//! - `bytes`: fields of fixed size out of untrusted bytes
//!
//! The formats stand byte by byte in `docs/formats.md`.
//!
//! # Invariants
//!
//! - The store knows nothing of what the bytes mean.
//! - What was acknowledged is durable: `Ok` is returned only after the flush that covers it.
//! - After a failed flush nothing is acknowledged any more; the caller stops.
//! - Bytes read from a disk are never trusted: each length has a limit, each error names file and place.

#![deny(unsafe_code)]

pub mod blob;
mod bytes;
pub mod chunk;
mod disk;
mod error;
pub mod head;
pub mod log;
pub mod manifest;
pub mod merkle;
pub mod proof;
pub mod sha256;
pub mod snapshot;
pub mod tiles;
pub mod verify;
pub mod writers;

pub use error::{Damage, Error, Place};
