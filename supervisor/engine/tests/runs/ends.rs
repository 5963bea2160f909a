//! Failures, times, crashes, and what people ask for meanwhile.

use engine::run::decide::Control;
use engine::run::fact::RunEnd;
use engine::run::state::TaskState;
use types::agent::{Milliseconds, Retry};
use types::peer::Peer;
use types::workflow::{Mode, Priority, Workflow};

use crate::world::{SECOND, World, step, workflow};

fn one(retry: u32) -> Workflow {
    let mut only = step("a", &[], Mode::Sequential);
    only.retry = Some(Retry { limit: retry, delay: Milliseconds(100), delay_max: Milliseconds(150) });
    only.timeout = Some(Milliseconds(2_000));
    workflow(vec![only])
}

#[test]
fn a_failed_task_is_tried_again_within_its_pause_and_then_no_more() {
    let mut world = World::worker();
    let request = world.run(one(2));
    world.welcome();
    for attempt in 1..=3 {
        let given = world.given[0].clone();
        assert_eq!((given.task.attempt, given.task.key().as_str()), (attempt, "r1.s0.i0"));
        world.fail(&given, true);
        world.pass(SECOND / 5);
    }
    assert!(world.given.is_empty());
    assert!(matches!(world.end_of(request), Some(RunEnd::Failed { .. })));
    assert_eq!(world.begins()["r1.s0.i0"], 3);
}

#[test]
fn what_cannot_be_helped_is_not_tried_again() {
    let mut world = World::worker();
    let request = world.run(one(2));
    world.welcome();
    let given = world.given[0].clone();
    world.fail(&given, false);
    assert!(world.end_of(request).is_some());
}

#[test]
fn an_attempt_whose_time_is_up_is_told_to_stop_and_keeps_its_place_until_it_does() {
    let mut world = World::worker();
    let request = world.run(one(1));
    world.welcome();
    let first = world.given[0].clone();
    world.pass(2 * SECOND);
    assert_eq!(world.cancelled, [(first.instance, first.task)]);
    world.pass(SECOND);
    assert_eq!(world.starting.len(), 1, "its process is not free, so another one is started");
    world.welcome();
    let second = world.given.last().cloned().unwrap();
    assert_ne!(second.instance, first.instance);
    // What comes too late counts for nothing.
    world.done(&first, "1");
    assert!(world.end_of(request).is_none());
    world.done(&second, "2");
    assert_eq!(world.output_of(request, 0), "2");
}

#[test]
fn a_run_whose_time_is_up_ends_with_all_that_is_under_way() {
    let mut world = World::worker();
    let mut long = one(0);
    long.steps[0].timeout = Some(Milliseconds(1_000_000));
    long.timeout = Milliseconds(5_000);
    let request = world.run(long);
    world.welcome();
    world.pass(5 * SECOND);
    assert!(
        matches!(world.end_of(request), Some(RunEnd::Failed { reason }) if reason == "its time of 5s was up")
    );
    assert_eq!(world.cancelled.len(), 1);
    assert!(world.state.runs.timers.is_empty());
}

#[test]
fn a_process_that_dies_costs_an_attempt_and_nothing_else() {
    let mut world = World::worker();
    let request = world.run(one(1));
    world.welcome();
    let first = world.given[0].clone();
    world.die(first.instance);
    assert!(world.end_of(request).is_none());
    world.pass(SECOND);
    world.welcome();
    let second = world.given[0].clone();
    assert_eq!((second.task.attempt, second.task.key()), (2, first.task.key()));
    world.done(&second, "1");
    assert!(world.is_done(request));
}

