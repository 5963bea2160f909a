//! What is wrong in a file that a person wrote.

use std::fmt;

/// Most mistakes that are told of one file: whoever has more mends these first.
pub const MISTAKES_MAX: usize = 64;

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

impl Default for Place {
    /// The file's first character.
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong, where, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// Of which key, such as `limits.memory`; empty if of none.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Mistake {
    /// A mistake that belongs to no key.
    pub fn new(place: Place, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { place, path: String::new(), what: what.into(), advice: advice.into() }
    }

    /// The same, of this key.
    #[must_use]
    pub fn of(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }
}

impl fmt::Display for Mistake {
    /// `LINE:COLUMN: KEY: WHAT; ADVICE`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.what, self.advice)
    }
}

/// The first [`MISTAKES_MAX`] mistakes of a file.
#[derive(Default, Debug)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds one; those beyond the limit are dropped.
    pub fn add(&mut self, mistake: Mistake) {
        if self.0.len() < MISTAKES_MAX {
            self.0.push(mistake);
        }
    }

    /// Whether more would be dropped: nothing needs to be found out for them.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MISTAKES_MAX
    }

    /// None so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of their places.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<Mistake> {
        self.0.sort_by_key(|mistake| mistake.place);
        self.0
    }
}
