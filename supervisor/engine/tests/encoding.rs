//! The encoding of facts: what was written is read back, for ever, and what is newer is told apart from what is broken.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

#[path = "encoding/five.rs"]
mod five;
#[path = "encoding/samples.rs"]
mod samples;

use std::fs;
use std::path::PathBuf;

use engine::fact::{Asker, Error, Grant, Level, VERSION};
use engine::order::{Item, Kind, Valued, VaultChange, Write};
use engine::retention::Keep;
use engine::scope::{FilePath, Held, Others, Scope};
use engine::{Fact, Order, Outcome, Progress, Record};
use five::facts_5;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use samples::{facts_1, facts_2, facts_3, facts_4};
use types::hash::Hash;
use types::time::{BootId, Time};

fn item() -> impl Strategy<Value = Item> {
    (any::<u16>(), any::<u8>()).prop_map(|(id, select)| Item { id, select })
}

fn write() -> impl Strategy<Value = Write> {
    (item(), any::<u32>(), option::of(any::<u32>())).prop_map(|(item, value, expected)| Write {
        item,
        value,
        expected,
    })
}

fn paths() -> impl Strategy<Value = Vec<FilePath>> {
    vec(vec(any::<u8>(), 0..9).prop_map(FilePath), 0..4)
}

fn scope() -> impl Strategy<Value = Scope> {
    (any::<[bool; 5]>(), paths()).prop_map(|([files, tokens, settings, databases, services], paths)| Scope {
        files,
        tokens,
        paths,
        settings,
        databases,
        services,
    })
}

fn others() -> impl Strategy<Value = Others> {
    any::<[u64; 3]>().prop_map(|[settings, databases, services]| Others { settings, databases, services })
}

fn held() -> impl Strategy<Value = Held> {
    let bytes = || vec(any::<u8>(), 0..9);
    (bytes(), bytes()).prop_map(|(path, value)| Held { path: FilePath(path), value })
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        vec(item(), 0..5).prop_map(|items| Order::ReadTokens { items }),
        vec(write(), 0..5).prop_map(|writes| Order::WriteTokens { writes }),
        (any::<u64>(), ".*", any::<bool>(), kind()).prop_map(|(number, name, paranoid, kind)| {
            Order::CreateCheckpoint { number, name, paranoid, kind }
        }),
        any::<u64>().prop_map(|number| Order::VerifyCheckpoint { number }),
        (any::<u64>(), any::<[bool; 2]>(), option::of(scope())).prop_map(
            |(number, [paranoid, in_place], scope)| Order::PlanRestore { number, paranoid, scope, in_place }
        ),
        (any::<u64>(), any::<[bool; 3]>(), option::of(scope()), option::of(any::<u32>())).prop_map(
            |(number, [leave_denied, paranoid, in_place], scope, confirm_s)| Order::Restore {
                number,
                leave_denied,
                paranoid,
                scope,
                in_place,
                confirm_s
            }
        ),
        (any::<u64>(), any::<bool>()).prop_map(|(work, undo)| Order::Confirm { work, undo }),
        (any::<u64>(), option::of(any::<u64>()), paths(), any::<bool>())
            .prop_map(|(from, to, paths, paranoid)| Order::Diff { from, to, paths, paranoid }),
        (any::<u64>(), ".*").prop_map(|(number, name)| Order::DeleteCheckpoint { number, name }),
        (keep(), any::<bool>()).prop_map(|(keep, dry_run)| Order::Prune { keep, dry_run }),
        any::<u32>().prop_map(|bytes| Order::Seal { bytes }),
        any::<[u8; 32]>().prop_map(|blob| Order::Unseal { blob }),
        change().prop_map(|change| Order::Vault { change }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Manual), Just(Kind::Automatic), Just(Kind::Emergency)]
}

fn keep() -> impl Strategy<Value = Keep> {
    (any::<[u32; 4]>(), any::<[bool; 4]>(), option::of(any::<u64>()), any::<bool>()).prop_map(
        |([last, hourly, daily, weekly], set, max_bytes, manual)| Keep {
            last: if set[0] { last } else { 0 },
            hourly: if set[1] { hourly } else { 0 },
            daily: if set[2] { daily } else { 0 },
            weekly: if set[3] { weekly } else { 0 },
            max_bytes,
            manual,
        },
    )
}

fn change() -> impl Strategy<Value = VaultChange> {
    prop_oneof![
        any::<([u8; 32], u32, bool)>().prop_map(|(key, registers, anew)| VaultChange::Prepare {
            key,
            registers,
            anew
        }),
        any::<[u8; 32]>().prop_map(|vault| VaultChange::Install { vault }),
        any::<[u8; 32]>().prop_map(|policy| VaultChange::InstallPolicy { policy }),
        Just(VaultChange::Revoke),
        any::<bool>().prop_map(|anchor| VaultChange::Forget { anchor }),
    ]
}

