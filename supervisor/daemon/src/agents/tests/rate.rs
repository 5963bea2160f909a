//! How many tasks go to and fro.

use std::time::{Duration, Instant};

use super::*;

/// Agents at once.
const AGENTS: u64 = 80;

#[test]
fn eighty_agents_answer_side_by_side() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let begin = Instant::now();
    let start = lab.define("echo", "echo", "limits: {output_second: 64MiB}\n");
    for instance in 1..=AGENTS {
        lab.fleet().start(Start { instance, ..start.clone() }, permit());
    }
    for _ in 0..AGENTS {
        let (_, ready) = lab.next();
        assert!(matches!(ready, Happened::Ready { .. }), "{ready:?}");
    }
    let started = begin.elapsed();
    let seconds = std::env::var("AGENTS_RATE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let time = Duration::from_secs(seconds);
    let input = Payload::of(&7).unwrap();
    let fleet = lab.fleet().clone();
    let send = |instance, count: u64| {
        let task = (id(&format!("t{count}")), id("key"));
        assert!(fleet.task(instance, task, 1, SOON, input.clone()), "agent {instance} takes no task");
    };
    let begin = Instant::now();
    (1..=AGENTS).for_each(|instance| send(instance, 0));
    let (mut count, mut open, mut batches) = (0_u64, AGENTS, 0_u64);
    while open > 0 {
        let batch = lab.runtime.block_on(lab.told.recv()).unwrap();
        batches += 1;
        let is_over = begin.elapsed() > time;
        for (instance, happened) in batch {
            match happened {
                Happened::Done { .. } => count += 1,
                other => panic!("{instance}: {other:?}"),
            }
            if is_over {
                open -= 1;
            } else {
                send(instance, count);
            }
        }
    }
    let rate = f64::from(u32::try_from(count).unwrap()) / begin.elapsed().as_secs_f64();
    eprintln!(
        "{AGENTS} agents ready in {started:?}; {count} round trips, {rate:.0} a second, {:.1} in a batch",
        f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(batches).unwrap())
    );
    assert!(rate > 1_000.0, "{rate} a second");
}
