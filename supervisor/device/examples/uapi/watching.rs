//! Snapshots, the cache, events, mapped pages.

use std::os::fd::AsFd;
use std::time::Duration;

use device::{Age, Cause, Error, Event, Events, Outcome, Phase};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use types::token::Select;

use crate::bench::{Bench, Check, same};

/// Every select.
const SELECTS: [Select; 3] = [Select::Current, Select::Ac, Select::Battery];

pub(crate) fn check(bench: &mut Bench) {
    looks(bench);
    bench.check("events-tell-of-a-change", events);
    bench.check("events-of-two-readers-are-each-their-own", |b| {
        let (mut first, mut second) = (b.device.events()?, Events::open(&b.node)?);
        let (change, _) = b.flip(b.token()?)?;
        drop(b.device.write(&[change], Duration::ZERO)?);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        first.read(&mut one)?;
        second.read(&mut other)?;
        same(one.is_empty(), false)?;
        same(one, other)
    });
}

fn looks(bench: &mut Bench) {
    bench.check("snapshot-of-everything-is-one-generation", |b| {
        let (before, info) = (b.device.snapshot(&SELECTS, Age::Fresh)?, b.device.info()?);
        same(before.generation, info.generation)?;
        same(u32::try_from(before.entries.len())?, 3 * info.readable)?;
        let id = b.token()?;
        let held = before.get(id, Select::Current).ok_or("not in the snapshot")?.held.clone()?;
        same(held.value, b.value(id)?)
    });
    bench.check("snapshot-is-restored", |b| {
        let before = b.device.snapshot(&SELECTS, Age::Fresh)?;
        same(b.device.restore(&before, Duration::ZERO)?.is_none(), true)?;
        let (change, old) = b.flip(b.token()?)?;
        b.device.write(&[change], Duration::ZERO)?.confirm()?;
        let pending = b.device.restore(&before, Duration::ZERO)?.ok_or("nothing differs")?;
        same(pending.old().iter().map(|r| (r.id, r.value)).collect(), vec![(change.id, change.value)])?;
        pending.confirm()?;
        same(b.value(change.id)?, old)
    });
    bench.check("cached-values-have-an-age", |b| {
        let wanted = [(b.token()?, Select::Current)];
        let value = b.value(b.token()?)?;
        std::thread::sleep(Duration::from_millis(20));
        let cached = b.device.read_cached(&wanted, Age::Any).pop().ok_or("no answer")??;
        same((cached.value, cached.age >= Duration::from_millis(20)), (value, true))?;
        let young = b.device.read_cached(&wanted, Age::AtMost(Duration::from_millis(1)));
        same(young.first().map(|answer| answer.as_ref().map(|aged| aged.age)), Some(Ok(Duration::ZERO)))
    });
    bench.check("pages-agree-with-the-ioctl", |b| {
        let pages = b.device.map()?;
        let id = b.token()?;
        let cell = pages.find(id, Select::Current).ok_or("no cell")?;
        let (change, old) = b.flip(id)?;
        same(pages.get(cell)?.map(|cached| cached.value), Some(old))?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        same(pages.get(cell)?.map(|cached| cached.value), Some(change.value))?;
        let (state, info) = (pages.state()?, b.device.info()?);
        same((state.phase, state.entries, state.transaction), (Phase::Pending, 1, pending.transaction()))?;
        same((state.generation, state.events, state.heat), (info.generation, info.events, info.heat))?;
        pending.undo()?;
        same((pages.state()?.phase, pages.state()?.outcome), (Phase::Idle, Outcome::Undone))?;
        same(pages.get(cell)?.map(|cached| cached.value), Some(old))?;
        let wanted: Vec<_> = b.tokens.iter().flat_map(|t| SELECTS.map(|select| (t.id, select))).collect();
        let cached = b.device.read_cached(&wanted, Age::Any);
        for ((id, select), answer) in wanted.into_iter().zip(cached) {
            let paged = pages.value(id, select)?.map(|cached| cached.value);
            match answer {
                Ok(aged) => same((id, select, paged), (id, select, Some(aged.value)))?,
                Err(Error::NotCached(_) | Error::NotReadable(_)) => {
                    same((id, select, paged), (id, select, None))?
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    });
}

fn events(b: &Bench) -> Check {
    let mut events = b.device.events()?;
    let readable =
        |events: &Events| poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
    same(readable(&events), Ok(0))?;
    same(events.try_read(&mut Vec::new()), Ok(0))?;
    let (change, old) = b.flip(b.token()?)?;
    let (id, select, new) = (change.id, change.select, change.value);
    let number = b.device.write(&[change], Duration::ZERO)?.transaction();
    same(readable(&events), Ok(1))?;
    let absent = b.absent()?;
    let unknown = b.device.write(&[types::token::Change { id: absent, ..change }], Duration::ZERO).err();
    same(unknown, Some(Error::Unknown(absent)))?;
    let mut records = Vec::new();
    while events.try_read(&mut records)? > 0 {}
    let of = |number| records.iter().filter(move |r| r.transaction == Some(number)).map(|r| r.event);
    let token = |old, new, cause| Event::Token { id, select, old, new, cause };
    let wanted = vec![
        Event::Begun,
        token(old, new, Cause::Commit),
        Event::Committed { entries: 1 },
        token(new, old, Cause::Undo),
        Event::Ended { outcome: Outcome::Undone },
    ];
    same(of(number).collect::<Vec<_>>(), wanted)?;
    let refused =
        records.iter().find(|record| matches!(record.event, Event::Refused { .. })).ok_or("no refusal")?;
    match refused.event {
        Event::Refused { error: Errno::ENOENT, id: Some(id), .. } if id == absent => {}
        other => return Err(format!("{other:?}").into()),
    }
    let me = (std::process::id(), nix::unistd::getuid().as_raw());
    same(refused.who.map(|who| (who.pid, who.uid)), Some(me))?;
    same(refused.command, Some(device::Command::Stage))
}
