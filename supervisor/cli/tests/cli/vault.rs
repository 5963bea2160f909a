//! The vault, against a daemon that keeps what it is given.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use api::wire::secret::Secret;
use api::wire::vault::{Prepared, Report, Standing};
use api::wire::{Answer, Command};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use recovery::vault::Vault;
use recovery::vault::offline::{Key, SignedPolicy};

use crate::daemon::{Daemon, Say, whole};

const REPOSITORY: [u8; 32] = [0x5a; 32];

/// The encoding by hand, so that a change of it shows here: version 1, PCRs 0 and 7, a digest, an index, its name, up to 5.
fn terms() -> Vec<u8> {
    let mut bytes = vec![0xA6, 0x00, 0x01, 0x01, 0x18, 0x81, 0x02, 0x58, 0x20];
    bytes.extend([0x11; 32]);
    bytes.extend([0x03, 0x1A, 0x01, 0x80, 0xd5, 0x13, 0x04, 0x58, 0x22]);
    bytes.extend([0x22; 34]);
    bytes.extend([0x05, 0x05]);
    bytes
}

#[derive(Default)]
struct Kept {
    vault: Option<Vec<u8>>,
    policies: Vec<Vec<u8>>,
    given: Vec<Option<Vec<u8>>>,
}

fn bytes(secret: &Secret) -> Vec<u8> {
    secret.bytes().unwrap().to_vec()
}

/// A daemon that has a TPM in which nothing is checked.
fn daemon(kept: &Arc<Mutex<Kept>>) -> Daemon {
    let kept = Arc::clone(kept);
    Daemon::start(whole(), move |command| {
        let mut kept = kept.lock().unwrap();
        vec![Say::Done(match command {
            Command::Vault => {
                let standing = Standing { provisioned: kept.vault.is_some(), ..Standing::default() };
                let (vault, terms) =
                    (kept.vault.as_ref().map(|vault| STANDARD.encode(vault)), STANDARD.encode(terms()));
                Answer::Vault(Box::new(Report { standing, vault, terms: Some(terms) }))
            }
            Command::PrepareVault { repository, .. } => {
                kept.given.push(repository.as_ref().map(bytes));
                Answer::VaultPrepared(Box::new(Prepared {
                    terms: STANDARD.encode(terms()),
                    machine: "33".repeat(32),
                    sealed: STANDARD.encode([0x44; 300]),
                    repository: Secret::new(&REPOSITORY),
                }))
            }
            Command::InstallVault { vault } => {
                kept.vault = Some(bytes(vault));
                Answer::VaultChanged
            }
            Command::InstallPolicy { policy } => {
                kept.policies.push(bytes(policy));
                Answer::VaultChanged
            }
            Command::Seal { data } => Answer::Sealed {
                blob: STANDARD.encode([b"sealed ", &*bytes(data)].concat()),
                sha256: "ab".repeat(32),
            },
            Command::Unseal { blob } => Answer::Unsealed { data: Secret::new(&bytes(blob)[7..]) },
            Command::RevokePolicy => Answer::Revoked { counter: 6 },
            other => panic!("{other:?}"),
        })]
    })
}

/// What programs are told: one document on one line, and nothing on the error output.
#[track_caller]
fn answer(daemon: &Daemon, arguments: &[&str]) -> serde_json::Value {
    let output = daemon.dsmil(&[arguments, &["--json"]].concat());
    assert_eq!((output.out.lines().count(), output.err.as_str()), (1, ""), "{}", output.out);
    serde_json::from_str::<serde_json::Value>(&output.out).unwrap()["answer"].take()
}

fn vault(kept: &Mutex<Kept>) -> Vault {
    let vault = Vault::from_bytes(kept.lock().unwrap().vault.as_ref().unwrap()).unwrap();
    vault.check().unwrap();
    vault
}

