// SPDX-License-Identifier: GPL-2.0-only

//! DSMIL: the firmware's tokens as devices, behind `/dev/dsmil`.
//!
//! The interface and its rules are described in include/uapi/dsmil.h.
//!
//! # Layout
//!
//! Pure, tested on the host as well:
//!
//! - `token`: the firmware's table and what is never written
//! - `transaction`: what a commit and an undo do to the firmware
//! - `machine`: where the one transaction stands, whose it is, and when something is due
//! - `limit`: how often the firmware may be called
//! - `ring`: the newest events, for readers who each have their own position
//! - `heat`: what a temperature means
//!
//! In the kernel:
//!
//! - `device`: the node: open, ioctl, read, poll, mmap, close
//! - `user`: copying from and to user space
//! - `state`: what all open files share
//! - `board`: the mapped pages, which are the cache as well
//! - `event`: what has happened
//! - `counters`: how often
//! - `failure`: how a refusal is told
//! - `firmware`: calls to the firmware (unsafe room)
//! - `glue`: what the kernel crate lacks (unsafe room)
//! - `kunit`: tests in the kernel itself, where it has KUnit
//! - `uapi`: generated from the header

#[expect(dead_code, non_camel_case_types, unreachable_pub, reason = "generated")]
#[path = "../include/uapi/dsmil.rs"]
mod uapi;

#[forbid(unsafe_code)]
mod heat;
#[forbid(unsafe_code)]
mod limit;
#[forbid(unsafe_code)]
mod machine;
#[forbid(unsafe_code)]
mod ring;
#[forbid(unsafe_code)]
mod time;
#[forbid(unsafe_code)]
mod token;
#[forbid(unsafe_code)]
mod transaction;

#[forbid(unsafe_code)]
mod counters;
#[forbid(unsafe_code)]
mod device;
#[forbid(unsafe_code)]
mod failure;
// These three hold no unsafe code either, but macros of the kernel crate expand to some in them.
mod board;
mod event;
mod state;
#[forbid(unsafe_code)]
mod user;

mod firmware;
mod glue;

#[cfg(CONFIG_KUNIT)]
mod kunit;

use core::borrow::Borrow;
use kernel::prelude::*;

module! {
    type: Dsmil,
    name: "dsmil",
    authors: ["The DSMIL authors"],
    description: "Firmware tokens as devices, with writes that undo themselves",
    license: "GPL",
    params: {
        read_rate: u32 {
            default: 1000,
            description: "Reads of the firmware per second, 0: not limited (default 1000)",
        },
        read_burst: u32 {
            default: 2048,
            description: "Reads of the firmware at once (default 2048)",
        },
        write_rate: u32 {
            default: 32,
            description: "Committed entries per second, 0: not limited (default 32)",
        },
        write_burst: u32 {
            default: 512,
            description: "Committed entries at once (default 512)",
        },
    },
}

#[pin_data]
struct Dsmil {
    #[pin]
    _node: glue::Node,
}

impl kernel::InPlaceModule for Dsmil {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let limits = state::Limits {
            read: limit::Bucket::new(
                number(module_parameters::read_rate.value()),
                number(module_parameters::read_burst.value()),
            ),
            write: limit::Bucket::new(
                number(module_parameters::write_rate.value()),
                number(module_parameters::write_burst.value()),
            ),
        };
        // `_node` keeps the state; dropping it takes the node away first and then waits for the work.
        try_pin_init!(Self {
            _node <- glue::Node::new(module, state::Shared::new(module, limits)?),
        })
    }
}

/// A parameter's value, which is a reference to it in Linux 7.2 and itself from 7.3 on.
fn number(value: impl Borrow<u32>) -> u32 {
    *value.borrow()
}
