//! A checkpoint as a file system, really mounted, without a daemon.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

use crate::tar::{State, text};

/// How long a process may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

fn is_possible() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to mount without fusermount3");
        return false;
    }
    if let Err(error) = File::open("/dev/fuse") {
        eprintln!("skipped: /dev/fuse cannot be opened: {error}");
        return false;
    }
    true
}

/// The command with a mount, which is ended when this is dropped.
struct Mounted {
    child: Child,
    folder: PathBuf,
    /// What it said first.
    said: String,
}

impl Mounted {
    fn start(state: &State, arguments: &[&str]) -> Self {
        let folder = state.at("mnt");
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dsmil"));
        command.args(["checkpoint", "mount"]).args(arguments).arg(&folder);
        command.arg("--state").arg(state.at("state")).arg("--repository-key").arg(state.at("key"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        if said.is_empty() {
            let mut why = String::new();
            std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut why).unwrap();
            panic!("it does not mount: {why}");
        }
        Self { child, folder, said }
    }

    fn signal(&self, signal: &str) {
        let killed = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for its end; what it said on the error output.
    fn ended(&mut self) -> (ExitStatus, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "it goes on"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut err, &mut said).unwrap();
        }
        (status, said)
    }

    fn is_mounted(&self) -> bool {
        let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
        list.lines().any(|line| line.split(' ').nth(4) == self.folder.to_str())
    }

    #[track_caller]
    fn await_unmounted(&self) {
        let end = Instant::now() + PATIENCE;
        while self.is_mounted() {
            assert!(Instant::now() < end, "a dead mount is left");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(fs::read_dir(&self.folder).unwrap().count(), 0);
    }

    /// A captured path, as it is shown.
    fn at(&self, path: &Path) -> PathBuf {
        self.folder.join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            Command::new("umount").arg("-l").arg(&self.folder).status().ok();
        }
    }
}

/// What a path is: everything that a checkpoint keeps, and the first name of the same file.
#[derive(PartialEq, Debug)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    mtime: (i64, i64),
    atime: (i64, i64),
    links: u64,
    content: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
    first: PathBuf,
}

fn picture(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = open.pop() {
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path.strip_prefix(root).unwrap().to_owned(), (path, stat));
    }
    let mut firsts = BTreeMap::new();
    let seen = found.into_iter().map(|(name, (path, stat))| {
        let content = match stat.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            _ => Vec::new(),
        };
        let first = firsts.entry(stat.ino()).or_insert_with(|| name.clone()).clone();
        let seen = Seen {
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            // A folder's size is its file system's own matter.
            size: if stat.is_dir() { 0 } else { stat.size() },
            mtime: (stat.mtime(), stat.mtime_nsec()),
            atime: if stat.is_symlink() { (0, 0) } else { (stat.atime(), stat.atime_nsec()) },
            links: stat.nlink(),
            content,
            xattrs: xattrs(&path),
            first,
        };
        (name, seen)
    });
    seen.collect()
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut names, mut value) = (vec![0; 4096], vec![0; 65536]);
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let get = |name: &str| {
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_owned(), value[..length].to_vec())
    };
    names.split_terminator('\0').map(get).collect()
}

/// Some 3 MiB that do not compress.
fn noise() -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..400_000).flat_map(|_| next()).collect()
}

