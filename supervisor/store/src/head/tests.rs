use proptest::prelude::*;

use super::*;
use crate::log::tests::Signer;

fn head() -> Head {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let root = Hash(STANDARD.decode(root).unwrap().try_into().unwrap());
    Head { origin: "example.com/behind-the-sofa".into(), size: 20_852_163, root, extensions: Vec::new() }
}

/// The example of the specification; its signature is Ed25519, so of a key that is not ours.
const EXAMPLE: &str = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
";

#[test]
fn the_example_of_the_specification_is_read() {
    let signed = SignedHead::parse(EXAMPLE).unwrap();
    assert_eq!(signed.head(), &head());
    assert_eq!(signed.text().unwrap(), EXAMPLE);
    assert!(signed.verify(&Signer::new().public()).is_err());
}

#[test]
fn a_signature_counts_for_its_key_and_its_head_alone() {
    let (signer, other) = (Signer::new(), Signer::new());
    let signed = signer.sign(head());
    let text = signed.text().unwrap();
    let read = SignedHead::parse(&text).unwrap();
    assert_eq!(read, signed);
    read.verify(&signer.public()).unwrap();
    assert!(read.verify(&other.public()).is_err());
    let larger = SignedHead::parse(&text.replace("20852163", "20852164")).unwrap();
    assert!(larger.verify(&signer.public()).is_err());
    let renamed = SignedHead::parse(&text.replace("sofa", "bed")).unwrap();
    assert!(renamed.verify(&signer.public()).is_err());
    assert!(SignedHead::assemble(head(), &other.public(), &[0x30, 0]).is_err());
    // A witness's signature beside ours changes nothing.
    let witness = EXAMPLE.lines().last().unwrap();
    SignedHead::parse(&format!("{text}{witness}\n")).unwrap().verify(&signer.public()).unwrap();
}

#[test]
fn keys_are_read_in_each_form() {
    let key = Signer::new().public();
    assert_eq!(PublicKey::from_der(key.der()).unwrap(), key);
    assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
    assert!(PublicKey::from_point(&[1; 32], &[1; 32]).is_err());
    assert!(PublicKey::from_der(&key.der()[..90]).is_err());
    assert!(PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----").is_err());
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "a\n",
        "a\n1\n",
        "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1\nCsU=\n",
        "a b\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\nx\n",
    ] {
        assert!(Head::parse(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn heads_read_back(
        origin in "[a-z./]{1,20}", size: u64, root: [u8; 32], extensions in prop::collection::vec("[ -~]{1,30}", 0..3),
    ) {
        let head = Head { origin, size, root: Hash(root), extensions };
        prop_assert_eq!(Head::parse(&head.text().unwrap()).unwrap(), head);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(a\n|1\n|\n|— a |[a-zA-Z0-9+/=]{0,44}\n?){0,12}") {
        if let Ok(signed) = SignedHead::parse(&text) {
            prop_assert_eq!(SignedHead::parse(&signed.text().unwrap()).unwrap(), signed);
        }
    }
}
