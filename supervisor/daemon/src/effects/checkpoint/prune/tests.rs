use std::fs;
use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use engine::Told;
use recovery::files::root::Root;
use recovery::restore::{Machine, capture};
use types::time::Time;

use super::super::Task;
use super::super::repository::Keys;
use super::*;

/// What stands before a point of P-256 in a SubjectPublicKeyInfo (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86,
    0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A store with signed checkpoints of a folder.
struct State {
    dir: tempfile::TempDir,
    pair: EcdsaKeyPair,
    keys: Keys,
    folder: PathBuf,
    chunks: Chunks,
    told: Told,
}

impl State {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
        let spki = [&SPKI_PREFIX[..], pair.public_key().as_ref()].concat();
        let key = tpm::PublicKey::from_spki(&spki).unwrap();
        let chunks = Chunks::open(&dir.path().join("chunks"), &[7; 32]).unwrap();
        let folder = dir.path().join("checkpoints");
        Self { dir, pair, keys: Keys { now: key, others: Vec::new() }, folder, chunks, told: Told::default() }
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.chunks, &self.folder, &self.keys, &self.told)
    }

    /// A checkpoint of a file of so many bytes that no other has.
    fn checkpoint(&mut self, number: u64, bytes: usize) {
        // Xorshift: nothing that compresses.
        let mut seed = number;
        let byte = |_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[0]
        };
        let content: Vec<u8> = (0..bytes).map(byte).collect();
        fs::write(self.dir.path().join("root/alone"), content).unwrap();
        let roots = [Root::open(&self.dir.path().join("root")).unwrap()];
        let machine = Machine { roots: &roots, ..Machine::default() };
        let manifest = capture(machine, &mut self.chunks, number, "c", Time::default()).unwrap().manifest;
        let unsigned = manifest.store(&mut self.chunks).unwrap();
        self.told.insert(number, unsigned.statement.manifest);
        let text = unsigned.statement.to_string();
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec();
        let stored = unsigned.sign(signature, self.keys.now.key_id().to_vec());
        store::manifest::put(&self.folder, number, &stored.encode().unwrap()).unwrap();
    }

    fn survey(&self, gone: &[u64], expendable: &[u64]) -> Result<Survey, String> {
        let going = Going { gone: gone.to_vec(), expendable: expendable.to_vec() };
        match survey(self.reader(), going)? {
            Done::Step(StepResult::Surveyed(survey)) => Ok(survey),
            _ => panic!("a survey gives a survey"),
        }
    }

    fn prune(&mut self) -> Freed {
        let wanted = wanted(self.reader()).unwrap();
        match prune(&mut self.chunks, &wanted).unwrap() {
            Done::Step(StepResult::Pruned(freed)) => freed,
            _ => panic!("pruning tells what it freed"),
        }
    }
}

#[test]
fn what_is_surveyed_is_what_is_needed_when_it_has_gone() {
    let mut state = State::new();
    fs::write(state.dir.path().join("root/shared"), vec![3; 300_000]).unwrap();
    for (number, bytes) in [(1, 900_000), (2, 500_000), (3, 700_000), (4, 200_000)] {
        state.checkpoint(number, bytes);
    }
    let all = state.survey(&[], &[1, 2, 3]).unwrap();
    assert_eq!(all.present, [1, 2, 3, 4]);
    assert_eq!((all.needed.len(), all.needed[0]), (4, all.stored_bytes));
    assert!(all.needed.is_sorted_by(|a, b| a > b), "{:?}", all.needed);
    // The first one's file is as large as it is; the shared one is needed to the end.
    assert!(all.needed[0] - all.needed[1] > 800_000 && all.needed[3] > 190_000, "{:?}", all.needed);
    assert_eq!(state.survey(&[1, 3], &[2]).unwrap().needed[1], all.needed[3]);
    for (number, left) in [(1, 1), (2, 2), (3, 3)] {
        let Done::Step(StepResult::Removed(gone, None)) = remove_all(&state.folder, &[number]) else {
            panic!("it is gone")
        };
        assert_eq!(gone, [number]);
        // Twice is as good as once: a crash may have come before it was told.
        remove_all(&state.folder, &[number]);
        state.told.remove(&number);
        let freed = state.prune();
        assert!(freed.bytes > 0 && freed.damage.is_empty(), "{freed:?}");
        assert_eq!(state.chunks.stats().stored_bytes, all.needed[left] + freed.left_bytes);
    }
    // And what is left is whole, also for who opens the store anew.
    let pieces = wanted(state.reader()).unwrap();
    state.chunks = {
        drop(std::mem::replace(
            &mut state.chunks,
            Chunks::open(&state.dir.path().join("others"), &[8; 32]).unwrap(),
        ));
        Chunks::open(&state.dir.path().join("chunks"), &[7; 32]).unwrap()
    };
    assert!(pieces.iter().all(|id| state.chunks.get(id).is_ok()));
    assert_eq!(state.prune(), Freed { left_bytes: state.prune().left_bytes, ..Freed::default() });
}

