//! One database: a root whose whole content is one file that SQLite guards.
//!
//! ```text
//! PATH.dsmil-image   a copy to look at; nobody needs it
//! PATH.dsmil-new     what comes back
//! PATH.dsmil-undo    what stood there before (or -none: nothing did); as long as it is there, it can be put back
//! PATH.dsmil-done    what came back, once it is in place
//! ```
//!
//! | undo or none | done | progress |
//! |---|---|---|
//! | – | – | none, or loose |
//! | yes | – | committed |
//! | yes | yes | executed |
//! | – | yes | finished |
//!
//! Everything is done with the rights of the database's owner on files, so that whoever may write in its folder cannot have more
//! done than the owner could.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::effect::{Body, Effect, Progress};
use crate::Error;
use crate::databases::image::{self, DONE, IMAGE, NEW, NONE, UNDO, beside};
use crate::error::{length, shown};

/// What SQLite may leave beside a database.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];
/// What a restore leaves beside it, in an order in which it can be removed.
const OURS: [&str; 3] = [IMAGE, NEW, DONE];

/// A database that may be changed.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    /// What is being staged, and how many bytes are still to come.
    staged: Option<(File, u64)>,
    /// Replacing what was committed was refused by a lock, so that it still stands as it stood.
    untouched: bool,
}

