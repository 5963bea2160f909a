//! What was written with version 1 of the key files and of sealed data opens for ever: `tests/data/v1`, with the software TPM that
//! it belongs to.
//!
//! A sample is never written again. `cargo test -p tpm --test tpm sample -- --ignored` makes one that is not there: of a version that is
//! not released yet.

use std::fs;
use std::path::{Path, PathBuf};

use tpm::{KeyKind, MadeKey, MadePublic, NvKind, NvWriter, SignedPolicy, verify};
use types::hash::Hash;

use crate::common::Machine;
use crate::policy::{Owner, REVOCATION, terms};

const PLAIN: &[u8] = b"sealed to the chip of a sample";
const BOUND: &[u8] = b"sealed to the policy of a sample";
const FILES: [&str; 3] = ["signing.key", "general.key", "attestation.key"];

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1").join(name)
}

fn copy(names: &[&str], from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn keys_and_sealed_data_of_version_1_open() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new();
    copy(&["tpm2-00.permall"], &data("state"), &machine.state_dir());
    copy(&FILES, &data("keys"), &machine.key_dir());
    fs::set_permissions(machine.key_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    for name in FILES {
        fs::set_permissions(machine.key_dir().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let read = |name: &str| fs::read(data(name)).unwrap();
    assert_eq!(tpm.head_key().sec1().as_slice(), read("head-key"));
    assert_eq!(**tpm.unseal(&read("sealed")).await.unwrap(), *PLAIN);
    let policy = SignedPolicy::from_bytes(&read("policy")).unwrap();
    assert_eq!(**tpm.unseal_policy(&read("bound"), &policy).await.unwrap(), *BOUND);
    // A key that was made for a caller, by what the caller keeps of it.
    let made = MadeKey { blob: read("made-key"), public: MadePublic::None };
    let signature = tpm.sign_with(&made, Hash([3; 32])).await.unwrap();
    assert!(!verify(tpm.general_key(), Hash([3; 32]), &signature));
    // Index and authorisation are of then: it is still this key folder's.
    assert_eq!(tpm.nv_increment(REVOCATION).await.unwrap(), policy.terms.counter_max + 1);
}

/// Makes the sample, once: one that is there stays as it is.
#[tokio::test]
#[ignore = "makes a sample that is not there yet; those that are there are never written again"]
async fn make_the_sample() {
    assert!(!data("").exists(), "{} is there, and never written again", data("").display());
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    tpm.nv_define(REVOCATION, NvKind::Counter, NvWriter::Key).await.unwrap();
    let value = tpm.nv_increment(REVOCATION).await.unwrap();
    let policy = Owner::new().sign(terms(&tpm, value).await);
    fs::create_dir_all(data("")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(data(name), bytes).unwrap();
    write("sealed", &tpm.seal(PLAIN).await.unwrap());
    write("bound", &tpm.seal_policy(BOUND, &policy.key).await.unwrap());
    write("policy", &policy.to_bytes().unwrap());
    write("made-key", &tpm.make_key(KeyKind::P256).await.unwrap().blob);
    write("head-key", &tpm.head_key().sec1()[..]);
    tpm.shutdown().await.unwrap();
    drop(swtpm);
    copy(&["tpm2-00.permall"], &machine.state_dir(), &data("state"));
    copy(&FILES, &machine.key_dir(), &data("keys"));
}
