//! The journal with a real software TPM: what is anchored, and what must not look like a log that was put back.

mod survive;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use engine::fact::Level;
use engine::{Fact, Record};
use tempfile::TempDir;
use types::time::{BootId, Time};

use super::*;

use crate::common::{Machine, Swtpm, Wire};

/// Only what never comes takes so long.
const LONG: Duration = Duration::from_secs(60);

/// TPM_CC_NV_Increment, and where the anchor's counters are.
const INCREMENT: [u8; 4] = [0, 0, 1, 0x34];
const COUNTER: [u8; 4] = [0x01, 0x80, 0xd5, 0x10];
const ORDERLY: [u8; 4] = [0x01, 0x80, 0xd5, 0x12];

/// A machine with its log.
struct Laptop {
    machine: Machine,
    folder: TempDir,
}

impl Laptop {
    fn new() -> Self {
        Self { machine: Machine::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn config(&self) -> Config {
        Config {
            dir: self.log(),
            file_bytes: 64 << 20,
            head_every: Duration::from_millis(10),
            notes_free_bytes: 0,
            anchor_every: Some(Duration::from_secs(7200)),
            accept_anchor: None,
            new_machine: None,
        }
    }

    fn tpm_through(&self, swtpm: &Swtpm, wire: &Wire) -> tpm::Handle {
        let mut config = self.machine.config(swtpm);
        config.tcti = wire.tcti();
        tpm::start(&config).unwrap()
    }

    /// Opens the log. A software TPM that another test is starting holds copies of our locks until it executes its program.
    async fn open(&self, config: Config, tpm: &tpm::Handle) -> anyhow::Result<Replayed> {
        let end = Instant::now() + LONG;
        loop {
            let again = Config {
                dir: config.dir.clone(),
                accept_anchor: config.accept_anchor.clone(),
                new_machine: config.new_machine.clone(),
                ..config
            };
            match Replayed::open(again, tpm, Rules::default()) {
                Err(error) if is_locked(&error) && Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => return opened.map(|(log, ..)| log),
            }
        }
    }

    /// A start up to where the log is anchored.
    async fn begin(&self, tpm: &tpm::Handle) -> anyhow::Result<(Replayed, Vec<Event>)> {
        let mut log = self.open(self.config(), tpm).await?;
        let events = log.anchor(tpm).await?;
        Ok((log, events))
    }

    async fn run(&self, tpm: &tpm::Handle, config: Config) -> Running {
        let mut log = self.open(config, tpm).await.unwrap();
        log.anchor(tpm).await.unwrap();
        let next = log.log.size();
        let (tell, told) = mpsc::channel();
        let let_out = move |outputs: Vec<()>, durable: &Durable<'_>| {
            for () in outputs {
                tell.send((durable.signed(), durable.anchor().unwrap())).unwrap();
            }
        };
        let journal = log.start(tpm.clone(), Handle::current(), let_out).unwrap();
        Running { journal, next, told }
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<store::Error>(), Some(store::Error::Locked { .. }))
}

/// A journal that runs.
struct Running {
    journal: Journal<()>,
    next: u64,
    told: mpsc::Receiver<(u64, wire::tpm::Anchor)>,
}

impl Running {
    /// Appends a fact, with a head at once if it `signs`.
    async fn append(&mut self, signs: bool) {
        let time = Time { boot: BootId([0; 16]), boottime_ns: 0, wall_ns: 0 };
        let fact = Fact::Heat { zone: "z".to_owned(), level: Level::Normal, millicelsius: Some(1) };
        let mut batch = Batch { sign: signs, ..Batch::default() };
        batch.record(self.next, Record::new(time, fact).encode().unwrap());
        self.next += 1;
        self.journal.append(&mut batch).await.unwrap();
    }

    /// What is told of the anchor.
    async fn ask(&mut self) -> (u64, wire::tpm::Anchor) {
        self.journal.append(&mut Batch { outputs: vec![()], ..Batch::default() }).await.unwrap();
        tokio::task::block_in_place(|| self.told.recv_timeout(LONG)).unwrap()
    }

