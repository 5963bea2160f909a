//! The helper, and what it refuses: whoever asks may be an attacker, and so may be who writes definitions.

mod definitions;

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandbox::folders::{Folder, Folders};
use sandbox::helper::{Client, Effect, Event, NotStarted, Pipes, Rules, pair, serve};
use sandbox::{Brake, Error, Exit, User};
use sha2::{Digest as _, Sha256};
use types::agent::{Definition, Limits, Milliseconds, Network, Retry};
use types::hash::Hash;

use crate::lab::{Lab, SOON, all, line, until};

/// Most agents in these tests.
const INSTANCES_MAX: usize = 3;

/// A helper that serves, and folders of definitions:
///
/// - `system`: root's
/// - `own`: that of a user
struct Helped {
    client: Client,
    brake: Brake,
    helper: Option<JoinHandle<Result<(), Error>>>,
    rules: Rules,
    /// Who runs what root owns, and whose `own` is.
    ours: User,
    owner: User,
    told: VecDeque<Event>,
    lab: Lab,
}

/// The words of the first line are the command.
fn read(bytes: &[u8]) -> Result<Definition, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let first = text.lines().next().unwrap_or_default();
    let command: Vec<String> = first.split(' ').map(str::to_owned).collect();
    if !first.starts_with('/') {
        return Err("no program in line 1".to_owned());
    }
    Ok(Definition {
        name: "test".parse().unwrap(),
        description: String::new(),
        tools: None,
        model: None,
        foreign: Vec::new(),
        command,
        capabilities: Vec::new(),
        limits: Limits::default(),
        retry: Retry::default(),
        timeout: Milliseconds(1_000),
        network: Network::None,
        body: String::new(),
        hash: Hash::default(),
    })
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
}

fn begin(rules: &Rules) -> (OwnedFd, JoinHandle<Result<(), Error>>) {
    let (ours, theirs) = pair().unwrap();
    let rules = rules.clone();
    (ours, std::thread::spawn(move || serve(theirs, &rules, &read)))
}

impl Helped {
    fn new() -> Option<Self> {
        let lab = Lab::new()?;
        let ours = User { processes_max: 50, ..lab.spec(&[]).user };
        // Not the number of a user of another test.
        let owner = User { uid: lab.uid + 5_000, gid: lab.uid + 5_000, name: "owner".into(), ..ours.clone() };
        let owner = User { home: "/".into(), ..owner };
        let at = |name: &str| lab.folder.path().join(name);
        for name in ["system", "own", "other"] {
            fs::create_dir(at(name)).unwrap();
            mode(&at(name), 0o755);
        }
        give(&at("own"), owner.uid);
        let folders = vec![
            Folder { path: at("system"), owner: None },
            Folder { path: at("own"), owner: Some(owner.clone()) },
            Folder { path: at("link"), owner: None },
            Folder { path: at("above/below"), owner: None },
            Folder { path: at("missing"), owner: None },
        ];
        let rules = Rules {
            cgroup: lab.delegated.clone(),
            folders: Folders::new(folders, ours.clone()).unwrap(),
            instances_max: INSTANCES_MAX,
        };
        let (socket, helper) = begin(&rules);
        let (client, brake, _) = Client::open(socket, SOON).unwrap();
        Some(Self { client, brake, helper: Some(helper), rules, ours, owner, told: VecDeque::new(), lab })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.lab.folder.path().join(name)
    }

    /// A definition of what misbehaves.
    fn text(&self, words: &str) -> String {
        format!("{} {words}\n", self.at("misbehave").display())
    }

    /// Writes a definition; its path and hash.
    fn define(&self, place: &str, words: &str) -> (PathBuf, Hash) {
        let (path, text) = (self.at(place), self.text(words));
        fs::write(&path, &text).unwrap();
        mode(&path, 0o644);
        (path, hash(text.as_bytes()))
    }

    fn ask(&self, effect: &Effect) {
        assert!(self.client.ask(effect).unwrap(), "there is no room for {effect:?}");
    }

    fn hear(&mut self) -> Event {
        let told = self.told.pop_front();
        told.unwrap_or_else(|| self.client.wait(SOON).unwrap().expect("the helper says nothing"))
    }

