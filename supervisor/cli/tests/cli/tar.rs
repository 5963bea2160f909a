//! A checkpoint as tar, without a daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use recovery::files::root::Root;
use recovery::restore::{Machine, capture};
use serde_json::Value;
use store::chunk::Chunks;
use types::time::Time;

use crate::daemon::{Output, command};

const KEY: [u8; 32] = [9; 32];

/// A state folder with two checkpoints of a folder, signed, and what opens them.
pub struct State {
    dir: tempfile::TempDir,
    pair: EcdsaKeyPair,
}

impl State {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
        let state = Self { dir, pair };
        fs::create_dir_all(state.at("root/sub")).unwrap();
        fs::create_dir(state.at("state")).unwrap();
        fs::write(state.at("root/sub/a"), "one").unwrap();
        fs::write(state.at("key"), KEY).unwrap();
        let (x, y) = state.pair.public_key().as_ref()[1..].split_at(32);
        let public =
            store::head::PublicKey::from_point(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
        fs::write(state.at("machine.pem"), public.to_pem()).unwrap();
        state.checkpoint(1, "before");
        fs::write(state.at("root/sub/a"), "two").unwrap();
        state.checkpoint(2, "after");
        state
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Takes a checkpoint of the folder “root”.
    pub fn checkpoint(&self, number: u64, name: &str) {
        self.checkpoint_by(number, name, &self.pair);
    }

    /// Takes one that is signed with another key.
    pub fn forge(&self, number: u64, name: &str) {
        let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        self.checkpoint_by(number, name, &other);
    }

    fn checkpoint_by(&self, number: u64, name: &str, pair: &EcdsaKeyPair) {
        let mut chunks = Chunks::open(&self.at("state/chunks"), &KEY).unwrap();
        let roots = [Root::open(&self.at("root")).unwrap()];
        let machine = Machine { roots: &roots, ..Machine::default() };
        let manifest = capture(machine, &mut chunks, number, name, Time::default()).unwrap().manifest;
        let unsigned = manifest.store(&mut chunks).unwrap();
        let text = unsigned.statement.to_string();
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec();
        let bytes = unsigned.sign(signature, vec![1; 4]).encode().unwrap();
        store::manifest::put(&self.at("state/checkpoints"), number, &bytes).unwrap();
    }

    /// Removes a checkpoint.
    pub fn remove(&self, number: u64) {
        store::manifest::remove(&self.at("state/checkpoints"), number).unwrap();
    }

    /// Exports with these arguments besides the key and the folder.
    fn export(&self, arguments: &[&str]) -> Output {
        self.dsmil(&[&["checkpoint", "export"], arguments].concat())
    }

    /// Runs the command where no daemon is, with the folder.
    pub fn dsmil_in(&self, arguments: &[&str]) -> Output {
        Output::of(
            command(Path::new("/nonexistent/socket")).args(arguments).arg("--dir").arg(self.at("state")),
        )
    }

    /// Runs the command where no daemon is, with the folder, and with the key unless the arguments have one.
    pub fn dsmil(&self, arguments: &[&str]) -> Output {
        let mut command = command(Path::new("/nonexistent/socket"));
        command.args(arguments).arg("--dir").arg(self.at("state"));
        if !arguments.contains(&"--repository-key") {
            command.arg("--repository-key").arg(self.at("key"));
        }
        Output::of(&mut command)
    }

    /// What `sub/a` of an archive holds.
    fn held(&self, archive: &Path) -> String {
        let name = self.at("root/sub/a").strip_prefix("/").unwrap().to_owned();
        let output = Command::new("tar").arg("-xOf").arg(archive).arg(name).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_checkpoint_is_written_by_name_or_number_and_its_signature_checked() {
    let state = State::new();
    let (one, two, pem) = (state.at("one.tar"), state.at("two.tar"), state.at("machine.pem"));
    let said = state.export(&["before", "--out", text(&one)]).done();
    assert!(said.contains("checkpoint 1 “before”, 3 entries") && said.contains("not checked"), "{said}");
    assert_eq!(state.held(&one), "one");
    let said = state.export(&["2", "--out", text(&two), "--key", text(&pem), "--json"]).done();
    let json: Value = serde_json::from_str(&said).unwrap();
    let answer = &json["answer"];
    assert_eq!(
        (&answer["kind"], &answer["number"], &answer["signed"]),
        (&"checkpoint_exported".into(), &2.into(), &true.into())
    );
    assert_eq!(answer["bytes"], fs::metadata(&two).unwrap().len());
    assert_eq!(state.held(&two), "two");
    // To a pipe, and one folder of it.
    let root = state.at("root");
    let mut command = command(Path::new("/nonexistent/socket"));
    let output = command
        .args(["checkpoint", "export", "before", "--out", "-", "--root", text(&root), "--dir"])
        .args([state.at("state"), "--repository-key".into(), state.at("key")])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{:?}", output.stderr);
    assert_eq!(output.stdout, fs::read(&one).unwrap());
}

#[test]
fn what_cannot_be_exported_leaves_nothing_behind() {
    let state = State::new();
    let (out, wrong) = (state.at("out.tar"), state.at("wrong"));
    fs::write(&wrong, [8; 32]).unwrap();
    fs::write(state.at("short"), [9; 31]).unwrap();
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let (x, y) = other.public_key().as_ref()[1..].split_at(32);
    let public = store::head::PublicKey::from_point(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
    fs::write(state.at("other.pem"), public.to_pem()).unwrap();
    let (short, stranger) = (state.at("short"), state.at("other.pem"));
    for (arguments, code, why) in [
        (&["none"][..], 6, "no checkpoint “none”"),
        (&["7"], 6, "manifest"),
        (&["before", "--root", "/other"], 6, "none of the checkpoint's folders"),
        (&["before", "--repository-key", text(&wrong)], 1, ""),
        (&["before", "--repository-key", text(&short)], 2, "32 bytes"),
        (&["before", "--key", text(&stranger)], 7, "not signed by the given key"),
    ] {
        let output = state.export(&[arguments, &["--out", text(&out)]].concat());
        assert_eq!((output.code, output.out.as_str()), (Some(code), ""), "{arguments:?}: {}", output.err);
        assert!(output.err.contains(why), "{arguments:?}: {}", output.err);
        assert!(!out.exists(), "{arguments:?}");
    }
    fs::write(&out, "mine").unwrap();
    assert_eq!(state.export(&["before", "--out", text(&out)]).code, Some(1));
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
}

#[test]
fn the_key_that_signs_is_written_for_others() {
    let state = State::new();
    let (out, pem) = (state.at("out.pem"), fs::read_to_string(state.at("machine.pem")).unwrap());
    let absent = state.dsmil_in(&["checkpoint", "key"]);
    assert_eq!((absent.code, absent.out.as_str()), (Some(1), ""));
    fs::write(state.at("state/checkpoints/key.pem"), &pem).unwrap();
    assert_eq!(state.dsmil_in(&["checkpoint", "key"]).done(), pem);
    state.dsmil_in(&["checkpoint", "key", "--out", text(&out)]).done();
    assert_eq!(fs::read_to_string(&out).unwrap(), pem);
    assert_eq!(state.dsmil_in(&["checkpoint", "key", "--out", text(&out)]).code, Some(1));
    // It stands among the checkpoints and is taken for none.
    let archive = state.at("one.tar");
    state.export(&["after", "--out", text(&archive), "--key", text(&out)]).done();
    fs::write(state.at("state/checkpoints/key.pem"), "no key").unwrap();
    assert_eq!(state.dsmil_in(&["checkpoint", "key"]).code, Some(1));
}
