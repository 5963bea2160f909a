//! Sealing under signed policies, and PCRs, against a real software TPM.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tpm::{
    Disbelief, Error, Handle, NvKind, NvWriter, PcrSelection, Pcrs, PublicKey, SignedPolicy, Terms, extended,
    sign_policy, verify_quote,
};
use types::hash::Hash;

use crate::common::{Machine, Wire};
use crate::rival::Rival;

pub const REVOCATION: u32 = 0x0180_d520;
const SECRET: &[u8] = b"the repository's key, 32 bytes..";

/// The owner, with the policy key at home.
pub struct Owner {
    pkcs8: Vec<u8>,
}

impl Owner {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { pkcs8: pair.to_pkcs8v1().unwrap().as_ref().to_vec() }
    }

    pub fn sign(&self, terms: Terms) -> SignedPolicy {
        sign_policy(&self.pkcs8, terms).unwrap()
    }

    fn key(&self, terms: Terms) -> PublicKey {
        self.sign(terms).key
    }
}

fn selection() -> PcrSelection {
    PcrSelection::new([0, 7, 16]).unwrap()
}

async fn counter(tpm: &Handle) -> u64 {
    tpm.nv_define(REVOCATION, NvKind::Counter, NvWriter::Key).await.unwrap();
    tpm.nv_increment(REVOCATION).await.unwrap()
}

/// Terms for the machine as it is.
pub async fn terms(tpm: &Handle, counter_max: u64) -> Terms {
    Terms {
        pcrs: selection(),
        pcr_digest: tpm.pcr_read(selection()).await.unwrap().digest(),
        revocation: REVOCATION,
        revocation_name: tpm.nv_name(REVOCATION).await.unwrap().unwrap(),
        counter_max,
    }
}

fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}

#[tokio::test]
async fn it_opens_under_its_terms_and_new_terms_need_no_new_sealing() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let owner = Owner::new();
    let value = counter(&tpm).await;
    let before = terms(&tpm, value).await;
    let first = owner.sign(before);
    let blob = tpm.seal_policy(SECRET, &owner.key(before)).await.unwrap();
    assert_eq!(**tpm.unseal_policy(&blob, &first).await.unwrap(), *SECRET);
    // Also as bytes, and later.
    let sent = SignedPolicy::from_bytes(&first.to_bytes().unwrap()).unwrap();
    assert_eq!(**tpm.unseal_policy(&blob, &sent).await.unwrap(), *SECRET);
    // A plain unseal does not open it.
    assert!(tpm.unseal(&blob).await.is_err());

    // A BIOS update: the registers differ.
    tpm.pcr_extend(16, Hash([1; 32])).await.unwrap();
    let error = refused(tpm.unseal_policy(&blob, &first).await);
    assert!(matches!(&error, Error::WrongPcr { registers } if *registers == [0, 7, 16]), "{error}");
    assert!(error.to_string().contains("recovery key"), "{error}");
    let second = owner.sign(terms(&tpm, value).await);
    assert_eq!(**tpm.unseal_policy(&blob, &second).await.unwrap(), *SECRET);

    // Revoked: the counter goes on, and the copy of the policy is worth nothing any more.
    tpm.nv_increment(REVOCATION).await.unwrap();
    let error = refused(tpm.unseal_policy(&blob, &second).await);
    assert!(matches!(error, Error::PolicyRevoked { counter_max } if counter_max == value), "{error}");
    let third = owner.sign(terms(&tpm, value + 1).await);
    assert_eq!(**tpm.unseal_policy(&blob, &third).await.unwrap(), *SECRET);
    let held = tpm.resources().await.unwrap();
    assert_eq!((held.transient, held.sessions), (1, 1));
}

