//! Safe client of `/dev/dsmil`, the kernel module's node.
//!
//! # Layout
//!
//! - [`Device`]: an open node: information, tokens, reading, the allow-list
//! - [`Pending`]: a change that is written but not yet kept
//! - [`Info`]: what the module says of itself and of the firmware
//! - [`Error`]: who refused, and why
//! - `ioctl`: the system calls, the only unsafe code
//! - `uapi`: generated from `include/uapi/dsmil.h`, where the interface is described
//!
//! # Invariants
//!
//! - Whatever the module answers, also numbers newer than this build, becomes a value or an [`Error`].
//! - A [`Pending`] that is dropped is undone; nothing is kept without [`Pending::confirm`].
//! - Nothing here decides what may be written: the module does.

mod device;
mod pending;

mod info;

mod error;

mod ioctl;
#[path = "../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

pub use device::Device;
pub use error::{Error, Invalid, Undo};
pub use info::{Backend, Info, Limits, Lockdown, Outcome, State};
pub use pending::{Pending, Settled};
