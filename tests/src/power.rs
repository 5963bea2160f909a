//! Power cuts that drop what was not flushed: a disk is put together again from a log of its writes.
//!
//! # Layout
//!
//! - [`writes`]: the log that QEMU's driver `blklogwrites` makes
//! - [`cut`]: what of it a power cut leaves
//! - [`facts`]: what the laptop acknowledged, as lines
//! - [`folder`]: what a folder holds, in a word
//! - [`run`]: one laptop, cut again and again; `machine`: its process and folder; `moment`: when; `offline`: its disk without booting it; `earlier`: at which
//!   points

pub mod run;

mod earlier;
mod machine;
mod moment;
mod offline;

pub mod cut;
pub mod facts;
pub mod folder;
pub mod writes;
