//! The TPM: one thread owns it, everybody else holds a [`Handle`].
//!
//! [`start`] opens the chip on the calling thread (the daemon is root then), makes sure of the storage root
//! key, loads or creates the machine's signing key, and hands the open connection to the thread `tpm`. From then
//! on nothing here opens a file or a device, so the daemon may drop its privileges.
//!
//! # Layout
//!
//! - [`config`](Config): where the chip and its key folder are, and the limits
//! - `handle`: [`Handle`], what callers hold: a bounded queue with deadlines
//! - `owner`: the thread, one request after the other
//! - `chip`: what the open chip keeps, and what is done with it
//! - `root`: the storage root key, found or made
//! - `key`: the signing key, made or loaded; authorisation values
//! - `capability`: what the chip says about itself and what it holds
//! - `link`: one command to the chip: counted, retried while the chip asks for it
//! - `template`: the public areas of the objects that are made
//! - `key_dir`: the signing key's blobs on disk
//! - `blob`: sealed data as bytes
//! - `signature`: public key, signature, verification in software; needs no chip
//! - `identity`, `counters`: who the chip is, and what it has cost so far
//!
//! # Invariants
//!
//! - The private half of the signing key never leaves the TPM, and an identity is never replaced silently: a key
//!   folder that belongs to another TPM is an error.
//! - Each command with a secret runs in one HMAC session that is salted to the storage root key, whose name is
//!   pinned in the key folder, with AES-128-CFB encryption of parameters in both directions.
//! - Between requests the chip holds one key and one session of ours, never more; swtpm has three slots and no
//!   resource manager.
//! - Nothing waits for ever: the queue is bounded, each request has a deadline, each retry a limit.
//!
//! # At run time
//!
//! Linked: `libtss2-esys.so.0`, `libtss2-sys.so.1`, `libtss2-mu.so.0`, `libtss2-tctildr.so.0`. Opened by the last one
//! as the configuration says: `libtss2-tcti-device.so.0` for `device:…`, `libtss2-tcti-swtpm.so.0` for `swtpm:…`.
//!
//! libtss2 writes its own warnings to standard error unless its environment says otherwise; it reads the variable
//! once, at its first message. A library must not change the environment of its process, so who starts the process
//! sets [`QUIET`]: `Environment=TSS2_LOG=all+NONE` in the unit file, `.env(…)` where a test or a tool starts it.

#![forbid(unsafe_code)]

mod config;
mod handle;
mod owner;

mod capability;
mod chip;
mod key;
mod link;
mod root;
mod template;

mod blob;
mod key_dir;
mod signature;

mod counters;
mod error;
mod identity;

pub use chip::{KeyOrigin, RANDOM_MAX, Resources, SEAL_MAX};
pub use config::{Config, SRK_HANDLE, TCTI_DEVICE};
pub use counters::{Counters, Operation};
pub use error::Error;
pub use handle::{Handle, start};
pub use identity::Identity;
pub use signature::{PublicKey, Signature, verify};

/// Variable and value that keep libtss2 from writing to standard error; see the crate's "At run time".
pub const QUIET: (&str, &str) = ("TSS2_LOG", "all+NONE");
