//! The log's anchor against a real software TPM: what is detected, and what not.

use tpm::{
    ANCHORINGS_AT_ONCE, Anchor, AnchorHandles, Certification, Disbelief, Error, Expected, LogPoint, NvKind,
    NvWriter, PcrSelection, PublicKey, Standing, Violation, check, verify_certification,
};
use types::hash::Hash;

use crate::common::{Machine, Wire};
use crate::rival::Rival;

const LOG: [u8; 16] = [7; 16];

fn handles() -> AnchorHandles {
    AnchorHandles::default()
}

/// A log whose root at a size is that size.
fn root(size: u64) -> Hash {
    let mut hash = Hash::default();
    hash.0[..8].copy_from_slice(&size.to_be_bytes());
    hash
}

fn point(size: u64) -> LogPoint {
    LogPoint { log_id: LOG, size, root: root(size) }
}

/// What a log of this size says that was flushed when the chip stood so.
fn disk(anchor: &Anchor, size: u64) -> Expected {
    Expected {
        log_id: LOG,
        size,
        names: Some(anchor.names),
        counter: anchor.counter,
        orderly: anchor.orderly,
        epoch: (anchor.clock.resets, anchor.clock.restarts),
        jump_max: 256,
    }
}

fn compare(expected: &Expected, anchor: &Anchor) -> Result<Standing, Violation> {
    check(expected, Some(anchor), |size| Some(root(size)))
}

#[tokio::test]
async fn it_moves_forward_and_counts_its_writes() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    assert_eq!(tpm.read_anchor(handles()).await.unwrap(), None);
    assert!(matches!(tpm.advance_anchor(handles(), point(1), 1).await, Err(Error::NvMissing { .. })));
    let first = tpm.define_anchor(handles(), point(10)).await.unwrap();
    assert_eq!((first.record.point, first.record.writes), (point(10), 1));
    assert!(matches!(tpm.define_anchor(handles(), point(1)).await, Err(Error::NvDefined { .. })));
    // The reference implementation: MAX_ORDERLY_COUNT is 255.
    assert_eq!(tpm.orderly_writes_every().await.unwrap(), 256);
    for n in 1..5 {
        let commands = tpm.counters().commands;
        tpm.increment_orderly(handles()).await.unwrap();
        assert_eq!(tpm.counters().commands - commands, 1);
        let anchor = tpm.advance_anchor(handles(), point(10 + n), first.counter + n).await.unwrap();
        assert_eq!(anchor.allowed(), ANCHORINGS_AT_ONCE - 1 - u8::try_from(n).unwrap());
        assert_eq!((anchor.counter, anchor.orderly), (first.counter + n, first.orderly + n));
        assert_eq!((anchor.record.point, anchor.record.writes), (point(10 + n), 1 + n));
        assert_eq!(anchor.record.counter, anchor.counter);
        assert_eq!(anchor.names, first.names);
        let standing = compare(&disk(&anchor, 20), &anchor).unwrap();
        assert_eq!((standing.is_increment_missing, standing.is_window_open), (false, false));
    }
    let last = tpm.read_anchor(handles()).await.unwrap().unwrap();
    tpm.shutdown().await.unwrap();
    drop(swtpm);
    // SIGKILL is a power cut: what is kept in the chip stays, the orderly counter jumps forward.
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let anchor = tpm.read_anchor(handles()).await.unwrap().unwrap();
    assert_eq!((anchor.counter, anchor.record, anchor.names), (last.counter, last.record, last.names));
    assert!(anchor.orderly >= last.orderly);
    let standing = compare(&disk(&last, 14), &anchor).unwrap();
    assert!(standing.is_window_open);
    assert_eq!(standing.orderly_jump, anchor.orderly - last.orderly);
    // One loss of power does not explain any jump; two may explain more.
    let ahead = |jump| Anchor { orderly: last.orderly + jump, ..anchor };
    let named = disk(&last, 14);
    assert!(compare(&named, &ahead(257)).is_ok());
    assert!(matches!(compare(&named, &ahead(258)), Err(Violation::RolledBack { .. })));
    let clock = tpm::Clock { resets: anchor.clock.resets + 1, ..anchor.clock };
    assert!(compare(&named, &Anchor { clock, ..ahead(258) }).is_ok());
    let silent = Expected { jump_max: 0, ..named };
    assert!(compare(&silent, &ahead(258)).is_ok(), "a chip that does not say how far it jumps");
    tpm.forget_anchor(handles()).await.unwrap();
    assert_eq!(tpm.read_anchor(handles()).await.unwrap(), None);
    assert_eq!(check(&disk(&last, 14), None, |_| None), Err(Violation::Missing));
}

