//! What beginning and staging refuse.

use nix::errno::Errno;
use types::token::{Change, Denied, Select, Token, TokenId};

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::forms::{flagged, spoilt};
use crate::raw::{
    begin, begin_with, commit_of, entry, raw, refused, settle_of, stage, stage_of, staged, undo, whole,
};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    beginning(bench);
    forms(bench);
    entries(bench);
    amounts(bench);
}

fn beginning(bench: &mut Bench) {
    bench.check("begin-forms", |b| {
        let file = b.open()?;
        spoilt(
            &file,
            DSMIL_IOC_BEGIN,
            dsmil_begin::default(),
            &[("transaction", |begin| begin.transaction = 1)],
        )?;
        flagged(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), 1..32, |begin| &mut begin.flags)
    });
    bench.check("begin-deadline-out-of-range", |b| {
        let (file, wanted) = (b.open()?, whole(Errno::EINVAL, DSMIL_REASON_DEADLINE));
        for deadline_ms in [1, 999, 600_001, u32::MAX] {
            let begin = dsmil_begin { deadline_ms, ..Default::default() };
            same(refused(&file, DSMIL_IOC_BEGIN, begin, wanted)?.deadline_ms, deadline_ms)?;
        }
        Ok(())
    });
    bench.check("begin-deadline-in-range", |b| {
        let file = b.open()?;
        for (deadline, wanted) in [(0, 30_000), (1000, 1000), (600_000, 600_000)] {
            let number = begin(&file, deadline)?;
            let info = b.info()?;
            same((info.state, info.transaction, info.entries), (DSMIL_STATE_OPEN, number, 0))?;
            holds(info.remaining_ms <= wanted, format!("{} ms remain", info.remaining_ms))?;
            holds(info.remaining_ms > wanted - 900, format!("{} ms remain", info.remaining_ms))?;
            undo(&file, number)?;
        }
        Ok(())
    });
    bench.check("begin-numbers-grow", |b| {
        let file = b.open()?;
        let first = begin(&file, 0)?;
        undo(&file, first)?;
        let second = begin_with(&file, 0, DSMIL_BEGIN_UNDO_ON_SUSPEND)?;
        undo(&file, second)?;
        same(second, first + 1)
    });
    bench.check("begin-while-open-or-pending-ebusy", |b| {
        let (file, busy) = (b.open()?, whole(Errno::EBUSY, DSMIL_REASON_BUSY));
        let number = begin(&file, 0)?;
        for other in [&file, &b.open()?] {
            same(refused(other, DSMIL_IOC_BEGIN, dsmil_begin::default(), busy)?.transaction, 0)?;
        }
        stage(&file, number, &[b.flip(b.token()?)?.0])?;
        crate::raw::commit(&file, number)?;
        for other in [&file, &b.open()?] {
            refused(other, DSMIL_IOC_BEGIN, dsmil_begin::default(), busy)?;
        }
        undo(&file, number).map(|_| ())
    });
}

/// A transaction, and what one thing staged with it comes to.
fn refuses_to_stage(b: &Bench, bad: &[dsmil_stage_entry], wanted: dsmil_failure) -> Check {
    let file = b.open()?;
    let number = begin(&file, 0)?;
    let told = refused(&file, DSMIL_IOC_STAGE, stage_of(number, bad), wanted)?;
    same((told.staged, b.info()?.entries), (0, 0))?;
    undo(&file, number).map(|_| ())
}

fn good(id: TokenId) -> dsmil_stage_entry {
    dsmil_stage_entry { id: id.0, value: 1, ..Default::default() }
}