#[test]
fn after_a_crash_what_is_done_stays_done_and_the_rest_is_done_once() {
    for machine_too in [false, true] {
        let mut world = World::worker();
        let steps =
            (0..3).map(|n: usize| step(&format!("s{n}"), &(0..n).collect::<Vec<_>>(), Mode::Sequential));
        let request = world.run(workflow(steps.collect()));
        world.welcome();
        let first = world.given[0].clone();
        world.done(&first, "1");
        let second = world.given[0].clone();
        world.crash(machine_too);
        world.answer_all(|given| {
            assert_ne!(given.task.step, 0, "a step that is done begins again");
            given.task.step.to_string()
        });
        assert!(world.state.runs.ended[&1].end == RunEnd::Done);
        assert_eq!(world.output_of(request, 0), "1");
        assert_eq!(world.begins()[&second.task.key()], 2, "taken up again under the same key");
        assert_eq!(world.begins()[&first.task.key()], 1);
    }
}

#[test]
fn what_cannot_be_asked_about_waits_for_its_owner_after_a_crash() {
    let mut world = World::new(&[("worker", &["process.run"])]);
    let request = world.run(one(3));
    world.welcome();
    assert_eq!(world.given.len(), 1);
    world.crash(false);
    world.pass(60 * SECOND);
    assert!(world.starting.is_empty() && world.given.is_empty());
    let run = &world.state.runs.open[&1];
    assert_eq!(run.steps[0].tasks[0].state, TaskState::Unknown);
    world.pass(300 * SECOND);
    assert!(world.end_of(request).is_some(), "not for ever");
}

#[test]
fn a_paused_run_begins_nothing_and_goes_on_where_it_was() {
    let mut world = World::worker();
    let request =
        world.run(workflow(vec![step("a", &[], Mode::Sequential), step("b", &[0], Mode::Sequential)]));
    world.welcome();
    world.control(1, Control::Pause);
    let given = world.given[0].clone();
    world.done(&given, "1");
    assert!(world.given.is_empty());
    world.crash(false);
    world.pass(SECOND);
    assert!(world.given.is_empty() && world.end_of(request).is_none());
    world.control(1, Control::Resume);
    world.answer_all(|_| "2".to_owned());
    assert_eq!(world.state.runs.ended[&1].end, RunEnd::Done);
}

#[test]
fn what_waits_in_a_queue_when_its_run_pauses_comes_back() {
    let mut world = World::worker();
    world.run(one(0));
    assert_eq!(world.state.runs.queues.len(), 1);
    world.control(1, Control::Pause);
    assert!(world.state.runs.queues.is_empty());
    world.welcome();
    assert!(world.given.is_empty());
    world.control(1, Control::Resume);
    assert_eq!(world.given.len() + world.state.runs.queues.len(), 1);
    world.answer_all(|_| "1".to_owned());
    assert_eq!(world.state.runs.ended[&1].end, RunEnd::Done);
}

#[test]
fn who_began_a_run_may_end_it_and_others_may_not() {
    let mut world = World::worker();
    world.state.rules.operators = [1000, 1001].into();
    let peer = |uid| Peer { pid: 1, uid, gid: uid };
    let workflow = std::sync::Arc::new(one(0));
    let run = engine::Command::Run { workflow, params: "[]".to_owned() };
    let denied = world.ask_as(peer(1002), run.clone());
    assert!(format!("{:?}", world.told[&denied]).contains("Denied"));
    world.ask_as(peer(1000), run);
    let cancel = engine::Command::ControlRun { run: 1, control: Control::Cancel };
    let other = world.ask_as(peer(1001), cancel.clone());
    assert!(format!("{:?}", world.told[&other]).contains("Denied"));
    world.ask_as(peer(1000), cancel);
    assert!(matches!(world.state.runs.ended[&1].end, RunEnd::Cancelled { .. }));
}

