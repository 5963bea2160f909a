//! Files without a mistake, and what is read from them.

use std::time::Instant;

use engine::workflow::print;
use proptest::prelude::*;
use types::agent::{Name, Retry};
use types::workflow::{Compare, Expression, Key, Kind, Mode, Param, Piece, Take, Template, Who};

use super::super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A file that has every key.
const WHOLE: &str = r#"# Reports on a folder.
name: report
description: Counts and reports.
x-owner: tom
params:
  folder: /srv/texts
  files:
    type: list
    default: [a, 1.50]
    description: What is counted.
  strict: {type: bool}
timeout: 10min
priority: high
on-failure: roll-back
steps:
  - id: count
    agent: word-counter
    mode: {parallel: {each: params.files, at-once: 4}}
    with:
      path: "${{ params.folder }}/${{ item }}"
      item: ${{ item }}
      deep: [~, true, 1e2, {a: "it's ${{ '}}' }}"}]
    retry: {limit: 1, delay: 1s, delay-max: 2s}
    timeout: 20s
  - id: check
    needs: count
    agent: [reader, word-counter]
    mode: {consensus: {copies: 5, quorum: 4, compare: {tolerance: 0.001}}}
    with: {all: "${{ steps.count.output }}", first: "${{ steps.count.output[0].words }}"}
    if: params.strict && steps.count.status == 'done'
    checkpoint-before: true
    on-failure: continue
  - {id: judge, needs: [check], agent: reader, mode: {consensus: {compare: {judge: best}}}}
  - {id: race, needs: [check, count], agent: {capability: "file.read:/srv"}, mode: competitive}
  - {id: safe, agent: reader, mode: {redundant: {take: first}}, x-note: 1}
  - {id: one, agent: reader, mode: {pipeline: {each: "${{ params.files }}", buffer: 2}}}
  - {id: two, needs: one, agent: reader, mode: pipeline, with: "${{ item }}"}
"#;