#[test]
fn a_vault_is_made_renewed_and_recovered_by_its_recovery_key() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::default());
    let daemon = daemon(&kept);
    let path = dir.path().join("recovery");
    let file = path.to_str().unwrap();
    let arguments = ["tpm", "provision", "--pcrs", "0,7", "--recovery-key-out", file];
    let told = daemon.dsmil(&arguments).done();
    assert!(told.contains("provisioned") && told.contains("in force"), "{told}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!told.contains(text.trim()));
    let (key, made) = (Key::parse(&text).unwrap(), vault(&kept));
    assert_eq!(**made.repository(&key).unwrap(), REPOSITORY);
    assert!(made.policy.as_ref().unwrap().is_genuine());

    // A second one is not made, and leaves nothing.
    let other = dir.path().join("other");
    let refused = daemon.dsmil(&["tpm", "provision", "--recovery-key-out", other.to_str().unwrap()]);
    assert_eq!((refused.code, other.exists()), (Some(1), false), "{}", refused.err);

    daemon.dsmil(&["tpm", "policy", "renew", "--recovery-key", file]).done();
    let signed = SignedPolicy::from_bytes(&kept.lock().unwrap().policies[0]).unwrap();
    assert!(signed.is_genuine() && signed.key == made.policy_key);

    // The command opens the key and hands it over; the vault that comes of it has the same ways.
    daemon.dsmil(&["tpm", "recover", "--recovery-key", file]).done();
    assert_eq!(kept.lock().unwrap().given, [None, Some(REPOSITORY.to_vec())]);
    assert_eq!((vault(&kept).policy_key, vault(&kept).authority), (made.policy_key, made.authority));

    // In a rescue shell.
    let (copy, out) = (dir.path().join("vault"), dir.path().join("out"));
    std::fs::write(&copy, kept.lock().unwrap().vault.as_ref().unwrap()).unwrap();
    let dir_of = dir.path().to_str().unwrap();
    let offline = ["tpm", "recover", "--offline", "--dir", dir_of, "--recovery-key", file, "--out"];
    daemon.dsmil(&[&offline[..], &[out.to_str().unwrap()]].concat()).done();
    assert_eq!(std::fs::read(&out).unwrap(), REPOSITORY);
}

#[test]
fn the_recovery_key_is_a_field_of_the_document_where_it_was_asked_for() {
    let kept = Arc::default();
    let daemon = daemon(&kept);
    let told = answer(&daemon, &["tpm", "provision", "--pcrs", "0,7", "--recovery-key-out", "-"]);
    let key = Key::parse(told["recovery_key"].as_str().unwrap()).unwrap();
    assert_eq!(**vault(&kept).repository(&key).unwrap(), REPOSITORY);
    assert_eq!((&told["kind"], &told["policy"]), (&"provisioned".into(), &true.into()));
}

#[test]
fn a_wrong_recovery_key_hands_nothing_over() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::default());
    let daemon = daemon(&kept);
    let file = dir.path().join("recovery");
    let provision = ["tpm", "provision", "--pcrs", "0,7", "--recovery-key-out", file.to_str().unwrap()];
    daemon.dsmil(&provision).done();
    let right = std::fs::read_to_string(&file).unwrap();
    let mut mistyped: Vec<char> = right.chars().collect();
    mistyped[10] = if mistyped[10] == '7' { '8' } else { '7' };
    for (text, message) in [
        (mistyped.into_iter().collect(), "group 2"),
        (Key::generate().unwrap().to_text().to_string(), "wrapped with another one"),
        ("abc".to_owned(), "characters"),
    ] {
        let wrong = dir.path().join("wrong");
        std::fs::write(&wrong, &text).unwrap();
        for what in [&["policy", "renew"][..], &["recover"]] {
            let arguments = [&["tpm"], what, &["--recovery-key", wrong.to_str().unwrap()]].concat();
            let output = daemon.dsmil(&arguments);
            assert_eq!(output.code, Some(1));
            assert!(output.err.contains(message) && !output.err.contains(text.trim()), "{}", output.err);
        }
    }
    let kept = kept.lock().unwrap();
    assert_eq!((kept.given.len(), kept.policies.len()), (1, 0));
}

