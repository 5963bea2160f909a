use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn at(number: u64, hours: i64) -> Candidate {
    Candidate { number, created_ns: hours * HOUR_NS, manual: false, firm: None }
}

fn kept(keep: Keep, candidates: &[Candidate]) -> Vec<u64> {
    choose(&keep, candidates).iter().filter(|fate| !fate.goes()).map(|fate| fate.number).collect()
}

/// One every hour, for so many hours; number 1 is the oldest.
fn hours(count: u64) -> Vec<Candidate> {
    (1..=count).map(|number| at(number, i64::try_from(number).unwrap())).collect()
}

#[test]
fn each_rule_keeps_what_it_says() {
    let none = Keep::default();
    assert_eq!(kept(none, &hours(5)), [1, 2, 3, 4, 5]);
    assert_eq!(kept(Keep { last: 2, ..none }, &hours(5)), [4, 5]);
    assert_eq!(kept(Keep { hourly: 3, ..none }, &hours(5)), [3, 4, 5]);
    // Hours 1 to 23 are of the first day, 24 to 47 of the second, 48 and 49 of the third.
    assert_eq!(kept(Keep { daily: 2, ..none }, &hours(49)), [47, 49]);
    assert_eq!(kept(Keep { daily: 3, ..none }, &hours(49)), [23, 47, 49]);
    // What is left of a count goes to the oldest.
    assert_eq!(kept(Keep { daily: 9, ..none }, &hours(49)), [1, 23, 47, 49]);
    assert_eq!(kept(Keep { last: 2, daily: 2, ..none }, &hours(49)), [47, 48, 49]);
    // 1970 began on a Thursday: Monday was the 5th, hour 96.
    assert_eq!(kept(Keep { weekly: 2, ..none }, &hours(100)), [95, 100]);
}

#[test]
fn what_is_held_stays_whatever_the_rules_say() {
    let mut candidates = hours(5);
    candidates[0].firm = Some(Reason::EmergencyBase);
    candidates[1].firm = Some(Reason::InUse);
    candidates[2].manual = true;
    let one = Keep { last: 1, ..Keep::default() };
    assert_eq!(kept(one, &candidates), [1, 2, 3, 5]);
    assert_eq!(kept(Keep { manual: true, ..one }, &candidates), [1, 2, 5]);
    // The newest one stays, also where the rules are not about it.
    candidates[4].manual = true;
    assert_eq!(kept(one, &candidates), [1, 2, 3, 4, 5]);
    assert_eq!(kept(Keep { max_bytes: Some(0), ..Keep::default() }, &hours(3)), [1, 2, 3]);
}

/// Twenty checkpoints of twenty days, then the clock is set back by thirty days, and on from there.
#[test]
fn a_clock_that_was_set_back_makes_nothing_go_that_would_have_stayed() {
    let day = |number: u64, day: i64| at(number, day * 24);
    let before: Vec<_> = (1..=20).map(|number| day(number, 100 + i64::try_from(number).unwrap())).collect();
    let keep = Keep { last: 3, daily: 7, ..Keep::default() };
    assert_eq!(kept(keep, &before), [14, 15, 16, 17, 18, 19, 20]);
    let after = [&before[..], &[day(21, 91), day(22, 92)]].concat();
    assert_eq!(kept(keep, &after), [16, 17, 18, 19, 20, 21, 22]);
    // All in the same hour of a clock that stands still.
    let still: Vec<_> = (1..=9).map(|number| at(number, 5)).collect();
    assert_eq!(kept(keep, &still), [1, 7, 8, 9]);
}

#[test]
fn size_lets_the_oldest_go_until_it_is_enough() {
    assert_eq!(by_size(100, &[100, 80, 50]), 0);
    assert_eq!(by_size(99, &[100, 80, 50]), 1);
    assert_eq!(by_size(50, &[100, 80, 50]), 2);
    // It is not enough, and there is nothing left.
    assert_eq!(by_size(10, &[100, 80, 50]), 2);
    assert_eq!(by_size(10, &[]), 0);
}

