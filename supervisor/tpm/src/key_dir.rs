//! The keys' blobs on disk: one file each, replaced as a whole or not at all.
//!
//! The folder lies below one of the daemon's user and is opened by root: whoever has been that user could have put a link in its
//! place, or in that of a file. So links are not followed there, and all is done relative to the open folder.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use minicbor::{Decode, Encode};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;
use crate::public::{self, Public};

/// Which of the machine's keys. Each has an authorisation value of its own, so that one cannot stand for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Signs heads of the log and nothing else. The first key that this program ever made: its file has the oldest name.
    Head,
    /// Signs everything else that is made here, such as manifests.
    General,
    /// Signs what the TPM itself states.
    Attestation,
}

impl Role {
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Head => "signing.key",
            Self::General => "general.key",
            Self::Attestation => "attestation.key",
        }
    }

    /// What its authorisation value is derived with.
    pub(crate) const fn label(self) -> &'static [u8] {
        match self {
            Self::Head => b"dsmil tpm 1: signing key",
            Self::General => b"dsmil tpm 1: general key",
            Self::Attestation => b"dsmil tpm 1: attestation key",
        }
    }

    pub(crate) fn template(self) -> Public {
        match self {
            Self::Head | Self::General => public::signing_key(),
            Self::Attestation => public::attestation_key(),
        }
    }
}

/// The version of the encoding; it is refused when newer.
const VERSION: u32 = 1;
/// The longest file that is read, bytes: the TPM's two areas have at most 1,500.
const FILE_MAX: u64 = 4096;
/// The length of the sum, bytes.
const SUM_LEN: usize = 32;
/// The length of the secret, bytes.
pub(crate) const SECRET_LEN: usize = 32;

/// How long a held lock is waited for. A process that was forked elsewhere in this program holds a copy of the lock until it
/// executes its own program, so a lock that was just released may look held for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait before a held lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What the key folder holds: a CBOR map with integer keys, followed by its SHA-256.
///
/// The sum finds damage of the disk at the start; an attacker could adapt it, and would be noticed by the TPM.
#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
pub(crate) struct KeyFile {
    #[n(0)]
    version: u32,
    /// The storage root key's name when the key was made: the name that every session is pinned to.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) parent_name: Vec<u8>,
    /// TPMT_PUBLIC.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) public: Vec<u8>,
    /// TPM2B_PRIVATE without its length; encrypted by the TPM.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) private: Vec<u8>,
    /// Random bytes from which the authorisation values of our objects are derived, so that access to the TPM alone
    /// (the group tss, another program's bug) does not let anyone sign or unseal. [`SECRET_LEN`] bytes.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(crate) secret: Vec<u8>,
}

impl KeyFile {
    pub(crate) fn new(parent_name: Vec<u8>, public: Vec<u8>, private: Vec<u8>, secret: Vec<u8>) -> Self {
        Self { version: VERSION, parent_name, public, private, secret }
    }

