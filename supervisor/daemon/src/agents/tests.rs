//! Real agents under a real helper in a real cgroup. These tests take root and a cgroup v2 tree; without, each says that it is skipped.

mod behaviour;

mod definitions;

mod rate;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::agent::definition;
use api::agent::protocol::{Id, Payload};
use policy::{Grant, Permit, Rules};
use sandbox::folders::{Folder, Folders};
use sandbox::helper::Client;
use tokio::sync::mpsc;
use types::hash::Hash;

use super::fleet::{Fleet, Patience, Start};
use super::happened::{Batch, Happened, Why};

/// Enough for anything but what hangs.
const SOON: Duration = Duration::from_secs(60);

/// Users that nobody has, a new one for each test, and others for another run at the same time: the kernel counts processes by user.
static UIDS: AtomicU32 = AtomicU32::new(0);

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn permit() -> Permit {
    let (rules, order) = (Rules::default(), Hash([1; 32]));
    policy::redeem(&rules, &Grant { order, rules: rules.version, expires_ns: 1 }, order, 0).unwrap()
}

/// A fleet of the test's own.
struct Lab {
    fleet: Option<Fleet>,
    told: mpsc::Receiver<Batch>,
    heard: VecDeque<(u64, Happened)>,
    folder: tempfile::TempDir,
    delegated: PathBuf,
    helper: Option<JoinHandle<Result<(), sandbox::Error>>>,
    /// The helper's end of its socket.
    theirs: OwnedFd,
    runtime: tokio::runtime::Runtime,
}

/// A user whom nobody else has.
fn user() -> sandbox::User {
    let uid = 1_000_000 + 64 * std::process::id() + UIDS.fetch_add(1, Ordering::Relaxed);
    let name = "agent".to_owned();
    sandbox::User { uid, gid: uid, groups: Vec::new(), name, home: "/".into(), processes_max: 300 }
}

impl Lab {
    /// Nothing where these tests cannot be made.
    fn new(patience: Patience) -> Option<Self> {
        let user = user();
        let root = sandbox::delegated::root().ok();
        let delegated =
            root.map(|root| root.join(format!("agents-test-{}-{}", std::process::id(), user.uid)));
        let is_root = nix::unistd::geteuid().is_root();
        let made = delegated.filter(|delegated| is_root && std::fs::create_dir(delegated).is_ok());
        let Some(delegated) = made else {
            eprintln!("skipped: this takes root and a writable cgroup v2 tree");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another user may not reach the folder of the build.
        std::fs::copy(program(), folder.path().join("agent")).unwrap();
        let own = Folder { path: folder.path().to_owned(), owner: None };
        let rules = sandbox::helper::Rules {
            cgroup: delegated.clone(),
            folders: Folders::new(vec![own], user).unwrap(),
            instances_max: 128,
        };
        let (ours, theirs) = sandbox::helper::pair().unwrap();
        let read = |bytes: &[u8]| definition::read(bytes).map_err(|mistakes| mistakes[0].to_string());
        let kept = theirs.try_clone().unwrap();
        let helper = std::thread::spawn(move || sandbox::helper::serve(theirs, &rules, &read));
        let (client, brake, _) = Client::open(ours, SOON).unwrap();
        let (tell, told) = mpsc::channel(64);
        let logs = folder.path().join("logs");
        let fleet = Some(Fleet::new((client, brake), tell, &logs, patience).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let helper = Some(helper);
        Some(Self { fleet, told, heard: VecDeque::new(), folder, delegated, helper, theirs: kept, runtime })
    }

    fn fleet(&self) -> &Fleet {
        self.fleet.as_ref().unwrap()
    }

    /// Defines an agent that behaves in a certain way.
    fn define(&self, name: &str, mode: &str, limits: &str) -> Start {
        let program = self.folder.path().join("agent");
        let text = format!(
            "---\nname: {name}\ndescription: For a test.\ncommand: [{}, {mode}]\n{limits}---\n",
            program.display()
        );
        let path = self.folder.path().join(format!("{name}.md"));
        std::fs::write(&path, &text).unwrap();
        let definition = definition::read(text.as_bytes()).unwrap();
        Start { instance: 0, name: definition.name, path, hash: definition.hash, limits: definition.limits }
    }

    /// Starts one and waits until it is ready.
    fn start(&mut self, instance: u64, start: &Start) {
        self.fleet().start(Start { instance, ..start.clone() }, permit());
        let ready = self.of(instance);
        assert!(matches!(ready, Happened::Ready { tasks: 1000, .. }), "{ready:?}");
    }

    fn task(&self, instance: u64, task: &str, input: &impl serde::Serialize) -> bool {
        let input = Payload::of(input).unwrap();
        self.fleet().task(instance, (id(task), id("k")), 1, SOON, input)
    }

    /// The next thing that happens to anybody.
    fn next(&mut self) -> (u64, Happened) {
        if self.heard.is_empty() {
            let told = &mut self.told;
            let batch = self.runtime.block_on(async { tokio::time::timeout(SOON, told.recv()).await });
            self.heard.extend(batch.expect("nothing happens").expect("the driver has ended"));
        }
        self.heard.pop_front().unwrap()
    }

    /// The next thing that happens to this one; what happens to others comes later.
    fn of(&mut self, instance: u64) -> Happened {
        let mut others = VecDeque::new();
        let found = loop {
            let (whose, happened) = self.next();
            if whose == instance {
                break happened;
            }
            others.push_back((whose, happened));
        };
        others.append(&mut self.heard);
        self.heard = others;
        found
    }

    /// A task's output.
    fn done(&mut self, instance: u64) -> String {
        match self.of(instance) {
            Happened::Done { output, .. } => output.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// Why it ended, whatever happens to it before.
    fn why(&mut self, instance: u64) -> Why {
        loop {
            if let Happened::Ended { why, .. } = self.of(instance) {
                return why;
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.fleet = None;
        let served = self.helper.take().unwrap().join().unwrap();
        if std::thread::panicking() {
            return;
        }
        // That the driver has ended is an end like another.
        served.expect("the helper ends in order");
        std::fs::remove_dir(self.delegated.join("agents")).expect("all is gone at the end");
        std::fs::remove_dir(&self.delegated).unwrap();
    }
}

/// Cargo puts examples beside the folder of the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/agent");
    assert!(program.exists(), "{} is not built: “cargo test” without “--bin” does", program.display());
    program
}

/// Waits for something to be so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