impl Database {
    /// By its absolute path.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        if path.is_absolute() && path.file_name().is_some() {
            return Ok(Self { path: path.to_owned(), staged: None, untouched: false });
        }
        Err(Error::Invalid(format!("{} is no absolute path of a database", path.display())))
    }

    pub(super) fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        if !is_there(folder)? && !matches!(effect, Effect::Open { .. }) {
            return Ok(Progress::None);
        }
        let owner = owner(&self.path)?;
        let _rights = Rights::of(owner)?;
        match effect {
            Effect::Look { .. } => return self.progress(),
            Effect::Image { .. } => return self.image(),
            Effect::Discard { .. } => remove(&self.at(IMAGE))?,
            Effect::Open { .. } => self.open()?,
            Effect::Stage { meta, body: Body::Regular { size }, .. } => self.stage(meta.mode, *size)?,
            Effect::Data { bytes, .. } => self.data(bytes)?,
            Effect::Seal { .. } => self.seal()?,
            Effect::Commit { .. } => self.commit()?,
            Effect::Execute { .. } => self.execute()?,
            Effect::Undo { .. } => self.undo()?,
            Effect::Finish { .. } => self.finish()?,
            Effect::Clean { .. } => self.clean()?,
            Effect::Stage { .. }
            | Effect::Add { .. }
            | Effect::Set { .. }
            | Effect::Witness { .. }
            | Effect::Install { .. }
            | Effect::Reload
            | Effect::Run { .. }
            | Effect::Dump { .. }
            | Effect::Read { .. } => {
                return Err(self.refused("a database is replaced as a whole"));
            }
        }
        Ok(Progress::None)
    }

    fn at(&self, what: &str) -> PathBuf {
        beside(&self.path, what)
    }

    fn refused(&self, why: &str) -> Error {
        Error::Refused(format!("{}: {why}", self.path.display()))
    }

    fn progress(&self) -> Result<Progress, Error> {
        let held = is_there(&self.at(UNDO))? || is_there(&self.at(NONE))?;
        let done = is_there(&self.at(DONE))?;
        let loose = is_there(&self.at(NEW))? || is_there(&self.at(IMAGE))?;
        Ok(match (held, done) {
            (true, true) => Progress::Executed,
            (true, false) => Progress::Committed,
            (false, true) => Progress::Finished,
            (false, false) if loose => Progress::Loose,
            (false, false) => Progress::None,
        })
    }

    fn expect(&self, allowed: &[Progress], what: &str) -> Result<(), Error> {
        if allowed.contains(&self.progress()?) { Ok(()) } else { Err(self.refused(what)) }
    }

    /// A copy of what is there now.
    fn image(&self) -> Result<Progress, Error> {
        let image = self.at(IMAGE);
        remove(&image)?;
        if !is_there(&self.path)? {
            return Ok(Progress::None);
        }
        make(&image, 0o600)?;
        image::take(&self.path, &image)?;
        Ok(Progress::Loose)
    }

    fn open(&mut self) -> Result<(), Error> {
        self.staged = None;
        match self.progress()? {
            Progress::None | Progress::Loose => {
                [IMAGE, NEW].iter().try_for_each(|what| remove(&self.at(what)))
            }
            _ => Err(Error::Unfinished(self.path.display().to_string())),
        }
    }

    fn stage(&mut self, mode: u32, size: u64) -> Result<(), Error> {
        self.expect(&[Progress::None, Progress::Loose], "it is staged already")?;
        remove(&self.at(NEW))?;
        self.staged = Some((make(&self.at(NEW), mode & 0o777)?, size));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.at(NEW);
        let none = self.refused("nothing is being staged, or less");
        let Some((file, left)) = &mut self.staged else { return Err(none) };
        *left = left.checked_sub(length(bytes.len())).ok_or(none)?;
        file.write_all(bytes).map_err(|e| io("write", &path, e))
    }

    fn seal(&mut self) -> Result<(), Error> {
        match self.staged.take() {
            Some((file, 0)) => file.sync_all().map_err(|e| io("flush", &self.at(NEW), e)),
            _ => Err(self.refused("not all of it is staged")),
        }
    }

    /// Keeps what is there now, whole and durable, before it is called what it is.
    fn commit(&mut self) -> Result<(), Error> {
        self.expect(&[Progress::Loose], "nothing is staged, or it is committed already")?;
        self.untouched = false;
        if self.staged.is_some() || !is_there(&self.at(NEW))? {
            return Err(self.refused("not all of it is staged"));
        }
        if self.image()? == Progress::None {
            make(&self.at(NONE), 0o600)?;
        } else {
            let image = self.at(IMAGE);
            let file = image::open(&image)?;
            file.sync_all().map_err(|e| io("flush", &image, e))?;
            rename(&image, &self.at(UNDO))?;
        }
        self.flush()
    }

    fn execute(&mut self) -> Result<(), Error> {
        match self.progress()? {
            Progress::Executed => return Ok(()),
            Progress::Committed => {}
            _ => return Err(self.refused("nothing is committed")),
        }
        if !is_there(&self.path)? {
            let mode = fs::symlink_metadata(self.at(NEW)).map_err(|e| io("look at", &self.path, e))?.mode();
            make(&self.path, mode & 0o777)?;
        }
        let put = image::put(&self.at(NEW), &self.path);
        self.untouched = matches!(put, Err(Error::Busy(_)));
        put?;
        rename(&self.at(NEW), &self.at(DONE))?;
        self.flush()
    }

    /// Repeated as often as it takes: what is put back stays until it is.
    fn undo(&mut self) -> Result<(), Error> {
        self.staged = None;
        match self.progress()? {
            Progress::None | Progress::Loose => return Ok(()),
            Progress::Finished => return Err(self.refused("it is finished and cannot be undone")),
            Progress::Executed => rename(&self.at(DONE), &self.at(NEW))?,
            Progress::Committed => {}
        }
        let undo = self.at(UNDO);
        if is_there(&undo)? {
            if !is_there(&self.path)? {
                let mode = fs::symlink_metadata(&undo).map_err(|e| io("look at", &undo, e))?.mode();
                make(&self.path, mode & 0o777)?;
            }
            // Else a program that holds it locked would be in the way of taking back what never happened.
            if !self.untouched && !self.is_as(&undo)? {
                image::put(&undo, &self.path)?;
            }
        } else {
            // Made by the restore.
            remove(&self.path)?;
            COMPANIONS.iter().try_for_each(|what| remove(&beside(&self.path, what)))?;
        }
        self.flush()?;
        remove(&undo)?;
        remove(&self.at(NONE))?;
        self.flush()
    }

    /// Whether what is there now is what an image holds.
    fn is_as(&self, other: &Path) -> Result<bool, Error> {
        let digest = |image: &Path| image::digest(&image::open(image)?).map_err(|e| io("read", image, e));
        self.image()?;
        let same = digest(&self.at(IMAGE))? == digest(other)?;
        remove(&self.at(IMAGE))?;
        Ok(same)
    }

    fn finish(&mut self) -> Result<(), Error> {
        match self.progress()? {
            // After an undo, too, there is nothing to make final.
            Progress::None | Progress::Loose | Progress::Finished => return Ok(()),
            Progress::Executed => {}
            _ => return Err(self.refused("it is not executed")),
        }
        remove(&self.at(UNDO))?;
        remove(&self.at(NONE))?;
        self.flush()
    }

    fn clean(&mut self) -> Result<(), Error> {
        self.staged = None;
        self.expect(&[Progress::None, Progress::Loose, Progress::Finished], "it is not finished")?;
        OURS.iter().try_for_each(|what| remove(&self.at(what)))
    }

    /// Names of the folder, made durable.
    fn flush(&self) -> Result<(), Error> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let file = File::open(folder).map_err(|e| io("open", folder, e))?;
        file.sync_all().map_err(|e| io("flush", folder, e))
    }
}

