//! The state as it was at an earlier fact: folded from the nearest snapshot before it, not from the beginning.

use std::path::Path;

use engine::command::Point;
use engine::reply::Refusal;
use engine::{Fact, Record, State, evolve};
use policy::Rules;
use types::hash::Hash;

/// The fact that names a snapshot follows it within so many: what one turn of the loop can decide before it.
const NAMED_WITHIN: u64 = 1024;

/// A moment of the past.
pub struct Past {
    /// What followed from the facts up to it.
    pub state: State,
    /// The last of these facts.
    pub fact: u64,
    /// When that was, CLOCK_REALTIME, nanoseconds since 1970.
    pub wall_ns: i64,
}

/// The state after a fact, or after the last one before a moment, of a log of `size` facts. For a thread that may block.
///
/// # Errors
///
/// There is no such fact, or the log cannot be read.
pub fn at(dir: &Path, size: u64, point: Point, rules: &Rules) -> Result<Past, Refusal> {
    let fact = match point {
        Point::Fact(fact) if fact < size => fact,
        Point::Fact(fact) => return Err(Refusal::NotFound(format!("fact {fact}: the log has {size}"))),
        Point::Wall(wall_ns) => before(dir, size, wall_ns)?
            .ok_or_else(|| Refusal::NotFound("fact at that time: the log begins later".to_owned()))?,
    };
    let archived = store::log::archived(dir).map_err(failed)?;
    let state = match snapshot(dir, (archived, fact), rules)? {
        Some(state) => state,
        None if archived == 0 => State::new(rules.clone()),
        None => {
            return Err(Refusal::NotFound(format!(
                "state after fact {fact} any more: the facts before {archived} are archived, and no snapshot is between"
            )));
        }
    };
    let mut past = Past { state, fact, wall_ns: 0 };
    if past.state.facts > fact {
        past.wall_ns = record(dir, fact)?.time().wall_ns;
    }
    each(dir, past.state.facts, fact + 1, |_, record| {
        past.wall_ns = record.time().wall_ns;
        evolve(&mut past.state, &record);
    })?;
    Ok(past)
}

