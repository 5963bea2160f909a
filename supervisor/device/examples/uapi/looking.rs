//! The files in debugfs: they agree with the information, and with what was done.

use std::collections::BTreeMap;

use crate::bench::{Bench, Fallible, same};
use crate::raw::{allow_of, raw, read_of, refused, settle, stage, undo, whole, write};
use crate::uapi::*;

/// The lines of one of the files.
pub(crate) fn table(name: &str) -> Fallible<BTreeMap<String, i64>> {
    let text = std::fs::read_to_string(format!("/sys/kernel/debug/dsmil/{name}"))?;
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let (name, number) = line.split_once(' ').ok_or_else(|| format!("“{line}” is no line"))?;
        lines.insert(name.to_owned(), number.parse()?);
    }
    Ok(lines)
}

/// What of the counters has grown since, and by how much.
fn grown(before: &BTreeMap<String, i64>) -> Fallible<Vec<(String, i64)>> {
    let now = table("counters")?;
    let grown =
        now.into_iter().map(|(name, now)| (name.clone(), now - before.get(&name).copied().unwrap_or(0)));
    Ok(grown.filter(|(_, by)| *by != 0).collect())
}

fn named(wanted: &[(&str, i64)]) -> Vec<(String, i64)> {
    let mut wanted: Vec<_> = wanted.iter().map(|(name, by)| ((*name).to_owned(), *by)).collect();
    wanted.sort();
    wanted
}

pub(crate) fn check(bench: &mut Bench) {
    bench.check("debugfs-state-agrees", |b| {
        let file = b.open()?;
        let number = write(&file, &[b.flip(b.token()?)?.0], 60_000)?;
        let (info, state) = (b.info()?, table("state")?);
        let wanted = named(&[
            ("state", info.state.into()),
            ("transaction", i64::try_from(info.transaction)?),
            ("entries", info.entries.into()),
            ("outcome", info.outcome.into()),
            ("attempts", info.attempts.into()),
            ("left", info.left.into()),
            ("generation", i64::try_from(info.generation)?),
            ("events", i64::try_from(info.events)?),
            ("tokens", info.tokens.into()),
            ("writable", info.writable.into()),
            ("heat", info.heat.into()),
            ("temperature_mc", info.temperature_mc.into()),
        ]);
        let remaining = state.get("remaining_ms").copied().unwrap_or(-1);
        crate::bench::holds((50_000..=60_000).contains(&remaining), format!("{remaining} ms remain"))?;
        same(state.into_iter().filter(|(name, _)| name != "remaining_ms").collect(), wanted)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("debugfs-counts-reading", |b| {
        let (file, before, calls) = (b.open()?, table("counters")?, b.laptop.calls()?);
        for age in [0, 0, DSMIL_AGE_ANY, 60_000, 60_000] {
            let mut entries = [dsmil_read_entry { id: b.token()?.0, ..Default::default() }];
            raw(&file, DSMIL_IOC_READ, &mut dsmil_read { max_age_ms: age, ..read_of(&mut entries) })?;
        }
        same(grown(&before)?, named(&[("reads", 2), ("cached", 3)]))?;
        same(b.laptop.calls()?.0 - calls.0, 2)
    });
    bench.check("debugfs-counts-changing", |b| {
        let (file, calls, change) = (b.open()?, b.laptop.calls()?, b.flip(b.token()?)?.0);
        let before = table("counters")?;
        undo(&file, write(&file, &[change], 0)?)?;
        // Commit: old, written, read back. Undo: found, written, read back.
        let once = [("begun", 1), ("committed", 1), ("undone", 1), ("reads", 4), ("writes", 2)];
        same(grown(&before)?, named(&once))?;
        let now = b.laptop.calls()?;
        same((now.0 - calls.0, now.1 - calls.1), (4, 2))?;
        let before = table("counters")?;
        settle(&file, DSMIL_IOC_CONFIRM, write(&file, &[change], 0)?)?;
        let back = types::token::Change { value: change.value ^ 1, expected: None, ..change };
        settle(&file, DSMIL_IOC_CONFIRM, write(&file, &[back], 0)?)?;
        let twice = [("begun", 2), ("committed", 2), ("confirmed", 2), ("reads", 4), ("writes", 2)];
        same(grown(&before)?, named(&twice))
    });
    bench.check("debugfs-counts-refusals-and-others", |b| {
        let (file, before) = (b.open()?, table("counters")?);
        let sealed = whole(nix::errno::Errno::EPERM, DSMIL_REASON_SEALED);
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&[]), sealed)?;
        let (change, old) = b.flip(b.token()?)?;
        let number = crate::raw::begin(&file, 0)?;
        stage(&file, number, &[change])?;
        undo(&file, number)?;
        same(grown(&before)?, named(&[("refused", 1), ("begun", 1), ("undone", 1)]))?;
        b.value(change.id)?;
        let before = table("counters")?;
        b.laptop.poke(b.location(change.id)?, old ^ 9)?;
        b.value(change.id)?;
        b.laptop.poke(b.location(change.id)?, old)?;
        b.value(change.id)?;
        same(grown(&before)?, named(&[("changed_elsewhere", 2), ("reads", 2)]))
    });
}