#[tokio::test]
async fn each_wrong_policy_and_blob_is_refused_by_its_own_name() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let (owner, stranger) = (Owner::new(), Owner::new());
    let value = counter(&tpm).await;
    let terms = terms(&tpm, value).await;
    let policy = owner.sign(terms);
    let blob = tpm.seal_policy(SECRET, &policy.key).await.unwrap();
    assert!(matches!(tpm.unseal_policy(&blob, &stranger.sign(terms)).await, Err(Error::PolicyKey)));
    // Terms that were changed after they were signed.
    let mut changed = policy.clone();
    changed.terms.counter_max += 1000;
    assert!(matches!(tpm.unseal_policy(&blob, &changed).await, Err(Error::PolicyKey)));
    // Another TPM.
    let other = Machine::new();
    let other_swtpm = other.power_on();
    let error = refused(other.open(&other_swtpm).unseal_policy(&blob, &policy).await);
    assert!(matches!(error, Error::ForeignBlob), "{error}");
    for place in (0..blob.len()).step_by(7) {
        let mut spoiled = blob.clone();
        spoiled[place] ^= 0x55;
        match tpm.unseal_policy(&spoiled, &policy).await {
            Err(Error::DamagedBlob { .. } | Error::ForeignBlob | Error::PolicyKey) => {}
            other => panic!("byte {place} of {}: {other:?}", blob.len()),
        }
    }
    assert_eq!(**tpm.unseal_policy(&blob, &policy).await.unwrap(), *SECRET);
    // A counter that was defined anew in its place cannot bring the old value back.
    tpm.nv_increment(REVOCATION).await.unwrap();
    Rival::new(&swtpm).define_the_same_again(REVOCATION);
    let error = refused(tpm.unseal_policy(&blob, &policy).await);
    assert!(matches!(error, Error::NvUnwritten { .. }), "{error}");
    tpm.nv_increment(REVOCATION).await.unwrap();
    let error = refused(tpm.unseal_policy(&blob, &policy).await);
    assert!(matches!(error, Error::PolicyRevoked { .. }), "{error}");
    tpm.nv_undefine(REVOCATION).await.unwrap();
    assert!(matches!(tpm.unseal_policy(&blob, &policy).await, Err(Error::NvMissing { .. })));
    tpm.nv_define(REVOCATION, NvKind::Counter, NvWriter::Value).await.unwrap();
    tpm.nv_increment(REVOCATION).await.unwrap();
    let error = refused(tpm.unseal_policy(&blob, &policy).await);
    assert!(matches!(error, Error::NvForeign { .. }), "{error}");
    assert_eq!(tpm.resources().await.unwrap().sessions, 1);
}

/// Who sits on the wire sees the policy satisfied and the object loaded, and asks for the secret himself.
#[tokio::test]
async fn a_satisfied_policy_opens_nothing_to_others() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let (tape, taped) = std::sync::mpsc::channel();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = seen.clone();
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            if command[6..10] == [0, 0, 1, 0x5e] {
                // Unseal, the object; the policy's session alone, and nothing that proves whose it is.
                let auths = [&command[18..22], &[0, 0], &[1], &[0, 0]].concat();
                let len = u32::try_from(10 + 4 + 4 + auths.len()).unwrap().to_be_bytes();
                let auths_len = u32::try_from(auths.len()).unwrap().to_be_bytes();
                let own = [&[0x80, 2], len.as_slice(), &command[6..14], &auths_len, &auths].concat();
                tape.send(chip(&own)).unwrap();
            }
            let response = chip(command);
            all.lock().unwrap().extend([command.to_vec(), response.clone()]);
            response
        }),
    );
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config).unwrap();
    let owner = Owner::new();
    let value = counter(&tpm).await;
    let policy = owner.sign(terms(&tpm, value).await);
    let blob = tpm.seal_policy(SECRET, &policy.key).await.unwrap();
    let opened = tpm.unseal_policy(&blob, &policy).await;
    let stolen: Vec<u8> = taped.try_iter().flatten().collect();
    assert!(!stolen.windows(SECRET.len()).any(|part| part == SECRET));
    // Nor is it in what passes between us and the chip.
    let is_there = |message: &Vec<u8>| message.windows(16).any(|part| part == &SECRET[..16]);
    assert!(!seen.lock().unwrap().iter().any(is_there));
    // TPM_RC_BAD_AUTH of the first session.
    assert_eq!(stolen, [0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0xa2]);
    assert_eq!(**opened.unwrap(), *SECRET);
}

