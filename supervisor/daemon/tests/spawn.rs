//! The helper of agents as dsmild starts it: another process, with the capabilities that it keeps and no others.
//!
//! These tests take root, a writable cgroup v2 tree, and the users “nobody” and “daemon”; without, each says that it is skipped.

#![cfg(test)]

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::User;
use sandbox::helper::{Client, Effect, Event, NotStarted, pair};
use sandbox::{Brake, Exit};
use sha2::{Digest as _, Sha256};
use types::hash::Hash;

const SOON: Duration = Duration::from_secs(60);
/// The capabilities of docs/threat-model.md, as bits: DAC_READ_SEARCH, KILL, SETGID, SETUID, SETPCAP, SYS_RESOURCE.
const KEPT: u64 = 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 24;

/// A helper that serves.
struct Helper {
    client: Client,
    brake: Brake,
    child: Child,
}

/// Folders, a configuration, a cgroup.
struct Lab {
    folder: tempfile::TempDir,
    cgroup: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Option<Self> {
        let root = sandbox::delegated::root().ok();
        let cgroup = root.map(|root| root.join(format!("spawn-test-{}-{name}", std::process::id())));
        let has = |name: &str| User::from_name(name).ok().flatten().is_some();
        let is_root = nix::unistd::geteuid().is_root() && has("nobody") && has("daemon");
        let made = cgroup.filter(|cgroup| is_root && fs::create_dir(cgroup).is_ok());
        let Some(cgroup) = made else {
            eprintln!("skipped: this takes root, a writable cgroup v2 tree, and the users nobody and daemon");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["system", "own"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let owner = User::from_name("daemon").unwrap().unwrap().uid.as_raw();
        // Nobody but its owner looks in.
        chown(folder.path().join("own"), Some(owner), None).unwrap();
        fs::set_permissions(folder.path().join("own"), fs::Permissions::from_mode(0o700)).unwrap();
        let config = format!(
            "[agents]\nfolders = [{:?}]\nuser = \"nobody\"\ncgroup = {cgroup:?}\n[agents.users]\ndaemon = {:?}\n",
            folder.path().join("system"),
            folder.path().join("own"),
        );
        fs::write(folder.path().join("dsmild.toml"), config).unwrap();
        Some(Self { folder, cgroup })
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("dsmild.toml")
    }

    /// Starts the helper, with fewer open files allowed than the agents here ask for, where we may give more again.
    fn helper(&self) -> Helper {
        let (ours, theirs) = pair().unwrap();
        let hash = Hash(Sha256::digest(fs::read(self.config()).unwrap()).into());
        let files = if held() & KEPT == KEPT { "200" } else { "1000" };
        let child = Command::new("/bin/sh")
            .args(["-c", "ulimit -n $1; shift; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_dsmild"), files])
            .arg("--config")
            .arg(self.config())
            .args(["helper", "spawn", &hash.to_string()])
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let (client, brake, _) = Client::open(ours, SOON).unwrap();
        Helper { client, brake, child }
    }

    /// Writes a definition of what a shell does; its path and hash.
    fn define(&self, place: &str, script: &str) -> (PathBuf, Hash) {
        let path = self.folder.path().join(place);
        let text = format!(
            "---\nname: test\ndescription: For a test.\ncommand: [/bin/sh, -c, \"{script}\"]\n\
             limits: {{open_files: 1000}}\n---\n"
        );
        fs::write(&path, &text).unwrap();
        (path, Hash(Sha256::digest(text).into()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_dir(self.cgroup.join("agents")).expect("all is gone at the end");
            fs::remove_dir(&self.cgroup).unwrap();
        }
    }
}

impl Helper {
    fn hear(&self) -> Event {
        self.client.wait(SOON).unwrap().expect("the helper says nothing")
    }

    /// Starts an agent; its process, and its stdout and stdin.
    fn start(&self, instance: u64, (path, hash): (PathBuf, Hash)) -> (i32, OwnedFd, OwnedFd) {
        assert!(self.client.ask(&Effect::Start { instance, path, hash }).unwrap());
        match self.hear() {
            Event::Started { pid, pipes, .. } => (pid, pipes.stdout, pipes.stdin),
            other => panic!("{other:?}"),
        }
    }

    /// All that an agent says until it has ended.
    fn said(&self, instance: u64, asked: (PathBuf, Hash)) -> String {
        let (_, stdout, _stdin) = self.start(instance, asked);
        let Event::Ended { exit: Some(exit), .. } = self.hear() else { panic!("another event") };
        assert_eq!(exit, Exit::Code(0));
        let mut text = String::new();
        fs::File::from(stdout).read_to_string(&mut text).unwrap();
        text
    }

    /// Lets go of it, as a daemon that ends does.
    fn end(self) {
        let Self { client, mut child, .. } = self;
        drop(client);
        assert!(child.wait().unwrap().success());
    }
}

/// The value of a line of `/proc/PID/status`.
fn of<'s>(status: &'s str, key: &str) -> &'s str {
    status.lines().find_map(|line| line.strip_prefix(key)).expect(key).trim_start_matches(':').trim()
}