fn forms(bench: &mut Bench) {
    bench.check("stage-forms", |b| {
        let (file, entries) = (b.open()?, [good(b.token()?)]);
        let number = begin(&file, 0)?;
        let stage = stage_of(number, &entries);
        spoilt(
            &file,
            DSMIL_IOC_STAGE,
            stage,
            &[("staged", |s| s.staged = 1), ("reserved", |s| s.reserved = 1)],
        )?;
        flagged(&file, DSMIL_IOC_STAGE, stage, 0..32, |s| &mut s.flags)?;
        let none = whole(Errno::EINVAL, DSMIL_REASON_COUNT);
        refused(&file, DSMIL_IOC_STAGE, dsmil_stage { count: 0, ..stage }, none)?;
        let many = whole(Errno::E2BIG, DSMIL_REASON_COUNT);
        refused(&file, DSMIL_IOC_STAGE, dsmil_stage { count: DSMIL_STAGE_MAX + 1, ..stage }, many)?;
        refused(&file, DSMIL_IOC_STAGE, dsmil_stage { count: u32::MAX, ..stage }, many)?;
        same(b.info()?.entries, 0)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("commit-forms", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let number = begin(&file, 0)?;
        stage(&file, number, &[change])?;
        let commit = commit_of(number);
        spoilt(
            &file,
            DSMIL_IOC_COMMIT,
            commit,
            &[("undo", |c| c.undo = 1), ("reserved", |c| c.reserved = 1)],
        )?;
        flagged(&file, DSMIL_IOC_COMMIT, commit, 0..32, |c| &mut c.flags)?;
        let count = whole(Errno::EINVAL, DSMIL_REASON_COUNT);
        for wrong in [2, 512, u32::MAX] {
            refused(&file, DSMIL_IOC_COMMIT, dsmil_commit { count: wrong, ..commit }, count)?;
        }
        same((b.stored(change.id)?, b.info()?.state), (old, DSMIL_STATE_OPEN))?;
        undo(&file, number).map(|_| ())
    });
    bench.check("settle-forms-while-pending", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let number = crate::raw::write(&file, &[change], 0)?;
        for ioctl in [DSMIL_IOC_CONFIRM, DSMIL_IOC_UNDO] {
            spoilt(
                &file,
                ioctl,
                settle_of(number),
                &[("undone", |s| s.undone = 1), ("left", |s| s.left = 1)],
            )?;
            flagged(&file, ioctl, settle_of(number), 0..32, |s| &mut s.flags)?;
        }
        same((b.stored(change.id)?, b.info()?.state), (change.value, DSMIL_STATE_PENDING))?;
        undo(&file, number)?;
        same(b.stored(change.id)?, old)
    });
    bench.check("stage-entry-forms", |b| {
        let (id, first) = (b.token()?, good(b.second()?));
        let form = entry(Errno::EINVAL, DSMIL_REASON_RESERVED, 1, id);
        for bit in 1..8 {
            refuses_to_stage(b, &[first, dsmil_stage_entry { flags: 1 << bit, ..good(id) }], form)?;
        }
        refuses_to_stage(b, &[first, dsmil_stage_entry { expected: 1, ..good(id) }], form)?;
        refuses_to_stage(b, &[first, dsmil_stage_entry { reserved: 1, ..good(id) }], form)?;
        let select = entry(Errno::EINVAL, DSMIL_REASON_SELECT, 1, id);
        for bad in [3, 4, 128, 255] {
            refuses_to_stage(b, &[first, dsmil_stage_entry { select: bad, ..good(id) }], select)?;
        }
        Ok(())
    });
}

