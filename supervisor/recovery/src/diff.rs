//! What differs between two checkpoints, or one and what is there now: a pure comparison of what they state.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use types::token::{Select, TokenId};

use crate::error::shown;
use crate::files::entry::{Entry, split};
use crate::files::plan::{Aspects, compare};
use crate::manifest::{Manifest, Tree};
use crate::services::{Service, how};
use crate::settings::knobs::meaning;
use crate::settings::told;
use crate::tokens::Value;

/// One thing that the two state differently.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// A file, folder or link. A root that only one of them has is one difference, at the root.
    File {
        /// Absolute.
        path: Vec<u8>,
        /// In what.
        change: Change,
    },
    /// The value of a token.
    Token {
        /// The token.
        id: TokenId,
        /// Which of its values.
        select: Select,
        /// In the first; none where it has none.
        before: Option<u32>,
        /// In the second.
        after: Option<u32>,
    },
    /// The value of a setting.
    Setting {
        /// Where it is.
        path: Vec<u8>,
        /// In the first; none where it has none.
        before: Option<Vec<u8>>,
        /// In the second.
        after: Option<Vec<u8>>,
    },
    /// A database.
    Database {
        /// Absolute.
        path: Vec<u8>,
        /// How.
        change: Presence,
    },
    /// A service.
    Service {
        /// Its unit's name.
        unit: String,
        /// In words: from the first to the second.
        how: Vec<String>,
    },
}

/// How something differs that is whole or not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The second has it, the first has not.
    Created,
    /// The first has it, the second has not.
    Removed,
    /// Both have it, with other contents.
    Changed,
}

/// How a file differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The second has it, the first has not.
    Created,
    /// The first has it, the second has not.
    Removed,
    /// Both have it.
    Altered(Aspects),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, change: Change::Created } => write!(f, "created {}", shown(path)),
            Self::File { path, change: Change::Removed } => write!(f, "removed {}", shown(path)),
            Self::File { path, change: Change::Altered(aspects) } => {
                write!(f, "changed {}: {aspects}", shown(path))
            }
            Self::Token { id, select, before, after } => {
                let value =
                    |value: &Option<u32>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
                write!(f, "token {id} {select}: {} before, {} after", value(before), value(after))
            }
            Self::Setting { path, before, after } => {
                let value =
                    |value: &Option<Vec<u8>>| value.as_ref().map_or_else(|| "none".to_owned(), |v| told(v));
                write!(f, "setting {}: {} before, {} after", shown(path), value(before), value(after))
            }
            Self::Database { path, change } => {
                let change = match change {
                    Presence::Created => "created",
                    Presence::Removed => "removed",
                    Presence::Changed => "changed",
                };
                write!(f, "{change} database {}", shown(path))
            }
            Self::Service { unit, how } => write!(f, "service {unit}: {}", how.join(", ")),
        }
    }
}

/// What differs from the first to the second: files by path, then tokens, settings, databases and services. Access times do not count, since looking at a file is no
/// change of it; nor does what one of the two left out.
#[must_use]
pub fn diff(first: &Manifest, second: &Manifest) -> Vec<Difference> {
    let mut found = Vec::new();
    for (path, pair) in pairs(roots(first), roots(second)) {
        match pair {
            (Some(first), Some(second)) => trees(path, first, second, &mut found),
            (first, _) => {
                let change = if first.is_some() { Change::Removed } else { Change::Created };
                found.push(Difference::File { path: path.to_vec(), change });
            }
        }
    }
    tokens(first, second, &mut found);
    settings(first, second, &mut found);
    databases(first, second, &mut found);
    services(first, second, &mut found);
    found
}

/// What the first and the second have of each key.
fn pairs<K: Ord, V>(
    first: impl Iterator<Item = (K, V)>,
    second: impl Iterator<Item = (K, V)>,
) -> BTreeMap<K, (Option<V>, Option<V>)> {
    let mut pairs: BTreeMap<K, (Option<V>, Option<V>)> =
        first.map(|(key, value)| (key, (Some(value), None))).collect();
    for (key, value) in second {
        pairs.entry(key).or_insert((None, None)).1 = Some(value);
    }
    pairs
}

fn roots(manifest: &Manifest) -> impl Iterator<Item = (&[u8], &Tree)> {
    manifest.roots().iter().map(|tree| (tree.path.as_slice(), tree))
}