/// One of everything that a checkpoint keeps.
fn furnish(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::write(root.join("large"), noise()).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("one name"), "three names").unwrap();
    fs::hard_link(root.join("one name"), root.join("deep/two")).unwrap();
    fs::hard_link(root.join("one name"), root.join("deep/er/three")).unwrap();
    symlink("../nowhere at all", root.join("deep/link")).unwrap();
    rustix::fs::mkfifoat(CWD, root.join("pipe"), Mode::from_raw_mode(0o640)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(9 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 4 << 20).unwrap();
    for number in 0..500 {
        fs::write(root.join(format!("deep/er/{number}")), number.to_string()).unwrap();
    }
    let set = |path: &str, name: &str, value: &[u8]| {
        if let Err(error) = rustix::fs::lsetxattr(root.join(path), name, value, XattrFlags::empty()) {
            eprintln!("not tested: {name} on this file system ({error})");
        }
    };
    set("large", "user.comment", b"a remark\0with NUL");
    set("deep", "user.empty", b"");
    set("empty", "security.capability", &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    set("one name", "system.posix_acl_access", &acl());
    set("deep", "system.posix_acl_default", &acl());
    std::os::unix::fs::chown(root.join("large"), Some(1000), Some(1001)).unwrap();
    std::os::unix::fs::lchown(root.join("deep/link"), Some(12), Some(4_000_000_000)).unwrap();
    for (path, mode) in [("large", 0o6711), ("deep", 0o2750), ("empty", 0), ("deep/er", 0o1777)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (path, mtime, atime) in [
        ("large", (-5, 250_000_000), (4_000_000_000, 1)),
        ("deep/link", (1_000_000_000, 123_456_789), (0, 0)),
        ("deep/er", (1_000_000_001, 999_999_999), (1_000_000_002, 0)),
    ] {
        let spec = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
        rustix::fs::utimensat(CWD, root.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// user::rw- user:1234:r-- group::--- mask::r-- other::---
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1_u16, 6_u16, none), (2, 4, 1234), (4, 0, none), (16, 4, none), (32, 0, none)];
    let bytes = entries.into_iter().flat_map(|(tag, permission, id)| {
        [&tag.to_le_bytes()[..], &permission.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    [2, 0, 0, 0].into_iter().chain(bytes).collect()
}

#[test]
fn a_checkpoint_is_shown_with_everything_that_it_keeps_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    let root = state.at("root");
    furnish(&root);
    // Reading sets access times once, and then no more for a day.
    picture(&root);
    state.checkpoint(3, "furnished");
    let before = picture(&root);
    fs::write(root.join("sub/a"), "changed since").unwrap();

    let pem = state.at("machine.pem");
    let mut mounted = Mounted::start(&state, &["furnished", "--key", text(&pem)]);
    assert!(
        mounted.said.contains("checkpoint 3 “furnished”, read-only; its signature holds"),
        "{}",
        mounted.said
    );
    let shown = picture(&mounted.at(&root));
    for (path, seen) in &shown {
        let Some(want) = before.get(path) else { panic!("{} is shown and was not", path.display()) };
        assert!(seen == want, "{}: {seen:.300?} instead of {want:.300?}", path.display());
    }
    assert_eq!(shown.len(), before.len());
    // The same once more, from what the kernel has kept; and by several at once.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(picture(&mounted.at(&root)) == before));
        }
    });
    let file = mounted.at(&root).join("sub/a");
    assert_eq!(fs::read_to_string(&file).unwrap(), "two");
    for refused in [fs::write(&file, "x"), fs::remove_file(&file), fs::create_dir(mounted.folder.join("x"))] {
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    let absent = fs::read(mounted.folder.join("none")).unwrap_err();
    assert_eq!(absent.kind(), std::io::ErrorKind::NotFound);
    let unmounted = Command::new("umount").arg(&mounted.folder).status().unwrap();
    assert!(unmounted.success());
    let (status, said) = mounted.ended();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
    mounted.await_unmounted();
}

#[test]
fn the_kernel_enforces_modes_and_lists_for_other_users_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    let root = state.at("root");
    furnish(&root);
    state.checkpoint(3, "furnished");
    let open_to = |path: &Path, user: &str| {
        let user = format!("{user}:{user}");
        let mut command = Command::new("chroot");
        command.args(["--userspec", &user, "--groups="]).arg("/").args(["cat", text(path)]);
        command.stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
    };
    // The test's own folder is for its owner alone.
    for folder in root.ancestors().skip(1).take_while(|folder| folder.starts_with(state.at(""))) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut mounted = Mounted::start(&state, &["furnished"]);
    assert!(!open_to(&mounted.at(&root).join("sub/a"), "1234"), "it is for who mounted it alone");
    mounted.signal("-TERM");
    mounted.ended();
    let mounted = Mounted::start(&state, &["furnished", "--allow-other"]);
    let at = |name: &str| mounted.at(&root).join(name);
    assert!(open_to(&at("sub/a"), "1234") && open_to(&at("sub/a"), "1235"));
    assert!(
        !open_to(&at("empty"), "1234") && !open_to(&at("large"), "1234") && !open_to(&at("deep/two"), "1234")
    );
    if xattrs(&at("one name")).contains_key("system.posix_acl_access") {
        assert!(open_to(&at("one name"), "1234") && !open_to(&at("one name"), "1235"));
    }
}

#[test]
fn whatever_ends_it_leaves_no_dead_mount_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    let file = state.at("root/sub/a");
    for (signal, is_told) in [("-INT", true), ("-TERM", true), ("-HUP", true), ("-KILL", false)] {
        let mut mounted = Mounted::start(&state, &["before"]);
        // Also while somebody has a file open.
        let open = File::open(mounted.at(&file)).unwrap();
        mounted.signal(signal);
        let (status, said) = mounted.ended();
        assert_eq!((status.success(), said.as_str()), (is_told, ""), "{signal}");
        mounted.await_unmounted();
        drop(open);
    }
    // What is in the folder would be hidden, and stays visible.
    let folder = state.at("mnt");
    fs::write(folder.join("mine"), "").unwrap();
    let refused = state.dsmil(&["checkpoint", "mount", "before", text(&folder)]);
    assert!(refused.code == Some(1) && refused.err.contains("not empty"), "{}", refused.err);
    let refused = state.dsmil(&["checkpoint", "mount", "before", text(&state.at("nowhere"))]);
    assert_eq!(refused.code, Some(1));
}

