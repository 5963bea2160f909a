//! Programs as data: their text, their making, their changing.

use proptest::prelude::*;

use super::dice::Dice;
use super::generate::Generator;
use super::known::{Known, Token};
use super::program::Program;

pub(super) fn known() -> Known {
    let token = |(id, location, denied, shared)| Token {
        id,
        location,
        value: id,
        denied,
        shared,
        readable: true,
        allowed: !denied && location != 12,
    };
    let tokens = [
        (1, 10, false, true),
        (2, 10, false, true),
        (3, 11, true, false),
        (4, 12, false, false),
        (5, 13, false, false),
    ];
    Known { tokens: tokens.into_iter().map(token).collect(), locations: vec![10, 11, 12, 13] }
}

fn program(seed: u64, index: u64) -> Program {
    Generator { dice: Dice::of_sequence(seed, index), known: &known() }.program()
}

/// The changes of a number, one after the other.
fn mutated(seed: u64, times: u64) -> Program {
    let known = known();
    let other = program(seed, 1);
    (0..times).fold(program(seed, 0), |program, index| {
        Generator { dice: Dice::of_sequence(seed, index), known: &known }.mutation(&program, &other)
    })
}

proptest! {
    #[test]
    fn text_says_the_whole_program(seed: u64, times in 0..8u64) {
        let program = mutated(seed, times);
        prop_assert_eq!(program.to_string().parse::<Program>().unwrap(), program);
    }

    #[test]
    fn what_is_made_and_changed_can_be_run(seed: u64, times in 0..30u64) {
        let program = mutated(seed, times);
        prop_assert!(program.check().is_ok(), "{:?}", program.check());
    }

    #[test]
    fn the_same_numbers_make_the_same_program(seed: u64, index in 0..1000u64) {
        prop_assert_eq!(program(seed, index), program(seed, index));
        prop_assert_ne!(program(seed, index), program(seed, index + 1));
        prop_assert_ne!(program(seed, index), program(seed ^ 1, index));
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = text.parse::<Program>();
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    let check = |text: &str, reason: &str| {
        let error = format!("{:#}", text.parse::<Program>().unwrap_err());
        assert!(error.contains(reason), "{text}: {error}");
    };
    check(r#"{"on":0,"do":{"close":{"file":99}}}"#, "out of range");
    check(r#"{"on":9,"do":{"close":{"file":0}}}"#, "out of range");
    check(r#"{"on":0,"do":{"spawn":{"slot":0,"kind":"process"}}}"#, "out of range");
    check(r#"{"on":0,"do":{"fault":{"spec":"explode"}}}"#, "out of range");
    check(r#"{"on":0,"do":{"close":{"file":0,"more":1}}}"#, "line 1");
    assert!("# a note\n\n".parse::<Program>().unwrap().0.is_empty());
}
