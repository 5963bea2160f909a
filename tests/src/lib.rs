//! What the tests of the whole machine share.
//!
//! # Layout
//!
//! - [`machine`]: the virtual laptop's firmware, written from one data file
//! - [`fuzz`]: a fuzzer of the kernel device
//! - [`power`]: power cuts that drop what was not flushed
//! - [`bench`]: what the benchmarks share
//! - [`survive`]: what a run of survival tells
//!
//! # Invariants
//!
//! Nothing here is part of the product, and nothing of the product depends on it.

#![deny(unsafe_code)]

pub mod bench;
pub mod fuzz;
pub mod machine;
pub mod power;
pub mod survive;