/// Our own capabilities: a container's root lacks some.
fn held() -> u64 {
    u64::from_str_radix(of(&fs::read_to_string("/proc/self/status").unwrap(), "CapPrm"), 16).unwrap()
}

/// Whether a process lives; who has died may still wait for its new parent to look.
fn is_there(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

#[test]
fn it_keeps_what_it_needs_and_gives_agents_nothing() {
    let Some(lab) = Lab::new("rights") else { return };
    let helper = lab.helper();
    let status = fs::read_to_string(format!("/proc/{}/status", helper.child.id())).unwrap();
    for key in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(u64::from_str_radix(of(&status, key), 16).unwrap(), KEPT & held(), "{key}");
    }
    assert_eq!(of(&status, "CapInh"), "0000000000000000");
    assert_eq!((of(&status, "NoNewPrivs"), of(&status, "Groups"), of(&status, "Threads")), ("1", "", "1"));
    for (instance, place, name) in [(1, "system/a.md", "nobody"), (2, "own/a.md", "daemon")] {
        let user = User::from_name(name).unwrap().unwrap();
        let asked = lab.define(place, "cat /proc/self/status; ulimit -n; ulimit -Hn");
        if name == "daemon" {
            chown(&asked.0, Some(user.uid.as_raw()), None).unwrap();
            fs::set_permissions(&asked.0, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let said = helper.said(instance, asked);
        let four = |number: u32| [number; 4].map(|number| number.to_string()).join("\t");
        assert_eq!(of(&said, "Uid"), four(user.uid.as_raw()));
        assert_eq!(of(&said, "Gid"), four(user.gid.as_raw()));
        assert_eq!((of(&said, "Groups"), of(&said, "NoNewPrivs")), ("", "1"));
        for key in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
            assert_eq!(of(&said, key), "0000000000000000", "{key} of {name}");
        }
        assert!(said.ends_with("1000\n1000\n"), "{said}");
    }
    helper.end();
}

#[test]
fn it_reads_the_configuration_itself() {
    let Some(lab) = Lab::new("config") else { return };
    let run = |hash: &str| {
        let (ours, theirs) = pair().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dsmild"))
            .arg("--config")
            .arg(lab.config())
            .args(["helper", "spawn", hash])
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let opened = Client::open(ours, SOON);
        assert!(opened.is_err());
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(!child.wait().unwrap().success());
        text
    };
    let other = run(&Hash([1; 32]).to_string());
    assert!(other.contains("the configuration was changed"), "{other}");
    let text = fs::read_to_string(lab.config()).unwrap();
    for (from, to, expected) in [
        ("\"nobody\"", "\"root\"", "never run as root"),
        ("\"nobody\"", "\"nobody-of-this-name\"", "there is no user"),
        ("\"nobody\"", "\"daemon\"", "has no folder of its own"),
        ("[agents]", "user = \"nobody\"\n[agents]", "dsmild's own user"),
        ("[agents]", "user = \"daemon\"\n[agents]", "dsmild's own user"),
    ] {
        let changed = text.replace(from, to);
        fs::write(lab.config(), &changed).unwrap();
        let said = run(&Hash(Sha256::digest(&changed).into()).to_string());
        assert!(said.contains(expected), "{to}: {said}");
    }
    // What was made for the others is not there.
    fs::write(lab.config(), &text).unwrap();
    lab.helper().end();
}

#[test]
fn what_a_killed_helper_leaves_the_next_one_clears() {
    let Some(lab) = Lab::new("killed") else { return };
    let mut helper = lab.helper();
    let (pid, ..) = helper.start(1, lab.define("system/a.md", "sleep 600 & setsid sleep 600 & wait"));
    let end = Instant::now() + SOON;
    while helper.brake.processes().unwrap().len() < 3 {
        assert!(Instant::now() < end, "it does not fork");
    }
    let forked = helper.brake.processes().unwrap();
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
    while is_there(pid) {
        assert!(Instant::now() < end, "the first process outlives the helper");
    }
    let heard = helper.client.wait(SOON);
    assert!(heard.is_err(), "{heard:?}");
    // The daemon needs no helper to kill the others; here it died, too.
    assert!(forked.iter().any(|pid| is_there(*pid)));
    let next = lab.helper();
    assert!(!forked.iter().any(|pid| is_there(*pid)));
    next.end();
}

#[test]
fn a_path_elsewhere_is_refused() {
    let Some(lab) = Lab::new("elsewhere") else { return };
    let helper = lab.helper();
    let (path, hash) = lab.define("elsewhere.md", "true");
    assert!(helper.client.ask(&Effect::Start { instance: 1, path, hash }).unwrap());
    let told = helper.hear();
    assert!(matches!(&told, Event::NotStarted { why: NotStarted::Refused(_), .. }), "{told:?}");
    helper.end();
}
