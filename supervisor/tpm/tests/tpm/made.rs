//! Keys made for callers, and what the chip says it offers.

use tpm::{Error, KeyKind, MadePublic, NvKind, NvWriter, verify};
use types::hash::Hash;

use crate::common::{Machine, Wire};

#[tokio::test]
async fn made_keys_sign_what_software_verifies() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for kind in [KeyKind::P256, KeyKind::Rsa2048] {
        let key = tpm.make_key(kind).await.unwrap();
        let signature = tpm.sign_with(&key, Hash([3; 32])).await.unwrap();
        assert!(key.public.verify(Hash([3; 32]), &signature));
        assert!(!key.public.verify(Hash([4; 32]), &signature));
        let other = tpm.make_key(kind).await.unwrap();
        assert!(!other.public.verify(Hash([3; 32]), &signature));
        for place in (0..key.blob.len()).step_by(31) {
            let mut spoiled = key.clone();
            spoiled.blob[place] ^= 0x55;
            match tpm.sign_with(&spoiled, Hash([3; 32])).await {
                Err(Error::DamagedBlob { .. } | Error::ForeignBlob) => {}
                other => panic!("byte {place}: {other:?}"),
            }
        }
    }
    // Neither is the key that signs heads; and a key to encrypt with signs nothing.
    let key = tpm.make_key(KeyKind::P256).await.unwrap();
    let signature = tpm.sign_with(&key, Hash([3; 32])).await.unwrap();
    assert!(!verify(tpm.head_key(), Hash([3; 32]), &signature));
    let cipher = tpm.make_key(KeyKind::Aes128).await.unwrap();
    assert_eq!(cipher.public, MadePublic::None);
    assert!(tpm.sign_with(&cipher, Hash([3; 32])).await.is_err());
    let other = Machine::new();
    let other_swtpm = other.power_on();
    let error = other.open(&other_swtpm).sign_with(&key, Hash([3; 32])).await.err().unwrap();
    assert!(matches!(error, Error::ForeignBlob), "{error}");
    assert_eq!(tpm.resources().await.unwrap().transient, 1);
}

#[tokio::test]
async fn the_chip_encrypts_or_says_that_it_does_not() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    assert!(tpm.features().await.unwrap().encrypts);
    let key = tpm.make_key(KeyKind::Aes128).await.unwrap();
    for len in [1usize, 16, 100, 1024] {
        let data = vec![len.to_le_bytes()[0]; len];
        let encrypted = tpm.encrypt(&key, [9; 16], &data).await.unwrap();
        assert!(len < 16 || encrypted != data);
        assert_eq!(**tpm.decrypt(&key, [9; 16], &encrypted).await.unwrap(), *data);
        assert!(len < 16 || **tpm.decrypt(&key, [8; 16], &encrypted).await.unwrap() != *data);
    }
    assert!(matches!(tpm.encrypt(&key, [0; 16], &[0; 1025]).await, Err(Error::Length { .. })));
    tpm.shutdown().await.unwrap();
    // A chip without the command, as most are: TPM_RC_COMMAND_CODE.
    let wire = Wire::tap(
        &swtpm,
        Box::new(|command, chip| match command[6..10] == [0, 0, 0x01, 0x93] {
            true => vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0x01, 0x43],
            false => chip(command),
        }),
    );
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config).unwrap();
    let error = tpm.encrypt(&key, [9; 16], b"data").await.err().unwrap();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(tpm.resources().await.unwrap().transient, 1);
}

#[tokio::test]
async fn it_says_what_it_offers_and_what_is_left() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let before = tpm.features().await.unwrap();
    for algorithm in ["rsa", "ecc", "sha256", "sha384", "ecdsa", "aes", "cfb"] {
        assert!(before.algorithms.iter().any(|found| found == algorithm), "{algorithm}: {before:?}");
    }
    assert!(before.banks.iter().any(|bank| bank == "sha256"), "{before:?}");
    assert!(!before.is_locked_out && before.lockout.0 == 0 && before.lockout.1 > 0, "{before:?}");
    tpm.nv_define(0x0180_0001, NvKind::Bytes(512), NvWriter::Value).await.unwrap();
    tpm.nv_define(0x0180_0002, NvKind::Counter, NvWriter::Key).await.unwrap();
    let after = tpm.features().await.unwrap();
    assert_eq!(after.nv_indices, before.nv_indices + 2);
    assert!(after.nv_used >= before.nv_used + 520 && after.nv_left + 520 <= before.nv_left, "{after:?}");
}