#[tokio::test]
async fn a_chip_that_slept_tells_what_it_told_before() {
    let machine = Machine::new();
    let mut swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let first = tpm.define_anchor(handles(), point(0)).await.unwrap();
    let mut states = vec![first];
    for _ in 0..3 {
        tpm.increment_orderly(handles()).await.unwrap();
        states.push(tpm.read_anchor(handles()).await.unwrap().unwrap());
    }
    tpm.shutdown().await.unwrap();
    swtpm.sleep();
    let tpm = machine.open(&swtpm);
    let anchor = tpm.read_anchor(handles()).await.unwrap().unwrap();
    assert_eq!(anchor.orderly, states[3].orderly, "nothing was lost");
    assert_eq!(anchor.clock.resets, first.clock.resets);
    assert_ne!(anchor.clock.restarts, first.clock.restarts);
    assert!(!compare(&disk(&states[3], 9), &anchor).unwrap().is_window_open);
    // The chip may not have counted the newest head; but it has counted what an older copy does not know.
    assert!(matches!(compare(&disk(&states[2], 9), &anchor), Err(Violation::RolledBack { .. })));
}

#[tokio::test]
async fn a_log_that_was_put_back_cut_or_swapped_is_detected() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let mut states = vec![tpm.define_anchor(handles(), point(0)).await.unwrap()];
    for n in 1..6 {
        let counter = states[0].counter + n;
        states.push(tpm.advance_anchor(handles(), point(100 * n), counter).await.unwrap());
    }
    let now = *states.last().unwrap();
    for old in &states[..5] {
        let violation = compare(&disk(old, old.record.point.size + 50), &now);
        assert!(matches!(violation, Err(Violation::RolledBack { .. })), "{violation:?}");
    }
    let newest = disk(&now, 540);
    assert!(compare(&newest, &now).is_ok());
    // The newest head was kept, and entries before it cut away.
    let cut = Expected { size: 499, ..newest };
    assert_eq!(compare(&cut, &now), Err(Violation::Truncated { size: 499, anchored: 500 }));
    let other = Expected { log_id: [8; 16], ..newest };
    assert_eq!(compare(&other, &now), Err(Violation::OtherLog));
    let forked = check(&newest, Some(&now), |size| Some(root(size + 1)));
    assert_eq!(forked, Err(Violation::Forked { size: 500 }));
    let mut names = now.names;
    names.record.0[33] ^= 1;
    let redefined = Expected { names: Some(names), ..newest };
    assert_eq!(compare(&redefined, &now), Err(Violation::Redefined));
    let unknown = Expected { names: None, ..newest };
    assert_eq!(compare(&unknown, &now), Err(Violation::Unknown));
    // The disk of another machine, whose chip has counted further.
    let ahead = Expected { counter: now.counter + 2, ..newest };
    assert!(matches!(compare(&ahead, &now), Err(Violation::ChipBehind { .. })));
    // A copy from after the last anchoring, while the chip has power.
    tpm.increment_orderly(handles()).await.unwrap();
    let later = tpm.read_anchor(handles()).await.unwrap().unwrap();
    assert!(matches!(compare(&newest, &later), Err(Violation::RolledBack { .. })));
    assert!(compare(&Expected { orderly: later.orderly, ..newest }, &later).is_ok());
    assert!(compare(&Expected { orderly: later.orderly + 1, ..newest }, &later).is_ok());
}

#[tokio::test]
async fn an_anchor_that_was_defined_anew_is_detected() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let AnchorHandles { counter, record, orderly } = handles();
    for index in [counter, record, orderly] {
        let before = tpm.define_anchor(handles(), point(5)).await.unwrap();
        Rival::new(&swtpm).define_the_same_again(index);
        let error = tpm.read_anchor(handles()).await.err().unwrap();
        assert!(matches!(error, Error::NvUnwritten { index: found } if found == index), "{error}");
        let error = tpm.advance_anchor(handles(), point(6), before.counter + 1).await.err().unwrap();
        assert!(matches!(error, Error::NvUnwritten { index: found } if found == index), "{error}");
        if index != orderly {
            // He cannot bring it to a value: both ask for our key.
            assert!(Rival::new(&swtpm).increment(index).is_err());
            assert!(Rival::new(&swtpm).write(index, &[0; 8]).is_err());
        }
        // What he can write is not what we defined.
        tpm.nv_undefine(index).await.unwrap();
        let kind = if index == record { NvKind::Bytes(84) } else { NvKind::Counter };
        tpm.nv_define(index, kind, NvWriter::Value).await.unwrap();
        let error = tpm.read_anchor(handles()).await.err().unwrap();
        assert!(matches!(error, Error::NvForeign { index: found } if found == index), "{error}");
        tpm.nv_undefine(index).await.unwrap();
        assert!(matches!(tpm.read_anchor(handles()).await, Err(Error::NvMissing { .. })));
        tpm.forget_anchor(handles()).await.unwrap();
        // And if all of it is made again, with our help: the old log is behind.
        let after = tpm.define_anchor(handles(), point(5)).await.unwrap();
        assert_eq!(after.names, before.names);
        let violation = compare(&disk(&before, 5), &after);
        assert!(matches!(violation, Err(Violation::RolledBack { .. })), "{violation:?}");
        tpm.forget_anchor(handles()).await.unwrap();
    }
}

