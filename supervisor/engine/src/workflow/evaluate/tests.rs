use std::collections::BTreeMap;

use proptest::prelude::*;
use types::agent::{Milliseconds, Name};
use types::hash::Hash;
use types::workflow::{Kind, Mode, OnFailure, Param, Priority, Step, Who};

use super::*;

/// Values by their places.
struct Given {
    workflow: Workflow,
    params: Vec<String>,
    outputs: BTreeMap<usize, String>,
    statuses: BTreeMap<usize, Status>,
    item: Option<String>,
}

impl Scope for Given {
    fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    fn param(&self, param: usize) -> Option<Cow<'_, str>> {
        self.params.get(param).map(|json| Cow::Borrowed(json.as_str()))
    }

    fn output(&self, step: usize) -> Option<Cow<'_, str>> {
        // Owned, as of a list that is put together when it is asked for.
        self.outputs.get(&step).map(|json| Cow::Owned(json.clone()))
    }

    fn status(&self, step: usize) -> Option<Status> {
        self.statuses.get(&step).copied()
    }

    fn item(&self) -> Option<Cow<'_, str>> {
        self.item.as_deref().map(Cow::Borrowed)
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn workflow() -> Workflow {
    let param = |text: &str| Param { name: name(text), kind: Kind::Map, default: None, description: None };
    let step = |text: &str| Step {
        id: name(text),
        needs: Vec::new(),
        who: Who::Agents(vec![name("an-agent")]),
        mode: Mode::Sequential,
        input: Template::Null,
        when: None,
        retry: None,
        timeout: None,
        checkpoint_before: false,
        on_failure: None,
    };
    Workflow {
        name: name("w"),
        description: None,
        params: vec![param("p"), param("q")],
        steps: ["a", "b", "c"].map(step).into(),
        timeout: Milliseconds(1),
        priority: Priority::Normal,
        on_failure: OnFailure::Stop,
        hash: Hash([0; 32]),
    }
}

