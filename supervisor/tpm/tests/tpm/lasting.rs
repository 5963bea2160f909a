//! What lasts: over a reset, a chip that goes and comes back, a slow one, a full one; an old key folder; and no chip at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tpm::{Error, HeadDigest, KeyOrigin, Kind, Priority, verify};
use tss_esapi::constants::SessionType;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::SymmetricDefinition;
use types::hash::Hash;

use crate::common::{Machine, Wire};
use crate::rival::Rival;

const DIGEST: Hash = Hash([5; 32]);

#[tokio::test]
async fn a_reset_is_repaired_without_anybody_noticing() {
    let machine = Machine::new();
    let mut swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let blob = tpm.seal(b"secret").await.unwrap();
    for round in 1..4 {
        swtpm.restart();
        match round {
            1 => assert!(verify(
                tpm.head_key(),
                DIGEST,
                tpm.sign_head(HeadDigest(DIGEST)).await.unwrap().der()
            )),
            2 => assert_eq!(**tpm.unseal(&blob).await.unwrap(), *b"secret"),
            _ => assert!(verify(tpm.general_key(), DIGEST, tpm.sign(DIGEST).await.unwrap().der())),
        }
        assert_eq!(tpm.counters().reconnects, round);
        let held = tpm.resources().await.unwrap();
        assert_eq!((held.transient, held.sessions, held.persistent), (1, 1, 1));
    }
    tpm.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_chip_that_comes_back_is_used_again() {
    let machine = Machine::new();
    let mut swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    swtpm.power_off();
    let start = Instant::now();
    let mut attempts = 0;
    while start.elapsed() < Duration::from_millis(1500) {
        let error = tpm.sign(DIGEST).await.err().unwrap();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        attempts += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(attempts > 20);
    swtpm.restart();
    // Within the longest pause between two attempts.
    let start = Instant::now();
    while tpm.sign_head(HeadDigest(DIGEST)).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(verify(tpm.general_key(), DIGEST, tpm.sign(DIGEST).await.unwrap().der()));
    assert_eq!(tpm.counters().reconnects, 1);
}

#[tokio::test]
async fn another_chip_in_its_place_is_refused() {
    let (machine, other) = (Machine::new(), Machine::new());
    let mut swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let foreign = other.power_on();
    other.open(&foreign).shutdown().await.unwrap();
    drop(foreign);
    swtpm.power_off();
    swtpm.restart_with(&other);
    for _ in 0..5 {
        let error = tpm.sign(DIGEST).await.err().unwrap();
        assert!(matches!(error, Error::ForeignKeyDir { .. } | Error::Unavailable { .. }), "{error}");
    }
    swtpm.power_off();
    swtpm.restart_with(&machine);
    let start = Instant::now();
    while tpm.sign(DIGEST).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_waits_for_a_slow_chip_is_served_and_who_gave_up_costs_it_nothing() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let is_slow = Arc::new(AtomicBool::new(false));
    let signatures = Arc::new(AtomicU32::new(0));
    let (slow, count) = (is_slow.clone(), signatures.clone());
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            if command[6..10] == [0, 0, 0x01, 0x5d] {
                count.fetch_add(1, Ordering::Relaxed);
                if slow.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_secs(2));
                }
            }
            chip(command)
        }),
    );
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config).unwrap();
    is_slow.store(true, Ordering::Relaxed);
    let slow = tokio::spawn({
        let tpm = tpm.clone();
        async move { tpm.sign_head(HeadDigest(DIGEST)).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Behind it: ten that give up, background work, and a stop that must come before it.
    for _ in 0..10 {
        let late = tpm.within(Duration::from_millis(20)).sign_head(HeadDigest(DIGEST)).await;
        assert!(matches!(late, Err(Error::DeadlinePassed)));
    }
    is_slow.store(false, Ordering::Relaxed);
    let order = Arc::new(AtomicU32::new(0));
    let place = |priority| {
        let (tpm, order) = (tpm.at(priority), order.clone());
        tokio::spawn(async move {
            tpm.random(8).await.unwrap();
            order.fetch_add(1, Ordering::SeqCst)
        })
    };
    let background = place(Priority::Background);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let urgent = place(Priority::Urgent);
    assert!(slow.await.unwrap().is_ok());
    assert_eq!((urgent.await.unwrap(), background.await.unwrap()), (0, 1));
    assert_eq!(signatures.load(Ordering::Relaxed), 1);
    let counters = tpm.counters();
    assert_eq!((counters.cancelled, counters.deadline_passed), (10, 10));
    let heads = counters.of(Kind::SignHead);
    assert_eq!((heads.count, heads.failed), (1, 0));
    assert!(heads.time_ns_max >= 2_000_000_000);
    // 2^20 µs are 1.05 s, 2^21 are 2.1 s.
    assert_eq!(heads.buckets[20] + heads.buckets[21], 1, "{heads:?}");
    assert!(counters.of(Kind::Random).wait_ns_max >= 1_000_000_000);
}

#[tokio::test]
async fn a_chip_that_others_have_filled_is_busy_and_not_broken() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let mut rival = Rival::new(&swtpm);
    // swtpm holds three sessions: ours and two of his.
    let mut sessions = Vec::new();
    loop {
        let started = rival.context().execute_without_session(|context| {
            let cipher = SymmetricDefinition::AES_128_CFB;
            context.start_auth_session(None, None, None, SessionType::Hmac, cipher, HashingAlgorithm::Sha256)
        });
        match started {
            Ok(session) => sessions.push(session),
            Err(_) => break,
        }
    }
    assert!(!sessions.is_empty());
    let index = 0x0180_0009;
    tpm.nv_define(index, tpm::NvKind::Counter, tpm::NvWriter::Key).await.unwrap();
    let hasty = tpm.within(Duration::from_secs(2));
    let error = hasty.nv_increment(index).await.err().unwrap();
    assert!(matches!(error, Error::Busy { .. } | Error::DeadlinePassed), "{error}");
    // What needs no further session goes on.
    assert!(tpm.sign(DIGEST).await.is_ok());
    drop(sessions);
    rival.flush_sessions();
    tpm.nv_increment(index).await.unwrap();
    assert_eq!(tpm.resources().await.unwrap().transient, 1);
}

#[tokio::test]
async fn a_lockout_is_named_and_does_not_stop_us() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    Rival::new(&swtpm).lock_out();
    assert!(tpm.features().await.unwrap().is_locked_out);
    // Our objects do not count towards it and are not stopped by it.
    assert!(tpm.sign(DIGEST).await.is_ok());
    assert!(tpm.sign_head(HeadDigest(DIGEST)).await.is_ok());
}

