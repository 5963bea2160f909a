//! The TPM against a real software TPM: as its users see it, and as somebody on the wire does.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, where a failure is a finding"
)]

mod anchor;
mod chip;
mod common;
mod lasting;
mod made;
mod moving;
mod nv;
mod policy;
mod rival;
mod sample;
mod wire;
