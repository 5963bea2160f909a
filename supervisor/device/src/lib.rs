//! Safe client of `/dev/dsmil`, the kernel module's node.
//!
//! # Layout
//!
//! - [`Device`]: an open node: information, tokens, reading, the allow-list
//! - [`Transaction`]: what is to be written
//! - [`Pending`]: a change that is written but not yet kept
//! - [`Snapshot`]: all values of one moment
//! - [`Events`]: what happens, as it happens
//! - [`Pages`]: the state and the cached values without a system call
//! - [`Info`]: what the module says of itself and of the firmware
//! - [`Error`]: who refused, and why
//! - `ioctl`: the system calls; `mapping`: the memory of the pages; no other code is unsafe
//! - `uapi`: generated from `include/uapi/dsmil.h`, where the interface is described
//!
//! # Invariants
//!
//! - Whatever the module answers, also numbers newer than this build, becomes a value or an [`Error`].
//! - A [`Transaction`] or [`Pending`] that is dropped is undone; nothing is kept without [`Pending::confirm`].
//! - Nothing refers to memory that the module writes; it is read by atomic loads alone.
//! - Nothing here decides what may be written: the module does.

mod device;
mod pending;
mod snapshot;
mod transaction;

mod event;
mod pages;

mod info;

mod error;

mod ioctl;
mod mapping;
#[path = "../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

pub use device::{Device, Patience};
pub use error::{Error, Invalid, Undo};
pub use event::{Cause, Command, Event, Events, Reason, Record, Who};
pub use info::{Backend, Heat, Info, Limits, Lockdown, Outcome, Rate, State};
pub use pages::{Cached, Cell, Contents, Held, PageState, Pages, Phase};
pub use pending::{Pending, Settled};
pub use snapshot::{Age, Aged, Entry, Snapshot};
pub use transaction::{Flags, Transaction};
