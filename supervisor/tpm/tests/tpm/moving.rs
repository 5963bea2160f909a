//! A new mainboard, and the counter that voids policies, against real software TPMs.

use tpm::{Error, NvKind, NvWriter, PcrSelection, PolicyKey, REVOCATION, Reuse, Terms, sign_policy};

use crate::common::Machine;
use crate::rival::Rival;

#[tokio::test]
async fn the_revocation_counter_is_made_once_and_goes_on() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    assert_eq!(tpm.revocation().await.unwrap(), None);
    assert!(matches!(tpm.revoke().await, Err(Error::NvMissing { .. })));
    let made = tpm.make_revocation(Reuse::Keep).await.unwrap();
    assert_eq!(tpm.make_revocation(Reuse::Keep).await.unwrap(), made);
    assert_eq!(tpm.revocation().await.unwrap(), Some(made));
    let on = tpm.revoke().await.unwrap();
    assert_eq!((on.name, on.value), (made.name, made.value + 1));
    assert_eq!(tpm.make_revocation(Reuse::Renew).await.unwrap().value, made.value + 2);
    // Defined anew in its place it brings no old value back, and is taken up only above all of them.
    Rival::new(&swtpm).define_the_same_again(REVOCATION);
    assert!(matches!(tpm.revocation().await, Err(Error::NvUnwritten { .. })));
    assert!(tpm.make_revocation(Reuse::Keep).await.unwrap().value > made.value + 2);
    // Another one is kept unless it is to be replaced.
    tpm.forget_revocation().await.unwrap();
    tpm.forget_revocation().await.unwrap();
    tpm.nv_define(REVOCATION, NvKind::Counter, NvWriter::Value).await.unwrap();
    tpm.nv_increment(REVOCATION).await.unwrap();
    assert!(matches!(tpm.revocation().await, Err(Error::NvForeign { .. })));
    assert!(matches!(tpm.make_revocation(Reuse::Keep).await, Err(Error::NvForeign { .. })));
    let replaced = tpm.make_revocation(Reuse::Renew).await.unwrap();
    assert_eq!(replaced.name, made.name);
    assert!(replaced.value > on.value);
    let held = tpm.resources().await.unwrap();
    assert_eq!((held.transient, held.sessions), (1, 1));
}

#[tokio::test]
async fn a_renewed_counter_voids_what_was_signed_before() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let revocation = tpm.make_revocation(Reuse::Keep).await.unwrap();
    let pcrs = PcrSelection::new([7]).unwrap();
    let terms = Terms {
        pcrs,
        pcr_digest: tpm.pcr_read(pcrs).await.unwrap().digest(),
        revocation: revocation.index,
        revocation_name: revocation.name,
        counter_max: revocation.value,
    };
    let key = PolicyKey::generate().unwrap();
    let policy = sign_policy(&key.private, terms).unwrap();
    let blob = tpm.seal_policy(b"secret", &key.public).await.unwrap();
    assert_eq!(**tpm.unseal_policy(&blob, &policy).await.unwrap(), *b"secret");
    tpm.make_revocation(Reuse::Renew).await.unwrap();
    let refused = tpm.unseal_policy(&blob, &policy).await;
    assert!(matches!(refused, Err(Error::PolicyRevoked { .. })), "{refused:?}");
}

#[tokio::test]
async fn keys_of_another_tpm_are_put_aside_and_known_by_their_public_halves() {
    let (machine, other) = (Machine::new(), Machine::new());
    let mut swtpm = machine.power_on();
    let (head, general) = {
        let tpm = machine.open(&swtpm);
        let keys = (*tpm.head_key(), *tpm.general_key());
        tpm.shutdown().await.unwrap();
        keys
    };
    assert!(tpm::retired(&machine.key_dir()).unwrap().is_empty());
    swtpm.restart_with(&other);
    assert!(matches!(tpm::start(&machine.config(&swtpm)), Err(Error::ForeignKeyDir { .. })));
    let retired = tpm::retire(&machine.key_dir()).unwrap();
    assert_eq!((retired.head, retired.general), (head, general));
    // Cut off half-way: the general key was moved, the head key not yet.
    std::fs::rename(retired.dir.join("signing.key"), machine.key_file()).unwrap();
    assert_eq!(tpm::retire(&machine.key_dir()).unwrap(), retired);
    assert_eq!(tpm::retired(&machine.key_dir()).unwrap(), std::slice::from_ref(&retired));
    let tpm = machine.open(&swtpm);
    assert_ne!(*tpm.head_key(), head);
    tpm.shutdown().await.unwrap();
    // The old mainboard comes back: its files are still good.
    swtpm.restart_with(&machine);
    for name in ["general.key", "attestation.key", "signing.key"] {
        std::fs::rename(retired.dir.join(name), machine.key_dir().join(name)).unwrap();
    }
    assert_eq!(*machine.open(&swtpm).head_key(), head);
}