fn trees(root: &[u8], first: &Tree, second: &Tree, found: &mut Vec<Difference>) {
    let notes = first.notes.iter().chain(&second.notes);
    let left_out: HashSet<&[u8]> =
        notes.filter(|note| note.why.leaves_out()).map(|note| note.path.as_slice()).collect();
    for (path, pair) in pairs(entries(first), entries(second)) {
        let change = match pair {
            (Some(first), Some(second)) => {
                let aspects = Aspects { atime: false, ..compare(first, second) };
                aspects.any().then_some(Change::Altered(aspects))
            }
            (Some(_), None) => Some(Change::Removed),
            (None, _) => Some(Change::Created),
        };
        if let Some(change) = change.filter(|_| !is_at_or_below(path, &left_out)) {
            let root = root.strip_suffix(b"/").unwrap_or(root);
            let path = if path.is_empty() { root.to_vec() } else { [root, path].join(&b'/') };
            found.push(Difference::File { path, change });
        }
    }
}

fn entries(tree: &Tree) -> impl Iterator<Item = (&[u8], &Entry)> {
    tree.entries.iter().map(|entry| (entry.path.as_slice(), entry))
}

fn is_at_or_below(path: &[u8], tops: &HashSet<&[u8]>) -> bool {
    let parents = std::iter::successors(Some(path), |path| split(path).map(|(parent, _)| parent));
    !tops.is_empty() && parents.into_iter().any(|path| tops.contains(path))
}

fn tokens(first: &Manifest, second: &Manifest, found: &mut Vec<Difference>) {
    let values = |manifest: &Manifest| -> Vec<((TokenId, u8), Value)> {
        let values = manifest.tokens().unwrap_or_default().iter();
        values.map(|value| ((value.id(), value.select().unwrap_or_default().code()), *value)).collect()
    };
    for ((id, _), pair) in pairs(values(first).into_iter(), values(second).into_iter()) {
        let (before, after) = (pair.0.map(|held| held.value), pair.1.map(|held| held.value));
        let select = pair.0.or(pair.1).and_then(|held| held.select()).unwrap_or_default();
        if before != after {
            found.push(Difference::Token { id, select, before, after });
        }
    }
}

fn settings(first: &Manifest, second: &Manifest, found: &mut Vec<Difference>) {
    // What one of the two could not read is not known to differ.
    let unread: HashSet<_> = [first, second]
        .iter()
        .flat_map(|one| one.settings().1)
        .map(|unread| unread.path.as_slice())
        .collect();
    let values = |manifest: &'_ Manifest| -> Vec<(Vec<u8>, Vec<u8>)> {
        let values = manifest.settings().0.iter();
        values.map(|setting| (setting.path.clone(), setting.value.clone())).collect()
    };
    for (path, (before, after)) in pairs(values(first).into_iter(), values(second).into_iter()) {
        let same = before.as_deref().map(meaning) == after.as_deref().map(meaning);
        if !same && !unread.contains(path.as_slice()) {
            found.push(Difference::Setting { path, before, after });
        }
    }
}

fn databases(first: &Manifest, second: &Manifest, found: &mut Vec<Difference>) {
    let digests = |manifest: &Manifest| -> Vec<(Vec<u8>, [u8; 32])> {
        manifest.databases().0.iter().map(|database| (database.path.clone(), database.digest)).collect()
    };
    for (path, pair) in pairs(digests(first).into_iter(), digests(second).into_iter()) {
        let change = match pair {
            (Some(first), Some(second)) if first == second => continue,
            (Some(_), Some(_)) => Presence::Changed,
            (Some(_), None) => Presence::Removed,
            (None, _) => Presence::Created,
        };
        found.push(Difference::Database { path, change });
    }
}

fn services(first: &Manifest, second: &Manifest, found: &mut Vec<Difference>) {
    // What one of the two knows nothing of is not known to differ.
    let unread: HashSet<_> = [first, second]
        .iter()
        .flat_map(|one| one.services().1)
        .map(|unread| unread.path.as_slice())
        .collect();
    let all = |manifest: &Manifest| -> Vec<(String, Service)> {
        manifest.services().0.iter().map(|service| (service.unit.clone(), service.clone())).collect()
    };
    for (unit, pair) in pairs(all(first).into_iter(), all(second).into_iter()) {
        let how = match pair {
            (Some(first), Some(second)) => how(&first, &second),
            (Some(_), None) => vec!["removed".to_owned()],
            (None, _) => vec!["created".to_owned()],
        };
        if !how.is_empty() && !unread.contains(unit.as_bytes()) {
            found.push(Difference::Service { unit, how });
        }
    }
}
