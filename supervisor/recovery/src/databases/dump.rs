//! Dumps of databases of servers, as they come out of the executor, and what tells two of them apart.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use store::chunk::Chunks;

use super::postgresql::CONNECT;
use crate::Error;
use crate::files::entry::Piece;
use crate::files::read::{Contents, Keep, Name};
use crate::worker::effect::{Executor, Shared};

/// The longest line that is looked at as a whole, bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What becomes of a stream.
pub(crate) trait Streams: Contents {
    /// Cuts it into chunks and names them.
    fn stream(&mut self, source: &mut dyn Read, name: &Path) -> Result<Vec<Piece>, Error>;
}

impl Streams for Keep<'_> {
    fn stream(&mut self, source: &mut dyn Read, name: &Path) -> Result<Vec<Piece>, Error> {
        Ok(self.0.put_stream(source, name)?.into_iter().map(|(id, bytes)| Piece::new(id, bytes)).collect())
    }
}

impl Streams for Name<'_> {
    fn stream(&mut self, source: &mut dyn Read, name: &Path) -> Result<Vec<Piece>, Error> {
        named(self.0, source, name)
    }
}

fn named(chunks: &Chunks, source: &mut dyn Read, name: &Path) -> Result<Vec<Piece>, Error> {
    let (mut pieces, mut split) = (Vec::new(), chunks.split(source));
    let failed = |error| Error::io("read", name.as_os_str().as_encoded_bytes(), error);
    while let Some(chunk) = split.next_chunk().map_err(failed)? {
        pieces.push(Piece::new(chunks.id(chunk), u32::try_from(chunk.len()).unwrap_or(u32::MAX)));
    }
    Ok(pieces)
}

/// A dump that was begun, as it comes out of the executor; it is hashed on its way.
pub(crate) struct Dump<'d, 'a> {
    executor: &'d mut Shared<'a>,
    root: u16,
    bytes: Vec<u8>,
    at: usize,
    is_over: bool,
    meaning: Meaning,
    failure: Option<Error>,
}

impl<'d, 'a> Dump<'d, 'a> {
    pub(crate) fn new(executor: &'d mut Shared<'a>, root: u16) -> Self {
        let meaning = Meaning::default();
        Self { executor, root, bytes: Vec::new(), at: 0, is_over: false, meaning, failure: None }
    }

    /// Reads to the end without keeping anything.
    pub(crate) fn skim(&mut self) -> Result<(), Error> {
        let copied = io::copy(self, &mut io::sink()).map(drop);
        copied.map_err(|error| self.failure.take().unwrap_or_else(|| Error::Failed(error.to_string())))
    }

    /// What went wrong in it, rather than what its reader made of that.
    pub(crate) fn whole<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.failure.take().map_or(result, Err)
    }

    /// Its digest, and the version that it asks for.
    pub(crate) fn meaning(self) -> ([u8; 32], u32) {
        self.meaning.end()
    }
}

impl Read for Dump<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.bytes.len() && !self.is_over {
            match self.executor.read(self.root) {
                Ok(bytes) => (self.bytes, self.at) = (bytes, 0),
                Err(error) => {
                    let told = io::Error::other(error.to_string());
                    (self.failure, self.is_over) = (Some(error), true);
                    return Err(told);
                }
            }
            self.is_over = self.bytes.is_empty();
            self.meaning.take(&self.bytes);
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.at += count;
        Ok(count)
    }
}

/// SHA-256 of a dump without the two comments that only say which releases made it.
#[derive(Default)]
pub(crate) struct Meaning {
    hash: Sha256,
    place: Place,
    line: Vec<u8>,
    version: u32,
}

/// Where in a dump.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// What makes the database.
    #[default]
    Head,
    /// The comments of pg_dump, before its first statement.
    Comments,
    /// All else, in which a line means nothing by itself.
    Rest,
}

impl Meaning {
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.place == Place::Rest {
                self.hash.update(bytes);
                return;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
            let (line, rest) = bytes.split_at(end);
            self.line.extend(line);
            bytes = rest;
            if line.ends_with(b"\n") || self.line.len() > LINE_BYTES_MAX {
                self.line();
            }
        }
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match self.place {
            Place::Head if text == CONNECT.as_bytes() => self.place = Place::Comments,
            Place::Comments => match version(text) {
                Some(version) => {
                    self.version = self.version.max(version);
                    return;
                }
                None if text.starts_with(b"SET ") => self.place = Place::Rest,
                None => {}
            },
            Place::Head | Place::Rest => {}
        }
        self.hash.update(line);
    }

    pub(crate) fn end(mut self) -> ([u8; 32], u32) {
        self.hash.update(std::mem::take(&mut self.line));
        (self.hash.finalize().into(), self.version)
    }
}

/// The major version that a comment names, if it is one of the two.
fn version(line: &[u8]) -> Option<u32> {
    let rest = [&b"-- Dumped from database version "[..], b"-- Dumped by pg_dump version "]
        .iter()
        .find_map(|start| line.strip_prefix(*start))?;
    let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
    Some(String::from_utf8(digits).ok()?.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "CREATE DATABASE :\"db\";\n\\connect :\"db\"\n--\n-- PostgreSQL database dump\n--\n\\restrict dsmil\n\
                        -- Dumped from database version 15.18 (Debian)\n-- Dumped by pg_dump version 17.2\n\nSET x = 0;\n\
                        COPY t FROM stdin;\n-- Dumped by pg_dump version 17.2\n\\.\n";

    fn meaning(text: &str, step: usize) -> ([u8; 32], u32) {
        let mut meaning = Meaning::default();
        text.as_bytes().chunks(step).for_each(|bytes| meaning.take(bytes));
        meaning.end()
    }

    #[test]
    fn releases_do_not_count_and_everything_else_does() {
        let whole = meaning(DUMP, DUMP.len());
        assert_eq!(whole.1, 17);
        for step in 1..40 {
            assert_eq!(meaning(DUMP, step), whole, "{step}");
        }
        let other = DUMP.replacen("15.18 (Debian)", "15.19", 1).replacen("17.2", "17.3", 1);
        assert_eq!(meaning(&other, 7), whole);
        // The same words in a row, a statement or the head are contents.
        for (from, to) in [
            (
                "FROM stdin;\n-- Dumped by pg_dump version 17.2",
                "FROM stdin;\n-- Dumped by pg_dump version 17.3",
            ),
            ("SET x = 0", "SET x = 1"),
            ("CREATE", "-- Dumped by pg_dump version 1\nCREATE"),
            ("restrict dsmil", "restrict other"),
        ] {
            let other = DUMP.replacen(from, to, 1);
            assert_ne!(other, DUMP);
            assert_ne!(meaning(&other, 7).0, whole.0, "{to}");
        }
    }
}
