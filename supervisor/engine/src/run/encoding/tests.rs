use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn step(id: &str, who: Who, mode: Mode, input: Template) -> Step {
    Step {
        id: name(id),
        needs: vec![0, 7],
        who,
        mode,
        input,
        when: None,
        retry: None,
        timeout: None,
        checkpoint_before: false,
        on_failure: None,
    }
}

/// Every word that a workflow can have.
pub(crate) fn everything() -> Workflow {
    let agents = || Who::Agents(vec![name("a"), name("b-2")]);
    let item = || Expression::Item { path: vec![Key::Field("x".to_owned()), Key::Index(3)] };
    let boxed = || (Box::new(item()), Box::new(Expression::Null));
    let pair = |make: fn(Box<Expression>, Box<Expression>) -> Expression| make(boxed().0, boxed().1);
    let compared = |how| Expression::Compare(how, boxed().0, boxed().1);
    let expressions = vec![
        Expression::Null,
        Expression::Bool(true),
        Expression::Number("1.50".to_owned()),
        Expression::Text("t".to_owned()),
        Expression::Param { param: 1, path: vec![] },
        Expression::Output { step: 2, path: vec![Key::Index(0)] },
        Expression::Status { step: 0 },
        item(),
        Expression::Not(Box::new(item())),
        pair(Expression::And),
        pair(Expression::Or),
        compared(Comparison::Equal),
        compared(Comparison::NotEqual),
        compared(Comparison::Less),
        compared(Comparison::LessOrEqual),
        compared(Comparison::Greater),
        compared(Comparison::GreaterOrEqual),
    ];
    let input = Template::Map(vec![
        ("null".to_owned(), Template::Null),
        ("bool".to_owned(), Template::Bool(false)),
        ("number".to_owned(), Template::Number("12".to_owned())),
        ("text".to_owned(), Template::Text(vec![Piece::Plain("a".to_owned()), Piece::Value(item())])),
        ("list".to_owned(), Template::List(expressions.into_iter().map(Template::Value).collect())),
    ]);
    let consensus = |compare| Mode::Consensus { copies: 3, quorum: 2, compare };
    let modes = vec![
        Mode::Sequential,
        Mode::Parallel { each: item(), at_once: 9 },
        Mode::Pipeline { each: Some(item()), buffer: 4, at_once: 2 },
        Mode::Pipeline { each: None, buffer: 4, at_once: 2 },
        consensus(Compare::Equal),
        consensus(Compare::Tolerance { millionths: 5 }),
        consensus(Compare::Judge { agent: name("judge") }),
        Mode::Competitive { copies: 2 },
        Mode::Redundant { copies: 3, take: Take::Majority },
        Mode::Redundant { copies: 3, take: Take::First },
    ];
    let mut steps: Vec<Step> =
        modes.into_iter().map(|mode| step("s", agents(), mode, input.clone())).collect();
    steps.push(Step {
        when: Some(item()),
        retry: Some(Retry { limit: 2, delay: Milliseconds(3), delay_max: Milliseconds(4) }),
        timeout: Some(Milliseconds(5)),
        checkpoint_before: true,
        on_failure: Some(OnFailure::Continue),
        ..step("last", Who::Capability("file.read:/srv".parse().unwrap()), Mode::Sequential, Template::Null)
    });
    let param = |kind| Param { name: name("p"), kind, default: Some("1".to_owned()), description: None };
    Workflow {
        name: name("everything"),
        description: Some("for a test".to_owned()),
        params: [Kind::Text, Kind::Number, Kind::Bool, Kind::List, Kind::Map].map(param).to_vec(),
        steps,
        timeout: Milliseconds(300_000),
        priority: Priority::High,
        on_failure: OnFailure::RollBack,
        hash: Hash([7; 32]),
    }
}

#[test]
fn every_word_reads_back() {
    let workflow = everything();
    let bytes = encode(&workflow).unwrap();
    assert_eq!(decode(&bytes).unwrap(), workflow);
    for priority in [Priority::Low, Priority::Normal] {
        for on_failure in [OnFailure::Continue, OnFailure::Stop] {
            let other = Workflow { priority, on_failure, ..everything() };
            assert_eq!(decode(&encode(&other).unwrap()).unwrap(), other);
        }
    }
}

#[test]
fn what_is_cut_off_or_goes_on_is_refused() {
    let bytes = encode(&everything()).unwrap();
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "{end}");
    }
    assert!(decode(&[&bytes[..], &[0]].concat()).unwrap_err().to_string().contains("1 bytes follow"));
}

#[test]
fn any_byte_may_be_another_without_a_panic() {
    let bytes = encode(&everything()).unwrap();
    for place in 0..bytes.len() {
        for flip in [1, 0x20, 0x80, 0xff] {
            let mut other = bytes.clone();
            other[place] ^= flip;
            _ = decode(&other);
        }
    }
}

#[test]
fn no_nesting_is_too_deep_for_the_reader() {
    let mut deep = Template::Null;
    for _ in 0..200 {
        deep = Template::List(vec![deep]);
    }
    let mut workflow = everything();
    workflow.steps[0].input = deep;
    let told = decode(&encode(&workflow).unwrap()).unwrap_err().to_string();
    assert!(told.contains("too deep"), "{told}");
}

#[test]
fn a_key_of_a_later_version_is_passed_over() {
    let retry = Retry { limit: 1, delay: Milliseconds(2), delay_max: Milliseconds(3) };
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(4).unwrap().u32(9).unwrap().array(1).unwrap().str("new").unwrap();
    encoder.u32(0).unwrap().u32(1).unwrap().u32(1).unwrap().u64(2).unwrap().u32(2).unwrap().u64(3).unwrap();
    let bytes = encoder.into_writer();
    let mut reader = Reader { from: Decoder::new(&bytes), depth: 0 };
    assert_eq!(Retry::take(&mut reader).unwrap(), retry);
}
