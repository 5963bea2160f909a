//! Databases of PostgreSQL servers: which ones.

use std::path::{Component, Path};

use minicbor::{Decode, Encode};

use crate::Error;
use crate::error::{length, shown};

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

#[cfg(test)]
mod tests {
    use super::*;

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
