use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn equal_is_a_matter_of_values() {
    for (left, right, expected) in [
        ("1", "1.0", true),
        ("0", "-0.0", true),
        ("{\"a\":1,\"b\":[2]}", "{\"b\":[2e0],\"a\":1}", true),
        ("{\"a\":1}", "{\"a\":1,\"b\":null}", false),
        ("[1,2]", "[2,1]", false),
        ("\"1\"", "1", false),
        ("18446744073709551615", "1.8446744073709551615e19", false),
        ("9007199254740993", "9007199254740993.0", false),
    ] {
        assert_eq!(are_equal(&read(left), &read(right)), expected, "{left} {right}");
        assert_eq!(alike(&Compare::Equal, &read(right), &read(left)), expected, "{left} {right}");
    }
}

#[test]
fn tolerance_is_a_share_of_the_larger() {
    for (millionths, left, right, expected) in [
        (1_000, "1000", "1001", true),
        (1_000, "1000", "1002", false),
        (1_000, "-1000", "-1001", true),
        (1_000, "1000", "-1000", false),
        (10_000, "1.0", "1.01", true),
        (10_000, "1.0", "1.02", false),
        (1, "18446744073709551615", "18446744073709551614", true),
        (1_000_000, "0", "5", true),
        (500_000, "1e308", "-1e308", false),
        (1_000_000, "{\"a\":[1,\"x\"]}", "{\"a\":[2,\"x\"]}", true),
        (1_000_000, "{\"a\":[1,\"x\"]}", "{\"a\":[2,\"y\"]}", false),
        (1, "0.1", "0.1", true),
    ] {
        let compare = Compare::Tolerance { millionths };
        assert_eq!(alike(&compare, &read(left), &read(right)), expected, "{left} {right}");
        assert_eq!(alike(&compare, &read(right), &read(left)), expected, "{right} {left}");
    }
}

fn agreed(winner: u32, agree: &[u32], dissent: &[u32]) -> Quorum {
    Quorum::Agreed { winner, agree: agree.to_vec(), dissent: dissent.to_vec() }
}

#[test]
fn enough_that_say_the_same_agree() {
    let say = |outputs: &[(u32, &str)], open| quorum(&Compare::Equal, outputs, open, 2);
    assert_eq!(say(&[(0, "1"), (1, "2"), (2, "1.0")], 0), agreed(0, &[0, 2], &[1]));
    assert_eq!(say(&[(1, "2"), (2, "2")], 1), agreed(1, &[1, 2], &[]));
    assert_eq!(say(&[(0, "1"), (1, "2")], 1), Quorum::Open);
    assert_eq!(say(&[(0, "1"), (1, "2"), (2, "3")], 0), Quorum::Impossible { most: 1 });
    assert_eq!(say(&[(1, "2")], 0), Quorum::Impossible { most: 1 });
    assert_eq!(say(&[], 1), Quorum::Impossible { most: 0 });
    // What is no JSON is not like anything but itself, and makes nothing fail.
    assert_eq!(say(&[(0, "x"), (1, "1"), (3, "x")], 0), agreed(0, &[0, 3], &[1]));
}

#[test]
fn one_in_the_middle_joins_two() {
    let compare = Compare::Tolerance { millionths: 60_000 };
    let outputs = [(0, "95"), (1, "105")];
    assert_eq!(quorum(&compare, &outputs, 1, 3), Quorum::Open);
    assert_eq!(quorum(&compare, &[(0, "95"), (1, "105"), (2, "100")], 0, 3), agreed(2, &[0, 1, 2], &[]));
    assert_eq!(quorum(&compare, &[(0, "95"), (1, "105"), (2, "1")], 0, 2), Quorum::Impossible { most: 1 });
    // Of several that hold as many together, the lowest place.
    assert_eq!(
        quorum(&compare, &[(0, "9"), (1, "100"), (2, "101"), (3, "99")], 0, 3),
        agreed(1, &[1, 2, 3], &[0])
    );
}

/// Numbers with others close to them, so that rounding would show.
fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        (u64::MAX - 4096..=u64::MAX).prop_map(Number::from),
        (-4_i64..4).prop_map(Number::from),
        (-4_i64..4).prop_map(|n| ((1 << 53) + n).into()),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        (-4.0..4.0_f64).prop_filter_map("finite", Number::from_f64),
        (-4_i32..4).prop_filter_map("finite", |n| Number::from_f64(f64::from(n) + 9_007_199_254_740_992.0)),
    ]
}

proptest! {
    #[test]
    fn numbers_are_ordered(a in numbers(), b in numbers(), c in numbers()) {
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        prop_assert_eq!(order(&a, &a), Ordering::Equal);
        if order(&a, &b).is_le() && order(&b, &c).is_le() {
            prop_assert!(order(&a, &c).is_le());
        }
    }

    #[test]
    fn a_larger_tolerance_only_adds(a in numbers(), b in numbers(), less in 0_u32..1_000_000, more in 0_u32..1000) {
        let within = |millionths| alike(&Compare::Tolerance { millionths }, &json!(a), &json!(b));
        prop_assert!(!within(less) || within(less + more));
        prop_assert!(!are_equal(&json!(a), &json!(b)) || within(less));
    }

    /// Against the plain definition, for outputs that are often the same.
    #[test]
    fn the_largest_group_wins(said in prop::collection::vec(0_u8..4, 0..9), open in 0_usize..4, copies in 2_usize..9) {
        let texts: Vec<String> = said.iter().map(ToString::to_string).collect();
        let outputs: Vec<(u32, &str)> = (0..).zip(texts.iter().map(String::as_str)).collect();
        let needed = copies / 2 + 1;
        let count = |value: u8| said.iter().filter(|one| **one == value).count();
        let most = said.iter().map(|value| count(*value)).max().unwrap_or_default();
        match quorum(&Compare::Equal, &outputs, open, needed) {
            Quorum::Agreed { winner, agree, dissent } => {
                let winner = usize::try_from(winner).unwrap();
                prop_assert!(agree.len() == most && most >= needed);
                prop_assert_eq!(said.iter().position(|one| count(*one) == most), Some(winner));
                prop_assert!(agree.iter().all(|place| said[usize::try_from(*place).unwrap()] == said[winner]));
                let mut all = [agree, dissent].concat();
                all.sort_unstable();
                prop_assert_eq!(all, outputs.iter().map(|(place, _)| *place).collect::<Vec<_>>());
            }
            Quorum::Open => prop_assert!(most < needed && most + open >= needed),
            Quorum::Impossible { most: found } => prop_assert!(found == most && most + open < needed),
        }
    }

    /// Equality by representatives says what comparing each with each would.
    #[test]
    fn no_tolerance_is_equality(said in prop::collection::vec(numbers(), 1..8)) {
        let texts: Vec<String> = said.iter().chain(&said).map(ToString::to_string).collect();
        let outputs: Vec<(u32, &str)> = (0..).zip(texts.iter().map(String::as_str)).collect();
        let exact = Compare::Tolerance { millionths: 0 };
        prop_assert_eq!(quorum(&exact, &outputs, 0, 2), quorum(&Compare::Equal, &outputs, 0, 2));
    }
}
