//! The language of `${{ … }}` and `if`: read into a tree that knows its columns and still has names in it.
//!
//! ```text
//! or         = and { "||" and }
//! and        = comparison { "&&" comparison }
//! comparison = unary [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) unary ]
//! unary      = "!" unary | primary
//! primary    = "null" | "true" | "false" | number | text | path | "(" or ")"
//! path       = word { "." name | "[" ( index | text ) "]" }
//! ```
//!
//! A number is JSON's; a text stands in `'` or `"`, and its own quote is written twice in it. One pass over the text,
//! nested at most [`NESTING_MAX`] deep.
//!
//! - `token`: cuts it into words and signs

mod token;

#[cfg(test)]
mod tests;

use types::workflow::{Comparison, Expression, Key, NESTING_MAX, Workflow};

use self::token::{Token, Tokens};

pub use self::token::is_number;

/// An expression with its place in the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Syntax {
    /// Where it begins, in bytes; of an operator, where that stands.
    pub at: usize,
    /// How deep it nests; 1 of a single value.
    depth: usize,
    /// What it is.
    pub form: Form,
}

/// What an expression is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// `null`, `true`, a number or a text.
    Literal(Literal),
    /// A word and what lies in it, each key with its place.
    Path(String, Vec<(usize, Key)>),
    /// `!a`
    Not(Box<Syntax>),
    /// `a && b`
    And(Box<Syntax>, Box<Syntax>),
    /// `a || b`
    Or(Box<Syntax>, Box<Syntax>),
    /// `a == b`
    Compare(Comparison, Box<Syntax>, Box<Syntax>),
}

/// A value that is written out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    /// Without its quotes.
    Text(String),
}

impl From<Literal> for Expression {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(is_true) => Self::Bool(is_true),
            Literal::Number(number) => Self::Number(number),
            Literal::Text(text) => Self::Text(text),
        }
    }
}

/// What is wrong with an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Where, in bytes.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Wrong {
    fn new(at: usize, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { at, what: what.into(), advice: advice.into() }
    }
}

/// Where an expression ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With the text.
    Text,
    /// At the `}}` that it does not hold in quotes.
    Braces,
}

/// An expression as it stands in a file, in the workflow's names.
#[must_use]
pub fn print(expression: &Expression, workflow: &Workflow) -> String {
    engine::workflow::print::expression(expression, workflow)
}

/// Reads the expression that begins at `from`, and tells where what follows it begins.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn read(text: &str, from: usize, end: End) -> Result<(Syntax, usize), Wrong> {
    let mut parser = Parser { tokens: Tokens::new(text, from), next: (from, Token::End), open: 0 };
    parser.step()?;
    let syntax = parser.or()?;
    match (end, &parser.next.1) {
        (End::Text, Token::End) | (End::Braces, Token::Braces) => Ok((syntax, parser.tokens.at())),
        (End::Braces, Token::End) => {
            let advice = "close it with “}}”";
            Err(Wrong::new(parser.next.0, "the “${{” before this does not end", advice))
        }
        (_, Token::Close) => Err(Wrong::new(parser.next.0, "“)” closes nothing", "remove it")),
        (_, token) => {
            let what = format!("{token} where an operator belongs");
            Err(Wrong::new(parser.next.0, what, "write && || == != < <= > >= between two values"))
        }
    }
}

struct Parser<'t> {
    tokens: Tokens<'t>,
    /// The token that is not taken yet, and where it begins.
    next: (usize, Token),
    /// Parentheses and `!` that are open.
    open: usize,
}

impl Parser<'_> {
    /// Takes the next token.
    fn step(&mut self) -> Result<(usize, Token), Wrong> {
        let next = self.tokens.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn or(&mut self) -> Result<Syntax, Wrong> {
        let mut left = self.and()?;
        while self.next.1 == Token::Or {
            let (at, _) = self.step()?;
            left = join(at, left, self.and()?, Form::Or)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Syntax, Wrong> {
        let mut left = self.comparison()?;
        while self.next.1 == Token::And {
            let (at, _) = self.step()?;
            left = join(at, left, self.comparison()?, Form::And)?;
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Syntax, Wrong> {
        let left = self.unary()?;
        let Token::Compare(comparison) = self.next.1 else { return Ok(left) };
        let (at, _) = self.step()?;
        let right = self.unary()?;
        if let Token::Compare(_) = self.next.1 {
            let advice = "put one of the comparisons into parentheses";
            return Err(Wrong::new(self.next.0, "a second comparison of the same value", advice));
        }
        join(at, left, right, |left, right| Form::Compare(comparison, left, right))
    }

    fn unary(&mut self) -> Result<Syntax, Wrong> {
        if self.next.1 != Token::Not {
            return self.primary();
        }
        let (at, _) = self.step()?;
        self.enter(at)?;
        let inner = self.unary()?;
        self.open -= 1;
        let depth = deeper(at, inner.depth)?;
        Ok(Syntax { at, depth, form: Form::Not(Box::new(inner)) })
    }

    fn primary(&mut self) -> Result<Syntax, Wrong> {
        let (at, token) = self.step()?;
        let form = match token {
            Token::Open => {
                self.enter(at)?;
                let inner = self.or()?;
                self.open -= 1;
                if self.next.1 != Token::Close {
                    let what = "the “(” here is not closed";
                    return Err(Wrong::new(at, what, "write “)” where it ends"));
                }
                self.step()?;
                return Ok(inner);
            }
            Token::Number(number) => Form::Literal(Literal::Number(number)),
            Token::Text(text) => Form::Literal(Literal::Text(text)),
            Token::Path(word, keys) => match (word.as_str(), keys.is_empty()) {
                ("null", true) => Form::Literal(Literal::Null),
                ("true", true) => Form::Literal(Literal::Bool(true)),
                ("false", true) => Form::Literal(Literal::Bool(false)),
                _ => Form::Path(word, keys),
            },
            token => {
                let what = format!("{token} where a value belongs");
                let advice = "write a number, a quoted text, true, false, null, or a value such as params.x or steps.x.output";
                return Err(Wrong::new(at, what, advice));
            }
        };
        Ok(Syntax { at, depth: 1, form })
    }

    fn enter(&mut self, at: usize) -> Result<(), Wrong> {
        self.open += 1;
        deeper(at, self.open - 1).map(|_| ())
    }
}

fn join(
    at: usize,
    left: Syntax,
    right: Syntax,
    form: impl FnOnce(Box<Syntax>, Box<Syntax>) -> Form,
) -> Result<Syntax, Wrong> {
    let depth = deeper(at, left.depth.max(right.depth))?;
    Ok(Syntax { at, depth, form: form(Box::new(left), Box::new(right)) })
}

fn deeper(at: usize, depth: usize) -> Result<usize, Wrong> {
    if depth < NESTING_MAX {
        return Ok(depth + 1);
    }
    let what = format!("nested deeper than {NESTING_MAX}; each operator of a chain counts");
    Err(Wrong::new(at, what, "let a step before decide a part of it"))
}