#[test]
fn a_whole_file_is_understood() {
    let read = read(WHOLE.as_bytes()).unwrap();
    let workflow = &read.workflow;
    assert_eq!(
        (workflow.name.as_str(), workflow.description.as_deref()),
        ("report", Some("Counts and reports."))
    );
    let param = |text: &str, kind, default: Option<&str>, description: Option<&str>| Param {
        name: name(text),
        kind,
        default: default.map(str::to_owned),
        description: description.map(str::to_owned),
    };
    assert_eq!(
        workflow.params,
        [
            param("folder", Kind::Text, Some("\"/srv/texts\""), None),
            param("files", Kind::List, Some("[\"a\",1.50]"), Some("What is counted.")),
            param("strict", Kind::Bool, None, None),
        ]
    );
    assert_eq!((workflow.timeout, workflow.priority), (Milliseconds(600_000), Priority::High));
    assert_eq!(workflow.on_failure, OnFailure::RollBack);
    assert_eq!(workflow.hash, Hash(Sha256::digest(WHOLE).into()));
    let [count, check, judge, race, safe, one, two] = workflow.steps.as_slice() else { panic!() };

    let (files, item) = (Expression::Param { param: 1, path: vec![] }, Expression::Item { path: vec![] });
    assert_eq!(count.mode, Mode::Parallel { each: files.clone(), at_once: 4 });
    let plain = |text: &str| Piece::Plain(text.into());
    let folder = Piece::Value(Expression::Param { param: 0, path: vec![] });
    let deep = Template::Text(vec![plain("it's "), Piece::Value(Expression::Text("}}".into()))]);
    assert_eq!(
        count.input,
        Template::Map(vec![
            ("path".into(), Template::Text(vec![folder, plain("/"), Piece::Value(item.clone())])),
            ("item".into(), Template::Value(item)),
            (
                "deep".into(),
                Template::List(vec![
                    Template::Null,
                    Template::Bool(true),
                    Template::Number("1e2".into()),
                    Template::Map(vec![("a".into(), deep)]),
                ])
            ),
        ])
    );
    assert_eq!(
        count.retry,
        Some(Retry { limit: 1, delay: Milliseconds(1_000), delay_max: Milliseconds(2_000) })
    );
    assert_eq!((count.timeout, check.timeout), (Some(Milliseconds(20_000)), None));

    assert_eq!(check.who, Who::Agents(vec![name("reader"), name("word-counter")]));
    assert_eq!(
        check.mode,
        Mode::Consensus { copies: 5, quorum: 4, compare: Compare::Tolerance { millionths: 1_000 } }
    );
    let words = Expression::Output { step: 0, path: vec![Key::Index(0), Key::Field("words".into())] };
    let Template::Map(with) = &check.input else { panic!() };
    assert_eq!(with[1], ("first".into(), Template::Value(words)));
    let when = check.when.as_ref().unwrap();
    assert_eq!(print::expression(when, workflow), "params.strict && steps.count.status == 'done'");
    assert_eq!((check.checkpoint_before, check.on_failure), (true, Some(OnFailure::Continue)));

    let compare = Compare::Judge { agent: name("best") };
    assert_eq!(judge.mode, Mode::Consensus { copies: 3, quorum: 2, compare });
    assert_eq!((race.needs.as_slice(), race.mode.copies()), (&[0, 1][..], 2));
    assert_eq!(race.who, Who::Capability("file.read:/srv".parse().unwrap()));
    assert_eq!(safe.mode, Mode::Redundant { copies: 3, take: Take::First });
    assert_eq!((safe.input.clone(), safe.retry), (Template::Map(vec![]), None));
    assert_eq!(one.mode, Mode::Pipeline { each: Some(files), buffer: 2, at_once: 8 });
    assert_eq!(two.mode, Mode::Pipeline { each: None, buffer: 16, at_once: 8 });

    let at = |line, column| Place { line, column };
    assert_eq!(read.places[1].who, [at(27, 13), at(27, 21)]);
    assert_eq!((read.places[1].mode, read.places[2].judge), (at(28, 11), Some(at(33, 84))));
    assert_eq!(read.places[3].who, [at(34, 59)]);
}

#[test]
fn what_is_left_out_has_defaults() {
    let read = read(b"\xef\xbb\xbfname: a\r\nsteps:\r\n- id: b\r\n  agent: c\r\n").unwrap().workflow;
    assert_eq!((read.description, read.params.len(), read.timeout), (None, 0, TIMEOUT));
    assert_eq!((read.priority, read.on_failure), (Priority::Normal, OnFailure::Stop));
    let step = &read.steps[0];
    assert_eq!((step.mode.clone(), step.needs.len(), step.checkpoint_before), (Mode::Sequential, 0, false));
    assert_eq!((step.retry, step.timeout, step.on_failure, step.when.clone()), (None, None, None, None));
}

/// Steps s0 to s2, each needing all before, and params p0 to p2; the last step has this condition.
fn with_condition(condition: &str) -> String {
    format!(
        "name: w
params: {{p0: {{type: text}}, p1: {{type: number}}, p2: {{type: map}}}}
steps:
- {{id: s0, agent: a}}
- {{id: s1, needs: s0, agent: a}}
- {{id: s2, needs: s1, agent: a}}
- id: last
  needs: s2
  agent: a
  if: {}
",
        serde_json::Value::from(condition)
    )
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let key = prop_oneof![
        "[a-z0-9_-]{1,6}".prop_map(Key::Field),
        any::<String>().prop_map(Key::Field),
        (0_usize..1 << 32).prop_map(Key::Index),
    ];
    prop::collection::vec(key, 0..3)
}

