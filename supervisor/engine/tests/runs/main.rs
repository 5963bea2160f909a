//! Runs of workflows, from the request to the end, with agents that answer as the test says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod chance;
mod ends;
mod modes;
mod world;
