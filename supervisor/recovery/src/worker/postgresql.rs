//! One database of a PostgreSQL server: a root that is made whole beside the old one and then takes its name.
//!
//! ```text
//! NAME              what programs use
//! NAME.dsmil-new    what comes back, while it is made
//! NAME.dsmil-undo   what stood there before, as it was; as long as it is there, it can be put back
//! ```
//!
//! The server's names alone could be anybody's who may make databases there. So how far a restore is stands in the helper's own
//! folder, by the numbers that the server gives databases, which nobody chooses and a new name does not change:
//!
//! | `.done` | `.journal` | NAME is the new one | `.staged` | progress |
//! |---|---|---|---|---|
//! | yes | | | | finished |
//! | – | yes | yes | | executed |
//! | – | yes | no | | committed |
//! | – | – | | yes | loose |
//! | – | – | | – | none |
//!
//! # Layout
//!
//! - this file: the effects
//! - `journal`: that folder
//! - `programs`: psql and pg_dump, as the user whose login it is
//! - `releases`: where they are
//! - `sql`: what the server is told

mod journal;
mod programs;
mod releases;
mod sql;

use std::io::{Read, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::effect::{Body, Effect, Progress};
use crate::Error;
use crate::databases::postgresql::{Address, CONNECT, NEW, UNDO};
use crate::error::{length, shown};
use journal::{Folder, Pair, Staged};
use programs::{Dumping, Login};

pub use journal::Keeping;

/// How long filling a database may take.
const FILLED: Duration = Duration::from_secs(4 * 3600);
/// How often an exchange is begun; the server waits 5 s each time for sessions that are in the way.
const TRIES: u32 = if cfg!(test) { 1 } else { 3 };
/// How often sessions that have become idle are ended meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a dump of ours that a crash left is waited for, in pauses.
const PAUSES_MAX: u32 = 50;
/// The most bytes of what makes the database itself.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// A database that may be changed.
#[derive(Debug)]
pub(super) struct Postgresql {
    address: Address,
    folder: Folder,
    staged: Option<Staged>,
    dump: Option<Dump>,
    /// Nobody is left who worked for a helper before this one.
    is_calm: bool,
}

/// A dump that is being read.
#[derive(Debug)]
struct Dump {
    /// What comes before what pg_dump says.
    head: Option<String>,
    dumping: Dumping,
    /// Of all that was given, if it is to be noted at the end.
    hash: Option<Sha256>,
}

/// What the server says of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    /// The server's major version.
    version: u32,
    /// The number of the database with that name.
    number: Option<u32>,
}

impl Postgresql {
    pub(super) fn new(address: &Address, keeping: &Keeping) -> Self {
        let folder = Folder::new(keeping, &address.label());
        Self { address: address.clone(), folder, staged: None, dump: None, is_calm: false }
    }

