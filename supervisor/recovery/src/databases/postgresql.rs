//! Databases of PostgreSQL servers: which ones, and what tells two dumps of one apart.

use std::io::{self, Read};
use std::path::{Component, Path};

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use store::chunk::Chunks;

use crate::Error;
use crate::error::{length, shown};
use crate::files::entry::Piece;
use crate::files::read::{Contents, Keep, Name};
use crate::worker::effect::{Executor, Shared};

/// The most databases of PostgreSQL servers.
pub const POSTGRESQL_MAX: usize = 64;
/// Where the server's socket is, unless it is said otherwise: Debian's place.
pub const SOCKET: &str = "/run/postgresql";
/// Its port, which is a part of the socket's name.
pub const PORT: u16 = 5432;
/// Whose peer login is used.
pub const USER: &str = "postgres";

/// What a restore adds to a database's name while it is made beside.
pub(crate) const NEW: &str = ".dsmil-new";
/// And to that of the one that it replaces, until the restore is finished.
pub(crate) const UNDO: &str = ".dsmil-undo";
/// The server cuts longer names (NAMEDATALEN), bytes.
const NAME_BYTES_MAX: usize = 63;
/// A database's name has room for ours behind it, bytes.
const DATABASE_BYTES_MAX: usize = NAME_BYTES_MAX - UNDO.len();
/// A path of a socket has 107 bytes, and `/.s.PGSQL.65535` is 15 of them.
const SOCKET_BYTES_MAX: usize = 92;
/// Longest name of a user of the system, bytes (useradd(8)).
const USER_BYTES_MAX: usize = 32;

/// Ends the part of a dump that makes the database itself; a program of SQL cannot hold this line anywhere else, since in what is
/// quoted either the slash or the quotes are doubled.
pub(crate) const CONNECT: &str = "\\connect :\"db\"";
/// The longest line that is looked at as a whole, bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A database of a server on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Address {
    /// Its name.
    #[n(0)]
    database: String,
    /// The folder of the server's socket.
    #[n(1)]
    socket: String,
    /// The server's port, a part of the socket's name.
    #[n(2)]
    port: u16,
    /// The user of the system whose peer login it is.
    #[n(3)]
    user: String,
    /// The role of the server that this user logs in as.
    #[n(4)]
    role: String,
}

/// What is kept of such a database beside its dump.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// Where it is.
    #[n(0)]
    pub address: Address,
    /// The major version that a server must have at least to understand the dump.
    #[n(1)]
    pub version: u32,
}

impl Address {
    /// Checks it. The role is named as the user unless it is said otherwise.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: what is wrong with it
    pub fn new(
        database: &str,
        (socket, port): (&str, u16),
        user: &str,
        role: Option<&str>,
    ) -> Result<Self, Error> {
        let address = Self {
            database: database.to_owned(),
            socket: socket.to_owned(),
            port,
            user: user.to_owned(),
            role: role.unwrap_or(user).to_owned(),
        };
        match address.fault() {
            None => Ok(address),
            Some(why) => Err(Error::Invalid(format!("“{}”: {why}", database.escape_debug()))),
        }
    }