#[test]
fn terms_are_signed_where_the_key_is() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::default());
    let daemon = daemon(&kept);
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    std::fs::write(place("key"), pkcs8.as_ref()).unwrap();
    // RFC 5480: what stands before the point of each P-256 key.
    let spki: Vec<u8> = [
        &[0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a][..],
        &[0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00],
        aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref(),
    ]
    .concat();
    let pem = store::head::PublicKey::from_der(&spki).unwrap().to_pem();
    std::fs::write(place("public"), pem).unwrap();
    let (public, recovery) = (place("public"), place("recovery"));
    let arguments = ["tpm", "provision", "--policy-key-public", &public, "--recovery-key-out", &recovery];
    let told = daemon.dsmil(&[&arguments[..], &["--pcrs", "0,7"]].concat()).done();
    assert!(told.contains("No policy is in force yet"), "{told}");
    assert!(!vault(&kept).has_policy_key() && vault(&kept).policy.is_none());
    let renew = daemon.dsmil(&["tpm", "policy", "renew", "--recovery-key", &recovery]);
    assert!(renew.code == Some(1) && renew.err.contains("with its owner"), "{}", renew.err);

    let (file, signed) = (place("terms"), place("signed"));
    let output = daemon.dsmil(&["tpm", "policy", "terms", "--out", &file]);
    assert!(output.code == Some(0) && output.err.contains("PCRs 0,7"), "{}", output.err);
    assert_eq!(std::fs::read(&file).unwrap(), terms());
    let key = place("key");
    let output = daemon.dsmil(&["tpm", "policy", "sign", &file, "--key", &key, "--out", &signed]);
    assert!(
        output.code == Some(0) && output.err.contains("up to 5 of the revocation counter"),
        "{}",
        output.err
    );
    let told = answer(&daemon, &["tpm", "policy", "terms", "--out", &place("terms2")]);
    assert_eq!(told, serde_json::json!({"kind": "terms", "terms": STANDARD.encode(terms())}));
    assert_eq!(std::fs::read(place("terms2")).unwrap(), terms());
    let told = answer(&daemon, &["tpm", "policy", "sign", &file, "--key", &key, "--out", &place("signed2")]);
    assert_eq!((&told["kind"], &told["out"]), (&"policy_signed".into(), &place("signed2").into()));
    assert!(told["policy"].is_null() && told["terms"].as_str().unwrap().contains("PCRs 0,7"), "{told}");
    assert!(SignedPolicy::from_bytes(&std::fs::read(place("signed2")).unwrap()).unwrap().is_genuine());
    for out in [&[][..], &["--out", "-"]] {
        let told = answer(&daemon, &[&["tpm", "policy", "sign", &file, "--key", &key], out].concat());
        let policy = STANDARD.decode(told["policy"].as_str().unwrap()).unwrap();
        assert!(SignedPolicy::from_bytes(&policy).unwrap().is_genuine() && told["out"].is_null());
    }
    daemon.dsmil(&["tpm", "policy", "install", &signed]).done();
    let policy = SignedPolicy::from_bytes(&kept.lock().unwrap().policies[0]).unwrap();
    assert!(policy.is_genuine() && policy.key == vault(&kept).policy_key);
    // What is no terms is not signed.
    let output = daemon.dsmil(&["tpm", "policy", "sign", &key, "--key", &key, "--out", &place("no")]);
    assert!(output.code == Some(1) && !dir.path().join("no").exists(), "{}", output.err);
}

#[test]
fn what_is_sealed_comes_back_byte_for_byte() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::default());
    let daemon = daemon(&kept);
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let secret = b"\0\xffsecret\n";
    std::fs::write(place("secret"), secret).unwrap();
    daemon.dsmil(&["tpm", "seal", &place("secret"), "--out", &place("blob")]).done();
    assert_eq!(std::fs::read(place("blob")).unwrap(), [b"sealed ", &secret[..]].concat());
    daemon.dsmil(&["tpm", "unseal", &place("blob"), "--out", &place("opened")]).done();
    assert_eq!(std::fs::read(place("opened")).unwrap(), secret);
    assert_eq!(std::fs::metadata(place("opened")).unwrap().permissions().mode() & 0o777, 0o600);
    // What is there is not written over; too much, and nothing, are not sealed.
    assert_eq!(daemon.dsmil(&["tpm", "unseal", &place("blob"), "--out", &place("opened")]).code, Some(1));
    for (name, length) in [("long", 129), ("empty", 0)] {
        std::fs::write(place(name), vec![1; length]).unwrap();
        assert_eq!(
            daemon.dsmil(&["tpm", "seal", &place(name), "--out", &place("none")]).code,
            Some(2),
            "{name}"
        );
    }
    for (out, file) in
        [(&["--out", "-"][..], None), (&[], None), (&["--out", &place("blob2")], Some("blob2"))]
    {
        let told = answer(&daemon, &[&["tpm", "seal", &place("secret")], out].concat());
        assert_eq!(told["blob"], STANDARD.encode([b"sealed ", &secret[..]].concat()));
        assert!(file.is_none_or(|file| dir.path().join(file).exists()));
    }
    let json = daemon.dsmil(&["tpm", "unseal", &place("blob"), "--json", "--out", &place("json")]).done();
    assert!(json.contains("\"bytes\":9") && !json.contains(&STANDARD.encode(secret)), "{json}");
}

#[test]
fn what_cannot_be_undone_is_asked_for() {
    let kept = Arc::default();
    let daemon = daemon(&kept);
    assert_eq!(daemon.dsmil(&["tpm", "policy", "revoke"]).code, Some(2));
    assert_eq!(daemon.dsmil(&["tpm", "provision"]).code, Some(2));
    assert!(daemon.asked().is_empty(), "nothing was asked for: {:?}", daemon.asked());
    assert!(daemon.dsmil(&["tpm", "policy", "revoke", "--yes"]).done().contains("stands at 6"));
}
