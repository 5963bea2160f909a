//! Takes a map apart, key by key; what is left over is unknown.

use std::fmt::Display;
use std::str::FromStr;

use super::mistake::{Mistake, Mistakes, Place};
use super::scalar::is_null;
use super::{Key, Kind, Node};

/// A map's entries that nobody has taken yet.
#[derive(Debug)]
pub struct Fields {
    place: Place,
    path: String,
    entries: Vec<(Key, Node)>,
}

/// A value that was taken, with the path of its key.
#[derive(Debug)]
pub struct Field {
    /// Such as `limits.memory`.
    pub path: String,
    /// The value.
    pub node: Node,
}

impl Fields {
    /// The entries of a map.
    pub fn of(field: Field, mistakes: &mut Mistakes) -> Option<Self> {
        let Field { path, node } = field;
        match node.kind {
            Kind::Map(entries) => Some(Self { place: node.place, path, entries }),
            other => {
                let what = format!("is {}, not a map", other.noun());
                mistakes.add(Mistake::new(node.place, what, "write “key: value” lines").of(path));
                None
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The path of the map's own key, such as `limits`; empty of the whole document.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes the value of a key, if it is there.
    pub fn take(&mut self, key: &str) -> Option<Field> {
        let index = self.entries.iter().position(|(found, _)| found.text == key)?;
        let (_, node) = self.entries.remove(index);
        Some(Field { path: self.path_of(key), node })
    }

    /// Takes the value of a key that must be there.
    pub fn need(&mut self, key: &str, advice: &str, mistakes: &mut Mistakes) -> Option<Field> {
        let found = self.take(key);
        if found.is_none() {
            mistakes.add(Mistake::new(self.place, "is missing", advice).of(self.path_of(key)));
        }
        found
    }

    /// The keys that nobody has taken yet.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Takes all that are left and wanted, in their order.
    pub fn take_all(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<(Key, Node)> {
        let (taken, left) = self.entries.drain(..).partition(|(key, _)| wanted(&key.text));
        self.entries = left;
        taken
    }

    /// Whatever is left is unknown; the nearest of the `known` keys is proposed.
    pub fn end(self, known: &[&str], mistakes: &mut Mistakes) {
        for (key, _) in &self.entries {
            let advice = match nearest(&key.text, known) {
                Some(near) => format!("write “{near}”, if that is meant"),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            mistakes.add(Mistake::new(key.place, "is unknown", advice).of(self.path_of(&key.text)));
        }
    }
}

impl Field {
    /// Reports a mistake at this value.
    pub fn wrong(&self, what: impl Into<String>, advice: impl Into<String>, mistakes: &mut Mistakes) {
        mistakes.add(Mistake::new(self.node.place, what, advice).of(self.path.clone()));
    }

    /// The value as a text that has something in it.
    pub fn text(self, advice: &str, mistakes: &mut Mistakes) -> Option<String> {
        match &self.node.kind {
            Kind::Scalar { text, is_plain } if !(*is_plain && is_null(text)) => {
                if let Some(control) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                    self.wrong(format!("holds the control character {control:?}"), "remove it", mistakes);
                    return None;
                }
                Some(text.clone())
            }
            Kind::Scalar { .. } => {
                self.wrong("has no value", advice, mistakes);
                None
            }
            other => {
                self.wrong(format!("is {}, not a single value", other.noun()), advice, mistakes);
                None
            }
        }
    }

    /// The value as what its text means.
    pub fn parsed<T>(self, advice: &str, mistakes: &mut Mistakes) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let (place, path) = (self.node.place, self.path.clone());
        let text = self.text(advice, mistakes)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                mistakes.add(Mistake::new(place, format!("“{}” {error}", cut(&text)), advice).of(path));
                None
            }
        }
    }

    /// The value as what its text means, from `least` to `most`.
    pub fn within<T>(self, least: T, most: T, advice: &str, mistakes: &mut Mistakes) -> Option<T>
    where
        T: FromStr<Err: Display> + PartialOrd + Display,
    {
        let (place, path) = (self.node.place, self.path.clone());
        let value: T = self.parsed(advice, mistakes)?;
        if value < least || value > most {
            let (what, advice) = (format!("{value} is out of range"), format!("write {least} to {most}"));
            mistakes.add(Mistake::new(place, what, advice).of(path));
            return None;
        }
        Some(value)
    }

    /// The value as a list of at most `most`; a single value is no list.
    pub fn list(self, most: usize, advice: &str, mistakes: &mut Mistakes) -> Option<Vec<Self>> {
        let path = self.path.clone();
        match self.node.kind {
            Kind::List(nodes) if nodes.len() <= most => {
                let field = |(index, node)| Self { path: format!("{path}[{index}]"), node };
                Some(nodes.into_iter().enumerate().map(field).collect())
            }
            Kind::List(_) => {
                let what = format!("has more than {most} entries");
                mistakes.add(Mistake::new(self.node.place, what, "leave some out").of(path));
                None
            }
            other => {
                let what = format!("is {}, not a list", other.noun());
                mistakes.add(Mistake::new(self.node.place, what, advice).of(path));
                None
            }
        }
    }
}

/// The beginning of a text, for a message.
#[must_use]
pub fn cut(text: &str) -> String {
    const CHARACTERS: usize = 60;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The known word that a wrong one probably means: at most two letters away, and fewer than it has.
#[must_use]
pub fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer words are no slip of the finger, and comparing them would cost.
    if wrong.len() > 32 {
        return None;
    }
    let fold = |word: &str| word.to_lowercase().replace('-', "_");
    let folded = fold(wrong);
    let by_distance = known.iter().map(|word| (distance(&folded, &fold(word)), *word)).min()?;
    (by_distance.0 <= 2 && by_distance.0 < wrong.chars().count()).then_some(by_distance.1)
}

/// How many letters must be added, removed or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for ((other, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != *other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let known = ["command", "limits", "open_files"];
        assert_eq!(nearest("comand", &known), Some("command"));
        assert_eq!(nearest("Limits", &known), Some("limits"));
        assert_eq!(nearest("open-files", &known), Some("open_files"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &known), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
