//! What of a root is left out, by patterns.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::Error;

/// The most patterns of one machine.
pub const PATTERNS_MAX: usize = 256;

/// Patterns as in a `.gitignore` at the top of each root: one without a slash before its end is about names at any depth, another about
/// paths below the root; a slash at the end means folders; `!` takes in again what an earlier one leaves out, unless its
/// folder is left out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    patterns: Vec<String>,
    /// What any of them leaves out is left out.
    sets: Vec<Gitignore>,
}

impl Rules {
    /// Understands patterns.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: one of them is no pattern
    /// - [`Error::Limit`]: more than [`PATTERNS_MAX`]
    pub fn new(patterns: &[impl AsRef<str>]) -> Result<Self, Error> {
        let (found, limit) = (crate::error::length(patterns.len()), crate::error::length(PATTERNS_MAX));
        if found > limit {
            return Err(Error::Limit { what: "the list of patterns", found, limit });
        }
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let wrong = |e: ignore::Error| Error::Invalid(format!("“{pattern}” is no pattern: {e}"));
            builder.add_line(None, pattern).map_err(wrong)?;
        }
        let set = builder.build().map_err(|e| Error::Invalid(format!("the patterns: {e}")))?;
        let patterns = patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Ok(Self { patterns, sets: Some(set).filter(|set| !set.is_empty()).into_iter().collect() })
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// These, and what others leave out.
    pub(crate) fn and(&self, others: &Self) -> Self {
        if self.patterns == others.patterns {
            return self.clone();
        }
        let sets = self.sets.iter().chain(&others.sets).cloned().collect();
        Self { patterns: [self.patterns.as_slice(), &others.patterns].concat(), sets }
    }

    /// Whether an entry is left out, given that the folder in which it is is not.
    pub(crate) fn leave_out(&self, path: &Path, is_folder: bool) -> bool {
        self.sets.iter().any(|set| set.matched(path, is_folder).is_ignore())
    }

    /// Whether an entry is left out, or a folder above it.
    pub(crate) fn leave_out_below(&self, path: &Path, is_folder: bool) -> bool {
        self.sets.iter().any(|set| set.matched_path_or_any_parents(path, is_folder).is_ignore())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_gitignore() {
        let rules = Rules::new(&["*.tmp", "/cache/", "deep/*.log", "!keep.tmp", "# a remark", ""]).unwrap();
        let out = |path: &str, is_folder| rules.leave_out_below(Path::new(path), is_folder);
        assert!(
            out("a.tmp", false) && out("x/y/a.tmp", false) && out("cache", true) && out("cache/a", false)
        );
        assert!(!out("cache", false) && !out("x/cache", true) && !out("x/keep.tmp", false));
        assert!(out("deep/a.log", false) && !out("a.log", false) && !out("x/deep/a.log", false));
        assert!(Rules::new(&["[z-a]", "b"]).is_err() && Rules::new(&["x"; PATTERNS_MAX + 1]).is_err());
        assert!(!Rules::default().leave_out(Path::new("a"), false));
        let both = Rules::new(&["a"]).unwrap().and(&Rules::new(&["!a", "b"]).unwrap());
        assert!(both.leave_out(Path::new("a"), false) && both.leave_out(Path::new("b"), false));
        assert_eq!(both.patterns(), ["a", "!a", "b"]);
    }
}
