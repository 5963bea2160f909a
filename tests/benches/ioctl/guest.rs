//! Inside the laptop: each case measured with the module and with its peers in turn.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;

use anyhow::{Context as _, ensure};
use device::Device;
use nix::errno::Errno;
use nix::libc::c_int;
use serde_json::{Value, json};
use tests::bench::{Arm, alternate};
use tests::machine::guest::Firmware;
use tests::machine::vendor::Call;
use types::token::{Select, TokenId};

use crate::abi::{Bare, List, Node, Read, Snapshot, bare, refused};
use crate::count::{CALLS, check, cost};
use crate::uapi::{self, dsmil_info, dsmil_version};

/// The module's node.
const OURS: &str = "/dev/dsmil";
/// Rounds of what costs thousands of instructions: so many that the timer's ticks do not reach the median.
const ROUNDS: usize = 51;
/// Rounds of what calls the firmware, which costs tens of millions.
const ROUNDS_FIRMWARE: usize = 11;
/// Tokens of the long list, and of the long read.
const LIST: u32 = 64;
const READ: usize = 16;

/// Instructions by arm, one for each round.
type Samples = BTreeMap<&'static str, Vec<f64>>;

/// Measures everything; what [`crate::figures`] reads.
pub fn measure() -> anyhow::Result<Value> {
    let (ours, peer) = (Node::open(OURS)?, Node::open("/dev/dsmil_c")?);
    let ids = agree(&ours, &peer)?;
    let (one, many) = choose(&ids).context("the firmware's table has too few tokens")?;
    let surplus = check()?;
    let mut cases = BTreeMap::new();
    cases.insert("version", both(&ours, &peer, version)?);
    cases.insert("info", both(&ours, &peer, info)?);
    cases.insert("list", both(&ours, &peer, list)?);
    cases.insert("unknown", both(&ours, &peer, unknown)?);
    cases.insert("read-1", both(&ours, &peer, |node| read(node, &[one]))?);
    cases.insert("read-16", both(&ours, &peer, |node| read(node, &many))?);
    cases.insert("mapped", mapped(&ours, one)?);
    let (fresh, calls) = fresh(&ours, &peer)?;
    cases.insert("snapshot-fresh", fresh);
    let (cached, cached_calls) = cached(&ours, &peer)?;
    cases.insert("snapshot-cached", cached);
    Ok(json!({
        "cases": cases,
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "surplus": [surplus.0, surplus.1],
        "tokens": ids.len(),
        "calls": { "fresh": calls, "cached": cached_calls },
    }))
}

/// Both drivers must show the same table and the same values; fills both caches. The ids that can be read.
fn agree(ours: &Node, peer: &Node) -> anyhow::Result<Vec<u16>> {
    let tables = [ours, peer].map(|node| {
        let mut list = List::of(uapi::DSMIL_LIST_MAX);
        ensure!(list.call(node) == 0, "no list: {}", refused());
        Ok(list.tokens().to_vec())
    });
    let [mine, theirs] = tables;
    let (mine, theirs) = (mine?, theirs?);
    ensure!(mine == theirs, "the drivers disagree on the table");
    let snapshots = [ours, peer].map(|node| {
        let mut snapshot = Snapshot::of(0);
        snapshot.prepare();
        ensure!(snapshot.call(node) == 0, "no snapshot: {}", refused());
        snapshot.values().context("a token could not be read")
    });
    let [mine_now, theirs_now] = snapshots;
    ensure!(mine_now? == theirs_now?, "the drivers disagree on the values");
    Ok(mine
        .iter()
        .filter(|token| token.flags & uapi::DSMIL_TOKEN_READABLE != 0)
        .map(|token| token.id)
        .collect())
}

/// One token, and several from all over the table, since how deep a search goes depends on the place.
fn choose(ids: &[u16]) -> Option<(u16, Vec<u16>)> {
    let many: Vec<u16> = ids.iter().step_by(ids.len() / READ).take(READ).copied().collect();
    Some((*ids.get(ids.len() / 3)?, many)).filter(|(_, many)| many.len() == READ)
}

/// The same with the module and with the C driver.
fn both(ours: &Node, peer: &Node, act: impl Fn(&Node) -> anyhow::Result<f64>) -> anyhow::Result<Samples> {
    let mut arms: Vec<Arm<'_, f64>> =
        vec![("ours", Box::new(|| act(ours))), ("c-driver", Box::new(|| act(peer)))];
    alternate(ROUNDS, &mut arms)
}

fn version(node: &Node) -> anyhow::Result<f64> {
    let mut version = dsmil_version::default();
    let cost = cost(CALLS, 0, &mut version, |_| (), |version| node.version(version))?;
    ensure!(version.abi == uapi::DSMIL_ABI_VERSION, "another version: {}", version.abi);
    Ok(cost)
}

fn info(node: &Node) -> anyhow::Result<f64> {
    let mut info = dsmil_info::default();
    let cost = cost(CALLS, 0, &mut info, |_| (), |info| node.info(info))?;
    ensure!(info.tokens > 0 && info.read_max == uapi::DSMIL_READ_MAX, "implausible: {info:?}");
    Ok(cost)
}

fn list(node: &Node) -> anyhow::Result<f64> {
    let mut list = List::of(LIST);
    let cost = cost(CALLS, 0, &mut list, |list| list.rewind(LIST), |list| list.call(node))?;
    ensure!(list.tokens().len() == LIST as usize, "a short list");
    Ok(cost)
}

