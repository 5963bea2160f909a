//! Inputs that are made of what came before.

use std::fmt;
use std::str::FromStr;

use super::{NotAWord, words};

/// A JSON value with places that are filled in when a step begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Template {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as JSON writes it.
    Number(String),
    /// A text with values in it.
    Text(Vec<Piece>),
    /// A value as it is, of any kind: `${{ … }}` and nothing around it.
    Value(Expression),
    /// A list.
    List(Vec<Template>),
    /// A map; no key stands twice.
    Map(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// As it stands.
    Plain(String),
    /// A value: a text as it is, anything else as JSON.
    Value(Expression),
}

/// What stands in `${{ … }}`, and behind `if`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expression {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as JSON writes it.
    Number(String),
    /// A text in quotes.
    Text(String),
    /// `params.NAME` and what lies in it.
    Param {
        /// Its place in [`Workflow::params`](super::Workflow::params).
        param: usize,
        /// Where in it.
        path: Vec<Key>,
    },
    /// `steps.ID.output` and what lies in it. Only of steps that are needed, themselves or through others.
    Output {
        /// Its place in [`Workflow::steps`](super::Workflow::steps).
        step: usize,
        /// Where in it.
        path: Vec<Key>,
    },
    /// `steps.ID.status`: `done`, `failed` or `skipped`.
    Status {
        /// Its place in [`Workflow::steps`](super::Workflow::steps).
        step: usize,
    },
    /// `item` and what lies in it: what a step that runs once for each item is at.
    Item {
        /// Where in it.
        path: Vec<Key>,
    },
    /// `!a`.
    Not(Box<Expression>),
    /// `a && b`: both are true; the second is not looked at where the first is not.
    And(Box<Expression>, Box<Expression>),
    /// `a || b`.
    Or(Box<Expression>, Box<Expression>),
    /// `a == b`, `a < b` and so on.
    Compare(Comparison, Box<Expression>, Box<Expression>),
}

/// One step into a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// The value of a map's key.
    Field(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Comparison {
    /// The same value.
    Equal,
    /// Not the same.
    NotEqual,
    /// Numbers by their size, texts by their bytes; anything else has no order.
    Less,
    /// The same.
    LessOrEqual,
    /// The same.
    Greater,
    /// The same.
    GreaterOrEqual,
}

words!(Comparison, "==, !=, <, <=, >, >=",
    "==" => Equal, "!=" => NotEqual, "<" => Less, "<=" => LessOrEqual, ">" => Greater, ">=" => GreaterOrEqual);
