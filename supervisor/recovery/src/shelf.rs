//! Checkpoints in their folder, held against their signatures, the log and the chunks; and what can still be brought back where some are damaged.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use engine::Told;
use store::chunk::{ChunkId, Chunks};
use tpm::PublicKey;

use crate::Error;
use crate::error::{length, shown};
use crate::files::entry::{Kind, Piece};
use crate::manifest::Manifest;
use crate::manifest::stored::Stored;

/// Damaged paths that a message names one by one; of more only how many there are.
const NAMED_MAX: usize = 4;
/// Runs of numbers that a message names.
const RUNS_MAX: usize = 12;
/// Longest path, and longest reason that a message gives for one, bytes.
const WORDS_MAX: usize = 200;

/// The folder of checkpoints, and what each is held against.
pub struct Shelf<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// The chunks.
    pub chunks: &'a Chunks,
    /// The checkpoints of which the log tells.
    pub told: &'a Told,
    /// Keys of which one must have signed; none where signatures are not checked.
    pub signers: Vec<&'a PublicKey>,
}

/// An entry whose content is not whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// What is wrong with it.
    pub why: String,
}

/// What can still be brought back where a checkpoint is damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remains {
    /// Which one.
    pub number: u64,
    /// What of it is damaged, all else being whole; or why nothing of it can be read.
    pub of_it: Result<Vec<Damaged>, String>,
    /// Other checkpoints that are whole, ascending.
    pub whole: Vec<u64>,
    /// Others of which something, or all, is damaged, ascending.
    pub damaged: Vec<u64>,
}

/// Chunks that were looked at: how long one is, or what is wrong with it. Checkpoints share most of theirs.
#[derive(Debug, Default)]
pub struct Looked(HashMap<ChunkId, Result<u64, String>>);

impl Looked {
    fn at(&mut self, chunks: &Chunks, id: ChunkId) -> Result<u64, String> {
        let found = self.0.entry(id).or_insert_with(|| {
            chunks.get(&id).map(|content| length(content.len())).map_err(|error| error.to_string())
        });
        found.clone()
    }
}

