//! The wall clock set back at random places, or only set right: what “dsmil log verify” says of it.
//!
//! `cargo test` runs a sample; `make survive WHAT=log` runs it whole. It ends with lines that `scripts/survive.sh` reads.

use serde_json::{Value, json};

use crate::folder::Folder;

const S: i64 = 1_000_000_000;
/// Set back in a sample, and as often not.
const SAMPLE: u64 = 1_200;

/// Repeatable choices: splitmix64.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((z ^ (z >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

#[derive(Clone, Copy)]
struct Moment {
    boot: u8,
    boottime_ns: i64,
    wall_ns: i64,
}

/// A fact of then: version 1, a boot, two times, and “stopped”.
fn fact(moment: Moment) -> Vec<u8> {
    let Moment { boot, boottime_ns, wall_ns } = moment;
    let mut bytes = vec![0xA5, 0x00, 0x01, 0x01, 0x50];
    bytes.extend([boot; 16]);
    bytes.extend([0x02, 0x1B]);
    bytes.extend(boottime_ns.to_be_bytes());
    bytes.extend([0x03, 0x1B]);
    bytes.extend(wall_ns.to_be_bytes());
    bytes.extend([0x04, 0x82, 0x01, 0xA0]);
    bytes
}

/// Moments that follow one another: time passes, a clock is slewed or set forward, the machine starts anew.
fn sound(random: &mut Choices) -> Vec<Moment> {
    let mut now = Moment { boot: 1, boottime_ns: 10 * S, wall_ns: 1_795_248_000 * S };
    let mut moments = vec![now];
    for _ in 0..8 + random.below(100) {
        let most = if random.below(9) == 0 { 7200 * S } else { 3 * S };
        let passed = random.below(most);
        now.boottime_ns += passed;
        now.wall_ns += passed;
        match random.below(24) {
            0 => {
                now = Moment {
                    boot: now.boot + 1,
                    boottime_ns: 5 * S,
                    wall_ns: now.wall_ns + random.below(9000 * S),
                }
            }
            1 => now.wall_ns += random.below(40_000_000 * S),
            2 => now.wall_ns -= random.below(S / 3),
            _ => {}
        }
        moments.push(now);
    }
    moments
}

/// The clock is set back before one of them, and stays so.
fn set_back(moments: &mut [Moment], random: &mut Choices) -> (usize, i64) {
    let entry = usize::try_from(1 + random.below(i64::try_from(moments.len() - 1).unwrap())).unwrap();
    let (last, now) = (moments[entry - 1], moments[entry]);
    // More than the time that passed, where nobody knows how much that was.
    let least = if last.boot == now.boot { 0 } else { now.wall_ns - last.wall_ns };
    // A clock that was set forward just then would hide it.
    let forward = now.wall_ns
        - last.wall_ns
        - if last.boot == now.boot { now.boottime_ns - last.boottime_ns } else { least };
    let most = if random.below(2) == 0 { 5 * S } else { 30_000_000 * S };
    let by = least + forward.max(0) + S + random.below(most);
    moments[entry..].iter_mut().for_each(|moment| moment.wall_ns -= by);
    (entry, by)
}

fn verified(moments: &[Moment]) -> Value {
    let mut folder = Folder::empty();
    let facts: Vec<_> = moments.iter().map(|moment| fact(*moment)).collect();
    folder.log().append(&facts).unwrap();
    let key = folder.sign();
    folder.answer(&["log", "verify", "--key", key.to_str().unwrap()])
}

#[test]
fn no_clock_set_back_goes_unseen_and_none_that_is_right_is_named() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or(1);
    let tries = number("SURVIVE_LOG").unwrap_or(SAMPLE) / 100;
    let mut random = Choices(seed << 20);
    let (mut unseen, mut alarms) = (Vec::new(), Vec::new());
    for round in 0..tries {
        let mut moments = sound(&mut random);
        let answer = verified(&moments);
        if answer["entries"] != json!(moments.len()) || !answer["set_back"].is_null() {
            alarms.push(format!("round {round}: {answer}"));
        }
        let (entry, by) = set_back(&mut moments, &mut random);
        let found = &verified(&moments)["set_back"];
        if (&found["times"], &found["entry"]) != (&json!(1), &json!(entry)) {
            unseen.push(format!("round {round}: entry {entry} by {by} ns: {found}"));
        }
    }
    for (metric, wrong) in [
        ("clocks set back that log verify does not name", &unseen),
        ("clocks in order that it names", &alarms),
    ] {
        println!(
            "figure {{\"variant\":\"log\",\"metric\":\"{metric}\",\"samples\":[{}],\"goal\":0,\"notes\":[],\"more\":{{\"tried\":{tries},\"seed\":{seed}}}}}",
            wrong.len()
        );
    }
    assert!(unseen.is_empty() && alarms.is_empty(), "{unseen:#?}\n{alarms:#?}");
}
