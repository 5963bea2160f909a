//! A run of survival: somebody who can write the disk, and somebody who can open the chip, against the anchor.
//!
//! `cargo test` does a sample, `make survive WHAT=anchor` the whole; `SURVIVE_ANCHOR` is the number of trials. Each ends with lines that
//! `scripts/survive.sh` reads.

use super::*;

/// Trials of the sample.
const SAMPLE: usize = 16;
/// Trials with one machine: its chip allows so many anchorings at once.
const OF_MACHINE: usize = 12;

/// What is done to a log and its anchor between a stop and the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Nothing: a start that refuses is a false alarm.
    None,
    /// The power fails, and nothing else.
    Power,
    /// A copy of before is put back.
    Older,
    /// The same after the power failed.
    OlderUnpowered,
    /// The log is removed.
    Removed,
    /// The log of another machine is put there.
    Other,
    /// One of the anchor's indices is removed.
    Undefined(u32),
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }

    fn attack(&mut self) -> Attack {
        let indices = [COUNTER, [0x01, 0x80, 0xd5, 0x11], ORDERLY];
        match self.below(10) {
            0 | 1 => Attack::None,
            2 => Attack::Power,
            3 | 4 => Attack::Older,
            5 | 6 => Attack::OlderUnpowered,
            7 => Attack::Removed,
            8 => Attack::Other,
            _ => Attack::Undefined(u32::from_be_bytes(indices[usize::try_from(self.below(3)).unwrap()])),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    attacks: usize,
    undetected: usize,
    sound: usize,
    false_alarms: usize,
    /// Older copies after a power loss that have all that was anchored: nothing tells them apart.
    in_window: usize,
}

/// A laptop that is on, and the log as it was a while ago.
struct Site {
    laptop: Laptop,
    swtpm: Swtpm,
    tpm: tpm::Handle,
    older: PathBuf,
}

impl Site {
    fn new() -> Self {
        let laptop = Laptop::new();
        let swtpm = laptop.machine.power_on();
        let tpm = laptop.machine.open(&swtpm);
        let older = laptop.folder.path().join("older");
        Self { laptop, swtpm, tpm, older }
    }

    async fn power_loss(&mut self) {
        self.tpm.shutdown().await.unwrap();
        self.swtpm.restart();
        self.tpm = self.laptop.machine.open(&self.swtpm);
    }

    /// Works, and keeps a copy of some moment after which at least one head was counted. Gives the facts of the copy, and how many
    /// were anchored at the end.
    async fn work(&self, random: &mut Random) -> (u64, u64) {
        if self.older.exists() {
            std::fs::remove_dir_all(&self.older).unwrap();
        }
        let mut running = self.laptop.run(&self.tpm, self.laptop.config()).await;
        for _ in 0..=random.below(4) {
            running.append(random.below(3) == 0).await;
        }
        let size = running.next;
        running.until("it is counted", |_, anchor| anchor.noticed == size && !anchor.owed).await;
        copy(&self.laptop.log(), &self.older);
        for _ in 0..=random.below(4) {
            running.append(random.below(3) == 0).await;
        }
        let next = running.next;
        running.until("it is counted", |_, anchor| anchor.noticed == next && !anchor.owed).await;
        running.journal.close().await.unwrap();
        let anchor = self.tpm.read_anchor(tpm::AnchorHandles::default()).await.unwrap().unwrap();
        (size, anchor.record.point.size)
    }

    /// Puts another folder in the log's place for one start; whether that refuses.
    async fn is_refused_with(&self, other: Option<&Path>) -> bool {
        let (log, newest) = (self.laptop.log(), self.laptop.folder.path().join("newest"));
        std::fs::rename(&log, &newest).unwrap();
        if let Some(other) = other {
            copy(other, &log);
        }
        let refused = self.laptop.begin(&self.tpm).await.is_err();
        if log.exists() {
            std::fs::remove_dir_all(&log).unwrap();
        }
        std::fs::rename(&newest, &log).unwrap();
        refused
    }
}

/// One attack; whether what may follow is on the same machine.
async fn trial(site: &mut Site, stranger: &Path, random: &mut Random, tally: &mut Tally) -> bool {
    let (size, anchored) = site.work(random).await;
    let attack = random.attack();
    if matches!(attack, Attack::Power | Attack::OlderUnpowered) {
        site.power_loss().await;
    }
    let older = site.older.clone();
    let refused = match attack {
        Attack::None | Attack::Power => {
            tally.sound += 1;
            let refused = site.laptop.begin(&site.tpm).await.is_err();
            tally.false_alarms += usize::from(refused);
            return !refused;
        }
        // All that was anchored is there: it is the window that the documentation speaks of. It must not be taken for damage either.
        Attack::OlderUnpowered if size >= anchored => {
            tally.in_window += 1;
            return false;
        }
        Attack::Older | Attack::OlderUnpowered => site.is_refused_with(Some(&older)).await,
        Attack::Removed => site.is_refused_with(None).await,
        Attack::Other => site.is_refused_with(Some(stranger)).await,
        Attack::Undefined(index) => {
            site.tpm.nv_undefine(index).await.unwrap();
            site.laptop.begin(&site.tpm).await.is_err()
        }
    };
    tally.attacks += 1;
    if !refused {
        println!("seed of this run: undetected: {attack:?}, {size} of a log anchored at {anchored}");
        tally.undetected += 1;
    }
    refused && !matches!(attack, Attack::Undefined(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn survive_no_other_log_and_no_other_anchor_goes_undetected() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let times = number("SURVIVE_ANCHOR").map_or(SAMPLE, |times: u64| usize::try_from(times).unwrap());
    let mut random = Random(number("SEED").unwrap_or(1) | 1 << 40);
    let (mut tally, mut tried) = (Tally::default(), 0);
    let other = Site::new();
    other.work(&mut random).await;
    while tried < times {
        let mut site = Site::new();
        for _ in 0..OF_MACHINE.min(times - tried) {
            tried += 1;
            if !trial(&mut site, &other.laptop.log(), &mut random, &mut tally).await {
                break;
            }
        }
    }
    let tell = |metric: &str, violations: usize, tried: usize, more: &str| {
        println!(
            "figure {{\"variant\":\"anchor\",\"metric\":\"{metric}\",\"samples\":[{violations}],\"goal\":0,\"notes\":[],\"more\":{{\"tried\":{tried}{more}}}}}"
        );
    };
    let window = format!(",\"after a power loss inside the window\":{}", tally.in_window);
    tell(
        "other logs and other anchors that a start does not detect",
        tally.undetected,
        tally.attacks,
        &window,
    );
    tell("starts of a sound log that are refused", tally.false_alarms, tally.sound, "");
    assert_eq!((tally.undetected, tally.false_alarms), (0, 0), "{tally:?}");
    assert!(tally.attacks > 0 && tally.sound > 0, "{tally:?}");
}
