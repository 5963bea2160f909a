//! A vault of each version opens for ever: `tests/data/vault-v1`, with its recovery key beside it.
//!
//! A sample is never written again. `cargo test -p recovery --test sample -- --ignored` makes one that is not there: of a version that
//! is not released yet.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where a failure is a finding")]

use std::fs;
use std::path::PathBuf;

use recovery::vault::offline::{
    Key, PcrSelection, PolicyKey, SignedPolicy, Terms, recovery_key, sign_policy,
};
use recovery::vault::{Parts, Signer, Vault};
use types::hash::Hash;
use zeroize::Zeroizing;

const REPOSITORY: [u8; 32] = *b"the repository's key of a sample";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// By hand, as in the documentation: version 1, PCRs 0 and 7, a digest, an index, its name, up to 5.
fn terms() -> Terms {
    let mut bytes = vec![0xA6, 0x00, 0x01, 0x01, 0x18, 0x81, 0x02, 0x58, 0x20];
    bytes.extend([0x11; 32]);
    bytes.extend([0x03, 0x1A, 0x01, 0x80, 0xd5, 0x13, 0x04, 0x58, 0x22]);
    bytes.extend([0x22; 34]);
    bytes.extend([0x05, 0x05]);
    Terms::from_bytes(&bytes).unwrap()
}

#[test]
fn a_vault_of_version_1_opens_with_its_recovery_key() {
    let text = fs::read_to_string(data("recovery-key-v1")).unwrap();
    let key = recovery_key(Zeroizing::new(text)).unwrap();
    let bytes = fs::read(data("vault-v1")).unwrap();
    let vault = Vault::from_bytes(&bytes).unwrap();
    vault.check().unwrap();
    assert_eq!(vault.to_bytes().unwrap(), bytes);
    assert_eq!(**vault.repository(&key).unwrap(), REPOSITORY);
    assert_eq!((vault.machine, vault.sealed.as_slice()), (Hash([0x33; 32]), &[0x44; 300][..]));
    assert_eq!(vault.registers, PcrSelection::new([0, 7]).unwrap());
    assert!(Vault::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    // Its policy key signs terms that are this vault's.
    let private = vault.policy_key(&key).unwrap();
    let signed = sign_policy(&private, terms()).unwrap();
    assert!(signed.is_genuine() && signed.key == vault.policy_key);
    assert!(vault.repository(&Key::generate().unwrap()).is_err());
}

#[test]
fn a_signed_policy_of_version_1_is_genuine() {
    let bytes = fs::read(data("policy-v1")).unwrap();
    let policy = SignedPolicy::from_bytes(&bytes).unwrap();
    assert!(policy.is_genuine());
    assert_eq!((policy.terms, policy.to_bytes().unwrap()), (terms(), bytes));
    let vault = Vault::from_bytes(&fs::read(data("vault-v1")).unwrap()).unwrap();
    assert_eq!((vault.policy_key, vault.policy), (policy.key, Some(policy)));
}

/// Makes the samples, once: what is there stays as it is.
#[test]
#[ignore = "makes samples that are not there yet; those that are there are never written again"]
fn make_the_samples() {
    let dir = data("");
    assert!(!dir.exists(), "{} is there, and never written again", dir.display());
    fs::create_dir_all(&dir).unwrap();
    let key = Key::generate().unwrap();
    let policy_key = PolicyKey::generate().unwrap();
    let parts = Parts {
        terms: terms(),
        machine: Hash([0x33; 32]),
        sealed: vec![0x44; 300],
        repository: Zeroizing::new(REPOSITORY.to_vec()),
    };
    let vault = Vault::make(parts, &key, &Signer::Wrapped(policy_key)).unwrap();
    fs::write(data("vault-v1"), vault.to_bytes().unwrap()).unwrap();
    fs::write(data("policy-v1"), vault.policy.unwrap().to_bytes().unwrap()).unwrap();
    fs::write(data("recovery-key-v1"), format!("{}\n", key.to_text().as_str())).unwrap();
}
