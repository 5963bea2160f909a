//! ioctl: the kernel device against the same driver in C, in instructions: ioctls, the mapped page, snapshots, size

mod abi;
mod count;
mod figures;
mod guest;
#[path = "../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

use std::process::ExitCode;
use std::{env, io};

/// The same program runs outside, where it boots the laptop, and inside, where it measures.
fn main() -> ExitCode {
    let done = match env::args().nth(1).as_deref() {
        Some("guest") => guest::measure().and_then(|said| Ok(serde_json::to_writer(io::stdout(), &said)?)),
        _ => figures::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
