//! What other programs keep in an agent's file: carried along, never interpreted.

/// A YAML value of the core schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it is written, so that none loses a digit.
    Number(String),
    /// Any other text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A map in the file's order; no key comes twice.
    Map(Vec<(String, Value)>),
}
