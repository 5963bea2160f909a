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
//! - `owner`: the thread, one request after the other; `queue`: in which order
//! - `operations`: sign, seal, unseal, random bytes
//! - `nv`: indices and counters; `anchor`: what the chip remembers of the log; `standing`: how a log stands to it; `certification`: for others;
//!   `attest`: what the TPM states of itself, and how it is believed
//! - `policy`: terms signed by the owner's policy key; `policy_seal`: sealing under them; `revocation`: the counter that voids them;
//!   [`recovery`]: the second way in; `retire`: the key folder of another TPM, put aside
//! - `pcr`: what was started, measured and stated
//! - `made_key`: keys for callers; `features`: what the chip offers
//! - `chip`: what the open chip keeps, and how it is brought back after a reset
//! - `root`: the storage root key, found or made; `key`: the keys under it
//! - `capability`: what the chip says about itself and what it holds
//! - `link`: one command to the chip: built, counted, retried while the chip asks for it, its response checked
//! - `session`: what authorises and encrypts; `code`: the commands; `public`: public areas; `codec`: the encoding;
//!   `fault`: what refusals mean; `transport`: the device, or swtpm's socket
//! - `key_dir`: the keys' blobs on disk
//! - `blob`: sealed data as bytes
//! - `signature`: public key, signature, verification in software; needs no chip
//! - `software`: a key without a TPM
//! - `identity`, `counters`: who the chip is, and what it has cost so far
//!
//! # Invariants
//!
//! - The private halves of the keys never leave the TPM, and an identity is never replaced silently: a key
//!   folder that belongs to another TPM is an error.
//! - The key that signs heads of the log has an authorisation value of its own and signs nothing else.
//! - Each command with a secret runs in one HMAC session that is salted to the storage root key, whose name is
//!   pinned in the key folder, with AES-128-CFB encryption of parameters in both directions.
//! - Between requests the chip holds the head key and one session of ours, never more; swtpm has three slots and no
//!   resource manager.
//! - Nothing waits for ever: the queue is bounded, each request has a deadline, each retry a limit.
//!
//! # Why no libtss2
//!
//! The commands are built here. `tss-esapi` 7.7, the newest that goes with libtss2 3.2, has neither TPM2_PolicyNV nor
//! TPM2_NV_Certify, and lets nobody else into its connection and its sessions: a policy that is bound to a revocation
//! counter, and an anchor that can be proven to others, could not be had with it without unsafe code. It also takes
//! some 2 ms of processor time a command. The tests keep it as a second implementation to compare with.

#![forbid(unsafe_code)]

mod config;
mod handle;
mod owner;
mod queue;

pub mod recovery;

mod anchor;
mod attest;
mod certification;
mod features;
mod made_key;
mod nv;
mod operations;
mod pcr;
mod policy;
mod policy_seal;
mod retire;
mod revocation;
mod standing;

mod capability;
mod chip;
mod key;
mod root;

mod code;
mod codec;
mod fault;
mod link;
mod public;
mod session;
mod transport;

mod blob;
mod key_dir;
mod signature;
mod software;

mod counters;
mod error;
mod identity;

pub use anchor::{
    ANCHORINGS_AT_ONCE, Anchor, AnchorHandles, AnchorNames, AnchorRecord, LogPoint, NV_ENDURANCE,
};
pub use attest::{Clock, Disbelief, NONCE_MAX, Statement};
pub use certification::{AnchorClaim, Certification, verify_certification};
pub use chip::{KeyOrigin, Resources};
pub use config::{Config, SRK_HANDLE, TCTI_DEVICE};
pub use counters::{BUCKETS, Counters, Kind, Operation, bucket_us_max};
pub use error::Error;
pub use features::{Features, NV_BUDGET};
pub use handle::{Handle, HeadDigest, start, start_software};
pub use identity::Identity;
pub use made_key::{CIPHER_MAX, KeyKind, MadeKey, MadePublic, VECTOR};
pub use nv::{NV_OWNERS, NV_SIZE_MAX, NvKind, NvName, NvWriter};
pub use operations::{RANDOM_MAX, SEAL_MAX};
pub use pcr::{PCR_COUNT, PcrSelection, Pcrs, QuoteClaim, extended, verify_quote};
pub use policy::{Invalid, PolicyKey, SignedPolicy, Terms, sign_policy};
pub use queue::Priority;
pub use retire::{Retired, retire, retired};
pub use revocation::{REVOCATION, Reuse, Revocation};
pub use signature::{PublicKey, Signature, verify};
pub use standing::{Expected, Standing, Violation, check};