fn entries(bench: &mut Bench) {
    bench.check("stage-unknown-enoent", |b| {
        let wanted = entry(Errno::ENOENT, DSMIL_REASON_UNKNOWN, 1, b.absent()?);
        refuses_to_stage(b, &[good(b.token()?), good(b.absent()?)], wanted)
    });
    bench.check("stage-not-allowed-eperm", |b| {
        let wanted = entry(Errno::EPERM, DSMIL_REASON_NOT_ALLOWED, 1, b.other()?);
        refuses_to_stage(b, &[good(b.token()?), good(b.other()?)], wanted)
    });
    bench.check("stage-never-written-eperm", |b| {
        let file = b.open()?;
        let number = begin(&file, 0)?;
        for token in b.tokens.iter().filter(|t| t.denied.is_some()) {
            let rule = rule(token)?;
            let wanted = entry(Errno::EPERM, DSMIL_REASON_NEVER_WRITTEN, 0, token.id);
            let entries = [good(token.id)];
            refused(&file, DSMIL_IOC_STAGE, stage_of(number, &entries), dsmil_failure { rule, ..wanted })?;
        }
        same(b.info()?.entries, 0)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("stage-twice-the-same-einval", |b| {
        let id = b.token()?;
        let wanted = |index| entry(Errno::EINVAL, DSMIL_REASON_DUPLICATE, index, id);
        refuses_to_stage(
            b,
            &[good(id), good(b.second()?), dsmil_stage_entry { value: 7, ..good(id) }],
            wanted(2),
        )?;
        let (file, entries) = (b.open()?, [good(b.second()?), good(id)]);
        let number = begin(&file, 0)?;
        raw(&file, DSMIL_IOC_STAGE, &mut stage_of(number, &entries))?;
        // Also one that was staged before; and what stands before it is not taken either.
        let more = [dsmil_stage_entry { select: 1, ..good(id) }, good(id)];
        refused(&file, DSMIL_IOC_STAGE, stage_of(number, &more), wanted(1))?;
        same(b.info()?.entries, 2)?;
        let mut more = stage_of(number, more.get(..1).unwrap_or(&[]));
        raw(&file, DSMIL_IOC_STAGE, &mut more)?;
        same((more.staged, b.info()?.entries), (3, 3))?;
        undo(&file, number).map(|_| ())
    });
    bench.check("stage-one-location-by-two-tokens-einval", |b| {
        let shared = b.shared()?;
        let [first, second, ..] = shared.as_slice() else { return Err("no shared location".into()) };
        let value = |token: &Token| dsmil_stage_entry { value: token.table_value.into(), ..good(token.id) };
        let wanted = entry(Errno::EINVAL, DSMIL_REASON_DUPLICATE, 1, second.id);
        refuses_to_stage(b, &[value(first), value(second)], wanted)
    });
    bench.check("stage-value-of-no-token-einval", |b| {
        let shared = b.shared()?;
        let first = shared.first().ok_or("no shared location")?.id;
        let strange = (0..).find(|v| shared.iter().all(|t| u32::from(t.table_value) != *v));
        let wanted = entry(Errno::EINVAL, DSMIL_REASON_VALUE, 1, first);
        for value in [strange.ok_or("no value left")?, u32::MAX, 0x1_0000] {
            refuses_to_stage(b, &[good(b.token()?), dsmil_stage_entry { value, ..good(first) }], wanted)?;
        }
        Ok(())
    });
}

fn rule(token: &Token) -> Fallible<u16> {
    Ok(match token.denied.ok_or("not denied")? {
        Denied::Quarantine => 1,
        Denied::Power => 2,
        Denied::Destructive => 3,
        Denied::Upstream => 4,
        Denied::SharedLocation => 5,
        Denied::Other(rule) => rule.into(),
    })
}

fn amounts(bench: &mut Bench) {
    bench.check("stage-costs-the-firmware-nothing", |b| {
        let (file, changes) = (b.open()?, [b.flip(b.token()?)?.0, b.flip(b.second()?)?.0]);
        let number = begin(&file, 0)?;
        let before = b.laptop.calls()?;
        same(stage(&file, number, &changes[..1])?, 1)?;
        same(stage(&file, number, &changes[1..])?, 2)?;
        same(b.laptop.calls()?, before)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("transaction-of-another-number-esrch", |b| {
        let (file, entries) = (b.open()?, [good(b.token()?)]);
        let number = begin(&file, 0)?;
        let wanted = whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION);
        for wrong in [0, number - 1, number + 1, u64::MAX] {
            refused(&file, DSMIL_IOC_STAGE, stage_of(wrong, &entries), wanted)?;
            refused(&file, DSMIL_IOC_COMMIT, commit_of(wrong), wanted)?;
            refused(&file, DSMIL_IOC_CONFIRM, settle_of(wrong), wanted)?;
            refused(&file, DSMIL_IOC_UNDO, settle_of(wrong), wanted)?;
        }
        undo(&file, number)?;
        // And of one that has ended.
        refused(&file, DSMIL_IOC_STAGE, stage_of(number, &entries), wanted)?;
        refused(&file, DSMIL_IOC_COMMIT, commit_of(number), wanted)?;
        refused(&file, DSMIL_IOC_CONFIRM, settle_of(number), wanted)?;
        refused(&file, DSMIL_IOC_UNDO, settle_of(number), wanted).map(|_| ())
    });
    bench.check("nothing-staged-einval", |b| {
        let file = b.open()?;
        let number = begin(&file, 0)?;
        refused(&file, DSMIL_IOC_COMMIT, commit_of(number), whole(Errno::EINVAL, DSMIL_REASON_EMPTY))?;
        let early = whole(Errno::EINVAL, DSMIL_REASON_NOT_COMMITTED);
        refused(&file, DSMIL_IOC_CONFIRM, settle_of(number), early)?;
        stage(&file, number, &[b.flip(b.token()?)?.0])?;
        refused(&file, DSMIL_IOC_CONFIRM, settle_of(number), early)?;
        same(b.info()?.state, DSMIL_STATE_OPEN)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("after-the-commit-einval", |b| {
        let (file, change) = (b.open()?, b.flip(b.token()?)?.0);
        let number = crate::raw::write(&file, &[change], 0)?;
        let wanted = whole(Errno::EINVAL, DSMIL_REASON_COMMITTED);
        let entries = [staged(&change)];
        refused(&file, DSMIL_IOC_STAGE, stage_of(number, &entries), wanted)?;
        refused(&file, DSMIL_IOC_COMMIT, commit_of(number), wanted)?;
        same(b.info()?.state, DSMIL_STATE_PENDING)?;
        undo(&file, number).map(|_| ())
    });
}

/// Another value for each select of each of our tokens, with what stands there now.
pub(crate) fn everything(b: &Bench) -> Fallible<Vec<Change>> {
    let mut changes = Vec::new();
    for id in &b.own {
        for select in [Select::Current, Select::Ac, Select::Battery] {
            let old = b.device.read(&[(*id, select)]).pop().ok_or("no answer")??.value;
            changes.push(Change { id: *id, select, value: old ^ 3, expected: Some(old) });
        }
    }
    Ok(changes)
}
