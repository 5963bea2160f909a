// SPDX-License-Identifier: GPL-2.0-only

//! DSMIL: the firmware's tokens as devices, behind `/dev/dsmil`.
//!
//! The interface and its rules are described in include/uapi/dsmil.h.
//!
//! # Layout
//!
//! - `token`: the firmware's table and what is never written (pure)
//! - `transaction`: commit, undo and when an undo is due (pure)
//! - `device`: the node: open, ioctl, close
//! - `user`: copying from and to user space
//! - `state`: what all open files share: table, allow-list, transaction, deadline
//! - `failure`: how a refusal is told
//! - `firmware`: calls to the firmware (unsafe room)
//! - `glue`: what the kernel crate lacks (unsafe room)
//! - `uapi`: generated from the header

#[allow(dead_code, non_camel_case_types, unreachable_pub, reason = "generated")]
#[path = "../include/uapi/dsmil.rs"]
mod uapi;

#[forbid(unsafe_code)]
mod token;
#[forbid(unsafe_code)]
mod transaction;

#[forbid(unsafe_code)]
mod device;
#[forbid(unsafe_code)]
mod failure;
// Its parts forbid it themselves; here macros of the kernel crate expand to some.
mod state;
#[forbid(unsafe_code)]
mod user;

mod firmware;
mod glue;

use kernel::prelude::*;

module! {
    type: Dsmil,
    name: "dsmil",
    authors: ["The DSMIL authors"],
    description: "Firmware tokens as devices, with writes that undo themselves",
    license: "GPL",
}

#[pin_data]
struct Dsmil {
    #[pin]
    _node: glue::Node,
}

impl kernel::InPlaceModule for Dsmil {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // `_node` keeps the state; dropping it takes the node away first and then waits for the work.
        try_pin_init!(Self {
            _node <- glue::Node::new(module, state::Shared::new(module)?),
        })
    }
}