impl Shelf<'_> {
    /// A checkpoint that is signed, whatever the log tells.
    ///
    /// # Errors
    ///
    /// - [`Error::Store`]: there is none, or it is damaged
    /// - [`Error::Damaged`]: it is none, or not signed by one of the keys
    pub fn signed(&self, number: u64) -> Result<Stored, Error> {
        let stored = Stored::decode(number, &store::manifest::get(self.dir, number)?)?;
        if !self.signers.is_empty() && self.signer(&stored).is_none() {
            return Err(Error::Damaged(format!(
                "checkpoint {number} is not signed by a key that counts here: it was changed, or comes from elsewhere"
            )));
        }
        Ok(stored)
    }

    /// The key that signed it, whichever it names itself.
    #[must_use]
    pub fn signer(&self, stored: &Stored) -> Option<&PublicKey> {
        self.signers.iter().copied().find(|key| stored.is_signed_by(key))
    }

    /// A checkpoint as far as that is seen without its chunks: signed, and the very one of which the log tells.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`]: the log tells of none
    /// - [`Error::Damaged`]: it is another one than the log tells of
    /// - else as [`Shelf::signed`]
    pub fn stored(&self, number: u64) -> Result<Stored, Error> {
        let stored = self.signed(number)?;
        match self.told.get(&number) {
            Some(manifest) if *manifest == stored.statement.manifest => Ok(stored),
            Some(_) => Err(Error::Damaged(format!(
                "checkpoint {number} is not the one of which the log tells: it comes from elsewhere, or from before"
            ))),
            None => Err(Error::Refused(format!("the log tells of no checkpoint {number}"))),
        }
    }

    /// What it holds.
    ///
    /// # Errors
    ///
    /// As [`Shelf::stored`] and [`Stored::manifest`].
    pub fn manifest(&self, number: u64) -> Result<Manifest, Error> {
        self.stored(number)?.manifest(self.chunks)
    }

    /// Reads all contents of a checkpoint; gives those that are not whole.
    #[must_use]
    pub fn damage(&self, manifest: &Manifest, looked: &mut Looked) -> Vec<Damaged> {
        let mut found = Vec::new();
        for tree in manifest.roots() {
            let mut sources = HashSet::new();
            for entry in &tree.entries {
                let why = match &entry.kind {
                    Kind::Regular { size, pieces } => self.wrong(*size, pieces, looked),
                    Kind::HardLink { to } if sources.contains(to.as_slice()) => {
                        Some(format!("it is the same file as {}", shown(to)))
                    }
                    _ => None,
                };
                let Some(why) = why else { continue };
                sources.insert(entry.path.as_slice());
                let mut path = tree.path.clone();
                if !entry.path.is_empty() && path.last() != Some(&b'/') {
                    path.push(b'/');
                }
                path.extend(&entry.path);
                found.push(Damaged { path, why });
            }
        }
        for database in manifest.databases().0 {
            let why = self.wrong(database.size, &database.pieces, looked);
            found.extend(why.map(|why| Damaged { path: database.path.clone(), why }));
        }
        found
    }

    /// What is wrong with a content, if anything is.
    fn wrong(&self, size: u64, pieces: &[Piece], looked: &mut Looked) -> Option<String> {
        let mut found = 0;
        for piece in pieces {
            match looked.at(self.chunks, piece.id()) {
                Ok(bytes) => found += bytes,
                Err(why) => return Some(why),
            }
        }
        (found != size).then(|| format!("it has {found} bytes instead of {size}"))
    }

    /// Reads all checkpoints of which the log tells, for one of them was found damaged: what can be brought back instead.
    #[must_use]
    pub fn remains(&self, number: u64) -> Remains {
        let mut looked = Looked::default();
        let mut of = |number| match self.manifest(number) {
            Ok(manifest) => Ok(self.damage(&manifest, &mut looked)),
            Err(error) => Err(error.to_string()),
        };
        let of_it = of(number);
        let others = self.told.keys().copied().filter(|other| *other != number);
        let (whole, damaged) = others.partition(|other| of(*other).is_ok_and(|found| found.is_empty()));
        Remains { number, of_it, whole, damaged }
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match &self.of_it {
            Err(_) => write!(f, "nothing of checkpoint {number} can be restored")?,
            Ok(found) if found.is_empty() => {
                write!(f, "read again, checkpoint {number} is whole: try once more")?;
            }
            Ok(found) => {
                write!(f, "damaged in checkpoint {number}: ")?;
                for (place, Damaged { path, why }) in found.iter().take(NAMED_MAX).enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{} ({})", cut(&shown(path)), cut(why))?;
                }
                if let Some(more @ 1..) = found.len().checked_sub(NAMED_MAX) {
                    write!(f, " and {more} more")?;
                }
                f.write_str("; all else of it can be restored, paths by --path")?;
            }
        }
        match (self.whole.as_slice(), self.damaged.as_slice()) {
            ([], []) => Ok(()),
            ([], _) => f.write_str("; no other checkpoint is whole"),
            (whole, []) => write!(f, "; whole: {}", runs(whole)),
            (whole, damaged) => write!(f, "; whole: {}; damaged too: {}", runs(whole), runs(damaged)),
        }
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(WORDS_MAX)).unwrap_or_default()
}

/// Ascending numbers as runs: “1–3, 7”.
fn runs(numbers: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let more = runs.len().saturating_sub(RUNS_MAX);
    let shown = runs.iter().take(RUNS_MAX).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(" and more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_what_is_left_and_stays_short() {
        assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), "1–3, 7, 9–10");
        let damaged = |name: &str| Damaged { path: name.into(), why: "gone".into() };
        let mut remains =
            Remains { number: 4, of_it: Ok(vec![damaged("/a")]), whole: vec![1, 2], damaged: vec![3] };
        assert_eq!(
            remains.to_string(),
            "damaged in checkpoint 4: /a (gone); all else of it can be restored, paths by --path; whole: 1–2; damaged too: 3"
        );
        remains.of_it = Err("why".into());
        (remains.whole, remains.damaged) = (Vec::new(), vec![1]);
        assert_eq!(
            remains.to_string(),
            "nothing of checkpoint 4 can be restored; no other checkpoint is whole"
        );
        remains.of_it = Ok(vec![Damaged { path: vec![b'x'; 4000], why: "é".repeat(3000) }; 90]);
        remains.whole = (0..900).map(|number| 2 * number).collect();
        assert!(remains.to_string().contains(" and 86 more"));
        assert!(remains.to_string().len() < 1900, "{}", remains.to_string().len());
    }
}