#[tokio::test]
async fn a_power_cut_between_record_and_increment_is_accepted_and_said() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    // The second and third increment of the counter never reach the chip, which says that it has failed.
    let mut increments = 0;
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            let is_counter = command[6..10] == [0, 0, 1, 0x34] && command[10..14] == [0x01, 0x80, 0xd5, 0x10];
            increments += u32::from(is_counter);
            match is_counter && (2..=3).contains(&increments) {
                true => vec![0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1],
                false => chip(command),
            }
        }),
    );
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config).unwrap();
    let before = tpm.define_anchor(handles(), point(5)).await.unwrap();
    assert!(tpm.advance_anchor(handles(), point(9), before.counter + 1).await.is_err());
    let after = tpm.read_anchor(handles()).await.unwrap().unwrap();
    assert_eq!((after.counter, after.record.point), (before.counter, point(9)));
    assert_eq!(after.record.counter, before.counter + 1);
    // The newest head was flushed before: it names the next value.
    let newest = Expected { counter: before.counter + 1, ..disk(&before, 9) };
    assert!(compare(&newest, &after).unwrap().is_increment_missing);
    let claim = tpm.certify_anchor(handles(), b"n").await.unwrap();
    assert!(verify_certification(tpm.attestation_key().unwrap(), b"n", &claim).is_ok());
    // A log that has grown meanwhile wears nothing, as long as the counter does not go on.
    assert!(tpm.advance_anchor(handles(), point(10), before.counter + 1).await.is_err());
    assert_eq!(tpm.read_anchor(handles()).await.unwrap().unwrap().record, after.record);
    // Anchored anew, all is as it should be.
    let now = tpm.advance_anchor(handles(), point(9), before.counter + 1).await.unwrap();
    // What was written by then is not written again.
    assert_eq!((now.record.writes, now.record), (after.record.writes, after.record));
    // Anchored already, at an earlier point.
    let grown = tpm.advance_anchor(handles(), point(11), before.counter + 1).await.unwrap();
    assert_eq!((grown.counter, grown.record.point), (now.counter, point(11)));
    assert_eq!(grown.record.writes, now.record.writes + 1);
    assert!(!compare(&newest, &now).unwrap().is_increment_missing);
}

/// The counter must not be ahead of what the newest head names: that is how a log looks that was put back.
#[tokio::test]
async fn an_answer_that_was_lost_does_not_count_twice() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    // Of each anchoring but the first another answer is lost, or the chip is reset then as far as we are told.
    let (mut increments, mut reads, mut is_forged) = (0, 0, false);
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            let mut response = chip(command);
            let is_counter = command[10..14] == [0x01, 0x80, 0xd5, 0x10];
            if command[6..10] == [0, 0, 1, 0x34] && is_counter {
                increments += 1;
                reads = 0;
                if increments == 2 {
                    // It was done, and the answer spoiled on its way.
                    *response.last_mut().unwrap() ^= 1;
                }
            }
            // The first thing that is read back.
            let is_read = command[6..10] == [0, 0, 1, 0x4e];
            reads += u32::from(is_read);
            match (increments, reads, is_read) {
                (3, 1, true) => *response.last_mut().unwrap() ^= 1,
                // A session that the chip does not know any more: such a command is not executed, and is sent again.
                (4, 1, true) if !is_forged => {
                    is_forged = true;
                    response = vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x18];
                }
                _ => {}
            }
            response
        }),
    );
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config).unwrap();
    let first = tpm.define_anchor(handles(), point(0)).await.unwrap();
    for n in 1..6 {
        let lost = tpm.advance_anchor(handles(), point(n), first.counter + n).await;
        assert_eq!(lost.is_err(), n == 1 || n == 2, "{n}: {lost:?}");
        let anchor = tpm.advance_anchor(handles(), point(n), first.counter + n).await.unwrap();
        assert_eq!((anchor.counter, anchor.record.point), (first.counter + n, point(n)));
        assert_eq!(anchor.record.writes, 1 + n);
    }
    for wrong in [first.counter + 4, first.counter + 7] {
        let error = tpm.advance_anchor(handles(), point(9), wrong).await.err().unwrap();
        assert!(matches!(error, Error::AnchorCount { .. }), "{error}");
    }
}

