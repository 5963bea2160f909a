//! Information, the list, values and their age.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use device::{Age, Error};
use nix::errno::Errno;
use types::token::{Select, Token, TokenId};

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::laptop::Fault;
use crate::process::child;
use crate::raw::{address, raw, read_of, refused, whole};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    cold(bench);
    table(bench);
    values(bench);
    age(bench);
}

/// Before anybody has read all tokens.
fn cold(bench: &mut Bench) {
    bench.check("never-read-enodata", |b| {
        // No other check reads this one, and this is the first.
        let last = b.tokens.iter().rfind(|t| t.denied.is_none()).ok_or("no token")?.id;
        let before = b.laptop.calls()?;
        let wanted = [(last, Select::Battery)];
        same(b.device.read_cached(&wanted, Age::Any), vec![Err(Error::NotCached(last))])?;
        same(b.laptop.calls()?, before)?;
        let fresh = b.device.read(&wanted).pop().ok_or("no answer")??;
        let cached = b.device.read_cached(&wanted, Age::Any).pop().ok_or("no answer")??;
        same(cached.value, fresh.value)?;
        holds(cached.age > Duration::ZERO, "a cached value has no age")
    });
}

fn table(bench: &mut Bench) {
    bench.check("info", |b| {
        let info = b.info()?;
        let count = |test: fn(&Token) -> bool| u32::try_from(b.tokens.iter().filter(|t| test(t)).count());
        same(info.tokens, u32::try_from(b.tokens.len())?)?;
        same((info.devices, 84), (count(|t| t.id.device().is_some())?, info.devices))?;
        same(info.readable, count(|t| !(0xa000..=0xbfff).contains(&t.id.0))?)?;
        same((info.flags, info.writable), (DSMIL_INFO_HYPERVISOR, 0))?;
        same((info.backend, info.lockdown), (DSMIL_BACKEND_WMI, DSMIL_LOCKDOWN_NONE))?;
        same((info.state, info.outcome, info.transaction), (DSMIL_STATE_IDLE, DSMIL_OUTCOME_NONE, 0))?;
        same((info.entries, info.remaining_ms, info.attempts, info.left), (0, 0, 0, 0))?;
        same((info.heat, info.temperature_mc), (DSMIL_HEAT_NORMAL, 45_000))?;
        same((info.generation % 2, info.page_bytes % 4096), (0, 0))
    });
    bench.check("list-in-small-steps", |b| {
        let (file, mut ids, mut cursor) = (b.open()?, Vec::new(), 0);
        loop {
            let room = [dsmil_token::default(); 5];
            let mut list = dsmil_list { cursor, count: 5, tokens: address(&room), ..Default::default() };
            raw(&file, DSMIL_IOC_LIST, &mut list)?;
            ids.extend(room.iter().take(usize::try_from(list.count)?).map(|t| TokenId(t.id)));
            holds(room.iter().all(|t| t.reserved == 0), "something stands in what is reserved")?;
            if list.count == 0 {
                break;
            }
            cursor = list.cursor;
        }
        same(ids, b.tokens.iter().map(|t| t.id).collect())
    });
    bench.check("list-shared-locations", |b| {
        let mut locations: BTreeMap<u16, Vec<&Token>> = BTreeMap::new();
        for token in &b.tokens {
            locations.entry(token.location).or_default().push(token);
        }
        for tokens in locations.values() {
            let denied = tokens.iter().any(|t| t.denied.is_some());
            for token in tokens {
                same((token.id, token.shares_location), (token.id, tokens.len() > 1))?;
                same((token.id, token.denied.is_some()), (token.id, denied))?;
            }
        }
        Ok(())
    });
}

fn values(bench: &mut Bench) {
    bench.check("read-all", |b| {
        let wanted: Vec<_> = b.tokens.iter().map(|t| (t.id, Select::Current)).collect();
        for (answer, token) in b.device.read(&wanted).into_iter().zip(&b.tokens) {
            let stored = b.laptop.peek(token.location)?;
            // Exactly these are write-only; this laptop has none of them, but tests/laptop/tables/shared.toml has.
            let is_readable = !(0xa000..=0xbfff).contains(&token.id.0);
            let wanted = if is_readable { Ok(stored) } else { Err(Error::NotReadable(token.id)) };
            same((token.id, answer.map(|reading| reading.value)), (token.id, wanted))?;
        }
        Ok(())
    });
    bench.check("read-every-select", |b| {
        let id = b.token()?;
        let answers = b.device.read(&[(id, Select::Current), (id, Select::Ac), (id, Select::Battery)]);
        let values: Vec<_> = answers.into_iter().map(|a| a.map(|r| r.value)).collect::<Result<_, _>>()?;
        // The laptop's numbers differ wherever they can.
        let [current, ac, battery] = values.as_slice() else { return Err("not three answers".into()) };
        holds(current != ac && ac != battery && current != battery, format!("{values:?}"))
    });
    bench.check("read-one-location-twice-costs-one-call", |b| {
        let shared = b.shared()?;
        let mut wanted: Vec<_> = shared.iter().map(|t| (t.id, Select::Current)).collect();
        wanted.extend_from_within(..);
        let before = b.laptop.calls()?;
        let answers = b.device.read(&wanted).into_iter().collect::<Result<Vec<_>, _>>()?;
        same(b.laptop.calls()?.0, before.0 + 1)?;
        holds(
            answers.windows(2).all(|pair| pair.iter().all(|r| r.value == b.stored(r.id).unwrap_or(0))),
            "values differ",
        )
    });
    bench.check("read-ended-by-a-signal-eintr", interrupted);
}

