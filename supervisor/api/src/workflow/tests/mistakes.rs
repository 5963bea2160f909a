//! Every mistake with its exact place.

use super::super::*;
use crate::document::mistake::MISTAKES_MAX;

fn mistakes(file: &str) -> Vec<String> {
    read(file.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

/// Checks the beginnings of all mistakes.
#[track_caller]
fn check(file: &str, expected: &[&str]) {
    let found = mistakes(file);
    let is_same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(is_same, "{file:.400}\nfound {found:#?}\nexpected {expected:#?}");
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let file = "name: Nightly Report
descripton: x
params:
  Folder: /srv
  count: {type: int}
  none:
  both: {type: text, default: 5}
  bare: {}
  odd: {default: 0x10, kind: text}
  filled: \"${{ params.count }}\"
timeout: 30
priority: urgent
on-failure: rollback
steps:
  - id: a b
    agent: A
  - agent: []
    timeout: 1h
    checkpoint-before: yes
  - id: c
    agent: {capability: \"file.read:\"}
    retry: {limit: 101, delay_max: 1s, delay: 5s, delay-max: 1s}
    with: {x: 0x10, \"${{ item }}\": 1}
    on-failure: ignore
  - id: c
    agent: [d, d]
    agents: e
";
    let expected = [
        "1:7: name: “Nightly Report” holds 'N', which a name cannot; write a name of a–z, 0–9 and hyphens, such as “name: nightly-report”",
        "2:1: descripton: is unknown; write “description”, if that is meant",
        "4:3: params.Folder: “Folder” holds 'F', which a name cannot; write a name of a–z, 0–9 and hyphens",
        "5:17: params.count.type: “int” is none of text, number, bool, list, map; write text, number, bool, list or map",
        "6:7: params.none: has no value; write a default, or “type: …” alone where a run must say",
        "7:31: params.both.default: is of type number, not text; quote it: \"…\"",
        "8:9: params.bare.type: is missing; write “type: text” or a default",
        "9:18: params.odd.default: “0x10” is a number that JSON cannot write; write it in decimal, such as 12, -0.5 or 1e9, or quote it as a text",
        "9:24: params.odd.kind: is unknown; remove it; known here: type, default, description",
        "10:12: params.filled: an expression, where a value must stand as it is; write the value",
        "11:10: timeout: “30” has no unit: one of ms, s, min, h; write a time such as 10min",
        "12:11: priority: “urgent” is none of low, normal, high; write low, normal or high",
        "13:13: on-failure: “rollback” is none of continue, stop, roll-back; write continue, stop or roll-back",
        "15:9: steps[0].id: “a b” holds ' ', which a name cannot; write a name of a–z, 0–9 and hyphens, such as “id: read-tokens”",
        "16:12: steps[0].agent: “A” holds 'A', which a name cannot; write an agent's name, of a–z, 0–9 and hyphens",
        "17:5: steps[1].id: is missing; write a name of a–z, 0–9 and hyphens, such as “id: read-tokens”",
        "17:12: steps[1].agent: is empty; name an agent, a list of them, or {capability: file.read}",
        "19:24: steps[1].checkpoint-before: “yes” is neither true nor false; write true or false",
        "21:25: steps[2].agent.capability: “file.read:” nothing stands behind the colon; write a kind such as token.read, and perhaps where: \"file.read:/srv/data\"",
        "22:20: steps[2].retry.limit: 101 is out of range; write 0 to 100",
        "22:25: steps[2].retry.delay_max: is unknown; write “delay-max”, if that is meant",
        "23:15: steps[2].with.x: “0x10” is a number that JSON cannot write; write it in decimal",
        "23:21: steps[2].with.${{ item }}: an expression in a key; only values are filled in",
        "24:17: steps[2].on-failure: “ignore” is none of continue, stop, roll-back; write continue, stop or roll-back",
        "25:9: steps[3].id: “c” is already the id of a step; give each step its own",
        "26:16: steps[3].agent[1]: “d” stands here a second time; keep one of them",
        "27:5: steps[3].agents: is unknown; write “agent”, if that is meant",
    ];
    check(file, &expected);
}

#[test]
fn what_is_no_such_file_is_said_in_few_mistakes() {
    for (file, expected) in [
        ("", &["1:1: name: is missing", "1:1: steps: is missing"][..]),
        ("# nothing\n", &["1:1: name: is missing", "1:1: steps: is missing"]),
        ("- a\n", &["1:1: is a list, not a map"]),
        ("name: a\nsteps: b\n", &["2:8: steps: is a single value, not a list"]),
        ("name: a\nsteps: []\n", &["2:8: steps: is empty"]),
        ("name: a\nsteps: [b]\n", &["2:9: steps[0]: is a single value, not a map"]),
        ("name: [a\n", &["1:7: unclosed bracket"]),
        ("name: a\nparams: [b]\nsteps: [{id: a, agent: b}]\n", &["2:9: params: is a list, not a map"]),
        ("name: a\nname: b\nsteps: [{id: a, agent: b}]\n", &["2:1: “name” stands here a second time"]),
        (
            "name: &a a\nsteps: [{id: a, agent: *a}]\n",
            &["1:10: an anchor", "2:24: an alias", "2:24: steps[0].agent: has no value"],
        ),
    ] {
        check(file, expected);
    }
    let found = read(b"name: a\nsteps: \xff\n").unwrap_err();
    assert!(found[0].to_string().starts_with("2:8: bytes that are not UTF-8"), "{found:?}");
    check(&format!("#{}", "x".repeat(FILE_MAX)), &["1:1: the file has 262145 bytes; keep it within 262144"]);
    let many: String = (0..=STEPS_MAX).map(|id| format!("- {{id: s{id}, agent: a}}\n")).collect();
    check(&format!("name: a\nsteps:\n{many}"), &["3:3: steps: has more than 256 entries"]);
    let many: String = (0..65).map(|id| format!("  p{id}: 1\n")).collect();
    check(
        &format!("name: a\nsteps: [{{id: a, agent: b}}]\nparams:\n{many}"),
        &["4:3: params: has more than 64 entries"],
    );
    let many: String = (0..200).map(|id| format!("- {{id: s{id}}}\n")).collect();
    assert_eq!(mistakes(&format!("name: a\nsteps:\n{many}")).len(), MISTAKES_MAX);
}

/// A file with one step under test, at line 12, after others.
fn with(step: &str) -> String {
    format!(
        "name: w
params: {{text: a, number: 1, bool: true, list: [1], map: {{type: map}}}}
steps:
- {{id: first, agent: a}}
- {{id: other, agent: a}}
- {{id: next, needs: first, agent: a}}
- {{id: many, needs: first, agent: a, mode: {{parallel: {{each: params.list}}}}}}
- {{id: one, agent: a, mode: {{pipeline: {{each: params.list}}}}}}
- {{id: two, agent: a, needs: one, mode: pipeline}}
- id: tested
  agent: a
{step}"
    )
}

#[test]
fn needs_name_steps_and_form_no_circle() {
    for (needs, expected) in [
        (
            "  needs: nxt\n",
            &["12:10: steps[6].needs: there is no step “nxt”; write “next”, if that is meant"][..],
        ),
        (
            "  needs: [first, zzz, first]\n",
            &["12:23: steps[6].needs[2]: “first” stands here a second time; keep one of them"],
        ),
        (
            "  needs: [first, zzz]\n",
            &["12:18: steps[6].needs[1]: there is no step “zzz”; write the “id” of a step"],
        ),
        ("  needs: tested\n", &["12:10: steps[6].needs: “tested” needs itself; remove one of these needs"]),
        ("  needs: {a: b}\n", &["12:10: steps[6].needs: is a map, not a single value"]),
        ("  needs:\n", &["12:8: steps[6].needs: has no value"]),
    ] {
        check(&with(needs), expected);
    }
    check(
        "name: w
steps:
- {id: a, needs: [z, c], agent: a}
- {id: b, needs: a, agent: a}
- {id: c, needs: [z, b], agent: a}
- {id: d, needs: [e], agent: a, with: \"${{ steps.z.output }}\"}
- {id: e, needs: [a, d], agent: a}
- {id: z, agent: a}
",
        &[
            "4:18: steps[1].needs: the needs form a circle: a needs c needs b needs a; remove one of these needs",
            "7:22: steps[4].needs[1]: the needs form a circle: d needs e needs d; remove one of these needs",
        ],
    );
}

#[test]
fn expressions_see_only_what_is_there() {
    for (input, expected) in [
        (
            "params.txt",
            &["12:18: steps[6].with.x: there is no param “txt”; write “params.text”, if that is meant"][..],
        ),
        (
            "params.zzzz",
            &[
                "12:18: steps[6].with.x: there is no param “zzzz”; name it below “params:”; known there: text, number, bool, list, map",
            ],
        ),
        ("params", &["12:18: steps[6].with.x: which of the params is not said"]),
        ("params[0]", &["12:18: steps[6].with.x: which of the params is not said"]),
        ("steps", &["12:18: steps[6].with.x: which of the steps is not said"]),
        (
            "steps.nxet.output",
            &["12:18: steps[6].with.x: there is no step “nxet”; write “steps.next”, if that is meant"],
        ),
        (
            "steps.next",
            &[
                "12:18: steps[6].with.x: what of the step is not said; write steps.ID.output or steps.ID.status",
            ],
        ),
        ("steps.next.ouput", &["12:28: steps[6].with.x: a step has an output and a status"]),
        ("steps.next.status.a", &["12:35: steps[6].with.x: steps.next.status is a text; take it as it is"]),
        (
            "steps.other.output",
            &[
                "12:18: steps[6].with.x: “other” need not have ended when this step begins; add “other” to “needs” of this step",
            ],
        ),
        ("steps.tested.output", &["12:18: steps[6].with.x: a step cannot look at itself"]),
        ("param.text", &["12:18: steps[6].with.x: “param” is unknown; write “params”, if that is meant"]),
        ("text", &["12:18: steps[6].with.x: “text” is unknown; write params.NAME"]),
        (
            "item.a",
            &[
                "12:18: steps[6].with.x: there is no item here; only “with” of a parallel or pipeline step has one",
            ],
        ),
        (
            "params.text.a",
            &["12:29: steps[6].with.x: params.text is a text; take it as it is: nothing lies in it"],
        ),
        (
            "params.list.a",
            &["12:29: steps[6].with.x: params.list is a list; write a place in it, such as [0]"],
        ),
        ("params.map[0]", &["12:28: steps[6].with.x: params.map is a map; write a key of it, such as .name"]),
        (
            "steps.many.output.a",
            &["12:35: steps[6].with.x: steps.many.output is a list; write a place in it"],
        ),
        (
            "steps.two.output[0].a == 1 && zz == params.q",
            &["12:48: steps[6].with.x: “zz” is unknown", "12:54: steps[6].with.x: there is no param “q”"],
        ),
        ("1 +", &["12:20: steps[6].with.x: '+' is no part of an expression"]),
        ("1", &[]),
    ] {
        let file = with(&format!("  with: {{x: \"${{{{ {input} }}}}\"}}\n  needs: [next, many, two]\n"));
        if expected.is_empty() {
            assert!(read(file.as_bytes()).is_ok());
        } else {
            check(&file, expected);
        }
    }
    // First is needed by what is needed.
    assert!(read(with("  needs: next\n  with: ${{ steps.first.output.a }}\n").as_bytes()).is_ok());
    // What is wrong in one place is not said again of another.
    check(
        &with("  needs: nxt\n  with: ${{ steps.first.output.a }}\n"),
        &["12:10: steps[6].needs: there is no step “nxt”"],
    );
}

#[test]
fn places_are_exact_however_a_text_is_written() {
    for (input, place) in [
        ("  with: a ${{ zz }}\n", "12:15"),
        ("  with: ä ${{ zz }}\n", "12:15"),
        ("  with: 'it''s ${{ zz }}'\n", "12:20"),
        ("  with: \"\\\"\\u00e4 ${{ zz }}\"\n", "12:23"),
        ("  with: >-\n    a\n    b ${{\n      zz }}\n", "15:7"),
        ("  with: |\n    a\n\n    b ${{ zz }}\n", "15:11"),
        ("  with: a\n    b\n    ${{ 'x' == zz }}\n", "14:16"),
        ("  with:\n    k:\n    - ${{ zz }}\n", "14:11"),
        ("  with: ${{ params.text }}${{ zz }}\n", "12:31"),
    ] {
        let found = mistakes(&with(input));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{place}: steps[6].with")), "{input:?} {found:?}");
        assert!(found[0].contains("“zz” is unknown"), "{input:?} {found:?}");
    }
    check(
        &with("  with: x ${{ 1\n"),
        &["12:16: steps[6].with: the “${{” before this does not end; close it with “}}”"],
    );
}

#[test]
fn conditions_are_truths() {
    for (condition, expected) in [
        ("params.bool", ""),
        ("${{ params.bool }}", ""),
        ("true", ""),
        ("params.map.a", ""),
        ("steps.next.output", ""),
        ("steps.next.status == 'done' || params.number >= 1.5", ""),
        ("params.text < 'b'", ""),
        ("null == params.map.a", ""),
        ("params.number", "12:7: steps[6].if: this is a number; write what is true or false"),
        ("1", "12:7: steps[6].if: this is a number"),
        ("'true'", "12:7: steps[6].if: this is a text"),
        ("params.bool && params.text", "12:22: steps[6].if: this is a text, never true or false; compare it"),
        ("steps.next.output || params.list", "12:28: steps[6].if: this is a list, never true or false"),
        (
            "params.number < true",
            "12:21: steps[6].if: true or false has no order, so “<” says nothing; compare two numbers or two texts",
        ),
        ("params.list >= 1", "12:19: steps[6].if: a list has no order"),
        ("params.number > '1'", "12:21: steps[6].if: a number and a text have no order"),
        ("params.number == '1'", "12:21: steps[6].if: a number and a text are never the same"),
        ("params.bool != 1", "12:19: steps[6].if: true or false and a number are never the same"),
        (
            "steps.next.status == 'finished'",
            "12:25: steps[6].if: no status is called so; write 'done', 'failed' or 'skipped'",
        ),
        ("item", "12:7: steps[6].if: there is no item here"),
        ("${{ params.bool }} == true", "12:26: steps[6].if: something stands behind the “}}”"),
        ("${{ params.bool", "12:22: steps[6].if: the “${{” before this does not end"),
        ("", "12:5: steps[6].if: has no value"),
        ("[1]", "12:7: steps[6].if: is a list, not an expression"),
        ("params.bool =", "12:19: steps[6].if: '=' is no part of an expression"),
    ] {
        // A text in quotes would be a text of YAML.
        let condition =
            if condition.starts_with('\'') { format!("\"{condition}\"") } else { condition.to_owned() };
        let file = with(&format!("  if: {condition}\n  needs: next\n"));
        if expected.is_empty() {
            assert!(read(file.as_bytes()).is_ok(), "{:?}", mistakes(&file));
        } else {
            let column =
                expected.replace("12:7: steps[6].if: this is a text", "12:8: steps[6].if: this is a text");
            check(&file, &[&column]);
        }
    }
    let found = mistakes(&with("  if: !params.bool\n"));
    assert!(
        found[0].contains("a tag, which is not taken here; remove the “!…”, or quote the text"),
        "{found:?}"
    );
    assert!(read(with("  if: \"!params.bool\"\n").as_bytes()).is_ok());
}

#[test]
fn modes_are_checked_as_a_whole() {
    for (mode, expected) in [
        ("paralel", "12:9: steps[6].mode: “paralel” is no mode; write “parallel”, if that is meant"),
        ("parallel", "12:9: steps[6].mode.parallel.each: is missing; name a list"),
        ("{parallel: {}}", "12:20: steps[6].mode.parallel.each: is missing; name a list"),
        (
            "{parallel: {each: params.text}}",
            "12:27: steps[6].mode.parallel.each: this is a text; write what is a list",
        ),
        (
            "{parallel: {each: [1, 2]}}",
            "12:27: steps[6].mode.parallel.each: is a list, not an expression; write an expression such as params.x; a fixed list can be a param's default",
        ),
        ("{parallel: {each: item}}", "12:27: steps[6].mode.parallel.each: there is no item here"),
        (
            "{parallel: {each: params.list, at-once: 257}}",
            "12:49: steps[6].mode.parallel.at-once: 257 is out of range; write 1 to 256",
        ),
        ("{parallel: {each: params.list, copies: 2}}", "12:40: steps[6].mode.parallel.copies: is unknown"),
        ("{parallel: {each: params.list}, pipeline: {}}", "12:9: steps[6].mode: names 2 modes; write one"),
        ("{}", "12:9: steps[6].mode: names 0 modes; write one"),
        ("{sequential: {each: 1}}", "12:23: steps[6].mode.sequential: is given nothing; remove it"),
        (
            "{consensus: {copies: 1}}",
            "12:30: steps[6].mode.consensus.copies: 1 is out of range; write 2 to 256",
        ),
        (
            "{consensus: {copies: 4, quorum: 2}}",
            "12:41: steps[6].mode.consensus.quorum: 2 of 4 is not more than half; write 3 to 4",
        ),
        (
            "{consensus: {quorum: 4}}",
            "12:30: steps[6].mode.consensus.quorum: 4 is more than the 3 copies; write 2 to 3",
        ),
        (
            "{consensus: {compare: same}}",
            "12:31: steps[6].mode.consensus.compare: “same” is no comparison; write equal, {tolerance: 0.001} or {judge: AGENT}",
        ),
        (
            "{consensus: {compare: {tolerance: 0}}}",
            "12:43: steps[6].mode.consensus.compare.tolerance: 0 is out of range; write 0.000001 to 1",
        ),
        (
            "{consensus: {compare: {tolerance: 1e-3}}}",
            "12:43: steps[6].mode.consensus.compare.tolerance: “1e-3” is not a decimal fraction",
        ),
        ("{consensus: {compare: {judge: B}}}", "12:39: steps[6].mode.consensus.compare.judge: “B” holds 'B'"),
        (
            "{consensus: {compare: {judge: b, tolerance: 1}}}",
            "12:31: steps[6].mode.consensus.compare: is not one comparison",
        ),
        ("{competitive: {copies: x}}", "12:32: steps[6].mode.competitive.copies: “x” is not a whole number"),
        ("{competitive: 3}", "12:23: steps[6].mode.competitive: is a single value, not a map"),
        (
            "{redundant: {take: last}}",
            "12:28: steps[6].mode.redundant.take: “last” is none of majority, first",
        ),
        ("[parallel]", "12:9: steps[6].mode: is a list, not a single value"),
    ] {
        check(&with(&format!("  mode: {mode}\n")), &[expected]);
    }
    for mode in [
        "sequential",
        "consensus",
        "competitive",
        "redundant",
        "{consensus: {}}",
        "{consensus: {compare: equal}}",
        "{redundant: {copies: 256, x-a: 1}}",
    ] {
        assert!(read(with(&format!("  mode: {mode}\n")).as_bytes()).is_ok(), "{mode}");
    }
}

#[test]
fn stages_follow_one_another() {
    for (stage, expected) in [
        (
            "  mode: pipeline\n",
            &[
                "12:9: steps[6].mode: has no list, and needs no stage before it; need exactly one pipeline step",
            ][..],
        ),
        (
            "  mode: pipeline\n  needs: first\n",
            &["12:9: steps[6].mode: takes its items from “first”, which is no pipeline"],
        ),
        (
            "  mode: pipeline\n  needs: [two, first]\n",
            &["12:9: steps[6].mode: takes its items from one stage, but needs 2 steps"],
        ),
        (
            "  mode: pipeline\n  needs: one\n",
            &[
                "12:9: steps[6].mode: “one” hands its items on to “two” already; need that one, or name a list with “each”",
            ],
        ),
        (
            "  mode: pipeline\n  needs: two\n  with: ${{ steps.one.output }}\n",
            &[
                "14:13: steps[6].with: “one” is an earlier stage of the same pipeline and has not ended; take what it hands on as “item”",
            ],
        ),
        (
            "  mode: pipeline\n  needs: two\n  with: ${{ steps.two.status }}\n",
            &["14:13: steps[6].with: “two” is an earlier stage"],
        ),
        ("  mode: pipeline\n  needs: tow\n", &["13:10: steps[6].needs: there is no step “tow”"]),
    ] {
        check(&with(stage), expected);
    }
    for stage in [
        "  mode: pipeline\n  needs: two\n  with: ${{ item.a }}\n",
        "  mode: {pipeline: {each: steps.two.output}}\n  needs: [two, first]\n",
        "  needs: two\n  with: ${{ steps.one.output }}\n",
    ] {
        assert!(read(with(stage).as_bytes()).is_ok(), "{:?}", mistakes(&with(stage)));
    }
}

#[test]
fn times_and_sizes_have_ends() {
    check(
        &with("  timeout: 6min\n"),
        &[
            "12:12: steps[6].timeout: 6min is longer than the whole run may take, which is 5min; shorten it, or give the workflow a longer “timeout”",
        ],
    );
    check(&with("timeout: 169h\n"), &["12:10: timeout: 169h is out of range; write 1ms to 168h"]);
    check(
        &with("  retry: {delay: 40s, delay-max: 30s}\n"),
        &["12:10: steps[6].retry: delay 40s is longer than delay-max 30s; make delay-max the longer one"],
    );
    let long = "x".repeat(types::workflow::INPUT_MAX);
    check(
        &with(&format!("  with: {long}\n")),
        &["12:9: steps[6].with: has 49154 bytes as JSON before anything is filled in; keep it within 49152"],
    );
    let deep = format!("  with: {}{}\n", "[".repeat(14), "]".repeat(14));
    assert!(mistakes(&with(&deep))[0].contains("nested deeper than 16"));
}