    /// What is wrong with it, if anything. Values reach the server's programs in their environment alone, so nothing here keeps a name
    /// from becoming an option; but a socket's folder with a comma would be a list of servers, and one with an @ another kind.
    fn fault(&self) -> Option<String> {
        let Self { database, socket, port, user, role } = self;
        let is_name =
            |name: &str, most: usize| (1..=most).contains(&name.len()) && !name.chars().any(char::is_control);
        let is_plain = Path::new(socket)
            .components()
            .all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
        let is_ours = [NEW, UNDO].iter().any(|ours| database.ends_with(ours));
        if !is_name(database, DATABASE_BYTES_MAX) {
            Some(format!("a database's name has 1 to {DATABASE_BYTES_MAX} bytes and no control characters"))
        } else if is_ours || ["template0", "template1"].contains(&database.as_str()) {
            Some("this database is the server's, or a restore's, and is never captured".to_owned())
        } else if !socket.starts_with('/')
            || !is_plain
            || socket.contains(',')
            || !is_name(socket, SOCKET_BYTES_MAX)
        {
            Some(format!(
                "socket “{}” is not the absolute, plain path of the folder of the server's socket, of at most {SOCKET_BYTES_MAX} \
                 bytes and without a comma",
                socket.escape_debug()
            ))
        } else if *port == 0 {
            Some("port 0 is none: the port is a part of the socket's name, usually 5432".to_owned())
        } else if !is_name(user, USER_BYTES_MAX) || user == "root" {
            Some(format!(
                "user “{}” is not the user of the system whose peer login is used, and never root",
                user.escape_debug()
            ))
        } else if !is_name(role, NAME_BYTES_MAX) {
            Some(format!("role “{}” is no role's name", role.escape_debug()))
        } else {
            None
        }
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The folder of the server's socket.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The server's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The user of the system.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role of the server.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// What it is called in checkpoints: `postgresql:NAME`, and where the server is unless at its usual place.
    #[must_use]
    pub fn label(&self) -> String {
        let Self { database, socket, port, .. } = self;
        if socket == SOCKET && *port == PORT {
            return format!("postgresql:{database}");
        }
        format!("postgresql:{database} at {socket} port {port}")
    }
}

/// Checks a list of them.
///
/// # Errors
///
/// - [`Error::Invalid`]: one is there twice
/// - [`Error::Limit`]: more than [`POSTGRESQL_MAX`]
pub fn check_list(addresses: &[Address]) -> Result<(), Error> {
    let (found, limit) = (length(addresses.len()), length(POSTGRESQL_MAX));
    if found > limit {
        return Err(Error::Limit { what: "the list of PostgreSQL databases", found, limit });
    }
    for (place, address) in addresses.iter().enumerate() {
        if addresses.iter().skip(place + 1).any(|other| other.label() == address.label()) {
            return Err(Error::Invalid(format!("{} is there twice", shown(address.label().as_bytes()))));
        }
    }
    Ok(())
}

/// Whether what was read from a disk can be one of them under this name.
pub(crate) fn is_sound(path: &[u8], origin: &Origin) -> bool {
    origin.address.fault().is_none() && origin.address.label().as_bytes() == path
}

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

    #[test]
    fn addresses_are_checked_and_named() {
        let at = |database: &str, socket: &str, port, user: &str, role| {
            Address::new(database, (socket, port), user, role)
        };
        let usual = at("shop", SOCKET, PORT, USER, None).unwrap();
        assert_eq!((usual.label().as_str(), usual.role()), ("postgresql:shop", "postgres"));
        let other = at("shop", "/srv/pg", 5433, "shop", Some("owner")).unwrap();
        assert_eq!((other.label().as_str(), other.role()), ("postgresql:shop at /srv/pg port 5433", "owner"));
        // Odd names are names.
        for odd in [
            "-d",
            "a=b",
            "host=/tmp dbname=x",
            "postgresql://x",
            "it's \"q\"",
            "a b",
            "ü",
            "--help",
            "a\\b",
            "$(x)",
        ] {
            at(odd, SOCKET, PORT, USER, None).unwrap();
        }
        let long = "x".repeat(DATABASE_BYTES_MAX);
        at(&long, SOCKET, PORT, USER, None).unwrap();
        for (bad, named) in [
            (at("", SOCKET, PORT, USER, None), "name"),
            (at(&format!("{long}x"), SOCKET, PORT, USER, None), "name"),
            (at("a\nb", SOCKET, PORT, USER, None), "control"),
            (at("a\0b", SOCKET, PORT, USER, None), "control"),
            (at("template0", SOCKET, PORT, USER, None), "never captured"),
            (at("a.dsmil-undo", SOCKET, PORT, USER, None), "never captured"),
            (at("a", "run/postgresql", PORT, USER, None), "socket"),
            (at("a", "localhost", PORT, USER, None), "socket"),
            (at("a", "@abstract", PORT, USER, None), "socket"),
            (at("a", "/run/a,/run/b", PORT, USER, None), "comma"),
            (at("a", "/run/../tmp", PORT, USER, None), "socket"),
            (at("a", &format!("/{}", "x".repeat(92)), PORT, USER, None), "socket"),
            (at("a", SOCKET, 0, USER, None), "port"),
            (at("a", SOCKET, PORT, "", None), "user"),
            (at("a", SOCKET, PORT, "root", None), "never root"),
            (at("a", SOCKET, PORT, USER, Some("")), "role"),
            (at("a", SOCKET, PORT, USER, Some("a\nb")), "role"),
        ] {
            let error = bad.unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let twice = [usual.clone(), usual.clone()];
        assert!(check_list(&twice).unwrap_err().to_string().contains("twice"));
        assert!(check_list(&[usual, other]).is_ok());
    }
}
