//! The encoding of states: what was written is read back, for ever, and what is newer is told apart from what is broken.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::PathBuf;

use engine::fact::Error;
use engine::{Fact, Order, Progress, Record, RequestId, State, evolve, snapshot};
use policy::Rules;
use proptest::prelude::*;
use types::token::TokenId;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// What follows from the sample of facts, up to the middle of its restore: every field holds something.
fn sample() -> State {
    let file = fs::read(data("facts-v1.cbor")).unwrap();
    let (mut rest, mut state) = (file.as_slice(), State::new(rules()));
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (bytes, after) = after.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        let record = Record::decode(bytes).unwrap();
        evolve(&mut state, &record);
        if matches!(record.fact, Fact::Progressed { progress: Progress::Executed, .. }) {
            break;
        }
        rest = after;
    }
    state
}

fn rules() -> Rules {
    Rules { tokens: [TokenId(0x8030)].into(), changes_max: 3, ..Rules::default() }
}

#[test]
fn the_sample_fills_every_field() {
    let state = sample();
    assert!(state.works.values().any(|work| work.plan.is_some()
        && work.progress.is_some()
        && matches!(work.order, Order::Restore { .. })));
    assert!(state.ended.values().any(|ended| !ended.work.before.is_empty()));
    assert!(state.ended.values().any(|ended| ended.work.captured.is_some()));
    assert!(!state.checkpoints.is_empty() && !state.zones.is_empty() && !state.denied.is_empty());
    assert!(!state.missing.is_empty());
    assert!(state.facts > 0 && state.starts > 0 && state.denials > 0);
    assert!(state.next_work > 1 && state.next_checkpoint > 1);
}

/// The file of version 1 is never written again: a later version gets a file and a test of its own beside it.
/// Before the first release, `STATE_SAMPLE_WRITE=1 cargo test -p engine --test snapshot` makes it.
#[test]
fn states_of_version_1_open_for_ever() {
    // When the last checkpoint was taken is a later key.
    let expected = State { last_taken: None, ..sample() };
    if std::env::var("STATE_SAMPLE_WRITE").is_ok_and(|wanted| wanted == "1") {
        fs::write(data("state-v1.cbor"), snapshot::encode(&expected).unwrap()).unwrap();
    }
    let bytes = fs::read(data("state-v1.cbor")).unwrap();
    assert_eq!(snapshot::decode(&bytes, rules()).unwrap(), expected);
    // But for its version, it is also written byte by byte the same.
    let mut written = snapshot::encode(&expected).unwrap();
    written[2] = 1;
    assert_eq!(written, bytes);
}

/// What follows from the sample of version 5, in which agents and runs came.
fn sample_2() -> State {
    let file = fs::read(data("facts-v5.cbor")).unwrap();
    let (mut rest, mut state) = (file.as_slice(), State::new(rules()));
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (bytes, after) = after.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        let record = Record::decode(bytes).unwrap();
        // Its turns are of another run's making: what they end must not be the end of this one.
        if !matches!(&record.fact, Fact::Advanced(advance) if advance.end.is_some()) {
            evolve(&mut state, &record);
        }
        rest = after;
    }
    state
}

/// As that of version 1: never written again; `STATE_SAMPLE_WRITE=2` makes it before its first release.
#[test]
fn states_of_version_2_open_for_ever() {
    let expected = sample_2();
    assert!(!expected.fleet.agents.is_empty() && !expected.runs.open.is_empty());
    assert!(!expected.runs.workflows.is_empty() && !expected.runs.timers.is_empty());
    if std::env::var("STATE_SAMPLE_WRITE").is_ok_and(|wanted| wanted == "2") {
        fs::write(data("state-v2.cbor"), snapshot::encode(&expected).unwrap()).unwrap();
    }
    let bytes = fs::read(data("state-v2.cbor")).unwrap();
    assert_eq!(snapshot::decode(&bytes, rules()).unwrap(), expected);
    assert_eq!(snapshot::encode(&expected).unwrap(), bytes);
}

/// Notes came later, under keys of their own.
#[test]
fn notes_are_kept_in_their_order() {
    let mut state = sample();
    for (number, uid) in [(9, 1000), (3, 1001), (7, 1000)] {
        let asker = engine::fact::Asker { pid: 1, uid, gid: uid };
        let fact = Fact::Noted { request: [number; 16], asker, kind: "k".to_owned(), content: vec![0; 10] };
        evolve(&mut state, &Record::new(types::time::Time::default(), fact));
    }
    let read = snapshot::decode(&snapshot::encode(&state).unwrap(), rules()).unwrap();
    assert_eq!(read, state);
    assert!(read.last_taken.is_some());
    assert_eq!((read.notes.order.len(), read.notes.users.len()), (3, 2));
    // Found by its request, which all works of the sample share: the last one.
    let last = read.ended.last_key_value().map(|(number, _)| *number);
    assert_eq!(read.ended_of(RequestId([0x33; 16])).map(|ended| ended.work.number), last);
}

#[test]
fn a_newer_version_is_told_apart() {
    let mut bytes = snapshot::encode(&sample()).unwrap();
    // A map, key 0, version 2.
    assert_eq!(bytes[1..3], [0, 2]);
    bytes[2] = 3;
    assert!(matches!(snapshot::decode(&bytes, rules()), Err(Error::Newer(3))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_is_all_there_is(cut in any::<prop::sample::Index>(), more in any::<u8>()) {
        let mut bytes = snapshot::encode(&sample()).unwrap();
        prop_assert!(snapshot::decode(&bytes[..cut.index(bytes.len())], rules()).is_err());
        bytes.push(more);
        prop_assert!(matches!(snapshot::decode(&bytes, rules()), Err(Error::Decode(_))));
    }

    #[test]
    fn changed_bytes_give_a_state_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = snapshot::encode(&sample()).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = snapshot::decode(&bytes, rules());
    }
}