/// As long as a counter's name.
fn name() -> impl Strategy<Value = [u8; 34]> {
    (any::<[u8; 2]>(), any::<[u8; 32]>()).prop_map(|([a, b], hash)| {
        let mut name = [0; 34];
        name.iter_mut().zip([a, b].into_iter().chain(hash)).for_each(|(to, from)| *to = from);
        name
    })
}

fn progress() -> impl Strategy<Value = Progress> {
    let values = vec((item(), any::<u32>()).prop_map(|(item, value)| Valued { item, value }), 0..5);
    prop_oneof![
        Just(Progress::Resumed),
        values.prop_map(|values| Progress::Before { values }),
        Just(Progress::Written),
        (any::<[u8; 32]>(), any::<[u64; 3]>(), option::of(any::<u64>()), others()).prop_map(
            |(manifest, [files, tokens, bytes], read, others)| Progress::Captured {
                manifest,
                files,
                tokens,
                bytes,
                read,
                others
            }
        ),
        (any::<[u64; 4]>(), vec(write(), 0..5), others(), vec(held(), 0..3)).prop_map(
            |([added, changed, removed, tokens], writes, others, settings)| Progress::Planned {
                added,
                changed,
                removed,
                tokens,
                writes,
                others,
                settings
            }
        ),
        Just(Progress::Prepared),
        Just(Progress::Executed),
        Just(Progress::Verified),
        ".*".prop_map(|reason| Progress::Undoing { reason }),
        vec(any::<u64>(), 0..5).prop_map(|numbers| Progress::Chosen { numbers }),
        (vec(any::<u64>(), 0..5), option::of(".*"))
            .prop_map(|(numbers, reason)| Progress::Removed { numbers, reason }),
        any::<([u8; 16], u64)>().prop_map(|(boot, deadline_ns)| Progress::Awaiting { boot, deadline_ns }),
        (any::<[u8; 16]>(), asker(), any::<bool>()).prop_map(|(request, asker, keep)| Progress::Answered {
            request,
            asker,
            keep
        }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done),
        ".*".prop_map(|reason| Outcome::Failed { reason }),
        ".*".prop_map(|reason| Outcome::Undone { reason }),
        Just(Outcome::Interrupted),
        ".*".prop_map(|key| Outcome::Signed { key }),
        any::<[u8; 32]>().prop_map(|blob| Outcome::Sealed { blob }),
        (name(), any::<u64>()).prop_map(|(counter, value)| Outcome::Counted { counter, value }),
        any::<[u64; 3]>().prop_map(|[packs, chunks, bytes]| Outcome::Pruned { packs, chunks, bytes }),
    ]
}

fn asker() -> impl Strategy<Value = Asker> {
    (any::<i32>(), any::<u32>(), any::<u32>()).prop_map(|(pid, uid, gid)| Asker { pid, uid, gid })
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Normal), Just(Level::Warning), Just(Level::Critical), Just(Level::Unknown)]
}

