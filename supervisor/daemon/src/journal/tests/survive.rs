//! A run of survival: somebody who can write the disk, and somebody who can open the chip, against the anchor.
//!
//! `cargo test` does a sample, `make survive WHAT=anchor` the whole; `SURVIVE_ANCHOR` is the number of trials. Each ends with lines that
//! `scripts/survive.sh` reads.

use tpm::{AnchorHandles, NvKind, NvWriter};

use super::*;

/// Trials of the sample.
const SAMPLE: usize = 2 * ATTACKS.len();
/// Trials with one machine: its chip allows so many anchorings at once.
const OF_MACHINE: usize = 12;

/// What is done to a log and its anchor between a stop and the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Nothing: a start that refuses is a false alarm.
    None,
    /// The power fails, and nothing else.
    Power,
    /// The machine sleeps, and nothing else.
    Sleep,
    /// A copy of before is put back.
    Older,
    /// The same after the power failed.
    OlderUnpowered,
    /// The same after the machine slept.
    OlderSlept,
    /// The log is removed.
    Removed,
    /// The log of another machine is put there.
    Other,
    /// All that says something of the anchor is removed from the log.
    Headless,
    /// One of the anchor's indices is removed.
    Undefined(usize),
    /// And made again, as who knows no key of ours can make it, or with our attributes and policy.
    Recreated(usize, NvWriter),
    /// The whole anchor is removed, and the log with it.
    Emptied,
    /// The whole anchor is removed, and all that says something of it from the log.
    Forgotten,
}

/// In turn, so that a run has as many of each.
const ATTACKS: [Attack; 19] = [
    Attack::None,
    Attack::Older,
    Attack::OlderUnpowered,
    Attack::OlderSlept,
    Attack::Removed,
    Attack::Power,
    Attack::Other,
    Attack::Headless,
    Attack::Undefined(0),
    Attack::Undefined(1),
    Attack::Undefined(2),
    Attack::Sleep,
    Attack::Recreated(0, NvWriter::Value),
    Attack::Recreated(0, NvWriter::Key),
    Attack::Recreated(1, NvWriter::Value),
    Attack::Recreated(1, NvWriter::Key),
    Attack::Recreated(2, NvWriter::Value),
    Attack::Emptied,
    Attack::Forgotten,
];

impl Attack {
    /// Whether the anchor is as it was afterwards.
    const fn leaves_the_chip(self) -> bool {
        !matches!(self, Self::Undefined(_) | Self::Recreated(..) | Self::Emptied | Self::Forgotten)
    }
}

/// One of the anchor's indices, and what it is.
fn index(place: usize) -> (u32, NvKind) {
    let AnchorHandles { counter, record, orderly } = AnchorHandles::default();
    [(counter, NvKind::Counter), (record, NvKind::Bytes(84)), (orderly, NvKind::OrderlyCounter)][place]
}

/// Removes the heads of a log; its entries stay.
fn behead(log: &Path) {
    for entry in std::fs::read_dir(log).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".heads") || name == "checkpoint" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
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

    /// Ends the process, in which the keys may have been made, and begins another; in between something happens to the chip.
    async fn anew(&mut self, meanwhile: impl FnOnce(&mut Swtpm)) {
        self.tpm.shutdown().await.unwrap();
        meanwhile(&mut self.swtpm);
        self.tpm = self.laptop.machine.open(&self.swtpm);
    }

    async fn is_refused(&self) -> bool {
        self.laptop.begin(&self.tpm).await.is_err()
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
        let refused = self.is_refused().await;
        if log.exists() {
            std::fs::remove_dir_all(&log).unwrap();
        }
        std::fs::rename(&newest, &log).unwrap();
        refused
    }
}

/// One attack; whether what may follow is on the same machine.
async fn trial(
    site: &mut Site,
    (attack, stranger): (Attack, &Path),
    random: &mut Random,
    tally: &mut Tally,
) -> bool {
    let (size, anchored) = site.work(random).await;
    site.anew(|swtpm| match attack {
        Attack::Power | Attack::OlderUnpowered => swtpm.restart(),
        Attack::Sleep | Attack::OlderSlept => swtpm.sleep(),
        _ => {}
    })
    .await;
    if !attack.leaves_the_chip() {
        spoil_the_anchor(&site.tpm, attack).await;
    }
    let older = site.older.clone();
    let refused = match attack {
        Attack::None | Attack::Power | Attack::Sleep => {
            tally.sound += 1;
            let refused = site.is_refused().await;
            tally.false_alarms += usize::from(refused);
            return !refused;
        }
        // All that was anchored is there: it is the window that the documentation speaks of.
        Attack::OlderUnpowered if size >= anchored => {
            let refused = site.is_refused_with(Some(&older)).await;
            tally.in_window += usize::from(!refused);
            return false;
        }
        Attack::Older | Attack::OlderUnpowered | Attack::OlderSlept => {
            site.is_refused_with(Some(&older)).await
        }
        Attack::Removed | Attack::Emptied => site.is_refused_with(None).await,
        Attack::Other => site.is_refused_with(Some(stranger)).await,
        Attack::Headless | Attack::Forgotten => {
            let headless = site.laptop.folder.path().join("headless");
            copy(&site.laptop.log(), &headless);
            behead(&headless);
            let refused = site.is_refused_with(Some(&headless)).await;
            std::fs::remove_dir_all(headless).unwrap();
            refused
        }
        Attack::Undefined(_) | Attack::Recreated(..) => site.is_refused().await,
    };
    tally.attacks += 1;
    if !refused {
        println!("seed of this run: undetected: {attack:?}, {size} of a log anchored at {anchored}");
        tally.undetected += 1;
    }
    refused && attack.leaves_the_chip()
}

async fn spoil_the_anchor(tpm: &tpm::Handle, attack: Attack) {
    match attack {
        Attack::Undefined(place) => tpm.nv_undefine(index(place).0).await.unwrap(),
        Attack::Recreated(place, writer) => {
            let (index, kind) = index(place);
            tpm.nv_undefine(index).await.unwrap();
            tpm.nv_define(index, kind, writer).await.unwrap();
            if writer == NvWriter::Value && place == 2 {
                // What he brings it to is above all that a head names; whether he can is not the question.
                let _ = tpm.increment_orderly(AnchorHandles::default()).await;
            }
        }
        _ => tpm.forget_anchor(AnchorHandles::default()).await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn survive_no_other_log_and_no_other_anchor_goes_undetected() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let times = number("SURVIVE_ANCHOR").map_or(SAMPLE, |times: u64| usize::try_from(times).unwrap());
    let mut random = Random(number("SEED").unwrap_or(1) | 1 << 40);
    let (mut tally, mut tried) = (Tally::default(), 0);
    let mut attacks = ATTACKS.iter().copied().cycle();
    let other = Site::new();
    other.work(&mut random).await;
    while tried < times {
        let mut site = Site::new();
        for _ in 0..OF_MACHINE.min(times - tried) {
            tried += 1;
            let attack = attacks.next().unwrap();
            if !trial(&mut site, (attack, &other.laptop.log()), &mut random, &mut tally).await {
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
