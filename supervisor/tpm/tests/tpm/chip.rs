//! The TPM as its users see it, against a real software TPM.

use std::time::Duration;

use crate::common::Machine;
use tokio::task::JoinSet;
use tpm::{Error, HeadDigest, KeyOrigin, Kind, PublicKey, RANDOM_MAX, SEAL_MAX, verify};
use types::hash::Hash;

fn digest(n: u32) -> Hash {
    let mut hash = Hash::default();
    hash.0.iter_mut().zip(n.to_le_bytes()).for_each(|(to, from)| *to = from);
    hash
}

fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}

#[tokio::test]
async fn it_says_who_it_is() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let identity = tpm.identity();
    assert_eq!(identity.manufacturer, "IBM");
    assert!(identity.vendor.starts_with("SW"), "{identity:?}");
    assert!(identity.firmware != 0);
    assert!((100..1000).contains(&identity.revision), "{identity:?}");
    assert!(identity.is_software());
}

#[tokio::test]
async fn it_signs_what_software_verifies() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let key = PublicKey::from_spki(&tpm.general_key().spki()).unwrap();
    // Some hundred signatures, so that leading zeros in r and s come up too.
    for n in 0..200 {
        let signature = tpm.sign(digest(n)).await.unwrap();
        assert!(verify(&key, digest(n), signature.der()), "signature {n}");
        assert!(!verify(&key, digest(n + 1), signature.der()), "signature {n}");
    }
    let mut spoiled = tpm.sign(digest(0)).await.unwrap().der().to_vec();
    *spoiled.last_mut().unwrap() ^= 1;
    assert!(!verify(&key, digest(0), &spoiled));
}

#[tokio::test]
async fn the_key_outlives_handle_and_chip_power() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let key = *tpm.general_key();
    let blob = tpm.seal(b"until tomorrow").await.unwrap();
    assert_eq!(tpm.key_origin(), KeyOrigin::Created);
    tpm.shutdown().await.unwrap();

    let tpm = machine.open(&swtpm);
    assert_eq!(tpm.key_origin(), KeyOrigin::Loaded);
    assert_eq!(*tpm.general_key(), key);
    tpm.shutdown().await.unwrap();
    drop(swtpm);

    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    assert_eq!(tpm.key_origin(), KeyOrigin::Loaded);
    assert_eq!(*tpm.general_key(), key);
    let signature = tpm.sign(digest(7)).await.unwrap();
    assert!(verify(&key, digest(7), signature.der()));
    assert_eq!(**tpm.unseal(&blob).await.unwrap(), *b"until tomorrow");
}

#[tokio::test]
async fn it_unseals_what_it_sealed_and_nothing_else() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for len in [1, 32, SEAL_MAX] {
        let data: Vec<u8> = (0..len).map(|i| u8::try_from(i).unwrap()).collect();
        let blob = tpm.seal(&data).await.unwrap();
        assert!(
            !blob.windows(len.min(16)).any(|window| len > 1 && window == &data[..len.min(16)]),
            "in the clear"
        );
        assert_eq!(**tpm.unseal(&blob).await.unwrap(), *data);
    }
    assert!(matches!(tpm.seal(&[]).await, Err(Error::Length { .. })));
    assert!(matches!(tpm.seal(&[0; SEAL_MAX + 1]).await, Err(Error::Length { .. })));
    assert!(matches!(tpm.unseal(&[]).await, Err(Error::Length { .. })));

    // Each byte of a blob matters, and none of them makes anything but a clear error.
    let blob = tpm.seal(b"secret").await.unwrap();
    for position in 0..blob.len() {
        let mut spoiled = blob.clone();
        spoiled[position] ^= 0x55;
        match tpm.unseal(&spoiled).await {
            Err(Error::DamagedBlob { .. } | Error::ForeignBlob) => {}
            other => panic!("byte {position} of {}: {other:?}", blob.len()),
        }
    }
    assert_eq!(**tpm.unseal(&blob).await.unwrap(), *b"secret");
}

#[tokio::test]
async fn a_blob_of_another_tpm_is_refused_as_such() {
    let (here, there) = (Machine::new(), Machine::new());
    let (swtpm_here, swtpm_there) = (here.power_on(), there.power_on());
    let blob = there.open(&swtpm_there).seal(b"theirs").await.unwrap();
    let tpm = here.open(&swtpm_here);
    let error = refused(tpm.unseal(&blob).await);
    assert!(matches!(error, Error::ForeignBlob), "{error}");
    assert!(error.to_string().contains("another TPM"), "{error}");
    // And the chip goes on.
    assert!(tpm.sign(digest(1)).await.is_ok());
}

