//! Variant `socket`: appends by 80 clients through the daemon's socket, against servers that do the same.
//!
//! - [`clients`]: clients that one thread serves
//! - [`daemon`]: dsmild as it ships
//! - [`peers`]: the others; [`jetstream`]: one that takes such clients too

mod clients;
mod daemon;
mod jetstream;
mod peers;

use std::time::Duration;

use anyhow::ensure;
use daemon::Daemon;
use jetstream::JetStream;
use peers::{Postgres, Server, Umadb};
use serde_json::Map;
use tests::bench::{Arm, Better, Figure, Peer, ROUNDS, Scratch, alternate, quantile_of};

use crate::{TIME, WRITERS};

/// What one round of one server gave.
#[derive(Debug)]
pub struct Round {
    /// Appends in a second.
    rate: f64,
    /// One append in a hundred waits longer, milliseconds.
    p99_ms: f64,
    /// Where each entry is, as the server said, where it says so.
    places: Vec<u64>,
}

impl Round {
    fn new(time: Duration, mut waits_ms: Vec<f64>, places: Vec<u64>) -> Self {
        waits_ms.sort_by(f64::total_cmp);
        let rate = waits_ms.len() as f64 / time.as_secs_f64();
        Self { rate, p99_ms: quantile_of(&waits_ms, 0.99).unwrap_or(f64::NAN), places }
    }
}

/// One long run of ours alone, to look at it with a profiler.
///
/// # Errors
///
/// As [`figures`].
pub fn profile(scratch: &Scratch, seconds: u64) -> anyhow::Result<()> {
    let daemon = Daemon::start(scratch, "\"agents\", ", "")?;
    for _ in 0..seconds {
        let round = clients::run(&mut clients::of_ours(daemon.socket(), WRITERS)?, TIME)?;
        println!("{:.0}/s, p99 {:.2} ms", round.rate, round.p99_ms);
    }
    daemon.stop().map(drop)
}

/// Rate and tail, in turns with the peers.
///
/// # Errors
///
/// A server does not start, refuses an append, or what ours acknowledged is not in its log.
pub fn figures(scratch: &Scratch) -> anyhow::Result<Vec<Figure>> {
    let daemon = Daemon::start(scratch, "\"agents\", ", "")?;
    let mut servers: Vec<(&'static str, Box<dyn Server>, f64)> = vec![
        ("umadb", Box::new(Umadb::start(scratch)?), 3.0),
        ("postgresql", Box::new(Postgres::start(scratch)?), 3.0),
        ("jetstream", Box::new(JetStream::start(scratch)?), 3.0),
    ];
    let versions: Vec<String> = servers.iter().map(|(_, server, _)| server.version()).collect();
    let socket = daemon.socket().to_owned();
    let mut places = Vec::new();
    let mut arms: Vec<Arm<'_, Round>> = vec![(
        "ours",
        Box::new(|| {
            let mut round = clients::run(&mut clients::of_ours(&socket, WRITERS)?, TIME)?;
            places.append(&mut round.places);
            Ok(round)
        }),
    )];
    let names: Vec<(&'static str, f64)> = servers.iter().map(|(name, _, goal)| (*name, *goal)).collect();
    for (name, server, _) in &mut servers {
        arms.push((*name, Box::new(move || server.round(WRITERS, TIME))));
    }
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    drop(servers);
    let size = daemon.stop()?;
    prove(&mut places, size)?;
    let of = |name: &str, value: fn(&Round) -> f64| -> Vec<f64> {
        results.get(name).map(|rounds| rounds.iter().map(value).collect()).unwrap_or_default()
    };
    let figure = |metric, better, value: fn(&Round) -> f64, goal: fn(f64) -> f64| Figure {
        variant: "socket",
        metric,
        better,
        ours: of("ours", value),
        peers: names
            .iter()
            .zip(&versions)
            .map(|((name, wanted), version)| Peer {
                name,
                version: version.clone(),
                samples: of(name, value),
                goal: Some(goal(*wanted)),
            })
            .collect(),
        notes: notes(places.len()),
        more: Map::new(),
    };
    Ok(vec![
        figure(
            "durable appends/s through a server, 80 clients, 512 B",
            Better::Higher,
            |round| round.rate,
            |goal| goal,
        ),
        figure(
            "p99 ms of a durable append through a server, 80 clients, 512 B",
            Better::Lower,
            |round| round.p99_ms,
            |_| 2.0,
        ),
    ])
}

/// Each note that was acknowledged has a place of its own in the log that was opened again.
fn prove(places: &mut Vec<u64>, size: u64) -> anyhow::Result<()> {
    let acknowledged = places.len();
    places.sort_unstable();
    places.dedup();
    ensure!(places.len() == acknowledged, "{acknowledged} acknowledged at {} places", places.len());
    ensure!(places.last().is_none_or(|last| *last < size), "a place behind the end of the log at {size}");
    Ok(())
}

fn notes(acknowledged: usize) -> Vec<String> {
    vec![
        format!("{acknowledged} notes were acknowledged, and each is in the log that was opened again"),
        "ours: one thread of clients, JSON over 80 Unix sockets; each entry hashed into the Merkle tree, heads signed".into(),
        "the others keep no proof of what they hold".into(),
        "clients run on the same CPUs as their server".into(),
    ]
}
