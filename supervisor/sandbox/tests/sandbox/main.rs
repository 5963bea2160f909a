//! Real processes in real cgroups. These tests take root and a cgroup v2 tree; without, each says that it is skipped.
//!
//! - `lab`: a subtree of the tests' own, cleared at the end
//! - `clean`: what an agent inherits, how it ends
//! - `killing`: what kill and freeze reach
//! - `limits`: what an agent may use up
//! - `helper`: the helper, and what it refuses
//! - `cost`: what starting one costs

#![cfg(test)]

mod lab;

mod clean;

mod killing;

mod limits;

mod helper;

mod cost;
