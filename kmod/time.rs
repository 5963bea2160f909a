// SPDX-License-Identifier: GPL-2.0-only

//! Spans of time in nanoseconds. Pure like `token`.

/// Nanoseconds in a millisecond.
pub(crate) const NSEC_PER_MSEC: i64 = 1_000_000;
/// Nanoseconds in a second.
pub(crate) const NSEC_PER_SEC: i64 = 1_000_000_000;
