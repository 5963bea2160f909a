//! The kernel module's pure rules, compiled and driven on the host: the very files that the module is made of.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

#[path = "../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

#[path = "../../../kmod/heat.rs"]
#[rustfmt::skip]
mod heat;

#[path = "../../../kmod/limit.rs"]
#[rustfmt::skip]
mod limit;

#[path = "../../../kmod/machine.rs"]
#[rustfmt::skip]
mod machine;

#[path = "../../../kmod/ring.rs"]
#[rustfmt::skip]
mod ring;

#[path = "../../../kmod/time.rs"]
#[rustfmt::skip]
mod time;

#[path = "../../../kmod/token.rs"]
#[rustfmt::skip]
mod token;

#[path = "../../../kmod/transaction.rs"]
#[rustfmt::skip]
mod transaction;

mod rules {
    mod bounds;
    mod table;
    mod undo;
}

// The cases that KUnit runs in the kernel.
#[path = "../../../kmod/kunit/limit.rs"]
#[rustfmt::skip]
mod kunit_limit;

#[path = "../../../kmod/kunit/machine.rs"]
#[rustfmt::skip]
mod kunit_machine;

#[path = "../../../kmod/kunit/ring.rs"]
#[rustfmt::skip]
mod kunit_ring;

#[path = "../../../kmod/kunit/transaction.rs"]
#[rustfmt::skip]
mod kunit_transaction;