fn age(bench: &mut Bench) {
    bench.check("fresh-has-no-age-and-costs-a-call", |b| {
        let before = b.laptop.calls()?;
        same((aged(b, 0)?.age_ns, b.laptop.calls()?.0), (0, before.0 + 1))
    });
    bench.check("young-enough-costs-no-call", |b| {
        let id = b.token()?;
        let value = aged(b, 0)?.value;
        let before = b.laptop.calls()?;
        let cached = aged(b, 60_000)?;
        same((cached.value, b.laptop.calls()?), (value, before))?;
        holds((1..60_000_000_000).contains(&cached.age_ns), format!("age {}", cached.age_ns))?;
        // Whatever happened to it meanwhile: that is what a cache is.
        b.laptop.poke(b.location(id)?, value ^ 1)?;
        let stale = aged(b, 60_000)?.value;
        b.laptop.poke(b.location(id)?, value)?;
        same(stale, value)
    });
    bench.check("too-old-costs-a-call", |b| {
        aged(b, 0)?;
        sleep(Duration::from_millis(30));
        let before = b.laptop.calls()?;
        let young = aged(b, 20)?;
        same((young.age_ns, b.laptop.calls()?.0), (0, before.0 + 1))
    });
    bench.check("any-age-costs-no-call-and-grows", |b| {
        aged(b, 0)?;
        let before = b.laptop.calls()?;
        let first = aged(b, DSMIL_AGE_ANY)?.age_ns;
        sleep(Duration::from_millis(20));
        let second = aged(b, DSMIL_AGE_ANY)?.age_ns;
        same(b.laptop.calls()?, before)?;
        holds(second >= first + 20_000_000, format!("age {first}, then {second}"))
    });
    bench.check("failed-read-says-so-and-keeps-the-cache", |b| {
        let value = aged(b, 0)?.value;
        let fault = b.laptop.fault(Fault::each(Fault::ERROR, Fault::READS))?;
        let failed = aged(b, 0)?;
        same((failed.error, failed.status, failed.value), (Errno::EIO as i32, -1, 0))?;
        drop(fault);
        let fault = b.laptop.fault(Fault::each(Fault::UNSUPPORTED, Fault::READS))?;
        let failed = aged(b, 0)?;
        same((failed.error, failed.status), (Errno::ENXIO as i32, -2))?;
        same(aged(b, DSMIL_AGE_ANY)?.value, value)?;
        drop(fault);
        same(aged(b, 0)?.value, value)
    });
}

/// One token, no older than so many milliseconds.
fn aged(b: &Bench, max_age_ms: u32) -> Fallible<dsmil_read_entry> {
    let mut entries = [dsmil_read_entry { id: b.token()?.0, ..Default::default() }];
    let mut read = dsmil_read { max_age_ms, ..read_of(&mut entries) };
    raw(&b.open()?, DSMIL_IOC_READ, &mut read)?;
    let [entry] = entries;
    same(read.failed, u32::from(entry.error != 0))?;
    Ok(entry)
}

/// Many slow reads, and an alarm among them.
fn interrupted(b: &Bench) -> Check {
    let (ids, file): (Vec<_>, _) = (b.tokens.iter().take(64).map(|t| t.id).collect(), b.open()?);
    alarmed(b, 64, move || {
        let entry = |id: &TokenId| dsmil_read_entry { id: id.0, ..Default::default() };
        let mut entries: Vec<_> = ids.iter().map(entry).collect();
        let wanted = whole(Errno::EINTR, DSMIL_REASON_INTERRUPTED);
        let read = refused(&file, DSMIL_IOC_READ, read_of(&mut entries), wanted)?;
        same(read.failed, 0)?;
        // Nothing was filled in.
        same(entries, ids.iter().map(entry).collect())
    })
}

/// Does something that would make so many reads, all of them slow, with an alarm among them.
pub(crate) fn alarmed(b: &Bench, reads: u32, act: impl FnOnce() -> Check) -> Check {
    let _slow = b.laptop.fault(Fault { value: 60, ..Fault::each(Fault::SLOW, Fault::READS) })?;
    let before = b.laptop.calls()?;
    child(move || {
        crate::waiting::alarm(Duration::from_millis(200))?;
        act()
    })?
    .end()?;
    holds(b.laptop.calls()?.0 < before.0 + reads, "all were read in spite of the signal")
}
