//! Capture and restore of real folders, checked by a walk of its own.

mod abuse;
mod crash;
mod files;
mod known;
mod privileges;
mod property;
mod tree;
mod whole;