#[test]
fn an_urgent_run_comes_first_and_others_take_turns() {
    let mut world = World::worker();
    // As many processes as there may be, all of them busy.
    for _ in 0..16 {
        world.run(one(0));
    }
    world.welcome();
    assert_eq!(world.given.len(), 16);
    let many = |count: usize, priority| Workflow {
        priority,
        ..workflow((0..count).map(|n| step(&format!("s{n}"), &[], Mode::Sequential)).collect())
    };
    world.run(many(3, Priority::Normal));
    world.run(many(3, Priority::Normal));
    world.run(many(1, Priority::High));
    let mut order = Vec::new();
    for _ in 0..7 {
        let given = world.given[0].clone();
        world.done(&given, "1");
        order.push(world.given.last().unwrap().task.run);
    }
    assert_eq!(order, [19, 17, 18, 17, 18, 17, 18]);
}

#[test]
fn an_agent_that_fails_again_and_again_gets_nothing_for_a_while() {
    let mut world = World::worker();
    for _ in 0..5 {
        world.run(one(0));
        world.welcome();
        let given = world.given[0].clone();
        world.fail(&given, false);
    }
    let request = world.run(one(0));
    world.pass(SECOND);
    assert!(world.given.is_empty() && world.starting.is_empty(), "its breaker is open");
    world.pass(60 * SECOND);
    world.welcome();
    let given = world.given[0].clone();
    world.done(&given, "1");
    assert!(world.is_done(request));
    world.run(one(0));
    let given = world.given[0].clone();
    world.fail(&given, false);
    world.run(one(0));
    world.pass(SECOND);
    assert!(world.given.is_empty(), "on probation one failure is enough");
}

#[test]
fn a_file_that_changes_waits_until_it_is_approved() {
    let mut world = World::worker();
    world.run(one(0));
    world.answer_all(|_| "1".to_owned());
    let mut agent = world.state.fleet.agents[&crate::world::name("worker")].clone();
    agent.hash = types::hash::Hash([9; 32]);
    world.state.fleet.agents.insert(crate::world::name("worker"), agent);
    let refused = world.run(one(0));
    assert!(format!("{:?}", world.told[&refused]).contains("NotFound"));
    world.pass(SECOND);
    assert_eq!(world.leaving.len(), 1, "the process of the file of before ends");
}

#[test]
fn what_was_cancelled_does_not_speak_against_an_agent_and_a_timeout_does() {
    let mut world = World::worker();
    let breakers = |world: &World| world.state.fleet.agents[&crate::world::name("worker")].breaker;
    for number in 1..=6 {
        world.run(one(0));
        world.welcome();
        world.control(number, Control::Cancel);
        world.let_go();
    }
    assert_eq!((breakers(&world).failures, breakers(&world).open_until_ns), (0, None));
    for _ in 0..5 {
        world.run(one(0));
        world.welcome();
        world.pass(2 * SECOND);
        world.let_go();
    }
    assert!(breakers(&world).open_until_ns.is_some(), "five times its time was up");
}

#[test]
fn who_may_not_approve_cannot_fill_the_log_with_it() {
    let mut world = World::worker();
    let files =
        vec![(crate::world::name("worker"), world.state.fleet.agents[&crate::world::name("worker")].hash)];
    let before = world.log.len();
    for _ in 0..100 {
        world.ask_as(Peer { pid: 1, uid: 1002, gid: 1002 }, engine::Command::ApproveAgents(files.clone()));
    }
    assert_eq!(world.log.len() - before, 60, "as many denials a minute as of any order");
    let stop = world.ask_as(Peer { pid: 1, uid: 1002, gid: 1002 }, engine::Command::EmergencyStop);
    assert!(format!("{:?}", world.told[&stop]).contains("Denied"));
}

#[test]
fn a_file_that_goes_unapproved_leaves_nothing_behind() {
    let mut world = World::new(&[]);
    let found = crate::world::found("passing", &[]);
    world.hear(engine::Event::Agents(vec![found]));
    assert_eq!(world.state.fleet.agents.len(), 1);
    world.hear(engine::Event::Agents(Vec::new()));
    assert!(world.state.fleet.agents.is_empty());
}