    /// Waits until it is so, where no fact comes.
    async fn until(&mut self, what: &str, is_so: impl Fn(u64, &wire::tpm::Anchor) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let (signed, anchor) = self.ask().await;
            if is_so(signed, &anchor) {
                return;
            }
            assert!(Instant::now() < end, "{what}: {signed} {anchor:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_no_older_copy() {
    let laptop = Laptop::new();
    let swtpm = laptop.machine.power_on();
    // The next increment of this counter is done, and its answer spoiled.
    let spoil = Arc::new(AtomicU32::new(0));
    let spoiled = Arc::clone(&spoil);
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            let mut response = chip(command);
            let index = u32::from_be_bytes(command[10..14].try_into().unwrap_or_default());
            if command[6..10] == INCREMENT
                && spoiled.compare_exchange(index, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                *response.last_mut().unwrap() ^= 1;
            }
            response
        }),
    );
    let tpm = laptop.tpm_through(&swtpm, &wire);
    let mut running = laptop.run(&tpm, laptop.config()).await;
    for index in [ORDERLY, COUNTER, ORDERLY] {
        running.append(false).await;
        running.until("a head is counted", |signed, anchor| anchor.noticed == signed && !anchor.owed).await;
        spoil.store(u32::from_be_bytes(index), Ordering::SeqCst);
        running.append(true).await;
        let size = running.next;
        // Nothing follows: what is owed is asked for all the same.
        running.until("it is anchored", |_, anchor| anchor.noticed_unpowered == size && !anchor.owed).await;
        assert_eq!(spoil.load(Ordering::SeqCst), 0);
    }
    // The last one is followed by no anchoring, after which heads are named as the chip has counted.
    spoil.store(u32::from_be_bytes(ORDERLY), Ordering::SeqCst);
    running.append(false).await;
    let size = running.next;
    running.until("it is counted", |_, anchor| anchor.noticed == size && !anchor.owed).await;
    assert_eq!(spoil.load(Ordering::SeqCst), 0);
    running.journal.close().await.unwrap();
    let (_, events) = laptop.begin(&tpm).await.unwrap();
    assert_eq!(events.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_signed_although_the_anchor_was_removed() {
    let laptop = Laptop::new();
    let swtpm = laptop.machine.power_on();
    let tpm = laptop.machine.open(&swtpm);
    let mut running = laptop.run(&tpm, laptop.config()).await;
    tpm.nv_undefine(tpm::AnchorHandles::default().orderly).await.unwrap();
    for size in 1..4 {
        running.append(size == 2).await;
        running.until("it is signed", |signed, anchor| signed == size && anchor.owed).await;
    }
    running.journal.close().await.unwrap();
    let refused = laptop.begin(&tpm).await.err().unwrap().to_string();
    assert!(refused.contains("removed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_asked_for_while_another_is_signed_is_anchored() {
    let laptop = Laptop::new();
    let swtpm = laptop.machine.power_on();
    let is_slow = Arc::new(AtomicBool::new(false));
    let signing = Arc::new(AtomicU32::new(0));
    let (slow, begun) = (Arc::clone(&is_slow), Arc::clone(&signing));
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            if command[6..10] == [0, 0, 1, 0x5d] && slow.load(Ordering::SeqCst) {
                begun.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(300));
            }
            chip(command)
        }),
    );
    let tpm = laptop.tpm_through(&swtpm, &wire);
    let mut running = laptop.run(&tpm, laptop.config()).await;
    is_slow.store(true, Ordering::SeqCst);
    running.append(false).await;
    while signing.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The TPM is at the first.
    running.append(true).await;
    is_slow.store(false, Ordering::SeqCst);
    running.until("both are anchored", |_, anchor| anchor.noticed_unpowered == 2).await;
    running.journal.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_follows_is_anchored_too() {
    let laptop = Laptop::new();
    let swtpm = laptop.machine.power_on();
    let tpm = laptop.machine.open(&swtpm);
    let config = Config { anchor_every: Some(Duration::from_secs(1)), ..laptop.config() };
    let mut running = laptop.run(&tpm, config).await;
    running.append(false).await;
    running.until("it is counted", |_, anchor| anchor.noticed == 1).await;
    running.until("it is anchored", |_, anchor| anchor.noticed_unpowered == 1).await;
    let writes = running.ask().await.1.writes;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // And that is enough.
    assert_eq!(running.ask().await.1.writes, writes);
    running.journal.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_starts_over_and_over_does_not_wear_the_chip_out() {
    let laptop = Laptop::new();
    let swtpm = laptop.machine.power_on();
    let tpm = laptop.machine.open(&swtpm);
    let (old, newest) = (laptop.folder.path().join("old"), laptop.folder.path().join("newest"));
    for n in 0..50 {
        // It dies right after.
        drop(laptop.begin(&tpm).await.unwrap());
        if n == 47 {
            copy(&laptop.log(), &old);
        }
    }
    let anchor = tpm.read_anchor(tpm::AnchorHandles::default()).await.unwrap().unwrap();
    assert_eq!(anchor.record.writes, u64::from(tpm::ANCHORINGS_AT_ONCE));
    assert_eq!(anchor.allowed(), 0);
    // Each start is counted all the same.
    std::fs::rename(laptop.log(), &newest).unwrap();
    std::fs::rename(&old, laptop.log()).unwrap();
    let refused = laptop.begin(&tpm).await.err().unwrap().to_string();
    assert!(refused.contains("older copy"), "{refused}");
    std::fs::remove_dir_all(laptop.log()).unwrap();
    std::fs::rename(&newest, laptop.log()).unwrap();
    drop(laptop.begin(&tpm).await.unwrap());
}

/// A first start that was cut off looks like a log that was emptied by somebody who could remove the anchor, too: its owner is asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_was_cut_off_while_it_was_made_is_made_anew_where_the_owner_says_so() {
    // The changes of NV memory: three definitions, the increments of both counters, the record; and the first head's signature.
    for done in 0..7 {
        let laptop = Laptop::new();
        let mut swtpm = laptop.machine.power_on();
        let (mut changes, mut is_cut) = (0, false);
        let wire = Wire::tap(
            &swtpm,
            Box::new(move |command, chip| {
                let code = command[6..10].try_into().map(u32::from_be_bytes).unwrap_or_default();
                changes += u32::from([0x122, 0x12a, 0x134, 0x137].contains(&code));
                is_cut |= changes > done || (changes == 6 && code == 0x15d);
                // The power fails there: TPM_RC_FAILURE from then on.
                if is_cut { vec![0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1] } else { chip(command) }
            }),
        );
        let tpm = laptop.tpm_through(&swtpm, &wire);
        assert!(laptop.begin(&tpm).await.is_err());
        assert!(tpm.shutdown().await.is_err());
        swtpm.restart();
        let tpm = laptop.machine.open(&swtpm);
        if done < 6 {
            let refused = laptop.begin(&tpm).await.err().unwrap().to_string();
            assert!(refused.contains("a very first start that was cut off"), "{done}: {refused}");
        }
        let accepting =
            Config { accept_anchor: Some("the first start was cut off".to_owned()), ..laptop.config() };
        let mut log = laptop.open(if done < 6 { accepting } else { laptop.config() }, &tpm).await.unwrap();
        let events = log.anchor(&tpm).await.unwrap_or_else(|error| panic!("{done}: {error:#}"));
        assert!(matches!(events.as_slice(), [Event::Anchored { .. }]), "{done}: {events:?}");
        drop(log);
        let (_, events) = laptop.begin(&tpm).await.unwrap();
        assert!(events.is_empty());
    }
}

/// After a new mainboard: the owner says so, and a key of before must have signed the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_with_another_tpm_only_where_its_owner_says_so() {
    let (laptop, other) = (Laptop::new(), Machine::new());
    let mut swtpm = laptop.machine.power_on();
    let (tpm, stranger) = (laptop.machine.open(&swtpm), Machine::new());
    let mut running = laptop.run(&tpm, laptop.config()).await;
    running.append(true).await;
    running.journal.close().await.unwrap();
    tpm.shutdown().await.unwrap();
    let moved = |reason: Option<&str>, retired: &[tpm::Retired]| Config {
        new_machine: reason.map(|reason| (reason.to_owned(), retired.to_vec())),
        accept_anchor: reason.map(str::to_owned),
        ..laptop.config()
    };

