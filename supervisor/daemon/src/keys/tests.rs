//! Where the repository's key is found, with a real software TPM.

use recovery::vault::offline::Key;
use recovery::vault::{Parts, Signer};
use tpm::{PcrSelection, PolicyKey, Reuse, Terms};
use types::hash::Hash;

use super::*;
use crate::common::Machine;

const PCR: u8 = 16;

/// A vault for this key as its owner makes one.
async fn vault(tpm: &tpm::Handle, key: &[u8; 32], recovery: &Key, signer: &Signer) -> Vault {
    let revocation = tpm.make_revocation(Reuse::Keep).await.unwrap();
    let pcrs = PcrSelection::new([PCR]).unwrap();
    let terms = Terms {
        pcrs,
        pcr_digest: tpm.pcr_read(pcrs).await.unwrap().digest(),
        revocation: revocation.index,
        revocation_name: revocation.name,
        counter_max: revocation.value,
    };
    let parts = Parts {
        terms,
        machine: tpm.head_key().fingerprint(),
        sealed: tpm.seal_policy(key, signer.public()).await.unwrap(),
        repository: Zeroizing::new(key.to_vec()),
    };
    Vault::make(parts, recovery, signer).unwrap()
}

fn put(state: &Path, vault: &Vault) {
    store::blob::replace(&state.join(FILE), &vault.to_bytes().unwrap()).unwrap();
}

async fn open(tpm: &tpm::Handle, state: &Path) -> [u8; 32] {
    match repository(tpm, state, false).await.unwrap() {
        Found::Open(key) => *key,
        Found::Locked(why) => panic!("{why}"),
    }
}

async fn locked(tpm: &tpm::Handle, state: &Path) -> String {
    match repository(tpm, state, false).await.unwrap() {
        Found::Open(_) => panic!("it is open"),
        Found::Locked(why) => why,
    }
}

#[tokio::test]
async fn the_key_lies_under_the_policy_once_there_is_one() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let (swtpm, state) = (machine.power_on(), folder.path());
    let tpm = machine.open(&swtpm);
    let key = open(&tpm, state).await;
    assert_eq!(open(&tpm, state).await, key, "it is made once");
    let (recovery, policy) = (Key::generate().unwrap(), PolicyKey::generate().unwrap());

    // Not signed yet: it is still where it was.
    let offline = vault(&tpm, &key, &recovery, &Signer::Offline(policy.public)).await;
    put(state, &offline);
    assert_eq!(open(&tpm, state).await, key);
    assert!(state.join(NAME).exists());

    // Signed: what a crash left of the other is removed.
    put(state, &vault(&tpm, &key, &recovery, &Signer::Wrapped(policy)).await);
    assert_eq!(open(&tpm, state).await, key);
    assert!(!state.join(NAME).exists());
    assert_eq!(open(&tpm, state).await, key);

    // Revoked, or in another state: locked, and the start goes on.
    tpm.pcr_extend(PCR, Hash([1; 32])).await.unwrap();
    assert!(locked(&tpm, state).await.contains("not those of the policy"));
    let signer = vault_signer(state, &recovery);
    put(state, &vault(&tpm, &key, &recovery, &signer).await);
    assert_eq!(open(&tpm, state).await, key);
    tpm.revoke().await.unwrap();
    assert!(locked(&tpm, state).await.contains("was revoked"));
    tpm.forget_revocation().await.unwrap();
    assert!(locked(&tpm, state).await.contains("no NV index"));
}

fn vault_signer(state: &Path, recovery: &Key) -> Signer {
    crate::effects::vault::read(state).unwrap().unwrap().signer(recovery).unwrap()
}

#[tokio::test]
async fn a_damaged_vault_and_another_tpm_lock_it() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let (swtpm, state) = (machine.power_on(), folder.path());
    let tpm = machine.open(&swtpm);
    let key = open(&tpm, state).await;
    let recovery = Key::generate().unwrap();
    let signer = Signer::Wrapped(PolicyKey::generate().unwrap());
    let whole = vault(&tpm, &key, &recovery, &signer).await;
    put(state, &whole);
    open(&tpm, state).await;
    let bytes = std::fs::read(state.join(FILE)).unwrap();
    std::fs::write(state.join(FILE), &bytes[1..]).unwrap();
    assert!(locked(&tpm, state).await.contains("it was damaged"));
    put(state, &whole);

    let other = Machine::new();
    let other_swtpm = other.power_on();
    let stranger = other.open(&other_swtpm);
    assert!(locked(&stranger, state).await.contains("sealed by another TPM"));
    // Without a vault nobody could open it any more: that is no start, unless the machine has moved.
    std::fs::remove_file(state.join(FILE)).unwrap();
    write(&tpm, state, &key).await.unwrap();
    assert!(repository(&stranger, state, false).await.is_err());
    assert!(
        matches!(repository(&stranger, state, true).await, Ok(Found::Locked(why)) if why.contains("no vault"))
    );
    // And what is gone is not made anew beside chunks that it encrypts.
    remove(state).unwrap();
    std::fs::create_dir(state.join("chunks")).unwrap();
    assert!(repository(&tpm, state, false).await.is_err());
}