/// Params p and q, an output of a, b skipped, c under way.
fn given() -> Given {
    Given {
        workflow: workflow(),
        params: vec![
            r#"{"n":12345678901234567890123,"t":"a \"b\"","l":[1,{"x":2.50}],"z":null}"#.into(),
            "-3".into(),
        ],
        outputs: BTreeMap::from([(0, r#"{"ok":true,"text":"ä"}"#.into())]),
        statuses: BTreeMap::from([(0, Status::Done), (1, Status::Skipped)]),
        item: Some(r#"{"k":1}"#.into()),
    }
}

fn field(name: &str) -> Key {
    Key::Field(name.into())
}

fn p(path: &[Key]) -> Expression {
    Expression::Param { param: 0, path: path.to_vec() }
}

fn output(step: usize, path: &[Key]) -> Expression {
    Expression::Output { step, path: path.to_vec() }
}

fn number(text: &str) -> Expression {
    Expression::Number(text.into())
}

fn compared(how: Comparison, left: Expression, right: Expression) -> Expression {
    Expression::Compare(how, Box::new(left), Box::new(right))
}

#[test]
fn values_are_filled_in_as_they_stand() {
    let template = Template::Map(vec![
        ("n".into(), Template::Value(p(&[field("n")]))),
        (
            "l".into(),
            Template::List(vec![Template::Value(p(&[field("l")])), Template::Number("1.0e2".into())]),
        ),
        (
            "t".into(),
            Template::Text(vec![
                Piece::Plain("<\"".into()),
                Piece::Value(p(&[field("t")])),
                Piece::Value(p(&[field("l"), Key::Index(1)])),
                Piece::Value(Expression::Status { step: 1 }),
                Piece::Plain(">".into()),
            ]),
        ),
        ("a\"".into(), Template::Value(output(0, &[field("ok")]))),
        ("i".into(), Template::Value(Expression::Item { path: vec![field("k")] })),
        ("e".into(), Template::Text(Vec::new())),
        ("z".into(), Template::Value(p(&[field("z")]))),
    ]);
    assert_eq!(
        evaluate(&template, &given()).unwrap(),
        r#"{"n":12345678901234567890123,"l":[[1,{"x":2.50}],1.0e2],"t":"<\"a \"b\"{\"x\":2.50}skipped>","a\"":true,"i":1,"e":"","z":null}"#
    );
}

#[test]
fn what_is_missing_is_named() {
    for (expression, expected) in [
        (p(&[field("nope")]), r#"params.p has no "nope""#),
        (p(&[field("l"), Key::Index(2)]), "params.p.l has 2 entries, none at [2]"),
        (p(&[field("l"), field("x")]), r#"params.p.l is a list, in which no "x" lies"#),
        (p(&[field("t"), Key::Index(0)]), "params.p.t is a text, which has no entry [0]"),
        (p(&[field("z"), field("a b"), field("c")]), r#"params.p.z is null, in which no "a b" lies"#),
        (
            output(0, &[field("ok"), field("x")]),
            r#"steps.a.output.ok is true or false, in which no "x" lies"#,
        ),
        (output(1, &[field("ok")]), "steps.b.output.ok: the step was skipped"),
        (output(2, &[]), "steps.c.output: there is none yet"),
        (Expression::Status { step: 2 }, "steps.c.status: the step has not ended"),
        (Expression::Param { param: 7, path: vec![] }, "params.?: has no value"),
        (Expression::Item { path: vec![field("x")] }, r#"item has no "x""#),
    ] {
        let template = Template::Map(vec![(
            "files".into(),
            Template::List(vec![Template::Null, Template::Value(expression.clone())]),
        )]);
        let fault = evaluate(&template, &given()).unwrap_err();
        assert_eq!(fault.to_string(), format!("with.files[1]: {expected}"));
        assert!(is_true(&expression, &given()).unwrap_err().to_string().starts_with(expected));
    }
    let without = Given { item: None, ..given() };
    let fault = is_true(&Expression::Item { path: vec![] }, &without).unwrap_err();
    assert_eq!(fault.to_string(), "item: there is no item here");
}

#[test]
fn conditions_hold_or_not() {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let text = |text: &str| Expression::Text(text.into());
    for (how, left, right, expected) in [
        (Equal, number("1"), number("1.0"), true),
        (Equal, number("100"), number("1e2"), true),
        (Equal, number("18446744073709551615"), number("18446744073709551614"), false),
        (Equal, number("18446744073709551615"), number("18446744073709551616"), false),
        (Equal, number("9007199254740993"), number("9007199254740992.0"), false),
        (Equal, text("1"), number("1"), false),
        (NotEqual, Expression::Null, p(&[field("z")]), false),
        (Equal, p(&[field("l")]), p(&[field("l")]), true),
        (Less, Expression::Param { param: 1, path: vec![] }, number("-2.5"), true),
        (LessOrEqual, number("1e3"), number("1000"), true),
        (Greater, text("b"), text("Z"), true),
        (Greater, text("ä"), text("z"), true),
        (GreaterOrEqual, number("-9223372036854775808"), number("-9223372036854775808.0"), true),
        (Less, number("-1e300"), number("-9223372036854775808"), true),
    ] {
        let expression = compared(how, left, right);
        assert_eq!(is_true(&expression, &given()), Ok(expected), "{expression:?}");
    }
    let fault = is_true(&compared(Less, text("a"), number("1")), &given()).unwrap_err();
    assert_eq!(fault.to_string(), "a text < a number: only two numbers or two texts have an order");
    let fault = is_true(&p(&[field("n")]), &given()).unwrap_err();
    assert_eq!(fault.to_string(), "params.p.n is a number, not true or false");
}

#[test]
fn what_is_not_looked_at_need_not_be_there() {
    let (yes, no, absent) = (
        || Box::new(Expression::Bool(true)),
        || Box::new(Expression::Bool(false)),
        || Box::new(output(1, &[])),
    );
    assert_eq!(is_true(&Expression::And(no(), absent()), &given()), Ok(false));
    assert_eq!(is_true(&Expression::Or(yes(), absent()), &given()), Ok(true));
    assert!(is_true(&Expression::And(yes(), absent()), &given()).is_err());
    assert!(is_true(&Expression::Or(no(), absent()), &given()).is_err());
    assert_eq!(is_true(&Expression::Not(no()), &given()), Ok(true));
    assert_eq!(is_true(&Expression::And(yes(), no()), &given()), Ok(false));
    assert_eq!(is_true(&Expression::Or(no(), no()), &given()), Ok(false));
}

#[test]
fn inputs_are_bounded() {
    let long = |length: usize| Given { params: vec![format!("\"{}\"", "x".repeat(length))], ..given() };
    let all = Template::Value(p(&[]));
    assert_eq!(evaluate(&all, &long(INPUT_MAX - 2)).unwrap().len(), INPUT_MAX);
    let fault = evaluate(&all, &long(INPUT_MAX - 1)).unwrap_err();
    assert_eq!(fault.to_string(), "with: with it the input is longer than 49152 bytes as JSON");
    // What a text's escapes add counts too.
    let quotes = Given { params: vec![format!("\"{}\"", "\\\"".repeat(INPUT_MAX / 2))], ..given() };
    let text = Template::Text(vec![Piece::Value(p(&[])), Piece::Plain(" ".into())]);
    assert!(evaluate(&text, &quotes).is_err());
    let many = Template::List(vec![Template::Value(p(&[])); 1000]);
    assert!(evaluate(&many, &long(1000)).unwrap_err().at.starts_with("with["));
    let deep = |depth: usize| Given {
        params: vec![format!("{}{}", "[".repeat(depth), "]".repeat(depth))],
        ..given()
    };
    let within = Template::List(vec![all.clone()]);
    assert!(evaluate(&within, &deep(DEPTH_MAX - 1)).is_ok());
    assert_eq!(evaluate(&within, &deep(DEPTH_MAX)).unwrap_err().to_string(), "with: nests deeper than 64");
}

#[test]
fn lists_become_items() {
    let l = p(&[field("l")]);
    assert_eq!(items(&l, &given()).unwrap(), ["1", r#"{"x":2.50}"#]);
    assert_eq!(items(&p(&[]), &given()).unwrap_err().to_string(), "params.p is a map, not a list");
    let list = |count: usize| Given { params: vec![format!("[{}1]", "1,".repeat(count - 1))], ..given() };
    assert_eq!(items(&p(&[]), &list(ITEMS_MAX)).unwrap().len(), ITEMS_MAX);
    assert_eq!(
        items(&p(&[]), &list(ITEMS_MAX + 1)).unwrap_err().to_string(),
        "params.p has more than 10000 entries"
    );
    let long = Given { params: vec![format!("[1,\"{}\"]", "x".repeat(INPUT_MAX))], ..given() };
    assert_eq!(items(&p(&[]), &long).unwrap_err().to_string(), "params.p[1] is longer than 49152 bytes");
}

fn values() -> impl Strategy<Value = Value> {
    crate::workflow::json::tests::values()
}

/// The same value as a template without expressions.
fn written(value: &Value) -> Template {
    match value {
        Value::Null => Template::Null,
        Value::Bool(is_true) => Template::Bool(*is_true),
        Value::Number(number) => Template::Number(number.to_string()),
        Value::String(text) => Template::Text(vec![Piece::Plain(text.clone())]),
        Value::Array(items) => Template::List(items.iter().map(written).collect()),
        Value::Object(map) => {
            Template::Map(map.iter().map(|(key, value)| (key.clone(), written(value))).collect())
        }
    }
}

/// Every path into a value, with what it leads to.
fn paths(value: &Value, path: &[Key], all: &mut Vec<(Vec<Key>, Value)>) {
    all.push((path.to_vec(), value.clone()));
    let mut inner = |key: Key, value: &Value| paths(value, &[path, &[key]].concat(), all);
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| inner(Key::Index(index), value));
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| inner(Key::Field(key.clone()), value)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_is_written_comes_out(value in values()) {
        let json = evaluate(&written(&value), &given()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn every_path_leads_to_its_value(value in values()) {
        let scope = Given { params: vec![value.to_string()], ..given() };
        let mut all = Vec::new();
        paths(&value, &[], &mut all);
        for (path, inner) in all {
            let json = evaluate(&Template::Value(p(&path)), &scope).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), inner.clone());
            let pieces = vec![Piece::Plain("«".into()), Piece::Value(p(&path))];
            let json = evaluate(&Template::Text(pieces), &scope).unwrap();
            let said = inner.as_str().map_or_else(|| inner.to_string(), str::to_owned);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), format!("«{said}"));
        }
    }

    #[test]
    fn comparisons_agree_with_each_other(left in values(), right in values()) {
        let scope = Given { params: vec![left.to_string(), right.to_string()], ..given() };
        let q = || Expression::Param { param: 1, path: vec![] };
        let holds = |how| is_true(&compared(how, p(&[]), q()), &scope);
        let equal = holds(Comparison::Equal).unwrap();
        prop_assert_eq!(holds(Comparison::NotEqual).unwrap(), !equal);
        if let Ok(less) = holds(Comparison::Less) {
            let greater = holds(Comparison::Greater).unwrap();
            prop_assert_eq!(usize::from(less) + usize::from(greater) + usize::from(equal), 1);
            prop_assert_eq!(holds(Comparison::LessOrEqual).unwrap(), less || equal);
            prop_assert_eq!(holds(Comparison::GreaterOrEqual).unwrap(), greater || equal);
        }
    }
}