    swtpm.restart_with(&other);
    let retired = tpm::retire(&laptop.machine.key_dir()).unwrap();
    let tpm = laptop.machine.open(&swtpm);
    let open = |config| Replayed::open(config, &tpm, Rules::default());
    let refused = |config| format!("{:#}", open(config).err().expect("an error"));
    assert!(refused(moved(None, &[])).contains("not signed by this machine's TPM key"));
    assert!(refused(moved(Some("new"), &[])).contains("none of the keys"));
    let foreign = {
        let swtpm = stranger.power_on();
        let tpm = stranger.open(&swtpm);
        tpm::Retired { head: *tpm.head_key(), general: *tpm.general_key(), dir: PathBuf::new() }
    };
    assert!(refused(moved(Some("new"), std::slice::from_ref(&foreign))).contains("none of the keys"));

    let (mut log, _, event) = open(moved(Some("new"), &[foreign, retired.clone()])).unwrap();
    let Some(Event::Moved { from, general, to, reason }) = event else { panic!("{event:?}") };
    assert_eq!((from, general), (retired.head.spki(), retired.general.spki()));
    assert_eq!((to, reason.as_str()), (tpm.head_key().spki(), "new"));
    log.anchor(&tpm).await.unwrap();
    drop(log);
    // From here on it is this TPM's, and needs no word of the owner.
    assert!(open(moved(None, &[])).unwrap().2.is_none());
    assert!(refused(moved(Some("again"), &[retired])).contains("start without --new-machine"));
}
