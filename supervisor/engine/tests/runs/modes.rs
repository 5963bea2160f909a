//! Each mode does what its word says.

use engine::run::fact::RunEnd;
use types::workflow::{Compare, Mode, OnFailure, Piece, Take, Template};

use crate::world::{World, agents, item, output, step, workflow};

#[test]
fn steps_follow_what_they_need_and_take_its_output() {
    let mut world = World::worker();
    let mut second = step("b", &[0], Mode::Sequential);
    second.input = Template::Map(vec![("got".to_owned(), Template::Value(output(0)))]);
    let mut third = step("c", &[0, 1], Mode::Sequential);
    third.input = Template::Text(vec![Piece::Plain("x=".to_owned()), Piece::Value(output(1))]);
    let request = world.run(workflow(vec![step("a", &[], Mode::Sequential), second, third]));
    assert_eq!(world.starting.len(), 1, "a process is started when it is needed");
    let mut inputs = Vec::new();
    world.answer_all(|given| {
        inputs.push(given.input.clone());
        inputs.len().to_string()
    });
    assert_eq!(inputs, ["null", r#"{"got":1}"#, r#""x=2""#]);
    assert!(world.is_done(request));
    assert_eq!(world.output_of(request, 2), "3");
    assert_eq!(world.state.fleet.instances.len(), 1, "the same process did all three");
}

fn list(id: &str, entries: usize, at_once: u32) -> (types::workflow::Step, Mode) {
    let mut first = step(id, &[], Mode::Sequential);
    first.input = Template::List((0..entries).map(|n| Template::Number(n.to_string())).collect());
    (first, Mode::Parallel { each: output(0), at_once })
}

#[test]
fn items_are_worked_on_at_once_and_come_back_in_their_order() {
    let mut world = World::worker();
    let (first, mode) = list("a", 7, 3);
    let mut second = step("b", &[0], mode);
    second.input = Template::Value(item());
    let request = world.run(workflow(vec![first, second]));
    world.welcome();
    let given = world.given[0].clone();
    world.done(&given, &given.input);
    world.welcome();
    assert_eq!(world.given.len(), 3, "no more at once than was said");
    // The last one first.
    while let Some(given) = world.given.last().cloned() {
        world.done(&given, &format!("[{}]", given.input));
        assert!(world.given.len() <= 3);
    }
    assert!(world.is_done(request));
    assert_eq!(world.output_of(request, 1), "[[0],[1],[2],[3],[4],[5],[6]]");
}

#[test]
fn no_items_are_done_at_once() {
    let mut world = World::worker();
    let (first, mode) = list("a", 0, 3);
    let request = world.run(workflow(vec![first, step("b", &[0], mode)]));
    world.answer_all(|given| given.input.clone());
    assert!(world.is_done(request));
    assert_eq!(world.output_of(request, 1), "[]");
}

#[test]
fn an_item_that_fails_ends_its_step_and_the_others_are_cancelled() {
    let mut world = World::worker();
    let (first, mode) = list("a", 5, 3);
    let request = world.run(workflow(vec![first, step("b", &[0], mode)]));
    world.welcome();
    let given = world.given[0].clone();
    world.done(&given, &given.input);
    world.welcome();
    let given = world.given[1].clone();
    world.fail(&given, true);
    assert_eq!(world.cancelled.len(), 2);
    assert!(
        matches!(world.end_of(request), Some(RunEnd::Failed { reason }) if reason.contains("step “b”: failed: no"))
    );
    let held: usize = world.state.fleet.instances.values().map(|one| one.tasks.len()).sum();
    assert_eq!(held, 2, "what was told to stop still has its place");
    world.let_go();
    assert!(world.state.fleet.instances.values().all(|one| one.tasks.is_empty()));
    assert!(world.state.runs.queues.is_empty() && world.state.runs.timers.is_empty());
}

#[test]
fn stages_work_on_items_while_others_still_come_and_hold_each_other_back() {
    let mut world = World::worker();
    let (first, _) = list("a", 6, 1);
    let mut one = step("one", &[0], Mode::Pipeline { each: Some(output(0)), buffer: 1, at_once: 1 });
    one.input = Template::Value(item());
    let mut two = step("two", &[1], Mode::Pipeline { each: None, buffer: 2, at_once: 1 });
    two.input = Template::Value(item());
    let request = world.run(workflow(vec![first, one, two]));
    world.welcome();
    let given = world.given[0].clone();
    world.done(&given, &given.input);
    // The second stage does nothing: the first is held back once two wait.
    let mut held = None;
    for _ in 0..6 {
        world.welcome();
        held = held.or_else(|| world.given.iter().find(|given| given.task.step == 2).cloned());
        let Some(given) = world.given.iter().find(|given| given.task.step == 1).cloned() else { break };
        world.done(&given, &format!("\"{}\"", given.input));
    }
    let begun = |world: &World, step: &str| world.begins().keys().filter(|key| key.contains(step)).count();
    assert_eq!((begun(&world, ".s1."), begun(&world, ".s2.")), (3, 1), "one taken up, two that wait");
    let held = held.unwrap();
    assert_eq!(held.input, "\"0\"", "a stage works on what the one before made");
    world.done(&held, "10");
    world.answer_all(|given| format!("[{}]", given.input));
    assert!(world.is_done(request));
    assert_eq!(world.output_of(request, 2), r#"[10,["1"],["2"],[[3]],[[4]],[[5]]]"#);
}

fn copies(mode: Mode) -> types::workflow::Workflow {
    let mut only = step("a", &[], mode);
    only.who = agents(&["worker", "other-one", "third"]);
    workflow(vec![only])
}

fn three() -> World {
    World::new(&[("worker", &["token.read"]), ("other-one", &["token.read"]), ("third", &["token.read"])])
}

#[test]
fn copies_go_to_different_agents_and_enough_of_them_agree() {
    let mut world = three();
    let mode = Mode::Consensus { copies: 3, quorum: 2, compare: Compare::Tolerance { millionths: 1000 } };
    let request = world.run(copies(mode));
    let mut started: Vec<_> = world.starting.iter().map(|(_, name)| name.clone()).collect();
    started.sort();
    assert_eq!(started, ["other-one", "third", "worker"]);
    world.welcome();
    let given = world.given.clone();
    world.done(&given[0], "5");
    world.done(&given[1], "10.000");
    assert!(world.end_of(request).is_none());
    world.done(&given[2], "10.001");
    assert!(world.is_done(request));
    let ended = &world.state.runs.ended[&1];
    assert_eq!(ended.run.steps[0].dissent, [given[0].task.index], "who said otherwise is recorded");
    assert!(ended.run.steps[0].output.as_deref().is_some_and(|output| output.starts_with("10.00")));
}

#[test]
fn copies_of_what_cannot_be_held_back_are_refused() {
    let mut world =
        World::new(&[("worker", &["token.read"]), ("other-one", &["file.write:/srv"]), ("third", &[])]);
    let request = world.run(copies(Mode::Competitive { copies: 2 }));
    assert!(format!("{:?}", world.told[&request]).contains("“other-one” may change"));
}

#[test]
fn copies_that_cannot_agree_any_more_fail_at_once() {
    let mut world = three();
    let request = world.run(copies(Mode::Consensus { copies: 3, quorum: 3, compare: Compare::Equal }));
    world.welcome();
    let given = world.given.clone();
    world.done(&given[0], "1");
    world.done(&given[1], "2");
    assert!(
        matches!(world.end_of(request), Some(RunEnd::Failed { reason }) if reason.contains("no agreement"))
    );
    assert_eq!(world.cancelled.len(), 1);
}

#[test]
fn a_judge_names_the_best() {
    let mut world = World::new(&[("worker", &[]), ("judge-1", &[])]);
    let compare = Compare::Judge { agent: crate::world::name("judge-1") };
    let mode = Mode::Consensus { copies: 2, quorum: 2, compare };
    let request = world.run(workflow(vec![step("a", &[], mode)]));
    world.welcome();
    for given in world.given.clone() {
        world.done(&given, &format!("{}0", given.task.index + 1));
    }
    assert_eq!(world.starting.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["judge-1"]);
    world.welcome();
    let judge = world.given[0].clone();
    assert_eq!(judge.input, "[10,20]");
    world.done(&judge, "1");
    assert!(world.is_done(request));
    assert_eq!(world.output_of(request, 0), "20");
    assert_eq!(world.state.runs.ended[&1].run.steps[0].dissent, [0]);
}

#[test]
fn the_first_good_result_wins() {
    for mode in [Mode::Competitive { copies: 3 }, Mode::Redundant { copies: 3, take: Take::First }] {
        let mut world = three();
        let request = world.run(copies(mode));
        world.welcome();
        let given = world.given.clone();
        world.fail(&given[0], false);
        assert!(world.end_of(request).is_none(), "the others may be better");
        world.done(&given[1], "2");
        assert!(world.is_done(request));
        assert_eq!(world.cancelled.len(), 1, "the last one is told to stop");
        assert_eq!(world.output_of(request, 0), "2");
    }
}

#[test]
fn a_majority_is_more_than_half() {
    let mut world = three();
    let request = world.run(copies(Mode::Redundant { copies: 3, take: Take::Majority }));
    world.welcome();
    let given = world.given.clone();
    world.done(&given[0], r#"{"a":1,"b":2}"#);
    world.fail(&given[1], false);
    assert!(world.end_of(request).is_none());
    world.done(&given[2], r#"{"b":2,"a":1}"#);
    assert!(world.is_done(request));
}

#[test]
fn what_fails_may_be_passed_over_and_asked_about() {
    use types::workflow::{Comparison, Expression};
    let mut world = World::worker();
    let mut first = step("a", &[], Mode::Sequential);
    first.on_failure = Some(OnFailure::Continue);
    let needs_it = step("b", &[0], Mode::Sequential);
    let mut asks = step("c", &[0], Mode::Sequential);
    let failed = Expression::Text("failed".to_owned());
    let status = Expression::Status { step: 0 };
    asks.when = Some(Expression::Compare(Comparison::Equal, Box::new(status), Box::new(failed)));
    let alone = step("d", &[], Mode::Sequential);
    let request = world.run(workflow(vec![first, needs_it, asks, alone]));
    world.welcome();
    let given = world.given.iter().find(|given| given.task.step == 0).cloned().unwrap();
    world.fail(&given, false);
    world.answer_all(|given| given.task.step.to_string());
    assert!(world.is_done(request));
    assert_eq!([1, 2, 3].map(|step| world.output_of(request, step)), ["", "2", "3"]);
    let skipped = &world.state.runs.ended[&1].run.steps[1];
    assert_eq!(skipped.reason.as_deref(), Some("step “a”, which it needs, failed"));
}
