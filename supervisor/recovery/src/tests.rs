//! Capture and restore of real folders, checked by a walk of its own.

mod abuse;
mod browse;
mod crash;
mod databases;
mod diff;
mod export;
mod files;
mod known;
mod postgresql;
mod privileges;
mod property;
mod random;
mod remembered;
mod rules;
mod selective;
mod services;
mod settings;
mod survive;
mod tampering;
pub(crate) mod tree;
mod whole;