/// Any expression of the fixture's names, of which all that are combined are truths.
fn truths() -> impl Strategy<Value = Expression> {
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?";
    let value = prop_oneof![
        Just(Expression::Null),
        number.prop_map(Expression::Number),
        any::<String>().prop_map(Expression::Text),
        keys().prop_map(|path| Expression::Output { step: 2, path }),
        (0_usize..3).prop_map(|step| Expression::Status { step }),
    ];
    let open = || (0_usize..3, keys()).prop_map(|(step, path)| Expression::Output { step, path });
    let param =
        keys().prop_filter("a map has no places", |path| !matches!(path.first(), Some(Key::Index(_)) | None));
    let leaf = prop_oneof![
        any::<bool>().prop_map(Expression::Bool),
        open(),
        param.prop_map(|path| Expression::Param { param: 2, path }),
        (value, open()).prop_map(|(left, right)| {
            Expression::Compare(types::workflow::Comparison::NotEqual, Box::new(left), Box::new(right))
        }),
    ];
    leaf.prop_recursive(6, 32, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expression::Not(Box::new(inner))),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Expression::And(Box::new(l), Box::new(r))),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Expression::Or(Box::new(l), Box::new(r))),
            (inner.clone(), inner).prop_map(|(l, r)| {
                Expression::Compare(types::workflow::Comparison::Equal, Box::new(l), Box::new(r))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(expression in truths()) {
        let names = read(with_condition("true").as_bytes()).unwrap().workflow;
        let printed = print::expression(&expression, &names);
        for text in [printed.clone(), format!("${{{{ {printed} }}}}")] {
            let read = read(with_condition(&text).as_bytes()).map_err(|wrong| TestCaseError::fail(format!("{text}: {wrong:?}")))?;
            prop_assert_eq!(read.workflow.steps[3].when.as_ref(), Some(&expression));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = read(&bytes);
    }

    /// Lines of good files in any order, each perhaps cut off.
    #[test]
    fn no_mixture_makes_it_panic(lines in prop::collection::vec((0_usize..40, 0_usize..60), 0..40)) {
        let all: Vec<&str> = WHOLE.lines().collect();
        let line = |(place, cut): &(usize, usize)| {
            let line = all[place % all.len()];
            if *cut > 40 { line.chars().take(*cut).collect() } else { line.to_owned() }
        };
        let text: Vec<String> = lines.iter().map(line).collect();
        _ = read(text.join("\n").as_bytes());
    }

    /// One character of a good file becomes another.
    #[test]
    fn no_slip_makes_it_panic(place in 0_usize..WHOLE.len(), slip in "[-:{}\\[\\]'\"$!&a-z0-9. \n]") {
        let mut text: Vec<char> = WHOLE.chars().collect();
        if let Some(c) = text.get_mut(place) {
            *c = slip.chars().next().unwrap();
        }
        _ = read(text.into_iter().collect::<String>().as_bytes());
    }
}

/// Each file is as large as may be, and would take minutes if anything were looked at more than a few times.
#[test]
fn large_files_take_no_longer_than_their_length_asks_for() {
    let began = Instant::now();
    let within = |text: String| text.chars().take(FILE_MAX).collect::<String>();
    let steps = |step: &str| within(format!("name: a\nsteps:\n{}", step.repeat(FILE_MAX / step.len())));
    let with = |text: &str| {
        within(format!("name: a\nsteps:\n- id: b\n  agent: c\n  with: >\n    {}", text.repeat(FILE_MAX)))
    };
    let all: String = (0..STEPS_MAX)
        .map(|id| {
            format!("- {{id: s{id}, needs: [{}], agent: a}}\n", {
                let needs: Vec<String> =
                    (0..STEPS_MAX.min(30)).map(|need| format!("s{}", (id + need) % STEPS_MAX)).collect();
                needs.join(",")
            })
        })
        .collect();
    for text in [
        steps("- {id: a, needs: a, agent: b}\n"),
        with("${{ item }}"),
        with("${{ '}}' "),
        with("${{"),
        with("a"),
        format!("name: a\nsteps:\n{all}"),
    ] {
        assert!(!read(text.as_bytes()).unwrap_err().is_empty());
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
