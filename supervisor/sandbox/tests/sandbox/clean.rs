//! What an agent inherits, and how it ends.

use std::collections::BTreeSet;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use sandbox::{Error, Exit, Place, Step, Subtree};
use types::agent::Limits;

use crate::lab::{Lab, SOON, all};

#[test]
fn nothing_is_inherited() {
    let Some(lab) = Lab::new() else { return };
    // What a library of ours could leave open, held back, ignored.
    let open = tempfile::tempfile().unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let mut spec = lab.misbehaving(&["tell"]);
    spec.environment = vec![("LANG".into(), "de_DE.UTF-8".into()), ("AGENT".into(), "a b".into())];
    spec.user.groups = vec![lab.uid + 1_000];
    let limits = Limits { open_files: 64, ..Limits::default() };
    let mut process = lab.leaf("clean", &limits).spawn(&spec).unwrap();
    let told = all(&mut process.stdio.stdout);
    let lines: BTreeSet<&str> = told.lines().collect();
    let of = |kind: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')).collect()
    };
    assert_eq!(
        of("env"),
        [
            "AGENT=a b",
            "HOME=/nonexistent",
            "LANG=de_DE.UTF-8",
            "LOGNAME=agent",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "USER=agent"
        ]
    );
    let fds: Vec<String> = of("fd").iter().map(|fd| fd.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(fds, ["0 pipe", "1 pipe", "2 pipe"], "{} is open here", open.as_raw_fd());
    let (uid, none) = (lab.uid, "0000000000000000");
    for expected in [
        format!("Uid: {uid} {uid} {uid} {uid}"),
        format!("Gid: {uid} {uid} {uid} {uid}"),
        format!("Groups: {} ", uid + 1_000),
        format!("CapInh: {none}"),
        format!("CapPrm: {none}"),
        format!("CapEff: {none}"),
        format!("CapBnd: {none}"),
        format!("CapAmb: {none}"),
        "NoNewPrivs: 1".to_owned(),
        format!("SigBlk: {none}"),
        // Rust's start-up in the program itself ignores SIGPIPE, and nothing else is ignored.
        "SigIgn: 0000000000001000".to_owned(),
    ] {
        assert!(of("status").contains(&expected.as_str()), "{expected} is not in {told}");
    }
    for expected in
        ["Max open files 64 64 files", "Max core file size 0 0 bytes", "Max processes 300 300 processes"]
    {
        assert!(of("limit").contains(&expected), "{expected} is not in {told}");
    }
    assert!(of("cgroup").iter().any(|path| path.ends_with("/agents/clean")), "{told}");
    assert_eq!(of("cwd"), [lab.folder.path().to_str().unwrap()]);
    assert_eq!(of("session"), ["true group true"]);
    assert_eq!(process.finish(SOON).unwrap(), Exit::Code(0));
    let mut open = open;
    assert!(open.rewind().is_ok() && open.write_all(b"still ours").is_ok());
}

#[test]
fn its_three_pipes_are_its_own() {
    let Some(lab) = Lab::new() else { return };
    let mut process = lab.start("echo", &["echo"]);
    rustix::io::write(process.stdio.stdin.as_ref().unwrap(), b"one two").unwrap();
    drop(process.stdio.stdin.take());
    assert_eq!(all(&mut process.stdio.stdout), "one two");
    assert_eq!(all(&mut process.stdio.stderr), "heard");
    assert_eq!(process.wait(SOON).unwrap(), Some(Exit::Code(0)));
    // Asked again, it still says so.
    assert_eq!(process.try_wait().unwrap(), Some(Exit::Code(0)));
}