#[tokio::test]
async fn an_owner_who_took_the_authorisation_is_told_of() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let owner = Owner::new();
    let value = counter(&tpm).await;
    let policy = owner.sign(terms(&tpm, value).await);
    let blob = tpm.seal_policy(SECRET, &policy.key).await.unwrap();
    Rival::new(&swtpm).take_the_owner();
    for error in [
        refused(tpm.unseal_policy(&blob, &policy).await),
        refused(tpm.nv_read(REVOCATION).await),
        refused(tpm.nv_undefine(REVOCATION).await),
        refused(tpm.nv_define(REVOCATION + 1, NvKind::Counter, NvWriter::Key).await),
    ] {
        assert!(matches!(error, Error::Authorization { .. }), "{error}");
        assert!(error.to_string().contains("clear that authorisation"), "{error}");
    }
    assert_eq!(tpm.resources().await.unwrap().sessions, 1);
}

#[tokio::test]
async fn registers_are_read_and_extended() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let all = PcrSelection::from_mask(0xff_ffff).unwrap();
    let before = tpm.pcr_read(all).await.unwrap();
    assert_eq!(
        before.0.iter().map(|(register, _)| *register).collect::<Vec<_>>(),
        (0..24).collect::<Vec<_>>()
    );
    tpm.pcr_extend(3, Hash([9; 32])).await.unwrap();
    let after = tpm.pcr_read(all).await.unwrap();
    for ((register, old), (_, new)) in before.0.iter().zip(&after.0) {
        let expected = if *register == 3 { extended(*old, Hash([9; 32])) } else { *old };
        assert_eq!(*new, expected, "{register}");
    }
    assert!(matches!(tpm.pcr_extend(24, Hash([0; 32])).await, Err(Error::Length { .. })));
    // Reserved for a dynamic start.
    let error = refused(tpm.pcr_extend(17, Hash([0; 32])).await);
    assert!(matches!(error, Error::PcrReserved { register: 17 }), "{error}");
    assert!(error.to_string().contains("extend one of 0 to 16, or 23"), "{error}");
}

#[tokio::test]
async fn a_quote_is_believed_only_as_it_is() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    tpm.pcr_extend(7, Hash([5; 32])).await.unwrap();
    let values = tpm.pcr_read(selection()).await.unwrap();
    let key = *tpm.attestation_key().unwrap();
    let quote = tpm.quote(selection(), b"nonce").await.unwrap();
    let claim = verify_quote(&key, b"nonce", &values, &quote).unwrap();
    assert_eq!((claim.selection, claim.digest), (selection(), values.digest()));
    // What is told of the firmware is obscured, but stays the same.
    let again = tpm.quote(selection(), b"again").await.unwrap();
    assert_eq!(verify_quote(&key, b"again", &values, &again).unwrap().firmware, claim.firmware);
    let doubt = |key: &PublicKey, nonce: &[u8], values: &Pcrs| verify_quote(key, nonce, values, &quote).err();
    assert_eq!(doubt(&key, b"other", &values), Some(Disbelief::Nonce));
    assert_eq!(doubt(tpm.general_key(), b"nonce", &values), Some(Disbelief::Signature));
    let mut wrong = values.clone();
    wrong.0[1].1 = Hash([0; 32]);
    assert_eq!(doubt(&key, b"nonce", &wrong), Some(Disbelief::Pcr));
    wrong = values.clone();
    wrong.0.pop();
    assert_eq!(doubt(&key, b"nonce", &wrong), Some(Disbelief::Pcr));
    for byte in 0..quote.bytes.len() {
        let mut spoiled = quote.clone();
        spoiled.bytes[byte] ^= 1;
        assert_eq!(verify_quote(&key, b"nonce", &values, &spoiled), Err(Disbelief::Signature));
    }
    // The general key signs any digest: of something that only looks like a TPM's word, too. That is why it is not
    // believed; and what does not begin as a TPM's word is not believed of any key.
    let digest = |bytes: &[u8]| {
        Hash(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap())
    };
    let mut forged = quote.clone();
    forged.bytes[0] = 0;
    forged.signature = tpm.sign(digest(&forged.bytes)).await.unwrap().der().to_vec();
    assert_eq!(verify_quote(&key, b"nonce", &values, &forged), Err(Disbelief::Signature));
    assert_eq!(verify_quote(tpm.general_key(), b"nonce", &values, &forged), Err(Disbelief::NotGenerated));
}
