//! The TPM's word on the log, as another machine believes it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use types::hash::Hash;

use crate::folder::Folder;

/// Says what a TPM would: TPMS_ATTEST of an NV index (TPM 2.0 Library Part 2, section 10.12), signed.
struct Chip {
    pair: EcdsaKeyPair,
}

impl Chip {
    fn state(&self, name: [u8; 34], content: &[u8]) -> (String, String) {
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let statement = [
            &[0xff, b'T', b'C', b'G', 0x80, 0x14][..],
            &sized(b"signer"),
            &sized(&[0x6f, 0x1d]),
            &[0; 17],
            &[0; 8],
            &sized(&name),
            &[0, 0],
            &sized(content),
        ]
        .concat();
        let signature = self.pair.sign(&SystemRandom::new(), &statement).unwrap();
        (hex(&statement), hex(signature.as_ref()))
    }

    /// That this log had this size and root.
    fn certify(&self, log_id: [u8; 16], size: u64, root: Hash) -> serde_json::Value {
        let record =
            [&b"DSMA\0\0\0\x01"[..], &log_id, &size.to_be_bytes(), &root.0, &9u64.to_be_bytes(), &[0; 12]]
                .concat();
        let counter = self.state([1; 34], &9u64.to_be_bytes());
        let record = self.state([2; 34], &record);
        serde_json::json!({
            "counter": counter.0, "counter_signature": counter.1, "record": record.0, "record_signature": record.1,
            "key": "", "anchor": "",
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_log_must_reach_what_the_tpm_says() {
    let mut folder = Folder::new();
    folder.sign();
    let (root, size) = (folder.log().root(), folder.log().size());
    let chip = Chip { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap() };
    let (file, attestation) = (folder.beside("anchor.json"), folder.beside("attestation.pem"));
    std::fs::write(&attestation, pem(&chip.pair)).unwrap();
    let verify = |word: &serde_json::Value, more: &[&str]| {
        std::fs::write(&file, word.to_string()).unwrap();
        let given =
            ["--certification", file.to_str().unwrap(), "--attestation-key", attestation.to_str().unwrap()];
        folder.dsmil(&[&["log", "verify"][..], &given, more].concat())
    };
    let nonce = ["--nonce", "6f1d"];
    let right = chip.certify([7; 16], size, root);
    let text = verify(&right, &nonce).done();
    assert!(text.contains("5 entries that the TPM says were anchored last"), "{text}");
    let json = verify(&right, &["--nonce", "6f1d", "--json"]).done();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let name = json["answer"]["certified"].as_str().unwrap().to_owned();
    verify(&right, &["--nonce", "6f1d", "--anchor", &name]).done();

    let mut forged = right.clone();
    forged["record_signature"] = forged["counter_signature"].clone();
    let other = "00".repeat(32);
    for (word, more, why) in [
        (&right, &["--nonce", "6f1e"][..], "it may be an old one"),
        (&right, &["--nonce", "6f1d", "--anchor", &other], "not of the one that was told"),
        (&forged, &nonce, "not signed by the given attestation key"),
        (&chip.certify([7; 16], size + 1, root), &nonce, "cut or rewound"),
        (&chip.certify([7; 16], size, Hash([9; 32])), &nonce, "not the one of the trusted head"),
        (&chip.certify([8; 16], size, root), &nonce, "that of another log"),
    ] {
        let output = verify(word, more);
        assert_eq!(output.code, Some(7), "{}", output.err);
        assert!(output.err.contains(why), "{why}: {}", output.err);
    }
}

/// After a new mainboard another key signs.
#[test]
fn each_head_is_signed_by_one_of_the_keys() {
    let mut folder = Folder::new();
    let key = folder.sign();
    let stranger = folder.beside("other.pem");
    std::fs::write(&stranger, self::stranger()).unwrap();
    let (key, stranger) = (key.to_str().unwrap(), stranger.to_str().unwrap());
    let text = folder.dsmil(&["log", "verify", "--key", stranger, "--key", key]).done();
    assert!(text.contains("each head is signed by key "), "{text}");
    assert_eq!(folder.dsmil(&["log", "verify", "--key", stranger, "--key", stranger]).code, Some(7));
}

/// Another machine's key.
fn stranger() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    pem(&pair)
}

fn pem(pair: &EcdsaKeyPair) -> String {
    let (_, point) = pair.public_key().as_ref().split_first().unwrap();
    let (x, y) = point.split_first_chunk::<32>().unwrap();
    store::head::PublicKey::from_point(x, y.try_into().unwrap()).unwrap().to_pem()
}
