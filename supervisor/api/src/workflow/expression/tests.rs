use proptest::prelude::*;

use super::*;

/// What is wrong, and at which character.
fn wrong(text: &str) -> (usize, String) {
    let wrong = read(text, 0, End::Text).unwrap_err();
    (text[..wrong.at].chars().count(), format!("{}; {}", wrong.what, wrong.advice))
}

#[test]
fn precedence_is_as_people_know_it() {
    for (text, same) in [
        ("params.a || params.b && params.c", "params.a || (params.b && params.c)"),
        ("params.a && params.b && params.c", "(params.a && params.b) && params.c"),
        ("!params.a == params.b", "(!params.a) == params.b"),
        ("params.a == 1 && params.b < 2", "(params.a == 1) && (params.b < 2)"),
        ("item.x-y", "item['x-y']"),
        ("item.4 == item[\"4\"]", "item.4==item.4"),
        ("'it''s' == \"it's\"", "\"it's\" == 'it''s'"),
        ("item[ 0 ].a\n", "item[0].a"),
        ("null == true", "null==true"),
    ] {
        let plain = |text: &str| read(text, 0, End::Text).map(|(syntax, _)| bare(&syntax));
        assert_eq!(plain(text).unwrap(), plain(same).unwrap(), "{text}");
    }
}

#[test]
fn the_first_mistake_is_told_with_its_column() {
    let deep = format!("{}1{}", "(".repeat(NESTING_MAX + 1), ")".repeat(NESTING_MAX + 1));
    let chain = vec!["item"; NESTING_MAX + 1].join("&&");
    for (text, at, what) in [
        ("", 0, "the end where a value belongs"),
        ("   ", 3, "the end where a value belongs"),
        ("ä", 0, "'ä' is no part of an expression"),
        ("'ä' == $", 7, "'$' is no part of an expression"),
        ("params.a = 1", 9, "'=' is no part of an expression; write “==”"),
        ("params.a & 1", 9, "'&' is no part of an expression; write “&&”"),
        ("params.a + 1", 9, "'+' is no part of an expression; let a step compute it"),
        ("params .a", 7, "'.' is no part of an expression; write it right behind"),
        ("params.", 7, "no name stands behind the dot"),
        ("item[01]", 4, "no place in a list and no key"),
        ("item[-1]", 4, "no place in a list and no key"),
        ("item[99999999999]", 4, "no place in a list and no key"),
        ("item[0", 4, "the “[” here is not closed"),
        ("item['a]", 5, "the text that begins here does not end; close it with '"),
        ("1 == \"a", 5, "the text that begins here does not end; close it with \""),
        ("007 == 7", 0, "“007” is no number that JSON knows"),
        ("1 == 0x10", 5, "“0x10” is no number"),
        ("1 == 1e999", 5, "“1e999” is no number"),
        ("1 == -", 5, "“-” is no number"),
        ("1 == 1.", 5, "“1.” is no number"),
        ("(1 == 1", 0, "the “(” here is not closed"),
        ("1 == 1)", 6, "“)” closes nothing"),
        ("1 == 1 == 1", 7, "a second comparison of the same value"),
        ("1 2", 2, "“2” where an operator belongs"),
        ("1 == ", 5, "the end where a value belongs"),
        ("&& 1", 0, "“&&” where a value belongs"),
        ("1 }} 2", 2, "“}}” where an operator belongs"),
        (deep.as_str(), NESTING_MAX, "nested deeper than 32"),
        (chain.as_str(), chain.len() - 6, "nested deeper than 32"),
        (&format!("{}1", "!".repeat(NESTING_MAX + 1)), NESTING_MAX, "nested deeper than 32"),
    ] {
        let found = wrong(text);
        assert!(found.0 == at && found.1.starts_with(what), "{text:?}: {found:?}");
    }
    let open = read("${{ 1", 3, End::Braces).unwrap_err();
    assert_eq!((open.at, open.what.as_str()), (5, "the “${{” before this does not end"));
    assert_eq!(read("${{ '}}' }} }}", 3, End::Braces).unwrap().1, 11);
    assert!(read(&vec!["item"; NESTING_MAX].join("&&"), 0, End::Text).is_ok());
}

#[test]
fn long_texts_take_a_time_that_grows_with_them() {
    // Each of these would take minutes if anything were looked at more than a few times.
    for text in ["(", "!", "item.a", "'", "''", "item[", "1 && ", "1 == ", "9", "-", "e", " ", "[", "\""] {
        _ = read(&text.repeat((256 << 10) / text.len()), 0, End::Text);
    }
}

/// An expression without its places.
#[derive(Clone, PartialEq, Debug)]
enum Bare {
    Literal(Literal),
    Path(String, Vec<Key>),
    Not(Box<Bare>),
    Two(&'static str, Box<Bare>, Box<Bare>),
}

fn bare(syntax: &Syntax) -> Bare {
    let two =
        |sign, left: &Syntax, right: &Syntax| Bare::Two(sign, Box::new(bare(left)), Box::new(bare(right)));
    match &syntax.form {
        Form::Literal(literal) => Bare::Literal(literal.clone()),
        Form::Path(word, keys) => Bare::Path(word.clone(), keys.iter().map(|(_, key)| key.clone()).collect()),
        Form::Not(inner) => Bare::Not(Box::new(bare(inner))),
        Form::And(left, right) => two("&&", left, right),
        Form::Or(left, right) => two("||", left, right),
        Form::Compare(comparison, left, right) => {
            let signs = ["==", "!=", "<", "<=", ">", ">="];
            let sign = signs.into_iter().find(|sign| *sign == comparison.to_string()).unwrap();
            two(sign, left, right)
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        _ = read(&text, 0, End::Text);
        _ = read(&text, 0, End::Braces);
    }

    #[test]
    fn no_text_of_its_signs_makes_it_panic(text in "[a-c0-2.\\[\\]()'\"!&|=<> \\-{}ä]{0,60}") {
        if let Err(wrong) = read(&text, 0, End::Text) {
            prop_assert!(text.is_char_boundary(wrong.at), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_json(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?") {
        prop_assert_eq!(is_number(&text), serde_json::from_str::<serde_json::Number>(&text).is_ok());
    }
}