/// Who sits on the wire sees a policy satisfied, and tries to have a record of his own written under it.
#[tokio::test]
async fn a_satisfied_policy_is_of_no_use_to_others() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let (tape, taped) = std::sync::mpsc::channel();
    let wire = Wire::tap(
        &swtpm,
        Box::new(move |command, chip| {
            let is_record = command[6..10] == [0, 0, 1, 0x37] && command[10..14] == [0x01, 0x80, 0xd5, 0x11];
            if is_record && command.len() > 100 {
                // The same session, without what proves that it is ours; his own bytes.
                let session = &command[22..26];
                let auths = [session, &[0, 0], &[1], &[0, 0]].concat();
                let mut forged = command[6..18].to_vec();
                forged.extend(u32::try_from(auths.len()).unwrap().to_be_bytes());
                forged.extend(auths);
                forged.extend([0, 4, b'e', b'v', b'i', b'l', 0, 0]);
                let len = u32::try_from(forged.len() + 6).unwrap().to_be_bytes();
                let answer = chip(&[&[0x80, 2], len.as_slice(), &forged].concat());
                tape.send(u32::from_be_bytes(answer[6..10].try_into().unwrap())).unwrap();
            }
            chip(command)
        }),
    );
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config).unwrap();
    let defined = tpm.define_anchor(handles(), point(5)).await;
    // TPM_RC_BAD_AUTH of the first session.
    assert_eq!(taped.try_iter().collect::<Vec<u32>>(), [0x9a2]);
    let anchor = defined.unwrap();
    assert_eq!(anchor.record.point, point(5));
    let anchor = tpm.advance_anchor(handles(), point(6), anchor.counter + 1).await.unwrap();
    assert_eq!(anchor.record.point, point(6));
    assert_eq!(taped.try_iter().collect::<Vec<u32>>(), [0x9a2]);
}

#[tokio::test]
async fn others_believe_the_chip_and_nothing_else() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let anchor = tpm.define_anchor(handles(), point(77)).await.unwrap();
    let key = *tpm.attestation_key().unwrap();
    let certification = tpm.certify_anchor(handles(), b"fresh").await.unwrap();
    let claim = verify_certification(&key, b"fresh", &certification).unwrap();
    assert_eq!((claim.counter, claim.record), (anchor.counter, anchor.record));
    assert_eq!(claim.counter_name, anchor.names.counter);
    assert_eq!(claim.record_name, anchor.names.record);
    let doubt = |key: &PublicKey, nonce: &[u8], certification: &Certification| {
        verify_certification(key, nonce, certification).err()
    };
    assert_eq!(doubt(&key, b"other", &certification), Some(Disbelief::Nonce));
    for wrong in [tpm.head_key(), tpm.general_key()] {
        assert_eq!(doubt(wrong, b"fresh", &certification), Some(Disbelief::Signature));
    }
    for byte in 0..certification.record.bytes.len() {
        let mut spoiled = certification.clone();
        spoiled.record.bytes[byte] ^= 1;
        assert_eq!(doubt(&key, b"fresh", &spoiled), Some(Disbelief::Signature), "byte {byte}");
    }
    // One kind of statement for another.
    let mut swapped = certification.clone();
    std::mem::swap(&mut swapped.counter, &mut swapped.record);
    assert_eq!(doubt(&key, b"fresh", &swapped), Some(Disbelief::Malformed));
    // Another kind of the TPM's word.
    let quote = tpm.quote(PcrSelection::new([0]).unwrap(), b"fresh").await.unwrap();
    let quoted = Certification { counter: quote, ..certification.clone() };
    assert_eq!(doubt(&key, b"fresh", &quoted), Some(Disbelief::Kind));
    // Two moments mixed.
    tpm.advance_anchor(handles(), point(78), anchor.counter + 1).await.unwrap();
    tpm.advance_anchor(handles(), point(79), anchor.counter + 2).await.unwrap();
    let mut mixed = tpm.certify_anchor(handles(), b"fresh").await.unwrap();
    mixed.counter = certification.counter.clone();
    assert_eq!(doubt(&key, b"fresh", &mixed), Some(Disbelief::Contradiction));
    assert!(matches!(tpm.certify_anchor(handles(), &[0; 33]).await, Err(Error::Length { .. })));
    assert_eq!(tpm.resources().await.unwrap().transient, 1);
}
