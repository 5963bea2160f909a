//! The short text about a checkpoint that is signed.
//!
//! ```text
//! dsmil-checkpoint/1
//! number 7
//! name before
//! created 1795248663000000000
//! manifest 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
//! component tokens 84
//! component files 1203
//! ```
//!
//! Each line ends with one line feed; there is exactly one text for what it says.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use types::hash::Hash;

use super::{Manifest, NAME_BYTES_MAX};
use crate::Error;
use crate::error::length;

const TITLE: &str = "dsmil-checkpoint/1";
/// Longest text, in bytes.
pub const BYTES_MAX: usize = 4096;
/// The most components.
const COMPONENTS_MAX: usize = 32;

/// What a checkpoint's signature covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The checkpoint's number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// When it was taken: nanoseconds since 1970, UTC, by the wall clock.
    pub created_wall_ns: i64,
    /// SHA-256 of the encoded manifest.
    pub manifest: Hash,
    /// Each component with the number of its entries.
    pub components: Vec<(String, u64)>,
}

impl Statement {
    /// SHA-256 of the text: what is signed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_string()).into()
    }
}

impl Manifest {
    /// The statement about it.
    ///
    /// # Errors
    ///
    /// As [`Manifest::encode`].
    pub fn statement(&self) -> Result<Statement, Error> {
        Ok(self.statement_of(&self.encode()?))
    }

    pub(crate) fn statement_of(&self, encoded: &[u8]) -> Statement {
        Statement {
            number: self.number,
            name: self.name.clone(),
            created_wall_ns: types::time::Time::from(self.created).wall_ns,
            manifest: Hash(Sha256::digest(encoded).into()),
            components: self.parts.iter().map(|part| (part.component().to_owned(), part.entries())).collect(),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, created_wall_ns, manifest, components } = self;
        write!(f, "{TITLE}\nnumber {number}\nname {name}\ncreated {created_wall_ns}\nmanifest {manifest}\n")?;
        components.iter().try_for_each(|(name, entries)| writeln!(f, "component {name} {entries}"))
    }
}

impl FromStr for Statement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Damaged("the statement is not one".into());
        if text.len() > BYTES_MAX {
            let limit = length(BYTES_MAX);
            return Err(Error::Limit { what: "a statement", found: length(text.len()), limit });
        }
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(wrong());
        }
        let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let number = field("number").and_then(|v| v.parse().ok()).ok_or_else(wrong)?;
        let name = field("name").ok_or_else(wrong)?.to_owned();
        let created_wall_ns = field("created").and_then(|v| v.parse().ok()).ok_or_else(wrong)?;
        let manifest = field("manifest").and_then(|v| v.parse().ok()).ok_or_else(wrong)?;
        let mut components = Vec::new();
        for line in lines {
            let rest = line.strip_prefix("component ").ok_or_else(wrong)?;
            let (name, entries) = rest.split_once(' ').ok_or_else(wrong)?;
            components.push((name.to_owned(), entries.parse().map_err(|_| wrong())?));
        }
        check_name(&name)?;
        let statement = Self { number, name, created_wall_ns, manifest, components };
        // Only one text says it: otherwise a signed text and what it is taken for could differ.
        if statement.components.len() > COMPONENTS_MAX || statement.to_string() != text {
            return Err(wrong());
        }
        Ok(statement)
    }
}

/// Checks that a name fits into one line.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if !fits || name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "a checkpoint's name has 1 to {NAME_BYTES_MAX} bytes without control characters or outer spaces"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Statement {
        Statement {
            number: 7,
            name: "before the update".into(),
            created_wall_ns: -5,
            manifest: Hash([0xAB; 32]),
            components: vec![("tokens".into(), 84), ("files".into(), 0)],
        }
    }

    #[test]
    fn a_statement_reads_back_and_has_one_text() {
        let text = example().to_string();
        assert_eq!(text.parse::<Statement>().unwrap(), example());
        for other in [
            text.replace("number 7", "number 07"),
            text.replace("number 7", "number +7"),
            text.replace('\n', "\r\n"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace("abab", "ABAB"),
            text.replace("/1", "/2"),
            text.replace("name before", "name  before"),
        ] {
            assert!(other.parse::<Statement>().is_err(), "{other}");
        }
    }

    #[test]
    fn each_field_changes_the_digest() {
        let digest = example().digest();
        let changes: [fn(&mut Statement); 5] = [
            |s| s.number += 1,
            |s| s.name.push('x'),
            |s| s.created_wall_ns += 1,
            |s| s.manifest.0[31] ^= 1,
            |s| s.components[1].1 += 1,
        ];
        for change in changes {
            let mut other = example();
            change(&mut other);
            assert_ne!(other.digest(), digest);
        }
    }

    #[test]
    fn names_fit_into_a_line() {
        for bad in ["", " a", "a ", "a\nb", "a\0", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        check_name("vor dem Änderungslauf").unwrap();
    }
}