    pub(super) fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        match effect {
            Effect::Look { .. } => return self.progress(),
            Effect::Dump { note, .. } => return self.begin(*note),
            Effect::Discard { .. } => self.dump = None,
            Effect::Open { .. } => self.open()?,
            Effect::Stage { body: Body::Regular { size }, .. } => self.stage(*size)?,
            Effect::Data { bytes, .. } => self.data(bytes)?,
            Effect::Seal { .. } => self.seal()?,
            Effect::Commit { .. } => self.commit()?,
            Effect::Execute { .. } => self.execute()?,
            Effect::Undo { .. } => self.undo()?,
            Effect::Finish { .. } => self.finish()?,
            Effect::Clean { .. } => self.clean()?,
            _ => return Err(Error::Refused(self.told("a database is replaced as a whole"))),
        }
        Ok(Progress::None)
    }

    /// The next bytes of the dump that was begun.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, Error> {
        let Some(mut dump) = self.dump.take() else {
            return Err(Error::Refused(self.told("no dump was begun")));
        };
        let bytes = match dump.head.take() {
            Some(head) => head.into_bytes(),
            None => dump.dumping.next().map_err(|error| self.failed(error))?,
        };
        if let Some(hash) = &mut dump.hash {
            hash.update(&bytes);
        }
        if bytes.is_empty() {
            dump.hash.map_or(Ok(()), |hash| self.folder.note(&hash.finalize().into()))?;
        } else {
            self.dump = Some(dump);
        }
        Ok(bytes)
    }

    fn told(&self, what: &str) -> String {
        format!("{}: {what}", shown(self.address.label().as_bytes()))
    }

    /// The same error, with the database's name.
    fn failed(&self, error: Error) -> Error {
        match error {
            Error::Failed(why) => Error::Failed(self.told(&why)),
            Error::Refused(why) => Error::Refused(self.told(&why)),
            Error::Busy(why) => Error::Busy(self.told(&why)),
            other => other,
        }
    }

    fn beside(&self, what: &str) -> String {
        format!("{}{what}", self.address.database())
    }

    /// The database that one is in while another gets a new name.
    fn elsewhere(&self) -> &'static str {
        if self.address.database() == "postgres" { "template1" } else { "postgres" }
    }

    /// A server that does not let us in is a refusal: nothing was changed.
    fn look(&self, login: &Login<'_>, name: &str) -> Result<Found, Error> {
        let answer = login.ask(self.elsewhere(), sql::LOOK, &[("one", name)]);
        let answer = answer.map_err(|error| match error {
            Error::Failed(why) => Error::Refused(why),
            other => other,
        })?;
        let mut numbers = answer.lines().map(|line| line.trim().parse::<u32>());
        match (numbers.next(), numbers.next().transpose()) {
            (Some(Ok(version)), Ok(number)) => Ok(Found { version: version / 10_000, number }),
            _ => Err(Error::Failed(format!("psql is not understood: {}", shown(answer.as_bytes())))),
        }
    }

    fn login(&self) -> Result<Login<'_>, Error> {
        Login::new(&self.address).map_err(|error| self.failed(error))
    }

    /// What the server says of a database, by a login for more.
    fn found(&self, name: &str) -> Result<(Login<'_>, Found), Error> {
        let login = self.login()?;
        let found = self.look(&login, name).map_err(|error| self.failed(error))?;
        Ok((login, found))
    }

    fn progress(&self) -> Result<Progress, Error> {
        if self.folder.finished()?.is_some() {
            return Ok(Progress::Finished);
        }
        let Some(pair) = self.folder.committed()? else {
            return Ok(if self.folder.is_staged()? { Progress::Loose } else { Progress::None });
        };
        let (_, found) = self.found(self.address.database())?;
        Ok(if found.number == Some(pair.new) { Progress::Executed } else { Progress::Committed })
    }

    fn expect(&self, allowed: &[Progress], what: &str) -> Result<(), Error> {
        if allowed.contains(&self.progress()?) { Ok(()) } else { Err(Error::Refused(self.told(what))) }
    }

    fn begin(&mut self, note: bool) -> Result<Progress, Error> {
        self.dump = None;
        let (login, found) = self.found(self.address.database())?;
        if found.number.is_none() {
            return Ok(Progress::None);
        }
        // Who is not let into this database learns nothing of it either.
        let head = login.ask(self.address.database(), sql::HEAD, &[]).map_err(|error| match error {
            Error::Failed(why) => Error::Refused(self.told(&why)),
            other => other,
        })?;
        let head = Some(format!("{head}{CONNECT}\n"));
        let dumping = login.dump(found.version).map_err(|error| self.failed(error))?;
        self.dump = Some(Dump { head, dumping, hash: note.then(Sha256::new) });
        Ok(Progress::Loose)
    }

    fn open(&mut self) -> Result<(), Error> {
        self.staged = None;
        if !matches!(self.progress()?, Progress::None | Progress::Loose) {
            return Err(Error::Unfinished(shown(self.address.label().as_bytes())));
        }
        let (login, _) = self.found(self.address.database())?;
        let (name, undo) = (self.address.database(), self.beside(UNDO));
        let names = [("one", name), ("undo", undo.as_str())];
        let obstacle =
            login.ask(self.elsewhere(), sql::OBSTACLE, &names).map_err(|error| self.failed(error))?;
        match obstacle.trim() {
            "" => self.folder.open(),
            why => Err(Error::Refused(self.told(&shown(why.as_bytes())))),
        }
    }

    fn stage(&mut self, size: u64) -> Result<(), Error> {
        self.expect(&[Progress::Loose], "it is not open, or committed already")?;
        self.staged = Some(self.folder.stage(size)?);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.staged {
            Some(staged) => staged.add(bytes),
            None => Err(Error::Refused(self.told("nothing is being staged"))),
        }
    }

    /// What never came out of this database does not go in: it could do whatever the role may.
    fn seal(&mut self) -> Result<(), Error> {
        let Some(staged) = &mut self.staged else {
            return Err(Error::Refused(self.told("nothing is being staged")));
        };
        let digest = staged.seal()?;
        if self.folder.knows(&digest)? {
            return Ok(());
        }
        self.staged = None;
        Err(Error::Refused(self.told(
            "this dump was never taken of it by this machine's helper, or what it remembers of that is lost: root can bring it \
             back by “dsmil checkpoint restore --offline”",
        )))
    }

    /// Makes the new database beside, whole and durable, before it is called what it is.
    fn commit(&mut self) -> Result<(), Error> {
        self.expect(&[Progress::Loose], "nothing is staged, or it is committed already")?;
        let Some(staged) = self.staged.take().filter(Staged::is_sealed) else {
            return Err(Error::Refused(self.told("not all of it is staged")));
        };
        let (login, found) = self.found(self.address.database())?;
        let made = self.make(&login, staged, found.version).map_err(|error| self.failed(error));
        if let Err(error) = made {
            // What is left of it is in nobody's way, and goes with the next one at the latest.
            drop(self.drop_new(&login));
            return Err(error);
        }
        let new = self.look(&login, &self.beside(NEW))?.number;
        let new = new.ok_or_else(|| Error::Failed(self.told("the new database is gone again")))?;
        self.folder.commit(Pair { old: found.number, new })
    }

    fn make(&self, login: &Login<'_>, staged: Staged, version: u32) -> Result<(), Error> {
        let new = self.beside(NEW);
        self.drop_new(login)?;
        let mut file = staged.file();
        let head = head(&mut file)?;
        login.order(self.elsewhere(), &head, &[("db", &new)])?;
        login.fill(&new, file, version, FILLED)?;
        login.order(self.elsewhere(), sql::DURABLE, &[("one", &new)])
    }

    fn drop_new(&self, login: &Login<'_>) -> Result<(), Error> {
        login.order(self.elsewhere(), sql::DROP, &[("one", &self.beside(NEW)), ("is", "")])
    }

    fn execute(&mut self) -> Result<(), Error> {
        self.calm()?;
        match (self.progress()?, self.folder.committed()?) {
            (Progress::Executed, _) => Ok(()),
            (Progress::Committed, Some(pair)) => {
                let aside = pair.old.map_or_else(String::new, |_| self.beside(UNDO));
                self.exchange((&aside, &self.beside(NEW)), Some(pair.new), false)
            }
            _ => Err(Error::Refused(self.told("nothing is committed"))),
        }
    }

    /// Repeated as often as it takes: what is put back stays until it is.
    fn undo(&mut self) -> Result<(), Error> {
        (self.staged, self.dump) = (None, None);
        match self.progress()? {
            Progress::None | Progress::Loose => return Ok(()),
            Progress::Finished => {
                return Err(Error::Refused(self.told("it is finished and cannot be undone")));
            }
            Progress::Executed | Progress::Committed => self.calm()?,
        }
        let Some(pair) = self.folder.committed()? else { return Ok(()) };
        // It may have come to its end since.
        if self.progress()? == Progress::Executed {
            let next = pair.old.map_or_else(String::new, |_| self.beside(UNDO));
            self.exchange((&self.beside(NEW), &next), pair.old, true)?;
        }
        let login = self.login()?;
        self.drop_new(&login).map_err(|error| self.failed(error))?;
        self.folder.undone()
    }

    fn finish(&mut self) -> Result<(), Error> {
        match self.progress()? {
            // After an undo, too, there is nothing to make final.
            Progress::None | Progress::Loose | Progress::Finished => Ok(()),
            Progress::Executed => self.folder.finish(),
            Progress::Committed => Err(Error::Refused(self.told("it is not executed"))),
        }
    }

    fn clean(&mut self) -> Result<(), Error> {
        (self.staged, self.dump) = (None, None);
        match self.progress()? {
            Progress::None => return Ok(()),
            Progress::Loose => {
                // A server that is gone keeps it until the next restore.
                drop(self.calm().and_then(|()| self.drop_new(&self.login()?)));
            }
            Progress::Finished => {
                let pair = self.folder.finished()?;
                if let Some(old) = pair.and_then(|pair| pair.old) {
                    // Whoever was killed may have somebody who drops it at this moment.
                    self.calm()?;
                    let (name, number) = (self.beside(UNDO), old.to_string());
                    let login = self.login()?;
                    let dropped =
                        login.order(self.elsewhere(), sql::DROP, &[("one", &name), ("is", &number)]);
                    dropped.map_err(|error| self.failed(error))?;
                }
            }
            Progress::Committed | Progress::Executed => {
                return Err(Error::Refused(self.told("it is not finished")));
            }
        }
        self.folder.clean()
    }

    /// Gives the database the name `aside` and `next` its name, both or neither. Sessions that do nothing are ended; those in a
    /// transaction are waited for, or ended as well where that is `forced`.
    fn exchange(&self, (aside, next): (&str, &str), is: Option<u32>, forced: bool) -> Result<(), Error> {
        let login = self.login()?;
        let (name, is) = (self.address.database(), is.map_or_else(String::new, |number| number.to_string()));
        let names = [("one", name), ("aside", aside), ("next", next), ("is", &is)];
        let mut result = Ok(());
        for _ in 0..TRIES {
            self.end_sessions(&login, name, forced)?;
            if !next.is_empty() {
                self.end_sessions(&login, next, true)?;
            }
            let mut asked = login.start(self.elsewhere(), sql::EXCHANGE, &names)?;
            while !asked.is_over() {
                thread::sleep(PAUSE);
                self.end_sessions(&login, name, forced)?;
            }
            result = match asked.answer() {
                Ok(answer) if answer.trim() == sql::EXCHANGED => return Ok(()),
                Ok(_) => {
                    return Err(Error::Failed(self.told("another database has taken its name meanwhile")));
                }
                Err(Error::Failed(why)) if why.contains("is being accessed by other users") => {
                    let who = login.ask(self.elsewhere(), sql::BUSY, &[("one", name)])?;
                    Err(Error::Busy(self.told(&format!(
                        "programs are in a transaction there, nothing was changed: {}; try again when they have ended it",
                        shown(who.trim().as_bytes())
                    ))))
                }
                Err(error) => return Err(self.failed(error)),
            };
        }
        result
    }

    fn end_sessions(&self, login: &Login<'_>, name: &str, all: bool) -> Result<(), Error> {
        let all = if all { "yes" } else { "no" };
        let ended = login.ask(self.elsewhere(), sql::END_SESSIONS, &[("one", name), ("all", all)]);
        ended.map(drop).map_err(|error| self.failed(error))
    }

    /// Waits until nobody is left who works for a helper that was killed, and would go on behind our back.
    fn calm(&mut self) -> Result<(), Error> {
        if self.is_calm {
            return Ok(());
        }
        let login = self.login()?;
        for _ in 0..PAUSES_MAX {
            let left = login.ask(self.elsewhere(), sql::END_OURS, &[]).map_err(|error| self.failed(error))?;
            if left.trim() == "0" {
                self.is_calm = true;
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(Error::Failed(self.told("a session of an earlier restore does not end")))
    }
}

/// What makes the database itself; the file then stands behind it.
fn head(file: &mut std::fs::File) -> Result<String, Error> {
    let failed = |error| Error::io("read", b"the staged dump", error);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    file.take(length(HEAD_BYTES_MAX)).read_to_end(&mut bytes).map_err(failed)?;
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.strip_suffix(b"\n") == Some(CONNECT.as_bytes()) {
            let head = bytes.get(..end).unwrap_or_default().to_vec();
            let after = length(end + line.len());
            file.seek(SeekFrom::Start(after)).map_err(failed)?;
            return String::from_utf8(head)
                .map_err(|_| Error::Damaged("a dump does not begin as text".into()));
        }
        end += line.len();
    }
    Err(Error::Damaged("a dump does not say which database it makes".into()))
}