#[test]
fn a_checkpoint_that_cannot_be_read_stops_the_pruning_and_is_named() {
    let mut state = State::new();
    state.checkpoint(1, 1000);
    state.checkpoint(2, 2000);
    let file = state.folder.join("000001");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    for refused in
        [state.survey(&[], &[]).map(|_| ()).unwrap_err(), wanted(state.reader()).map(|_| ()).unwrap_err()]
    {
        assert!(refused.contains("checkpoint 1 cannot be read"), "{refused}");
    }
    // It need not be read in order to go.
    assert_eq!(state.survey(&[1], &[]).unwrap().needed.len(), 1);
    remove_all(&state.folder, &[1]);
    state.told.remove(&1);
    state.prune();
    assert!(state.reader().load(2).is_ok());
}

#[test]
fn one_that_cannot_be_removed_does_not_keep_the_others() {
    let mut state = State::new();
    [1, 2, 3].into_iter().for_each(|number| state.checkpoint(number, 1000));
    let file = state.folder.join("000002");
    fs::remove_file(&file).unwrap();
    // Where a folder stands a file cannot be removed, by root neither.
    fs::create_dir(&file).unwrap();
    let Done::Step(StepResult::Removed(gone, Some(why))) = remove_all(&state.folder, &[1, 2, 3]) else {
        panic!("one is left")
    };
    assert_eq!(gone, [1, 3]);
    assert!(why.contains("checkpoint 2 could not be removed"), "{why}");
}

#[test]
fn only_the_checkpoint_of_which_the_log_tells_counts() {
    let mut state = State::new();
    state.checkpoint(1, 1000);
    state.checkpoint(2, 2000);
    // One of the same number, signed by the same key, from another life of this machine.
    let (first, of_first) = (fs::read(state.folder.join("000001")).unwrap(), state.told[&1]);
    fs::remove_file(state.folder.join("000001")).unwrap();
    state.checkpoint(1, 3000);
    assert!(state.reader().load(1).is_ok());
    fs::write(state.folder.join("000001"), first).unwrap();
    let refused = state.reader().load_wanted(1).map(|_| ()).unwrap_err();
    assert!(
        refused.contains("not the one of which the log tells") && refused.contains("whole: 2"),
        "{refused}"
    );
    assert!(state.survey(&[], &[]).is_err(), "nobody knows what the missing one needs");
    state.told.insert(1, of_first);
    assert!(state.reader().load(1).is_ok());
    // What the log does not tell of is not restored, and keeps its chunks.
    state.told.remove(&1);
    let refused = state.reader().load(1).map(|_| ()).unwrap_err();
    assert!(refused.contains("the log tells of no checkpoint 1"), "{refused}");
    assert_eq!(state.survey(&[], &[]).unwrap().present, [1, 2]);
    state.prune();
    state.told.insert(1, of_first);
    assert!(state.reader().load(1).is_ok());
    // One that is missing may come back.
    fs::rename(state.folder.join("000002"), state.folder.join("aside")).unwrap();
    let refused = wanted(state.reader()).map(|_| ()).unwrap_err();
    assert!(refused.contains("checkpoint 2, of which the log tells, is missing"), "{refused}");
}

#[test]
fn what_is_damaged_is_named_and_what_is_left() {
    let mut state = State::new();
    state.checkpoint(1, 100_000);
    state.checkpoint(2, 200_000);
    let packs = state.dir.path().join("chunks/packs");
    let mut all: Vec<_> = fs::read_dir(&packs).unwrap().map(|entry| entry.unwrap()).collect();
    all.sort_by_key(|entry| entry.metadata().unwrap().len());
    let pack = all.pop().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[5000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let verified = |number| state.reader().answer(&Task::Verify { number }).unwrap();
    assert!(verified(1).is_ok());
    let refused = verified(2).map(|_| ()).unwrap_err();
    for words in ["damaged in checkpoint 2: ", "/root/alone (", ".pack", "whole: 1"] {
        assert!(refused.contains(words), "{words} in {refused}");
    }
}