#[tokio::test]
async fn a_blob_of_another_key_folder_is_refused_as_such() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let blob = tpm.seal(b"old").await.unwrap();
    tpm.shutdown().await.unwrap();
    std::fs::rename(machine.key_dir(), machine.key_dir().with_extension("away")).unwrap();
    let tpm = machine.open(&swtpm);
    assert_eq!(tpm.key_origin(), KeyOrigin::Created);
    let error = refused(tpm.unseal(&blob).await);
    assert!(matches!(error, Error::DamagedBlob { .. }), "{error}");
    // A wrong authorisation does not count towards a lockout.
    for _ in 0..40 {
        assert!(matches!(tpm.unseal(&blob).await, Err(Error::DamagedBlob { .. })));
    }
    assert!(tpm.sign(digest(1)).await.is_ok());
}

#[tokio::test]
async fn a_key_folder_of_another_tpm_is_refused_and_left_alone() {
    let (here, there) = (Machine::new(), Machine::new());
    let (swtpm_here, swtpm_there) = (here.power_on(), there.power_on());
    there.open(&swtpm_there).shutdown().await.unwrap();
    std::fs::create_dir(here.key_dir()).unwrap();
    std::fs::copy(there.key_file(), here.key_file()).unwrap();
    let before = std::fs::read(here.key_file()).unwrap();

    let error = refused(tpm::start(&here.config(&swtpm_here)));
    assert!(matches!(error, Error::ForeignKeyDir { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("another TPM") && text.contains("move the file away"), "{text}");
    assert_eq!(std::fs::read(here.key_file()).unwrap(), before);
    // It goes on working where it belongs.
    there.open(&swtpm_there);
}

#[tokio::test]
async fn a_damaged_key_is_refused_and_left_alone() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    machine.open(&swtpm).shutdown().await.unwrap();
    let whole = std::fs::read(machine.key_file()).unwrap();
    // Bytes of every part of the file: version, name, public, private, secret, sum.
    for position in (0..whole.len()).step_by(13) {
        let mut spoiled = whole.clone();
        spoiled[position] ^= 0x55;
        std::fs::write(machine.key_file(), &spoiled).unwrap();
        match tpm::start(&machine.config(&swtpm)) {
            Err(Error::DamagedKey { .. }) => {}
            Err(other) => panic!("byte {position} of {}: {other}", whole.len()),
            Ok(_) => panic!("byte {position} of {}: accepted", whole.len()),
        }
        assert_eq!(std::fs::read(machine.key_file()).unwrap(), spoiled);
    }
    // An attacker who adapts the sum too: the secret is the map's last field, and the TPM notices.
    let mut spoiled = whole[..whole.len() - 32].to_vec();
    *spoiled.last_mut().unwrap() ^= 0x40;
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spoiled);
    spoiled.extend_from_slice(sum.as_ref());
    std::fs::write(machine.key_file(), &spoiled).unwrap();
    let tpm = machine.open(&swtpm);
    let error = refused(tpm.sign_head(HeadDigest(digest(1))).await);
    assert!(matches!(error, Error::DamagedKey { .. }), "{error}");
    tpm.shutdown().await.unwrap();

    std::fs::write(machine.key_file(), &whole).unwrap();
    machine.open(&swtpm);
}

#[tokio::test]
async fn a_start_without_a_chip_says_what_to_do() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let mut config = machine.config(&swtpm);
    drop(swtpm);
    let dead = config.tcti.clone();
    // The null device can be opened, but no TPM answers there.
    for tcti in [dead.as_str(), "device:/dev/does-not-exist", "device:/dev/null", "nonsense"] {
        config.tcti = tcti.to_owned();
        let error = refused(tpm::start(&config));
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains(&config.tcti), "{error}");
    }
    // A start that failed left no key behind.
    assert!(!machine.key_file().exists());
}

