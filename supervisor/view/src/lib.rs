//! The state as a file system: a read-only tree, mounted with FUSE.
//!
//! # Layout
//!
//! - [`tree`]: what is shown, in words that know no FUSE
//! - `bridge`: the kernel's requests, translated to them
//! - [`mount`]: mounting and ending
//! - [`point`]: where it is mounted, as the kernel lists it, and how that is ended without waiting for anybody
//! - [`guard`]: a process that ends the mount where its own was killed
//!
//! # Invariants
//!
//! - Nothing is ever written: there is no call for it, and the mount says so to the kernel.
//! - The kernel decides who may read what, by the modes, owners and access control lists that the tree shows.

#![forbid(unsafe_code)]

mod bridge;
pub mod guard;
pub mod mount;
pub mod point;
pub mod tree;