fn grant() -> impl Strategy<Value = Grant> {
    any::<([u8; 32], [u8; 32], i64)>().prop_map(|(order, rules, expires_ns)| {
        (&policy::Grant { order: Hash(order), rules: Hash(rules), expires_ns }).into()
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (".*", any::<[u8; 32]>(), vec(".*", 0..4)).prop_map(|(version, config, missing)| Fact::Started {
            version,
            config,
            missing
        }),
        Just(Fact::Stopped),
        (asker(), order(), ".*").prop_map(|(asker, order, reason)| Fact::Denied { asker, order, reason }),
        (any::<u64>(), any::<[u8; 16]>(), asker(), order(), grant(), option::of(any::<u64>())).prop_map(
            |(work, request, asker, order, grant, after)| Fact::Accepted {
                work,
                request,
                asker,
                order,
                grant,
                after
            }
        ),
        (any::<u64>(), progress()).prop_map(|(work, progress)| Fact::Progressed { work, progress }),
        (any::<u64>(), outcome()).prop_map(|(work, outcome)| Fact::Finished { work, outcome }),
        (".*", level(), option::of(any::<i32>())).prop_map(|(zone, level, millicelsius)| Fact::Heat {
            zone,
            level,
            millicelsius
        }),
        (any::<[u8; 16]>(), asker(), ".*", vec(any::<u8>(), 0..600))
            .prop_map(|(request, asker, kind, content)| Fact::Noted { request, asker, kind, content }),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(facts, hash)| Fact::Snapshotted { facts, hash }),
        ".*".prop_map(|reason| Fact::Anchored { reason }),
        any::<(u64, u64)>().prop_map(|(named, counted)| Fact::PowerLost { named, counted }),
        (vec(any::<u8>(), 0..95), vec(any::<u8>(), 0..95), vec(any::<u8>(), 0..95), ".*")
            .prop_map(|(from, general, to, reason)| Fact::Moved { from, general, to, reason }),
        prop::sample::select(five::new()),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    (any::<[u8; 16]>(), any::<u64>(), any::<i64>(), fact()).prop_map(|(boot, boottime_ns, wall_ns, fact)| {
        Record::new(Time { boot: BootId(boot), boottime_ns, wall_ns }, fact)
    })
}

/// Copies one item and gives every map in it a key that no build knows, with a value of any shape.
fn grow(decoder: &mut Decoder<'_>, encoder: &mut Encoder<Vec<u8>>, bytes: &[u8]) {
    match decoder.datatype().unwrap() {
        Type::Map => {
            let length = decoder.map().unwrap().unwrap();
            encoder.map(length + 1).unwrap();
            for _ in 0..length {
                encoder.u32(decoder.u32().unwrap()).unwrap();
                grow(decoder, encoder, bytes);
            }
            encoder.u32(99).unwrap().array(2).unwrap().str("newer").unwrap();
            encoder.map(1).unwrap().u8(7).unwrap().array(0).unwrap();
        }
        Type::Array => {
            let length = decoder.array().unwrap().unwrap();
            encoder.array(length).unwrap();
            for _ in 0..length {
                grow(decoder, encoder, bytes);
            }
        }
        _ => {
            let start = decoder.position();
            decoder.skip().unwrap();
            encoder.writer_mut().extend_from_slice(&bytes[start..decoder.position()]);
        }
    }
}

fn grown(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    grow(&mut Decoder::new(bytes), &mut encoder, bytes);
    encoder.into_writer()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_read_back(record in record()) {
        let bytes = record.encode().unwrap();
        prop_assert_eq!(Record::decode(&bytes).unwrap(), record);
    }

    #[test]
    fn keys_of_a_later_build_are_skipped_wherever_they_stand(record in record()) {
        let bytes = record.encode().unwrap();
        let later = grown(&bytes);
        prop_assert!(later.len() > bytes.len());
        prop_assert_eq!(Record::decode(&later).unwrap(), record);
    }

    /// Also where the rest could be read: a new version says that it must not be.
    #[test]
    fn a_newer_version_is_told_apart(mut record in record(), version in VERSION + 1..) {
        record.version = version;
        let bytes = record.encode().unwrap();
        prop_assert!(matches!(Record::decode(&bytes), Err(Error::Newer(found)) if found == version));
    }

    #[test]
    fn a_record_is_all_there_is(record in record(), cut in any::<prop::sample::Index>(), more in any::<u8>()) {
        let mut bytes = record.encode().unwrap();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(more);
        prop_assert!(matches!(Record::decode(&bytes), Err(Error::Decode(_))));
    }

    #[test]
    fn any_bytes_give_a_record_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }

    /// Near misses reach deeper than noise: what is decoded is also folded in and looked at.
    #[test]
    fn changed_bytes_give_a_record_or_an_error(
        record in record(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = record.encode().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(record) = Record::decode(&bytes) {
            let mut state = engine::State::new(policy::Rules::default());
            engine::evolve(&mut state, &record);
            let _ = engine::effects(&state, &record.fact);
        }
    }
}

#[test]
fn hostile_lengths_and_depths_are_errors() {
    let head = [0xA5, 0x00, 0x01, 0x04, 0x82];
    let longest = [0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    for tail in [
        // A missing list, a name and a map that claim to be endless.
        [&[0x00, 0xA1, 0x02][..], &longest].concat(),
        [&[0x00, 0xA1, 0x00, 0x7B][..], &longest[1..]].concat(),
        [&[0x01, 0xBB][..], &longest[1..]].concat(),
        // Nesting that would end a recursive reader.
        [vec![0x01], vec![0x81; 1_000_000]].concat(),
        [vec![0x01], vec![0x9F; 1_000_000]].concat(),
        [vec![0x00, 0xA1, 0x18, 0x63], vec![0xC1; 1_000_000]].concat(),
    ] {
        assert!(matches!(Record::decode(&[&head[..], &tail].concat()), Err(Error::Decode(_))));
    }
}

#[test]
fn other_components_are_encoded_as_documented() {
    let captured = Progress::Captured {
        manifest: [0x91; 32],
        files: 1,
        tokens: 2,
        bytes: 3,
        read: None,
        others: Others { settings: 7, databases: 2, services: 0 },
    };
    let start = [&[0x82, 0x03, 0xa5, 0x00, 0x58, 0x20][..], &[0x91; 32]].concat();
    let end = [0x01, 0x01, 0x02, 0x02, 0x03, 0x03, 0x05, 0xa2, 0x00, 0x07, 0x01, 0x02];
    assert_eq!(minicbor::to_vec(captured).unwrap(), [start.as_slice(), &end].concat());
    let planned = Progress::Planned {
        added: 0,
        changed: 0,
        removed: 0,
        tokens: 0,
        writes: Vec::new(),
        others: Others { settings: 1, databases: 0, services: 3 },
        settings: vec![Held { path: FilePath(b"/a".to_vec()), value: b"9".to_vec() }],
    };
    let start = [0x82, 0x04, 0xa7, 0x00, 0x00, 0x01, 0x00, 0x02, 0x00, 0x03, 0x00, 0x04, 0x80];
    let end =
        [0x05, 0xa2, 0x00, 0x01, 0x02, 0x03, 0x06, 0x81, 0xa2, 0x00, 0x42, 0x2f, 0x61, 0x01, 0x41, 0x39];
    assert_eq!(minicbor::to_vec(planned).unwrap(), [start.as_slice(), &end].concat());
    let scope = Scope {
        files: false,
        tokens: true,
        paths: Vec::new(),
        settings: false,
        databases: true,
        services: true,
    };
    let bytes = [0xa5, 0x00, 0xf4, 0x01, 0xf5, 0x02, 0x80, 0x04, 0xf5, 0x05, 0xf5];
    assert_eq!(minicbor::to_vec(&scope).unwrap(), bytes);
    // What an older daemon wrote has none of them.
    let older = [0xa3, 0x00, 0xf5, 0x01, 0xf4, 0x02, 0x80];
    let scope = Scope {
        files: true,
        tokens: false,
        paths: Vec::new(),
        settings: false,
        databases: false,
        services: false,
    };
    assert_eq!(minicbor::decode::<Scope>(&older).unwrap(), scope);
}

fn sample(version: u32, facts: Vec<Fact>) -> Vec<Record> {
    let moment = |index: u64| Time {
        boot: BootId([0x55; 16]),
        boottime_ns: 5_000_000_000 + index,
        wall_ns: 1_795_248_000_000_000_000 + i64::try_from(index).unwrap(),
    };
    let record = |(fact, index)| {
        let mut record = Record::new(moment(index), fact);
        record.version = version;
        record
    };
    facts.into_iter().zip(0..).map(record).collect()
}

fn sample_path(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/facts-v{version}.cbor"))
}

/// A file of an older version is never written again: a later version gets a file and a test of its own beside it.
/// Before its first release, `FACTS_SAMPLE_WRITE=5 cargo test -p engine --test encoding` makes that of version 5.
#[test]
fn records_of_version_1_open_for_ever() {
    opens(1, facts_1());
}

#[test]
fn records_of_version_2_open_for_ever() {
    opens(2, facts_2());
}

#[test]
fn records_of_version_3_open_for_ever() {
    opens(3, facts_3());
}

#[test]
fn records_of_version_4_open_for_ever() {
    opens(4, facts_4());
}

#[test]
fn records_of_version_5_open_for_ever() {
    opens(5, facts_5());
}

/// Folded in, the sample leaves the checkpoint that was not deleted, and its number is not given again.
#[test]
fn a_deleted_checkpoint_is_gone() {
    let mut state = engine::State::new(policy::Rules::default());
    sample(4, facts_4()).iter().for_each(|record| engine::evolve(&mut state, record));
    let left: Vec<_> = state.checkpoints.values().map(|one| (one.number, one.read, one.kind)).collect();
    assert_eq!((left, state.next_checkpoint), (vec![(8, Some(12), Kind::Automatic)], 10));
}

/// The file holds these facts. While an encoding only grows, they are also written byte by byte the same.
fn opens(version: u32, facts: Vec<Fact>) {
    let expected = sample(version, facts);
    if std::env::var("FACTS_SAMPLE_WRITE").is_ok_and(|wanted| wanted == version.to_string()) {
        let mut file = Vec::new();
        for record in &expected {
            let bytes = record.encode().unwrap();
            file.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
            file.extend(bytes);
        }
        fs::write(sample_path(version), file).unwrap();
    }
    let file = fs::read(sample_path(version)).unwrap();
    let mut rest = file.as_slice();
    let mut found = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (bytes, after) = after.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        let record = Record::decode(bytes).unwrap();
        assert_eq!(record.encode().unwrap(), bytes, "{record:?}");
        found.push(record);
        rest = after;
    }
    assert_eq!(found, expected);
}

/// The example in `docs/facts.md`.
#[test]
fn the_documented_example_is_real() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/facts.md")).unwrap();
    let block = document.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let digits: String = block
        .lines()
        .flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace())
        .collect();
    let bytes: Vec<u8> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let example =
        sample(1, facts_1()).into_iter().find(|record| matches!(record.fact, Fact::Accepted { work: 2, .. }));
    let example = example.unwrap();
    assert_eq!(
        bytes,
        example.encode().unwrap(),
        "it should read {}",
        example.encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
}