/// The state of the newest snapshot up to a fact that the log itself names. Those before `from` are passed over: the fact that names one may be
/// archived with the rest.
fn snapshot(dir: &Path, (from, fact): (u64, u64), rules: &Rules) -> Result<Option<State>, Refusal> {
    let numbers = store::snapshot::list(dir).map_err(failed)?;
    for entries in numbers.into_iter().rev().filter(|entries| (from..=fact + 1).contains(entries)) {
        let Ok(snapshot) = store::snapshot::read(dir, entries) else { continue };
        let mut is_named = false;
        each(dir, entries, entries.saturating_add(NAMED_WITHIN), |_, record| {
            if let Fact::Snapshotted { facts, hash } = record.fact {
                is_named |= facts == entries && Hash(hash) == snapshot.hash;
            }
        })?;
        if let Ok(state) = engine::snapshot::decode(&snapshot.state, rules.clone())
            && is_named
            && state.facts == entries
        {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// The last fact that happened up to a moment. The wall clock may have been set back: then it is one of those around it.
fn before(dir: &Path, size: u64, wall_ns: i64) -> Result<Option<u64>, Refusal> {
    let archived = store::log::archived(dir).map_err(failed)?;
    let (mut low, mut high) = (archived, size);
    while low < high {
        let middle = low.midpoint(high);
        if record(dir, middle)?.time().wall_ns <= wall_ns {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == archived && archived > 0 {
        return Err(Refusal::NotFound(format!(
            "fact of that time any more: those before {archived} are archived"
        )));
    }
    Ok(low.checked_sub(1))
}

fn record(dir: &Path, fact: u64) -> Result<Record, Refusal> {
    let mut found = None;
    each(dir, fact, fact + 1, |_, record| found = Some(record))?;
    found.ok_or_else(|| Refusal::NotFound(format!("fact {fact}")))
}

/// Gives `see` the facts of a range, as far as the log goes. That some of them are archived is an error: what follows from the rest
/// alone never was.
fn each(dir: &Path, from: u64, to: u64, mut see: impl FnMut(u64, Record)) -> Result<(), Refusal> {
    if from >= to {
        return Ok(());
    }
    for (entry, next) in store::log::read(dir, from).map_err(failed)?.zip(from..) {
        let (index, bytes) = entry.map_err(failed)?;
        if index != next {
            return Err(Refusal::NotFound(format!(
                "fact {next} any more: those before {index} are archived"
            )));
        }
        if index >= to {
            break;
        }
        see(index, Record::decode(&bytes).map_err(|error| failed(format!("entry {index}: {error}")))?);
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use engine::fact::Level;
    use store::head::{PublicKey, SignedHead};
    use store::log::{Config, Log};
    use types::time::{BootId, Time};

    use super::*;

    /// A log of heat alone: after fact n the zone is n degrees hot, one fact a second, and a snapshot after every tenth.
    fn log(dir: &Path, facts: u64) -> State {
        log_of(dir, &Config::default(), facts)
    }

    fn log_of(dir: &Path, config: &Config, facts: u64) -> State {
        let mut log = Log::create(dir, [3; 16], config).unwrap();
        let mut state = State::new(Rules::default());
        let append = |log: &mut Log, state: &mut State, fact: Fact| {
            let wall_ns = i64::try_from(state.facts).unwrap() * 1_000_000_000;
            let record = Record::new(Time { boot: BootId([0; 16]), boottime_ns: 0, wall_ns }, fact);
            log.append(&[record.encode().unwrap()]).unwrap();
            evolve(state, &record);
        };
        while state.facts < facts {
            let degrees = i32::try_from(state.facts).unwrap();
            let zone = "z".to_owned();
            append(
                &mut log,
                &mut state,
                Fact::Heat { zone, level: Level::Normal, millicelsius: Some(degrees) },
            );
            if state.facts % 10 == 9 {
                let encoded = engine::snapshot::encode(&state).unwrap();
                let hash = store::snapshot::write(dir, &log.start().unwrap(), &encoded).unwrap();
                let facts = state.facts;
                append(&mut log, &mut state, Fact::Snapshotted { facts, hash: hash.0 });
            }
        }
        state
    }

    #[test]
    fn the_past_is_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("log");
        let now = log(&dir, 57);
        assert!(store::snapshot::list(&dir).unwrap().len() > 2);
        for fact in 0..57 {
            let past = at(&dir, 57, Point::Fact(fact), &Rules::default()).unwrap();
            assert_eq!((past.fact, past.state.facts), (fact, fact + 1));
            // A snapshot's own fact comes after each ninth: the heat before it stands.
            let degrees = if fact % 10 == 9 { fact - 1 } else { fact };
            assert_eq!(past.state.zones["z"].1, Some(i32::try_from(degrees).unwrap()), "{fact}");
            let wall_ns = i64::try_from(fact).unwrap() * 1_000_000_000 + 5;
            assert_eq!(past.wall_ns, wall_ns - 5);
            assert_eq!(at(&dir, 57, Point::Wall(wall_ns), &Rules::default()).unwrap().state, past.state);
        }
        assert_eq!(at(&dir, 57, Point::Fact(56), &Rules::default()).unwrap().state, now);
        assert!(matches!(at(&dir, 57, Point::Fact(57), &Rules::default()), Err(Refusal::NotFound(_))));
        assert!(matches!(at(&dir, 57, Point::Wall(-1), &Rules::default()), Err(Refusal::NotFound(_))));
    }

    /// What is archived is not made up from the rest; what is behind it is told.
    #[test]
    fn before_the_first_fact_that_is_left_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("log");
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let small = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };
        log_of(&dir, &small, 257);
        let mut log = Log::open(&dir, &small, &mut |_, _| ()).unwrap();
        let head = log.head("test/log", vec![]);
        let point = key.public_key().as_ref();
        let public =
            PublicKey::from_point(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap()).unwrap();
        let signature = key.sign(&SystemRandom::new(), head.text().unwrap().as_bytes()).unwrap();
        log.store_head(&SignedHead::assemble(head, &public, signature.as_ref()).unwrap()).unwrap();
        drop(log);
        let times = |fact: u64| i64::try_from(fact).unwrap() * 1_000_000_000 + 5;
        let now = |point| at(&dir, 257, point, &Rules::default());
        let whole: Vec<State> = (0..257).map(|fact| now(Point::Fact(fact)).unwrap().state).collect();
        let archived =
            store::log::archive(&dir, &folder.path().join("archive"), 200, &mut |_| ()).unwrap().entries;
        assert!(archived.end > 50 && archived.end < 200, "{archived:?}");
        let snapshots = store::snapshot::list(&dir).unwrap();
        let (mut told, mut untold) = (0, 0);
        for fact in 0..257 {
            let is_there = fact >= archived.end
                && snapshots.iter().any(|entries| (archived.end..=fact + 1).contains(entries));
            for point in [Point::Fact(fact), Point::Wall(times(fact))] {
                match now(point) {
                    Ok(past) => {
                        assert_eq!((past.fact, &past.state), (fact, &whole[usize::try_from(fact).unwrap()]));
                        assert!(is_there, "{fact}");
                        told += 1;
                    }
                    Err(Refusal::NotFound(why)) => {
                        assert!(!is_there && why.contains("archived"), "{fact}: {why}");
                        untold += 1;
                    }
                    Err(other) => panic!("{fact}: {other:?}"),
                }
            }
        }
        assert!(told > 20 && untold > 100, "{told}, {untold}");
    }

    /// A snapshot that the log does not name is not believed.
    #[test]
    fn a_snapshot_of_somebody_else_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("log");
        log(&dir, 25);
        let newest = *store::snapshot::list(&dir).unwrap().last().unwrap();
        let snapshot = store::snapshot::read(&dir, newest).unwrap();
        let mut state = engine::snapshot::decode(&snapshot.state, Rules::default()).unwrap();
        state.denials = 1000;
        let forged = engine::snapshot::encode(&state).unwrap();
        store::snapshot::write(&dir, &snapshot.start, &forged).unwrap();
        assert_eq!(at(&dir, 25, Point::Fact(24), &Rules::default()).unwrap().state.denials, 0);
    }
}