#[tokio::test]
async fn random_bytes_are_as_many_as_asked_for_and_differ() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for len in [1, 31, 32, 33, 100, RANDOM_MAX] {
        assert_eq!(tpm.random(len).await.unwrap().len(), len);
    }
    assert_ne!(tpm.random(32).await.unwrap(), tpm.random(32).await.unwrap());
    assert!(matches!(tpm.random(0).await, Err(Error::Length { .. })));
    assert!(matches!(tpm.random(RANDOM_MAX + 1).await, Err(Error::Length { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_are_all_served() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let start = tpm.counters();
    let mut tasks = JoinSet::new();
    for n in 0..100 {
        let tpm = tpm.clone();
        tasks.spawn(async move {
            let signature = tpm.sign_head(HeadDigest(digest(n))).await.unwrap();
            verify(tpm.head_key(), digest(n), signature.der())
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|valid| valid));
    let counters = tpm.counters();
    assert_eq!((counters.of(Kind::SignHead).count, counters.of(Kind::SignHead).failed), (100, 0));
    assert!(
        counters.of(Kind::SignHead).time_ns >= counters.of(Kind::SignHead).time_ns_max
            && counters.of(Kind::SignHead).time_ns_max > 0
    );
    // With the key and the session kept, a signature is one command.
    assert_eq!(counters.commands - start.commands, 100 + counters.retries);
    assert_eq!(counters.queue_len, 0);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_serves_the_others() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let mut config = machine.config(&swtpm);
    config.queue_len = 2;
    let tpm = tpm::start(&config).unwrap();
    swtpm.pause();
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        let tpm = tpm.clone();
        tasks.spawn(async move { tpm.sign(digest(n)).await });
    }
    // One may be in the chip, two wait: at least seven are refused while it hangs.
    let mut full = 0;
    while full < 7 {
        let error = refused(tasks.join_next().await.unwrap().unwrap());
        assert!(matches!(error, Error::QueueFull { len: 2 }), "{error}");
        full += 1;
    }
    swtpm.resume();
    let mut served = 0;
    for result in tasks.join_all().await {
        match result {
            Ok(_) => served += 1,
            Err(Error::QueueFull { .. }) => full += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(served >= 2, "{served} served, {full} refused");
    assert_eq!(tpm.counters().queue_full, full);
}

#[tokio::test]
async fn a_passed_deadline_is_an_error_and_the_queue_goes_on() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    swtpm.pause();
    let hasty = tpm.within(Duration::from_millis(50));
    for n in 0..3 {
        let error = refused(hasty.sign(digest(n)).await);
        assert!(matches!(error, Error::DeadlinePassed), "{error}");
    }
    assert!(matches!(hasty.shutdown().await, Err(Error::DeadlinePassed)));
    swtpm.resume();
    drop(hasty);
    // The shutdown whose caller gave up was asked for all the same, and comes first.
    assert!(matches!(tpm.sign(digest(9)).await, Err(Error::Stopped)));
    let counters = tpm.counters();
    assert_eq!(counters.deadline_passed, 4);
    // The first was in the chip already; nobody waited for the others any more.
    assert!(counters.of(Kind::Sign).count <= 1, "{counters:?}");

    let tpm = machine.open(&swtpm);
    swtpm.pause();
    assert!(matches!(
        tpm.within(Duration::from_millis(50)).sign(digest(0)).await,
        Err(Error::DeadlinePassed)
    ));
    swtpm.resume();
    let signature = tpm.sign(digest(1)).await.unwrap();
    assert!(verify(tpm.general_key(), digest(1), signature.der()));
}

#[tokio::test]
async fn nothing_leaks_in_the_chip() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let before = tpm.resources().await.unwrap();
    assert_eq!((before.transient, before.sessions, before.persistent), (1, 1, 1));
    let foreign = {
        let other = Machine::new();
        let swtpm = other.power_on();
        other.open(&swtpm).seal(b"theirs").await.unwrap()
    };
    for n in 0..50 {
        let blob = tpm.seal(&n.to_string().into_bytes()).await.unwrap();
        tpm.unseal(&blob).await.unwrap();
        let mut spoiled = blob.clone();
        *spoiled.last_mut().unwrap() ^= 1;
        refused(tpm.unseal(&spoiled).await);
        refused(tpm.unseal(&foreign).await);
        tpm.sign(digest(n)).await.unwrap();
        tpm.random(16).await.unwrap();
    }
    assert_eq!(tpm.resources().await.unwrap(), before);

    // Neither do starts and ends, in order or not: more of them than the chip has slots.
    tpm.shutdown().await.unwrap();
    for _ in 0..5 {
        let tpm = machine.open(&swtpm);
        assert_eq!(tpm.resources().await.unwrap(), before);
        tpm.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_chip_that_dies_is_an_error_for_all_and_not_a_hang() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    swtpm.pause();
    let mut tasks = JoinSet::new();
    for n in 0..5 {
        let tpm = tpm.clone();
        tasks.spawn(async move { tpm.sign(digest(n)).await });
    }
    tokio::task::yield_now().await;
    // SIGKILL.
    drop(swtpm);
    for result in tasks.join_all().await {
        let error = refused(result);
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("try again"), "{error}");
    }
    assert!(matches!(tpm.random(8).await, Err(Error::Unavailable { .. })));
    // It can be closed, and a new start finds the key.
    let key = *tpm.general_key();
    assert!(matches!(tpm.shutdown().await, Err(Error::Unavailable { .. })));
    let swtpm = machine.power_on();
    assert_eq!(*machine.open(&swtpm).general_key(), key);
}

#[tokio::test]
async fn after_a_shutdown_all_handles_hear_of_it() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let other = tpm.clone();
    // What was asked for before is still done.
    let (signature, closed) = tokio::join!(other.sign(digest(1)), tpm.shutdown());
    assert!(signature.is_ok());
    closed.unwrap();
    assert!(matches!(other.sign(digest(2)).await, Err(Error::Stopped)));
    tpm.shutdown().await.unwrap();
}
