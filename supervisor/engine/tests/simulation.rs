//! The engine in a simulated world: commands, failures, heat and crashes by chance, from a seed.
//!
//! `cargo test` tries some thousand seeds; `SIMULATE_SEEDS=1000000 cargo test --release -p engine --test simulation` tries
//! that many. A seed that breaks an invariant prints what happened.

use std::collections::BTreeSet;

use proptest::prelude::*;

#[cfg(test)]
mod simulation {
    pub mod oracle;
    pub mod random;
    pub mod run;
    pub mod world;
}

use simulation::run::simulate;

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_happens(seed in any::<u64>()) {
        if let Err(broken) = simulate(seed) {
            panic!("{broken}");
        }
    }
}

/// A simulation that never gets anywhere would hold as well.
#[test]
fn chance_reaches_every_end_and_every_crash() {
    let reached: BTreeSet<String> = (0..2000).flat_map(|seed| simulate(seed).unwrap_or_default()).collect();
    let mut missing = Vec::new();
    let mut expect = |title: &str, what: &str| {
        let label = format!("{title}: {what}");
        if !reached.contains(&label) {
            missing.push(label);
        }
    };
    for end in ["kill", "power cut"] {
        for (title, points) in [
            ("read tokens", &[""][..]),
            ("write tokens", &["", "Before", "Written", "Undoing"]),
            ("create checkpoint", &["", "Captured"]),
            ("verify checkpoint", &[""]),
            ("plan restore", &[""]),
            ("prune checkpoints", &["", "Chosen", "Removed"]),
            (
                "restore",
                &[
                    "", "Resumed", "Planned", "Prepared", "Executed", "Verified", "Undoing", "Awaiting",
                    "Answered",
                ],
            ),
        ] {
            points.iter().for_each(|point| expect(title, &format!("{end} at “{point}”")));
        }
    }
    for (title, outcomes) in [
        ("read tokens", &["Done", "Failed", "Interrupted"][..]),
        ("write tokens", &["Done", "Failed", "Undone", "Interrupted"]),
        ("create checkpoint", &["Signed", "Failed", "Interrupted"]),
        ("verify checkpoint", &["Done", "Failed", "Interrupted"]),
        ("plan restore", &["Done", "Failed", "Interrupted"]),
        ("prune checkpoints", &["Pruned", "Failed", "Interrupted"]),
        ("plan to prune checkpoints", &["Done", "Failed", "Interrupted"]),
        ("restore", &["Done", "Failed", "Undone", "Interrupted"]),
    ] {
        outcomes.iter().for_each(|outcome| expect(title, outcome));
    }
    assert!(missing.is_empty(), "never reached: {missing:#?}");
}

#[test]
fn invariants_hold_for_many_seeds() {
    let Some(seeds) = std::env::var("SIMULATE_SEEDS").ok() else { return };
    let seeds: u64 = seeds.parse().expect("SIMULATE_SEEDS is a number");
    let mut broken = 0u64;
    for seed in 0..seeds {
        if let Err(trace) = simulate(seed) {
            if broken == 0 {
                println!("{trace}");
            }
            broken += 1;
        }
    }
    println!("seeds simulated {seeds}, invariants broken {broken}");
    assert_eq!(broken, 0);
}
