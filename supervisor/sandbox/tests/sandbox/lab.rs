//! A subtree of the tests' own.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox::{Leaf, Place, Process, Spec, Subtree, User};
use types::agent::Limits;

/// One at a time: descriptors of this process are counted, and times are measured.
static ALONE: Mutex<()> = Mutex::new(());
/// Users that nobody has, a new one for each test: the kernel counts processes by user.
static UID: AtomicU32 = AtomicU32::new(64_100);

/// Enough for anything but what hangs.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Lab {
    pub subtree: Subtree,
    pub delegated: PathBuf,
    pub folder: tempfile::TempDir,
    pub uid: u32,
    _alone: MutexGuard<'static, ()>,
}

/// Where the cgroup v2 tree is mounted.
pub fn root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let place = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

impl Lab {
    /// Nothing where these tests cannot be made.
    pub fn new() -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = UID.fetch_add(1, Ordering::Relaxed);
        let delegated = root().map(|root| root.join(format!("sandbox-test-{}-{uid}", std::process::id())));
        let is_root = nix::unistd::geteuid().is_root();
        let made = delegated.filter(|delegated| is_root && std::fs::create_dir(delegated).is_ok());
        let Some(delegated) = made else {
            eprintln!("skipped: this takes root and a writable cgroup v2 tree");
            return None;
        };
        let subtree = Subtree::prepare(&delegated, "agents").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another user may not reach the folder of the build.
        std::fs::copy(misbehave(), folder.path().join("misbehave")).unwrap();
        Some(Self { subtree, delegated, folder, uid, _alone: alone })
    }

    pub fn spec(&self, command: &[&str]) -> Spec {
        Spec {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
            folder: self.folder.path().to_owned(),
            user: User {
                uid: self.uid,
                gid: self.uid,
                groups: Vec::new(),
                name: "agent".to_owned(),
                home: "/nonexistent".into(),
                processes_max: 300,
            },
        }
    }

    /// A spec that misbehaves.
    pub fn misbehaving(&self, words: &[&str]) -> Spec {
        let program = self.folder.path().join("misbehave");
        self.spec(&[&[program.to_str().unwrap()], words].concat())
    }

    pub fn leaf(&self, name: &str, limits: &Limits) -> Leaf {
        self.subtree.leaf(name, limits, &Place::default()).unwrap()
    }

    /// Starts what misbehaves.
    pub fn start(&self, name: &str, words: &[&str]) -> Process {
        self.leaf(name, &Limits::default()).spawn(&self.misbehaving(words)).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.subtree.clear(SOON).expect("all is gone at the end");
        std::fs::remove_dir(self.delegated.join("agents")).unwrap();
        std::fs::remove_dir(&self.delegated).unwrap();
    }
}

/// Cargo puts examples beside the folder of the tests; elsewhere a variable says where it is.
fn misbehave() -> PathBuf {
    if let Some(program) = std::env::var_os("SANDBOX_MISBEHAVE") {
        return program.into();
    }
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/misbehave");
    assert!(program.exists(), "{} is not built: “cargo test” without “--test” does", program.display());
    program
}

/// All that comes until the other end closes.
pub fn all(fd: &mut Option<OwnedFd>) -> String {
    let fd = fd.take().unwrap();
    let mut file = std::fs::File::from(fd.as_fd().try_clone_to_owned().unwrap());
    let (mut text, end) = (Vec::new(), Instant::now() + SOON);
    loop {
        match file.read_to_end(&mut text) {
            Ok(_) => return String::from_utf8(text).unwrap(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(Instant::now() < end, "it goes on: {}", String::from_utf8_lossy(&text));
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A line.
pub fn line(fd: &OwnedFd) -> String {
    let (mut text, end) = (String::new(), Instant::now() + SOON);
    while !text.ends_with('\n') {
        let mut byte = [0];
        match rustix::io::read(fd, &mut byte) {
            Ok(0) => panic!("it ended: {text}"),
            Ok(_) => text.push(char::from(byte[0])),
            Err(rustix::io::Errno::AGAIN) => {
                assert!(Instant::now() < end, "it is silent: {text}");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    text.trim_end().to_owned()
}

/// Waits for something to be so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