#[test]
fn codes_and_signals_are_told_apart() {
    let Some(lab) = Lab::new() else { return };
    for (words, exit) in [
        (&["exit", "0"] as &[_], Exit::Code(0)),
        (&["exit", "137"], Exit::Code(137)),
        (&["exit", "255"], Exit::Code(255)),
        (&["abort"], Exit::Signal { number: 6, core: false }),
    ] {
        let mut process = lab.start("ends", words);
        assert_eq!(process.wait(SOON).unwrap(), Some(exit), "{words:?}");
    }
    let mut process = lab.start("piped", &["pipe"]);
    drop(process.stdio.stdout.take());
    assert_eq!(process.wait(SOON).unwrap(), Some(Exit::Signal { number: 13, core: false }));
    let mut process = lab.start("spins", &["spin"]);
    assert_eq!(process.wait(Duration::from_millis(20)).unwrap(), None);
    process.signal(rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.wait(SOON).unwrap(), Some(Exit::Signal { number: 15, core: false }));
    process.signal(rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.finish(SOON).unwrap(), Exit::Signal { number: 15, core: false });
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let spawn = |spec| lab.leaf("fails", &Limits::default()).spawn(&spec).map(|process| process.pid());
    let step = |spec| match spawn(spec) {
        Err(Error::Spawn { step, source }) => (step, source.kind()),
        other => panic!("{other:?}"),
    };
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    assert_eq!(step(lab.spec(&["/nonexistent/program"])), (Step::Program, NotFound));
    assert_eq!(step(lab.spec(&["/etc/passwd"])), (Step::Program, PermissionDenied));
    let mut spec = lab.misbehaving(&["tell"]);
    spec.folder = "/nonexistent".into();
    assert_eq!(step(spec), (Step::Folder, NotFound));
    // A folder is entered as the agent's user, not as root.
    let mut spec = lab.misbehaving(&["tell"]);
    spec.folder = lab.folder.path().join("closed");
    std::fs::create_dir(&spec.folder).unwrap();
    std::fs::set_permissions(&spec.folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(step(spec), (Step::Folder, PermissionDenied));
    let changes: [fn(&mut sandbox::Spec); 8] = [
        |spec| spec.user.uid = 0,
        |spec| spec.user.gid = 0,
        |spec| spec.user.groups = vec![5, 0],
        |spec| spec.command[0] = "sh".into(),
        |spec| spec.command.clear(),
        |spec| spec.command.push("a\0b".into()),
        |spec| spec.environment.push(("A=B".into(), String::new())),
        |spec| spec.environment.push(("A".into(), "x".repeat(1 << 20))),
    ];
    for change in changes {
        let mut spec = lab.misbehaving(&["tell"]);
        change(&mut spec);
        assert!(matches!(spawn(spec), Err(Error::Unfit(_))));
    }
    let place = Place { processors: vec![u16::MAX], ..Place::default() };
    let leaf = lab.subtree.leaf("fails", &Limits::default(), &place);
    // With a cpuset controller already the cgroup refuses.
    assert!(leaf.and_then(|leaf| leaf.spawn(&lab.misbehaving(&["tell"]))).is_err());
    assert!(lab.subtree.leaf("../up", &Limits::default(), &Place::default()).is_err());
    assert!(lab.subtree.leaf("cgroup.procs", &Limits::default(), &Place::default()).is_err());
    assert_eq!(folders(&lab), 0);
    assert!(lab.subtree.processes().unwrap().is_empty());
    assert!(matches!(Subtree::prepare(Path::new("/tmp"), "agents"), Err(Error::NotCgroup2(_))));
}

#[test]
fn a_frozen_tree_starts_nothing() {
    let Some(lab) = Lab::new() else { return };
    lab.subtree.freeze().unwrap();
    let began = Instant::now();
    let result = lab.leaf("late", &Limits::default()).spawn(&lab.misbehaving(&["tell"]));
    assert!(matches!(result, Err(Error::Late)), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(folders(&lab), 0);
    lab.subtree.thaw().unwrap();
    assert_eq!(lab.start("later", &["exit", "4"]).wait(SOON).unwrap(), Some(Exit::Code(4)));
}

#[test]
fn eighty_leave_no_descriptor_and_no_folder() {
    let Some(lab) = Lab::new() else { return };
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // The first use of some libraries keeps a descriptor for ever.
    drop(lab.start("first", &["exit", "0"]));
    let before = fds();
    let mut all: Vec<_> = (0..80).map(|n| lab.start(&format!("agent-{n}"), &["ignore"])).collect();
    assert_eq!(folders(&lab), 80);
    // Three pipes, a process and a cgroup of each.
    assert_eq!(fds(), before + 80 * 5);
    let half = all.split_off(40);
    for process in all {
        assert!(matches!(process.finish(SOON).unwrap(), Exit::Signal { number: 9, .. }));
    }
    drop(half);
    assert_eq!((folders(&lab), fds()), (0, before));
    assert!(lab.subtree.processes().unwrap().is_empty());
}

/// Agents' cgroups that there are.
fn folders(lab: &Lab) -> usize {
    let entries = std::fs::read_dir(lab.subtree.path()).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count()
}