fn keep() -> impl Strategy<Value = Keep> {
    (0..6_u32, 0..6_u32, 0..6_u32, 0..6_u32, option::of(any::<u64>()), any::<bool>()).prop_map(
        |(last, hourly, daily, weekly, max_bytes, manual)| Keep {
            last,
            hourly,
            daily,
            weekly,
            max_bytes,
            manual,
        },
    )
}

/// Any times, in any order: clocks jump.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let firm = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Reason::InUse)),
        1 => Just(Some(Reason::EmergencyBase)),
    ];
    let near = -1000..1000_i64;
    let time = prop_oneof![4 => near.prop_map(|half| half * (HOUR_NS / 2)), 1 => any::<i64>()];
    vec((time, any::<bool>(), firm), 0..40).prop_map(|all| {
        let one = |((created_ns, manual, firm), number)| Candidate { number, created_ns, manual, firm };
        all.into_iter().zip(1..).map(one).collect()
    })
}

fn is_considered(keep: &Keep, candidate: &Candidate) -> bool {
    keep.manual || !candidate.manual
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_and_what_is_held_never_go(keep in keep(), candidates in candidates()) {
        let kept = kept(keep, &candidates);
        for candidate in &candidates {
            let is_newest = Some(candidate) == candidates.last();
            let firm = candidate.firm.is_some();
            if is_newest || firm || !is_considered(&keep, candidate) || !keep.counts() {
                prop_assert!(kept.contains(&candidate.number), "{candidate:?} went");
            }
        }
    }

    /// As many as the largest count says, if there are so many; the last ones by number, whatever the clock said.
    #[test]
    fn no_count_keeps_less_than_it_says(keep in keep(), candidates in candidates()) {
        let kept = kept(keep, &candidates);
        let considered: Vec<_> =
            candidates.iter().filter(|one| is_considered(&keep, one)).map(|one| one.number).collect();
        let last = considered.iter().rev().take(usize::try_from(keep.last).unwrap());
        for number in last {
            prop_assert!(kept.contains(number));
        }
        // Each rule keeps at most what it says; with what is held that is the bound.
        let most = usize::try_from(keep.last + keep.hourly + keep.daily + keep.weekly).unwrap();
        let held = candidates.iter().filter(|one| one.firm.is_some() || one.manual).count();
        prop_assert!(!keep.counts() || kept.len() <= most + held + 1, "{} stay", kept.len());
    }

    #[test]
    fn choosing_again_lets_nothing_more_go(keep in keep(), candidates in candidates()) {
        let first = kept(keep, &candidates);
        let left: Vec<_> = candidates.into_iter().filter(|one| first.contains(&one.number)).collect();
        prop_assert_eq!(kept(keep, &left), first);
    }

    #[test]
    fn larger_counts_keep_more(keep in keep(), candidates in candidates(), more in 0..4_usize) {
        let mut larger = keep;
        match more {
            0 => larger.last += 1,
            1 => larger.hourly += 1,
            2 => larger.daily += 1,
            _ => larger.weekly += 1,
        }
        // From no rule at all, which keeps everything, to a rule is not more.
        prop_assume!(keep.counts());
        let (few, many) = (kept(keep, &candidates), kept(larger, &candidates));
        prop_assert!(few.iter().all(|number| many.contains(number)), "{few:?} {many:?}");
    }

    /// The one that is taken next is what the rules then count from: those before go only by being counted out.
    #[test]
    fn each_hour_that_a_rule_keeps_is_another_one(hourly in 1..6_u32, candidates in candidates()) {
        let keep = Keep { hourly, manual: true, ..Keep::default() };
        let fates = choose(&keep, &candidates);
        let by_rule: Vec<_> = fates.iter().filter(|fate| fate.reasons.contains(&Reason::Hourly)).collect();
        prop_assert!(by_rule.len() <= usize::try_from(hourly).unwrap());
        let hour = |number: u64| {
            let found = candidates.iter().find(|one| one.number == number);
            found.unwrap().created_ns.div_euclid(HOUR_NS)
        };
        // But for the oldest of all, neighbours that are kept are of different hours, or another hour is between them.
        for pair in by_rule.windows(2) {
            let (old, new) = (pair[0].number, pair[1].number);
            let apart = (old..new).any(|number| hour(number) != hour(new));
            prop_assert!(apart || Some(old) == candidates.first().map(|one| one.number));
        }
    }
}