#[test]
fn damage_is_an_error_of_that_file_and_is_told_once_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    let (root, packs) = (state.at("root"), state.at("state/chunks/packs"));
    let list = || fs::read_dir(&packs).unwrap().map(|pack| pack.unwrap().path()).collect::<Vec<_>>();
    let before = list();
    fs::write(root.join("large"), noise()).unwrap();
    state.checkpoint(3, "damaged");
    let largest = list().into_iter().filter(|pack| !before.contains(pack));
    let pack = largest.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    // In the first megabyte only the first chunks of the large file lie.
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let mut mounted = Mounted::start(&state, &["3"]);
    let path = mounted.at(&root).join("large");
    for _ in 0..3 {
        let error = fs::read(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
    }
    // The rest of it, and other files, are there.
    let (file, end) = (File::open(&path).unwrap(), noise().len() - 4096);
    let mut last = vec![0; 4096];
    file.read_exact_at(&mut last, end as u64).unwrap();
    assert!(last == noise()[end..]);
    drop(file);
    assert_eq!(fs::read_to_string(mounted.at(&root).join("sub/a")).unwrap(), "two");
    mounted.signal("-TERM");
    let (_, said) = mounted.ended();
    let named = format!("{}: chunk ", root.join("large").display());
    assert_eq!(said.matches(&named).count(), 1, "{said}");
}

#[test]
fn all_checkpoints_are_folders_that_come_and_go_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    let (file, pem) = (state.at("root/sub/a"), state.at("machine.pem"));
    let mounted = Mounted::start(&state, &["--key", text(&pem)]);
    assert!(mounted.said.contains("all checkpoints"), "{}", mounted.said);
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&mounted.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
    };
    let held = |top: &str| fs::read_to_string(mounted.folder.join(top).join(file.strip_prefix("/").unwrap()));
    assert_eq!(names(), ["1-before", "2-after", "latest"]);
    assert_eq!(
        [held("1-before"), held("2-after"), held("latest")].map(Result::unwrap),
        ["one", "two", "two"]
    );
    fs::write(&file, "three").unwrap();
    state.checkpoint(3, "with / and ä");
    state.remove(1);
    let end = Instant::now() + PATIENCE;
    while names() != ["2-after", "3-with _ and ä", "latest"] || held("latest").unwrap() != "three" {
        assert!(Instant::now() < end, "{:?}", names());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(held("2-after").unwrap(), "two");
    let target = fs::read_link(mounted.folder.join("latest")).unwrap();
    assert_eq!(target.to_str(), Some("3-with _ and ä"));
    let links = mounted.folder.metadata().unwrap().nlink();
    assert_eq!(links, 4);
}

#[test]
fn what_is_not_signed_is_left_out_and_told_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    state.forge(3, "forged");
    let pem = state.at("machine.pem");
    let mut mounted = Mounted::start(&state, &["--key", text(&pem)]);
    assert_eq!(fs::read_dir(&mounted.folder).unwrap().count(), 3);
    assert_eq!(fs::read_link(mounted.folder.join("latest")).unwrap(), Path::new("2-after"));
    mounted.signal("-TERM");
    let (_, said) = mounted.ended();
    assert!(said.contains("checkpoint 3 is left out"), "{said}");
    let one = ["checkpoint", "mount", "forged", text(&mounted.folder), "--key", text(&pem)];
    assert_eq!(state.dsmil(&one).code, Some(7));
}

#[test]
#[ignore = "makes 100,000 files; run it alone, with --nocapture for the figures"]
fn a_hundred_thousand_files_in_one_folder_are_listed_as_root() {
    if !is_possible() {
        return;
    }
    let state = State::new();
    let many = state.at("root/many");
    fs::create_dir(&many).unwrap();
    for number in 0..100_000 {
        fs::write(many.join(format!("file-{number}")), number.to_string()).unwrap();
    }
    state.checkpoint(3, "many");
    let began = Instant::now();
    let mounted = Mounted::start(&state, &["many"]);
    let shown = mounted.at(&many);
    let mount = began.elapsed();
    let timed = |what: &dyn Fn() -> usize| {
        let began = Instant::now();
        assert_eq!(what(), 100_000);
        began.elapsed()
    };
    let names = timed(&|| fs::read_dir(&shown).unwrap().count());
    let looks = || {
        fs::read_dir(&shown).unwrap().filter(|entry| entry.as_ref().unwrap().metadata().unwrap().is_file())
    };
    let (first, again) = (timed(&|| looks().count()), timed(&|| looks().count()));
    let read = timed(&|| looks().filter(|entry| fs::read(entry.as_ref().unwrap().path()).is_ok()).count());
    let status = fs::read_to_string(format!("/proc/{}/status", mounted.child.id())).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
    eprintln!(
        "mount {mount:?}, names {names:?}, with attributes {first:?}, again {again:?}, read {read:?}; {memory}"
    );
}