    fn start(&mut self, instance: u64, (path, hash): &(PathBuf, Hash)) -> Result<(i32, Pipes), NotStarted> {
        self.ask(&Effect::Start { instance, path: path.clone(), hash: *hash });
        match self.hear() {
            Event::Started { instance: found, pid, pipes } if found == instance => Ok((pid, pipes)),
            Event::NotStarted { instance: found, why } if found == instance => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, what: &str, asked: &(PathBuf, Hash), expected: &str) {
        match self.start(99, asked) {
            Err(NotStarted::Refused(why)) => assert!(why.contains(expected), "{what}: {why}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(self.brake.processes().unwrap(), [0; 0], "{what}");
    }

    fn ended(&mut self, instance: u64) -> Exit {
        loop {
            match self.hear() {
                Event::Ended { instance: found, exit, usage, stuck } => {
                    assert_eq!((found, stuck), (instance, 0));
                    assert!(usage.is_some());
                    return exit.unwrap();
                }
                Event::Done { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Kills one. Its end and that the order was carried out are told in either order.
    fn kill(&mut self, instance: u64) {
        self.ask(&Effect::Kill { instance });
        for _ in 0..2 {
            match self.hear() {
                Event::Ended { instance: found, exit: Some(KILLED), stuck: 0, .. } if found == instance => {}
                Event::Done { instance: Some(found) } if found == instance => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lets go of the helper, as a daemon that ends does.
    fn end(mut self) -> (Lab, Result<(), Error>) {
        let helper = self.helper.take().unwrap();
        let Self { client, lab, .. } = self;
        drop(client);
        (lab, helper.join().unwrap())
    }
}

const KILLED: Exit = Exit::Signal { number: 9, core: false };

fn uid_of(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let words =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().replace('\t', " ");
    format!("{}{}", words("Uid:"), words("Gid:"))
}

fn four(uid: u32) -> String {
    format!(" {uid} {uid} {uid} {uid}").repeat(2)
}

#[test]
fn what_was_approved_runs_as_its_owner_and_ends_in_order() {
    let Some(mut helped) = Helped::new() else { return };
    let (ours, owner) = (helped.ours.uid, helped.owner.uid);
    let system = helped.define("system/a.md", "echo");
    let of_root = helped.define("own/root.md", "ignore");
    let of_owner = helped.define("own/theirs.md", "exit 7");
    give(&of_owner.0, owner);
    let (pid, pipes) = helped.start(1, &system).unwrap();
    assert_eq!(uid_of(pid), four(ours));
    let (ignores, _pipes) = helped.start(2, &of_root).unwrap();
    assert_eq!(uid_of(ignores), four(ours));
    let (_, pipes_7) = helped.start(3, &of_owner).unwrap();
    assert_eq!(helped.ended(3), Exit::Code(7));
    drop(pipes_7);
    // Its pipes are three, and each one's other end is the agent's alone.
    let Pipes { stdin, stdout, stderr, kill } = pipes;
    assert!(kill.is_some());
    rustix::io::write(&stdin, b"one two").unwrap();
    drop(stdin);
    assert_eq!((all(&mut Some(stdout)), all(&mut Some(stderr))), ("one two".into(), "heard".into()));
    assert_eq!(helped.ended(1), Exit::Code(0));
    helped.ask(&Effect::Usage { instance: 2 });
    assert!(matches!(helped.hear(), Event::Usage { instance: 2, usage } if usage.processes == 1));
    helped.kill(2);
    helped.ask(&Effect::Kill { instance: 2 });
    assert!(matches!(helped.hear(), Event::Done { instance: Some(2) }));
    helped.end().1.unwrap();
}

#[test]
fn a_file_of_an_owner_runs_as_that_owner() {
    let Some(mut helped) = Helped::new() else { return };
    let uid = helped.owner.uid;
    let asked = helped.define("own/theirs.md", "ignore");
    give(&asked.0, uid);
    mode(&asked.0, 0o600);
    let (pid, _pipes) = helped.start(1, &asked).unwrap();
    assert_eq!(uid_of(pid), four(uid));
    helped.end().1.unwrap();
}

#[test]
fn as_many_as_may_run_at_once() {
    let Some(mut helped) = Helped::new() else { return };
    let asked = helped.define("system/a.md", "ignore");
    let mut kept = Vec::new();
    for instance in 1..=3 {
        kept.push(helped.start(instance, &asked).unwrap());
    }
    assert!(matches!(helped.start(4, &asked), Err(NotStarted::Full)));
    helped.kill(2);
    let twice = helped.start(1, &asked);
    assert!(matches!(&twice, Err(NotStarted::Refused(why)) if why.contains("that number")), "{twice:?}");
    kept.push(helped.start(2, &asked).unwrap());
    // Together, too.
    helped.ask(&Effect::KillAll);
    let mut ended = Vec::new();
    while ended.len() < 3 {
        if let Event::Ended { instance, .. } = helped.hear() {
            ended.push(instance);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 2, 3]);
    helped.end().1.unwrap();
}

#[test]
fn what_cannot_be_executed_says_why() {
    let Some(mut helped) = Helped::new() else { return };
    let text = "/nonexistent/program a\n";
    let path = helped.at("system/none.md");
    fs::write(&path, text).unwrap();
    let result = helped.start(1, &(path, hash(text.as_bytes())));
    let Err(NotStarted::Failed(why)) = result else { panic!("{result:?}") };
    assert!(why.starts_with("cannot execute the program"), "{why}");
    // The place is free again.
    let good = helped.define("system/a.md", "exit 0");
    helped.start(1, &good).unwrap();
    assert_eq!(helped.ended(1), Exit::Code(0));
    helped.end().1.unwrap();
}

#[test]
fn one_is_frozen_and_goes_on() {
    let Some(mut helped) = Helped::new() else { return };
    let asked = helped.define("system/a.md", "echo");
    let (_, pipes) = helped.start(1, &asked).unwrap();
    helped.ask(&Effect::Freeze { instance: 1 });
    assert!(matches!(helped.hear(), Event::Done { instance: Some(1) }));
    let leaf = helped.lab.delegated.join("agents/test@1");
    until("it stands still", || fs::read_to_string(leaf.join("cgroup.events")).unwrap().contains("frozen 1"));
    rustix::io::write(&pipes.stdin, b"still there").unwrap();
    drop(pipes.stdin);
    assert!(helped.client.wait(Duration::from_millis(200)).unwrap().is_none());
    helped.ask(&Effect::Thaw { instance: 1 });
    assert_eq!(all(&mut Some(pipes.stdout)), "still there");
    assert!(matches!(helped.hear(), Event::Done { instance: Some(1) }));
    assert_eq!(helped.ended(1), Exit::Code(0));
    for effect in
        [Effect::Freeze { instance: 1 }, Effect::Thaw { instance: 1 }, Effect::Usage { instance: 1 }]
    {
        helped.ask(&effect);
        let told = helped.hear();
        assert!(matches!(&told, Event::Failed { instance: Some(1), .. }), "{told:?}");
    }
    helped.end().1.unwrap();
}

#[test]
fn all_die_with_the_daemon() {
    let Some(mut helped) = Helped::new() else { return };
    let ignores = helped.define("system/ignores.md", "ignore");
    let (first, pipes) = helped.start(1, &ignores).unwrap();
    assert_eq!(line(&pipes.stdout), "ready");
    let bomb = helped.define("system/bomb.md", "bomb");
    let (second, _pipes) = helped.start(2, &bomb).unwrap();
    until("it forks", || helped.brake.processes().unwrap().len() > 20);
    let (lab, served) = helped.end();
    served.unwrap();
    assert_eq!(lab.subtree.processes().unwrap(), [0; 0]);
    for pid in [first, second] {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is there");
    }
    assert!(!lab.subtree.path().join("test@1").exists());
}

#[test]
fn what_an_earlier_run_left_is_cleared_before_anything_starts() {
    let Some(helped) = Helped::new() else { return };
    let rules = helped.rules.clone();
    let (lab, served) = helped.end();
    served.unwrap();
    // What a helper leaves that was killed.
    let left = lab.start("test@1", &["ignore"]);
    let pid = left.pid();
    let (socket, helper) = begin(&rules);
    let (client, ..) = Client::open(socket, SOON).unwrap();
    assert!(!lab.subtree.path().join("test@1").exists());
    drop(left);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    drop(client);
    helper.join().unwrap().unwrap();
}

#[test]
fn nonsense_ends_the_helper_and_all_agents() {
    for nonsense in [
        b"nonsense".to_vec(),
        vec![0xA0],
        // An order that there is not; a start without a number; something behind a message.
        vec![0xA3, 0, 9, 2, 0x40, 3, 0x40],
        [&[0xA3, 0, 0, 2, 0x40, 3, 0x58, 32][..], &[0; 32]].concat(),
        [&[0xA3, 0, 1, 2, 0x40, 3, 0x58, 32][..], &[0; 32], &[0]].concat(),
        vec![0; 9 << 10],
    ] {
        let Some(mut helped) = Helped::new() else { return };
        let asked = helped.define("system/a.md", "ignore");
        let (_, _pipes) = helped.start(1, &asked).unwrap();
        let flags = rustix::net::SendFlags::empty();
        rustix::net::send(helped.client.as_fd(), &nonsense, flags).unwrap();
        let (lab, served) = helped.end();
        assert!(matches!(served, Err(Error::Helper(_))), "{nonsense:?}: {served:?}");
        assert_eq!(lab.subtree.processes().unwrap(), [0; 0]);
    }
}

#[test]
fn a_daemon_that_does_not_listen_is_not_served_on() {
    let Some(mut helped) = Helped::new() else { return };
    // Nothing is heard: its answers fill the socket, then its orders do.
    let mut count = 0;
    while helped.client.ask(&Effect::Thaw { instance: 1 }).unwrap() || {
        std::thread::sleep(Duration::from_millis(50));
        helped.client.ask(&Effect::Thaw { instance: 1 }).unwrap()
    } {
        count += 1;
        assert!(count < 100_000, "there is no bound");
    }
    // And all is answered once somebody does.
    for _ in 0..count {
        assert!(matches!(helped.hear(), Event::Failed { instance: Some(1), .. }));
    }
    let asked = helped.define("system/a.md", "exit 3");
    let mut heard = helped.start(1, &asked);
    while heard.is_err() {
        heard = match helped.hear() {
            Event::Started { pid, pipes, .. } => Ok((pid, pipes)),
            Event::Failed { .. } => heard,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(helped.ended(1), Exit::Code(3));
    helped.end().1.unwrap();
}

#[test]
fn a_tree_that_cannot_be_used_is_told() {
    let Some(helped) = Helped::new() else { return };
    let elsewhere = Rules { cgroup: "/tmp".into(), ..helped.rules.clone() };
    let (socket, helper) = begin(&elsewhere);
    let opened = Client::open(socket, SOON);
    assert!(matches!(&opened, Err(Error::Helper(why)) if why.contains("cgroup v2")), "{opened:?}");
    assert!(helper.join().unwrap().is_err());
    helped.end().1.unwrap();
}

#[test]
fn the_brake_works_without_the_helper_and_without_rights() {
    let Some(mut helped) = Helped::new() else { return };
    let bomb = helped.define("system/bomb.md", "bomb");
    let ignores = helped.define("system/ignores.md", "ignore");
    let (_, _first) = helped.start(1, &bomb).unwrap();
    let (_, _second) = helped.start(2, &ignores).unwrap();
    until("it forks", || helped.brake.processes().unwrap().len() > 20);
    let brake = &helped.brake;
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| {
            drop_rights(12_345);
            let begin = Instant::now();
            brake.freeze().unwrap();
            assert!(brake.wait_frozen(SOON).unwrap());
            let frozen = begin.elapsed();
            let count = brake.processes().unwrap().len();
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(brake.processes().unwrap().len(), count, "frozen, it forks");
            brake.thaw().unwrap();
            brake.freeze().unwrap();
            brake.kill().unwrap();
            brake.wait_empty(SOON).unwrap();
            (count, frozen, begin.elapsed())
        });
        let (count, frozen, dead) = stopped.join().unwrap();
        eprintln!("{count} processes frozen in {frozen:?}, dead after {dead:?} with a pause of 100 ms");
    });
    let (first, second) = (helped.hear(), helped.hear());
    for told in [first, second] {
        assert!(matches!(told, Event::Ended { exit: Some(KILLED), stuck: 0, .. }), "{told:?}");
    }
    // It goes on after that: what was frozen is so still, and nobody starts until it is not.
    helped.brake.thaw().unwrap();
    let good = helped.define("system/a.md", "exit 0");
    helped.start(3, &good).unwrap();
    assert_eq!(helped.ended(3), Exit::Code(0));
    helped.end().1.unwrap();
}

/// The calling thread, and no other, becomes somebody who may do nothing.
#[expect(unsafe_code, reason = "the library's setresuid changes all threads")]
fn drop_rights(uid: u32) {
    use nix::libc;
    // SAFETY: takes numbers only.
    let failed = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) != 0
            || libc::syscall(libc::SYS_setresgid, uid, uid, uid) != 0
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0
    };
    assert!(!failed);
    let denied = fs::OpenOptions::new().write(true).open("/etc/passwd");
    assert!(denied.is_err(), "rights are left");
}
