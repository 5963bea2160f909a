//! Whatever agents, clocks and crashes do, in whatever order.

use proptest::prelude::*;
use types::agent::{Milliseconds, Retry};
use types::workflow::{Compare, Mode, OnFailure, Step, Take, Template, Workflow};

use engine::Fact;
use engine::run::decide::Control;
use engine::run::state::TaskState;

use crate::world::{SECOND, World, agents, item, output, step, workflow};

fn mode(place: usize) -> BoxedStrategy<Mode> {
    let at_once = 1..4_u32;
    let single = prop_oneof![
        4 => Just(Mode::Sequential),
        1 => (2..4_u32).prop_map(|copies| Mode::Competitive { copies }),
        1 => Just(Mode::Redundant { copies: 3, take: Take::Majority }),
        1 => Just(Mode::Consensus { copies: 3, quorum: 2, compare: Compare::Equal }),
    ];
    if place == 0 {
        single.boxed()
    } else {
        prop_oneof![2 => single, 1 => at_once.prop_map(|at_once| Mode::Parallel { each: output(0), at_once })]
            .boxed()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = |place: usize| {
        let failing = prop_oneof![Just(None), Just(Some(OnFailure::Continue)), Just(Some(OnFailure::Stop))];
        (mode(place), any::<u8>(), 0..3_u32, failing).prop_map(move |(mode, needs, limit, on_failure)| {
            // The first is always needed, since it makes the list.
            let needs: Vec<usize> =
                (0..place).filter(|other| *other == 0 || needs >> other & 1 == 1).collect();
            let mut made = step(&format!("s{place}"), &needs, mode);
            made.retry = Some(Retry { limit, delay: Milliseconds(50), delay_max: Milliseconds(100) });
            made.timeout = Some(Milliseconds(1_000));
            made.on_failure = on_failure;
            made.who = agents(&["worker", "other-one"]);
            if matches!(made.mode, Mode::Parallel { .. }) {
                made.input = Template::Value(item());
            }
            made
        })
    };
    (1..5_usize).prop_flat_map(move |count| (0..count).map(any).collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
enum Turn {
    Welcome,
    Done(usize),
    Fail(usize, bool),
    Die(usize),
    LetGo,
    Pass(u64),
    Crash(bool),
    Run,
    Pause(u64),
    Resume(u64),
    Cancel(u64),
}

fn turn() -> impl Strategy<Value = Turn> {
    let place = 0..8_usize;
    prop_oneof![
        6 => Just(Turn::Welcome),
        20 => place.clone().prop_map(Turn::Done),
        4 => (place.clone(), any::<bool>()).prop_map(|(place, retry)| Turn::Fail(place, retry)),
        2 => place.prop_map(Turn::Die),
        4 => Just(Turn::LetGo),
        5 => (1..1_500_u64).prop_map(|ms| Turn::Pass(ms * 1_000_000)),
        1 => any::<bool>().prop_map(Turn::Crash),
        2 => Just(Turn::Run),
        1 => (1..4_u64).prop_map(Turn::Pause),
        1 => (1..4_u64).prop_map(Turn::Resume),
        1 => (1..4_u64).prop_map(Turn::Cancel),
    ]
}

/// What always holds.
fn check(world: &World) {
    let (runs, fleet) = (&world.state.runs, &world.state.fleet);
    for (number, instance) in &fleet.instances {
        let capacity = instance.ready.map_or(0, |(_, tasks)| tasks as usize);
        assert!(instance.tasks.len() <= capacity, "process {number} has more than it takes: {instance:?}");
        let free = fleet.free.get(&instance.agent).is_some_and(|free| free.contains(number));
        assert_eq!(free, !instance.leaving && instance.tasks.len() < capacity, "{number}: {instance:?}");
    }
    let mut queued = 0;
    for run in runs.open.values() {
        for (task, state) in run.active() {
            match state {
                TaskState::Running { instance, .. } => {
                    assert!(
                        fleet.instances.get(instance).is_some_and(|found| found.tasks.contains(&task)),
                        "{task} is at nobody"
                    );
                }
                TaskState::Queued { .. } if !run.paused => queued += 1,
                _ => {}
            }
        }
        let mut due =
            runs.timers.iter().filter(|(_, timer)| *timer == engine::run::state::Timer::Run(run.number));
        assert!(due.next().is_some(), "nothing ends run {}", run.number);
    }
    assert_eq!(queued, runs.queues.values().map(std::collections::BTreeSet::len).sum::<usize>());
    // Nothing waits for what is free.
    for who in runs.queues.keys() {
        for (name, free) in &fleet.free {
            let agent = &fleet.agents[name];
            // That a breaker's time has passed is noticed with the next tick.
            let is_open = agent.breaker.open_until_ns.is_some();
            assert!(
                is_open || free.is_empty() || !agent.is_one_of(name, who),
                "work waits while {name} is free"
            );
        }
    }
}

/// A step begins when all that it needs has ended, and ends once.
fn check_log(world: &World, workflow: &Workflow) {
    let mut ended = std::collections::BTreeSet::new();
    let mut over = std::collections::BTreeSet::new();
    for record in &world.log {
        let Fact::Advanced(advance) = &record.fact else { continue };
        for open in &advance.opened {
            for need in &workflow.steps[open.step as usize].needs {
                let is_now = advance.steps.iter().any(|end| end.step as usize == *need);
                assert!(
                    is_now || ended.contains(&(advance.run, u32::try_from(*need).unwrap())),
                    "{advance:?}"
                );
            }
        }
        for end in &advance.steps {
            assert!(ended.insert((advance.run, end.step)), "a step ended twice: {advance:?}");
        }
        for begin in &advance.begun {
            assert!(
                !ended.contains(&(advance.run, begin.task.step)),
                "a step that has ended begins: {advance:?}"
            );
            assert!(!over.contains(&advance.run), "a run that has ended goes on: {advance:?}");
        }
        if advance.end.is_some() {
            assert!(over.insert(advance.run), "a run ended twice: {advance:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn runs_end_and_nothing_is_done_twice(steps in steps(), turns in prop::collection::vec(turn(), 0..120)) {
        let workflow = Workflow { timeout: Milliseconds(60_000), ..workflow(steps) };
        let mut world = World::new(&[("worker", &["token.read"]), ("other-one", &["token.read"]), ("writer", &["file.write:/srv"])]);
        world.run(workflow.clone());
        let mut asked = 1;
        for turn in turns {
            let given = |world: &World, place: usize| world.given.get(place % world.given.len().max(1)).cloned();
            match turn {
                Turn::Welcome => world.welcome(),
                Turn::Done(place) => {
                    if let Some(given) = given(&world, place) {
                        let output = if given.task.step == 0 { "[1,2,3,4]" } else { "1" };
                        world.done(&given, output);
                    }
                }
                Turn::Fail(place, retry) => {
                    if let Some(given) = given(&world, place) {
                        world.fail(&given, retry);
                    }
                }
                Turn::Die(place) => {
                    let instances: Vec<u64> = world.state.fleet.instances.keys().copied().collect();
                    if let Some(instance) = instances.get(place % instances.len().max(1)) {
                        world.starting.retain(|(starting, _)| starting != instance);
                        world.die(*instance);
                    }
                }
                Turn::LetGo => world.let_go(),
                Turn::Pass(ns) => world.pass(ns),
                Turn::Crash(machine_too) => world.crash(machine_too),
                Turn::Run if asked < 4 => {
                    asked += 1;
                    world.run(workflow.clone());
                }
                Turn::Run => {}
                Turn::Pause(run) => drop(world.control(run, Control::Pause)),
                Turn::Resume(run) => drop(world.control(run, Control::Resume)),
                Turn::Cancel(run) => drop(world.control(run, Control::Cancel)),
            }
            check(&world);
        }
        check_log(&world, &workflow);
        // At the latest when its time is up, whatever agents do.
        for _ in 0..4 {
            world.pass(61 * SECOND);
        }
        prop_assert!(world.state.runs.open.is_empty());
        prop_assert!(world.state.runs.queues.is_empty() && world.state.runs.timers.is_empty());
        world.crash(false);
    }
}