    /// Writes all of it to the end of `bytes`, which should have the room: growing leaves copies of the secret behind.
    fn encode(&self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        minicbor::encode(self, &mut *bytes).map_err(std::io::Error::other)?;
        let sum = digest::digest(&digest::SHA256, bytes);
        bytes.extend_from_slice(sum.as_ref());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (bytes, sum) = bytes.split_last_chunk::<SUM_LEN>().ok_or("it is too short")?;
        if digest::digest(&digest::SHA256, bytes).as_ref() != sum {
            return Err("its sum is wrong: it was damaged".to_owned());
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let file: Self = decoder.decode().map_err(|error| error.to_string())?;
        if decoder.position() != bytes.len() {
            return Err("bytes after its end".to_owned());
        }
        if file.version != VERSION {
            return Err(format!("its version is {}, this program knows {VERSION}", file.version));
        }
        if file.secret.len() != SECRET_LEN {
            return Err("its secret has a wrong length".to_owned());
        }
        Ok(file)
    }
}

/// The key folder, locked against a second program that would make a key at the same time.
pub(crate) struct KeyDir {
    path: PathBuf,
    /// Holds the lock until the start is over, and flushes the folder.
    dir: File,
}

impl KeyDir {
    /// Opens the folder, makes it if it is missing, and locks it. What it lies in is as its owner has configured it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |action, source| Error::KeyDir { action, path: path.to_owned(), source };
        let is_here = |parent: &&Path| !parent.as_os_str().is_empty();
        let parent = path.parent().filter(is_here).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or_else(|| failed("make the folder", Errno::INVAL.into()))?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|e| failed("make the folder", e))?;
        let parent = File::open(parent).map_err(|e| failed("open the folder", e))?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make the folder", error.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(&parent, name, flags, Mode::empty());
        let dir = File::from(dir.map_err(|e| failed("open the folder", e.into()))?);
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            match dir.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), dir }),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy {
                        what: "the key folder",
                        reason: format!("another program is starting with {}", path.display()),
                    });
                }
                Err(TryLockError::Error(e)) => return Err(failed("lock the folder", e)),
            }
        }
    }

    /// A folder below this one, made if it is missing.
    pub(crate) fn below(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        let failed =
            |action, error: Errno| Error::KeyDir { action, path: path.clone(), source: error.into() };
        match mkdirat(&self.dir, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make the folder", error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(&self.dir, name, flags, Mode::empty()).map_err(|e| failed("open the folder", e))?;
        Ok(Self { dir: dir.into(), path })
    }

    /// Moves a key to another folder for good; one that is not there is no error.
    pub(crate) fn move_to(&self, role: Role, other: &Self) -> Result<(), Error> {
        let failed = |action, source| Error::KeyDir { action, path: self.file(role), source };
        match renameat(&self.dir, role.file(), &other.dir, role.file()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("put aside", error.into())),
        }
        let synced = other.dir.sync_all().and_then(|()| self.dir.sync_all());
        synced.map_err(|error| failed("flush the folders of", error))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a key is.
    pub(crate) fn file(&self, role: Role) -> PathBuf {
        Self::file_in(&self.path, role)
    }

    /// Where a key is in a folder that need not be open.
    pub(crate) fn file_in(dir: &Path, role: Role) -> PathBuf {
        dir.join(role.file())
    }

    /// The key, or `None` where none was ever made.
    ///
    /// # Errors
    /// - `DamagedKey`: it is not what was written, or no file at all, or others may read or write it
    /// - `KeyDir`: it cannot be read
    pub(crate) fn read(&self, role: Role) -> Result<Option<KeyFile>, Error> {
        let path = self.file(role);
        let failed = |source| Error::KeyDir { action: "read", path: path.clone(), source };
        let damaged = |reason| Error::DamagedKey { path: path.clone(), reason };
        // A pipe must not hold up the start.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, role.file(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(damaged("it is a symbolic link".to_owned())),
            Err(error) => return Err(failed(error.into())),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(damaged("it is no file".to_owned()));
        }
        let mode = metadata.mode();
        if mode & 0o077 != 0 {
            return Err(damaged(format!("others have access to it (mode {:03o}): chmod 600", mode & 0o777)));
        }
        // Room for all of it from the start: growing would leave copies of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_MAX + 1).unwrap_or_default()));
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > usize::try_from(FILE_MAX).unwrap_or(usize::MAX) {
            return Err(damaged(format!("it has more than {FILE_MAX} bytes")));
        }
        KeyFile::decode(&bytes).map(Some).map_err(damaged)
    }

    /// Writes a new key so that after a crash it is there whole or not at all, and is there for good on return.
    pub(crate) fn write(&self, role: Role, key: &KeyFile) -> Result<(), Error> {
        // A crash may leave it behind; the next writer replaces it.
        let new = format!("{}.new", role.file());
        let failed = |action| {
            let path = self.path.join(&new);
            move |source| Error::KeyDir { action, path, source }
        };
        let refused = |action| move |errno: Errno| failed(action)(errno.into());
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_MAX).unwrap_or_default()));
        key.encode(&mut bytes).map_err(failed("encode"))?;
        // Made anew, so that its mode does not depend on what a crash left.
        match unlinkat(&self.dir, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(refused("remove")(error)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &new, flags, Mode::RUSR | Mode::WUSR).map_err(refused("create"))?;
        let mut file = File::from(file);
        file.write_all(&bytes).map_err(failed("write"))?;
        file.sync_all().map_err(failed("flush"))?;
        renameat(&self.dir, &new, &self.dir, role.file()).map_err(refused("rename"))?;
        self.dir.sync_all().map_err(failed("flush the folder of"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::*;

    fn key() -> KeyFile {
        KeyFile::new(vec![1; 34], vec![2; 90], vec![3; 160], vec![4; SECRET_LEN])
    }

    fn message(result: Result<Option<KeyFile>, Error>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn what_is_written_reads_back_and_is_private() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let dir = KeyDir::open(&path).unwrap();
        assert!(dir.read(Role::Head).unwrap().is_none());
        // What a crash may have left.
        fs::write(path.join("signing.key.new"), b"half").unwrap();
        dir.write(Role::Head, &key()).unwrap();
        let read = dir.read(Role::Head).unwrap().unwrap();
        assert_eq!(read.secret, key().secret);
        assert_eq!(read.private, key().private);
        assert_eq!(fs::metadata(dir.file(Role::Head)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(!path.join("signing.key.new").exists());
    }

    #[test]
    fn one_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let first = KeyDir::open(temporary.path()).unwrap();
        assert!(matches!(KeyDir::open(temporary.path()), Err(Error::Busy { .. })));
        drop(first);
        assert!(KeyDir::open(temporary.path()).is_ok());
    }

    #[test]
    fn damage_and_open_modes_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = KeyDir::open(temporary.path()).unwrap();
        dir.write(Role::Head, &key()).unwrap();
        let whole = fs::read(dir.file(Role::Head)).unwrap();
        for cut in 0..whole.len() {
            fs::write(dir.file(Role::Head), &whole[..cut]).unwrap();
            assert!(matches!(dir.read(Role::Head), Err(Error::DamagedKey { .. })), "cut at {cut}");
        }
        for byte in 0..whole.len() {
            let mut spoiled = whole.clone();
            spoiled[byte] ^= 0x10;
            fs::write(dir.file(Role::Head), &spoiled).unwrap();
            assert!(matches!(dir.read(Role::Head), Err(Error::DamagedKey { .. })), "byte {byte}");
        }
        fs::write(dir.file(Role::Head), vec![0; 5000]).unwrap();
        assert!(message(dir.read(Role::Head)).contains("more than 4096"));
        fs::write(dir.file(Role::Head), &whole).unwrap();
        assert!(dir.read(Role::Head).is_ok());
        fs::set_permissions(dir.file(Role::Head), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(message(dir.read(Role::Head)).contains("chmod 600"));
    }

    /// Whoever was the daemon's user for a while has put links where root will read and write.
    #[test]
    fn links_are_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let (state, elsewhere) = (temporary.path().join("state"), temporary.path().join("elsewhere"));
        fs::create_dir(&state).unwrap();
        // Another key folder, whole.
        KeyDir::open(&elsewhere).unwrap().write(Role::Head, &key()).unwrap();
        symlink(&elsewhere, state.join("tpm")).unwrap();
        assert!(matches!(KeyDir::open(&state.join("tpm")), Err(Error::KeyDir { .. })));
        fs::remove_file(state.join("tpm")).unwrap();
        symlink(temporary.path().join("nowhere"), state.join("tpm")).unwrap();
        assert!(matches!(KeyDir::open(&state.join("tpm")), Err(Error::KeyDir { .. })));
        assert!(!temporary.path().join("nowhere").exists());
        fs::remove_file(state.join("tpm")).unwrap();

        let dir = KeyDir::open(&state.join("tpm")).unwrap();
        for to in [elsewhere.join("signing.key"), elsewhere.join("nothing")] {
            symlink(to, dir.file(Role::Head)).unwrap();
            assert!(message(dir.read(Role::Head)).contains("symbolic link"));
            fs::remove_file(dir.file(Role::Head)).unwrap();
        }
        // A pipe that nobody writes to.
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(&dir.dir, "signing.key", mode).unwrap();
        assert!(message(dir.read(Role::Head)).contains("no file"));
        fs::remove_file(dir.file(Role::Head)).unwrap();
        // A link where the new file is written first.
        let victim = elsewhere.join("victim");
        fs::write(&victim, b"untouched").unwrap();
        symlink(&victim, state.join("tpm/signing.key.new")).unwrap();
        dir.write(Role::Head, &key()).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert!(fs::symlink_metadata(dir.file(Role::Head)).unwrap().is_file());
        // The folder's name no longer matters once it is open.
        fs::rename(state.join("tpm"), state.join("moved")).unwrap();
        symlink(&elsewhere, state.join("tpm")).unwrap();
        dir.write(Role::General, &key()).unwrap();
        assert!(state.join("moved/general.key").exists() && !elsewhere.join("general.key").exists());
        assert!(dir.read(Role::General).unwrap().is_some());
    }

    #[test]
    fn newer_versions_are_refused() {
        let mut bytes = Vec::new();
        let mut newer = key();
        newer.version = 2;
        newer.encode(&mut bytes).unwrap();
        assert!(KeyFile::decode(&bytes).err().unwrap().contains("version is 2"));
    }

    #[test]
    fn a_folder_that_is_a_file_is_named() {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        let error = KeyDir::open(temporary.path()).err().unwrap().to_string();
        assert!(error.contains(temporary.path().to_str().unwrap()), "{error}");
    }

    proptest! {
        #[test]
        fn noise_is_refused(noise: Vec<u8>) {
            prop_assert!(KeyFile::decode(&noise).is_err());
            // Also under a right sum.
            let sum = digest::digest(&digest::SHA256, &noise);
            prop_assert!(KeyFile::decode(&[noise.as_slice(), sum.as_ref()].concat()).is_err());
        }
    }
}
