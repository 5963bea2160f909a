//! What a workflow's expressions come to, and which results are alike. Pure, and without knowledge of runs.
//!
//! Values are JSON texts and stay so: what is taken as a whole is carried digit by digit, and only what is compared is
//! understood.
//!
//! - [`evaluate`]: templates and expressions, given params, outputs and an item
//! - [`compare`]: what is alike, and what enough copies say
//! - [`print`]: an expression as it stands in a file
//! - `json`: looks into JSON texts

pub mod evaluate;

pub mod compare;

pub mod print;

pub(crate) mod json;

pub use self::json::depth;