#[tokio::test]
async fn an_old_key_folder_keeps_its_key_as_the_head_key() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let (head, general) = (*tpm.head_key(), *tpm.general_key());
    assert_ne!(head, general);
    let blob = tpm.seal(b"sealed before").await.unwrap();
    tpm.shutdown().await.unwrap();
    // What the first version left: one key.
    for file in ["general.key", "attestation.key"] {
        std::fs::remove_file(machine.key_dir().join(file)).unwrap();
    }
    let tpm = machine.open(&swtpm);
    assert_eq!((*tpm.head_key(), tpm.key_origin()), (head, KeyOrigin::Loaded));
    assert_ne!(*tpm.general_key(), general);
    assert_eq!(**tpm.unseal(&blob).await.unwrap(), *b"sealed before");
    assert!(verify(&head, DIGEST, tpm.sign_head(HeadDigest(DIGEST)).await.unwrap().der()));
    let general = *tpm.general_key();
    tpm.shutdown().await.unwrap();
    // And from then on the new keys stay.
    let tpm = machine.open(&swtpm);
    assert_eq!((*tpm.head_key(), *tpm.general_key()), (head, general));
    tpm.shutdown().await.unwrap();
    // One key's file in place of another's: each has an authorisation value of its own, so it does not sign as the other.
    std::fs::copy(machine.key_dir().join("general.key"), machine.key_file()).unwrap();
    let tpm = machine.open(&swtpm);
    let error = tpm.sign_head(HeadDigest(DIGEST)).await.err().unwrap();
    assert!(matches!(error, Error::DamagedKey { .. }), "{error}");
}

#[tokio::test]
async fn without_a_chip_it_says_so_everywhere_and_keeps_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = tpm::Config::new(folder.path().join("keys"));
    let tpm = tpm::start_software(&config).unwrap();
    assert!(tpm.identity().is_software());
    assert!(tpm.identity().to_string().contains("without a TPM"), "{}", tpm.identity());
    assert_eq!((tpm.key_origin(), tpm.attestation_key()), (KeyOrigin::Created, None));
    let (head, general) = (*tpm.head_key(), *tpm.general_key());
    assert_ne!(head, general);
    assert!(verify(&head, DIGEST, tpm.sign_head(HeadDigest(DIGEST)).await.unwrap().der()));
    assert!(verify(&general, DIGEST, tpm.sign(DIGEST).await.unwrap().der()));
    let blob = tpm.seal(b"secret").await.unwrap();
    assert!(!blob.windows(6).any(|part| part == b"secret"));
    assert_eq!(tpm.random(100).await.unwrap().len(), 100);
    for refused in [tpm.read_anchor(Default::default()).await.err(), tpm.resources().await.err()] {
        assert!(matches!(refused, Some(Error::Unsupported { .. })), "{refused:?}");
    }
    tpm.shutdown().await.unwrap();
    let tpm = tpm::start_software(&config).unwrap();
    assert_eq!((*tpm.head_key(), *tpm.general_key(), tpm.key_origin()), (head, general, KeyOrigin::Loaded));
    assert_eq!(**tpm.unseal(&blob).await.unwrap(), *b"secret");
    let mut spoiled = blob.clone();
    spoiled[30] ^= 1;
    assert!(matches!(tpm.unseal(&spoiled).await, Err(Error::DamagedBlob { .. })));
    tpm.shutdown().await.unwrap();
    // It never takes the place of a TPM's key, nor the other way round.
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let chip = machine.open(&swtpm);
    assert!(matches!(chip.unseal(&blob).await, Err(Error::DamagedBlob { .. } | Error::ForeignBlob)));
    chip.shutdown().await.unwrap();
    let mut mixed = machine.config(&swtpm);
    assert!(matches!(tpm::start_software(&mixed), Err(Error::ForeignKeyDir { .. })));
    mixed.key_dir = config.key_dir;
    assert!(matches!(tpm::start(&mixed), Err(Error::ForeignKeyDir { .. })));
}