/// Whose rights count: the database's owner, or where there is none its folder's. Nobody else may be able to put another file
/// in its place.
fn owner(path: &Path) -> Result<(Uid, Gid), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let above = fs::symlink_metadata(folder).map_err(|e| io("look at", folder, e))?;
    let of = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.nlink() == 1 => meta,
        Ok(_) => {
            return Err(Error::Refused(format!("{} is no file with one name", path.display())));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => above.clone(),
        Err(error) => return Err(io("look at", path, error)),
    };
    for (depth, place) in folder.ancestors().enumerate() {
        let meta = fs::symlink_metadata(place).map_err(|e| io("look at", place, e))?;
        let (mode, uid) = (meta.mode(), meta.uid());
        // In a sticky folder nobody moves what is another's; but new names are anybody's.
        let is_closed = mode & 0o022 == 0 || (depth > 0 && mode & 0o1000 != 0);
        if !meta.is_dir() || !is_closed || (uid != 0 && uid != of.uid()) {
            return Err(Error::Refused(format!(
                "{}: somebody other than its owner could put another file in its place, because of {}; \
                 that should be a folder of root's or the owner's that nobody else may write",
                path.display(),
                shown(place.as_os_str().as_bytes())
            )));
        }
    }
    Ok((Uid::from_raw(of.uid()), Gid::from_raw(of.gid())))
}

/// The rights of another user on files, for this thread, until it is dropped. Taking root's away takes the capabilities
/// on files with it, and giving them back gives those.
struct Rights(Option<(Uid, Gid)>);

impl Rights {
    fn of((uid, gid): (Uid, Gid)) -> Result<Self, Error> {
        if !Uid::effective().is_root() || uid.is_root() {
            // The kernel decides what somebody else than root may do.
            return Ok(Self(None));
        }
        let group = setfsgid(gid);
        let rights = Self(Some((setfsuid(uid), group)));
        // The calls tell what was before, and nothing of a failure; asking for nobody changes nothing and tells.
        let nobody = (Uid::from_raw(u32::MAX), Gid::from_raw(u32::MAX));
        if (setfsuid(nobody.0), setfsgid(nobody.1)) == (uid, gid) {
            return Ok(rights);
        }
        Err(Error::Refused(format!("the rights of user {uid} cannot be taken on")))
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.0 {
            setfsuid(uid);
            setfsgid(gid);
        }
    }
}

fn io(action: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::io(action, path.as_os_str().as_bytes(), error)
}

fn is_there(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io("look at", path, error)),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path, error)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|e| io("rename", from, e))
}

/// A new file that nobody else has made; the mode is exactly this.
fn make(path: &Path, mode: u32) -> Result<File, Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let file = file.map_err(|e| io("make", path, e))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(|e| io("set the mode of", path, e))?;
    Ok(file)
}
