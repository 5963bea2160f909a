use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

fn expected(prefix: u8, message: &[u8]) -> Hash {
    Hash(Sha256::new_with_prefix([prefix]).chain_update(message).finalize().into())
}

fn hashes(engine: &Engine, prefix: u8, messages: &[Vec<u8>]) -> Vec<Hash> {
    // Something is in it already, and must stay.
    let mut out = vec![Hash([7; 32])];
    engine.hash(prefix, messages.iter().map(Vec::as_slice), &mut out);
    assert_eq!(out.remove(0), Hash([7; 32]));
    out
}

/// Bytes that differ everywhere, so that a block in the wrong place or lane shows.
fn bytes(length: usize, seed: usize) -> Vec<u8> {
    let byte = |at: usize| at.wrapping_mul(0x9e37_79b9).wrapping_add(seed * 131).to_le_bytes()[1];
    (0..length).map(byte).collect()
}

fn check(messages: &[Vec<u8>], prefix: u8) {
    let wanted: Vec<Hash> = messages.iter().map(|message| expected(prefix, message)).collect();
    for engine in Engine::all() {
        assert_eq!(hashes(&engine, prefix, messages), wanted, "{}", engine.name());
    }
}

/// The examples of FIPS 180-2, appendix B; the first byte is the prefix here.
#[test]
fn published_examples() {
    let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_owned();
    let examples = [
        ("abc".to_owned(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (long, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        ("a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ];
    for (message, hash) in &examples {
        let (prefix, rest) = message.as_bytes().split_first().unwrap();
        for engine in Engine::all() {
            for count in [1, 2, 3, 8, 16, 17] {
                let found = hashes(&engine, *prefix, &vec![rest.to_vec(); count]);
                assert!(found.len() == count && found.iter().all(|found| found.to_string() == *hash));
            }
        }
    }
}

/// Each length around where blocks and padding begin, alone and beside others.
#[test]
fn every_short_length() {
    for count in [1, 2, 5, 16, 33] {
        for length in 0..300 {
            let messages: Vec<_> = (0..count).map(|seed| bytes(length, seed)).collect();
            check(&messages, 0);
        }
    }
}

/// A long message among short ones: the lanes that became free are refilled, and the long one is finished alone.
#[test]
fn the_longest_entry_among_the_shortest() {
    let mut messages: Vec<_> = (0..40).map(|seed| bytes(seed % 3, seed)).collect();
    messages[3] = bytes(65_535, 3);
    messages[20] = bytes(65_534, 20);
    messages[21] = bytes(40_000, 21);
    check(&messages, 0);
}

/// Reading beyond a message would fault: it ends where its memory ends, and begins where that begins.
#[test]
fn nothing_around_a_message_is_read() {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
    const PAGE: usize = 4096;
    let size = (3 * PAGE).try_into().unwrap();
    // SAFETY: fresh memory of our own; its first and last page are made unreadable, and nothing refers to it after the end.
    let (memory, page) = unsafe {
        let memory =
            mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
                .unwrap();
        mprotect(memory, PAGE, ProtFlags::PROT_NONE).unwrap();
        mprotect(memory.add(2 * PAGE), PAGE, ProtFlags::PROT_NONE).unwrap();
        (memory, std::slice::from_raw_parts_mut(memory.add(PAGE).as_ptr().cast::<u8>(), PAGE))
    };
    page.copy_from_slice(&bytes(PAGE, 1));
    for length in (0..200).chain([511, 512, 513, PAGE]) {
        for messages in [vec![&page[..length]; 17], vec![&page[PAGE - length..]; 17]] {
            for engine in Engine::all() {
                let mut out = Vec::new();
                engine.hash(0, messages.iter().copied(), &mut out);
                assert_eq!(out, vec![expected(0, messages[0]); 17], "{}", engine.name());
            }
        }
    }
    // SAFETY: it was mapped above, whole.
    unsafe { munmap(memory, 3 * PAGE).unwrap() };
}

/// All are tried, on a processor that has them; which were is in the test's output.
#[test]
fn each_implementation_of_this_processor_is_there() {
    let names: Vec<_> = Engine::all().iter().map(Engine::name).collect();
    println!("{names:?}, the best: {:?}", Engine::best());
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(names.contains(&"avx512"), is_x86_feature_detected!("avx512bw"));
        assert_eq!(names.contains(&"avx2"), is_x86_feature_detected!("avx2"));
        assert_eq!(names.contains(&"sha-ni"), is_x86_feature_detected!("sha"));
    }
    assert!(names.contains(&"best") && names.contains(&"sha2"));
}

/// Mostly short, some around a block, few long.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..70_usize, 4 => 100..600_usize, 2 => 0..5_000_usize, 1 => 60_000..=65_535_usize]
}

proptest! {
    #[test]
    fn equal_to_the_crate(
        prefix: u8,
        lengths in prop::collection::vec(length(), 0..70),
        noise in prop::collection::vec(any::<u8>(), 65_535),
        starts in prop::collection::vec(any::<prop::sample::Index>(), 70),
    ) {
        let cut = |(length, start): (&usize, &prop::sample::Index)| {
            let start = start.index(noise.len() - length + 1);
            noise[start..start + length].to_vec()
        };
        let messages: Vec<Vec<u8>> = lengths.iter().zip(&starts).map(cut).collect();
        check(&messages, prefix);
    }
}