fn unknown(node: &Node) -> anyhow::Result<f64> {
    let cost = cost(CALLS, -1, &mut 0, |_| (), |argument| node.unknown(argument))?;
    ensure!(refused() == Errno::ENOTTY, "an unknown command gives {}", refused());
    Ok(cost)
}

/// From the cache, whatever the age.
fn read(node: &Node, ids: &[u16]) -> anyhow::Result<f64> {
    let mut read = Read::of(ids, uapi::DSMIL_AGE_ANY)?;
    let cost = cost(CALLS, 0, &mut read, Read::prepare, |read| read.call(node))?;
    ensure!(read.values().is_some(), "a value is not in the cache");
    Ok(cost)
}

/// The same value by the mapped page and by the ioctl, and one load of such a value.
fn mapped(node: &Node, id: u16) -> anyhow::Result<Samples> {
    let pages = Device::open(OURS)?.map()?;
    let cell = pages.find(TokenId(id), Select::Current).context("no cell for the token")?;
    let value = pages.get(cell)?.context("the cell is empty")?.value;
    let mut request = Read::of(&[id], uapi::DSMIL_AGE_ANY)?;
    request.prepare();
    ensure!(
        request.call(node) == 0 && request.values() == Some(vec![value]),
        "the page says {value}, the ioctl {:?}",
        request.values()
    );
    // Each result is looked at, as whoever reads a value does.
    let by_page = |(): &mut ()| {
        let found = pages.get(black_box(cell)).ok().flatten();
        c_int::from(found.is_none_or(|cached| cached.value != value))
    };
    let load = Box::new(value);
    let by_load = |(): &mut ()| c_int::from(*black_box(&*load) != value);
    let mut arms: Vec<Arm<'_, f64>> = vec![
        ("ours", Box::new(|| cost(CALLS, 0, &mut (), |()| (), by_page))),
        ("ioctl", Box::new(|| read(node, &[id]))),
        ("hot-load", Box::new(|| cost(CALLS, 0, &mut (), |()| (), by_load))),
    ];
    alternate(ROUNDS, &mut arms)
}

/// What one act costs, and how many reads reached the firmware meanwhile.
fn with_calls(act: impl FnOnce() -> anyhow::Result<f64>) -> anyhow::Result<(f64, u32)> {
    let firmware = Firmware::open()?;
    let [before, ..] = firmware.vendor(Call::Calls, [0; 4])?;
    let cost = act()?;
    let [after, ..] = firmware.vendor(Call::Calls, [0; 4])?;
    Ok((cost, after - before))
}

fn snapshot(node: &Node, max_age_ms: u32, times: u32) -> anyhow::Result<(f64, u32)> {
    let mut snapshot = Snapshot::of(max_age_ms);
    with_calls(|| {
        let cost = cost(times, 0, &mut snapshot, Snapshot::prepare, |snapshot| snapshot.call(node))?;
        ensure!(snapshot.values().is_some(), "a token could not be read");
        Ok(cost)
    })
}

/// Costs and calls by arm.
type Counted = BTreeMap<&'static str, Vec<(f64, u32)>>;

/// The costs alone, and the calls of each arm, which must be the same in each round.
fn split(counted: Counted) -> anyhow::Result<(Samples, BTreeMap<&'static str, u32>)> {
    let (mut samples, mut calls) = (Samples::new(), BTreeMap::new());
    for (arm, rounds) in counted {
        let (_, first) = *rounds.first().context("no round")?;
        ensure!(rounds.iter().all(|(_, calls)| *calls == first), "{arm}: calls differ: {rounds:?}");
        calls.insert(arm, first);
        samples.insert(arm, rounds.into_iter().map(|(cost, _)| cost).collect());
    }
    Ok((samples, calls))
}

/// Fresh snapshots, and the bare calls.
fn fresh(ours: &Node, peer: &Node) -> anyhow::Result<(Samples, BTreeMap<&'static str, u32>)> {
    let mut arms: Vec<Arm<'_, (f64, u32)>> = vec![
        ("ours", Box::new(|| snapshot(ours, 0, 1))),
        ("c-driver", Box::new(|| snapshot(peer, 0, 1))),
        (
            "bare",
            Box::new(|| {
                let mut request = Bare { selects: 1, ..Bare::default() };
                with_calls(|| {
                    let cost = cost(1, 0, &mut request, |_| (), |request| bare(peer, request))?;
                    ensure!(request.failed == 0, "{} bare calls failed", request.failed);
                    Ok(cost)
                })
            }),
        ),
    ];
    split(alternate(ROUNDS_FIRMWARE, &mut arms)?)
}

/// Snapshots from the cache.
fn cached(ours: &Node, peer: &Node) -> anyhow::Result<(Samples, BTreeMap<&'static str, u32>)> {
    let mut arms: Vec<Arm<'_, (f64, u32)>> = vec![
        ("ours", Box::new(|| snapshot(ours, uapi::DSMIL_AGE_ANY, CALLS / 10))),
        ("c-driver", Box::new(|| snapshot(peer, uapi::DSMIL_AGE_ANY, CALLS / 10))),
    ];
    split(alternate(ROUNDS, &mut arms)?)
}
