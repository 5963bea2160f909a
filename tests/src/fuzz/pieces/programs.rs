//! The programs themselves: none where the table has not what they take.

use crate::fuzz::known::{Known, Token};
use crate::fuzz::program::{Access, Body, Call, ENTRIES_MAX, Expected, Ioctl, Kind, Op, Place, Stage, Which};
use crate::fuzz::uapi::*;

const LATEST: Which = Which::Latest;

fn op(on: u8, file: u8, body: Body) -> Op {
    counted(on, file, body, None)
}

/// With another count than that of the entries.
fn counted(on: u8, file: u8, body: Body, count: Option<u32>) -> Op {
    let (at, array) = (Place::Room, Place::Room);
    let ioctl = Ioctl { file, at, array, count, flip: None, flip_array: None, compat: false, body };
    Op::new(on, Call::Ioctl(ioctl))
}

fn open(on: u8, file: u8, access: Access, weak: bool) -> Op {
    Op::new(on, Call::Open { file, access, nonblock: false, weak })
}

fn later(op: Op) -> Op {
    Op { later: true, ..op }
}

/// Waits for what an actor is at, which the end of the program would cut short.
fn end_of(slot: u8) -> Op {
    op(slot, 1, Body::Info)
}

fn fault(spec: &str) -> Op {
    Op::new(0, Call::Fault { spec: spec.to_owned() })
}

fn wait(ms: u16) -> Op {
    Op::new(0, Call::Wait { ms })
}

fn begin() -> Body {
    Body::Begin { deadline: 0, flags: 0 }
}

fn read(age: u32, ids: &[u16]) -> Body {
    Body::Read { age, entries: ids.iter().map(|id| (*id, 0)).collect() }
}

fn snapshot(known: &Known, age: u32) -> Body {
    let room = u16::try_from(known.tokens.len().min(ENTRIES_MAX)).unwrap_or_default();
    Body::Snapshot { age, selects: 1, room }
}

fn entry(id: u16, select: u8, value: u32) -> Stage {
    Stage { id, select, value, expected: Expected::Any }
}

fn stage(entries: Vec<Stage>) -> Body {
    Body::Stage { which: LATEST, entries }
}

fn commit(room: u16) -> Body {
    Body::Commit { which: LATEST, room }
}

/// Tokens of a kind, in ascending order.
fn that(known: &Known, is_one: impl Fn(&Token) -> bool) -> Vec<Token> {
    known.tokens.iter().copied().filter(is_one).collect()
}

/// Ids that may be written and have a location of their own.
fn own(known: &Known) -> Vec<u16> {
    that(known, |token| token.allowed && !token.shared && token.readable)
        .iter()
        .map(|token| token.id)
        .collect()
}

fn unknown(known: &Known) -> Option<u16> {
    (1..u16::MAX).find(|id| known.location(*id).is_none())
}

/// A change of so many locations.
fn some(known: &Known, count: usize) -> Option<Vec<Stage>> {
    let entries: Vec<Stage> = own(known).into_iter().take(count).map(|id| entry(id, 0, 0x1234)).collect();
    (entries.len() == count).then_some(entries)
}

pub(super) fn rights(known: &Known) -> Option<Vec<Op>> {
    let id = *own(known).first()?;
    let which = Which::Number(1);
    let mut ops = vec![open(0, 2, Access::Both, false), op(0, 2, read(DSMIL_AGE_ANY, &[id]))];
    for (file, access, weak) in [(0, Access::Both, true), (1, Access::Read, false), (2, Access::Both, false)]
    {
        let change = [Body::Allow { ids: vec![id, id] }, begin(), Body::Commit { which, room: 0 }];
        ops.push(open(0, file, access, weak));
        ops.extend(change.map(|body| op(0, file, body)));
    }
    Some(ops)
}

pub(super) fn lists(known: &Known) -> Option<Vec<Op>> {
    let id = *own(known).first()?;
    let denied = that(known, |token| token.denied).first()?.id;
    let shared = that(known, |token| token.shared && token.allowed).first()?.id;
    let allow = |ids: &[u16]| op(0, 0, Body::Allow { ids: ids.to_vec() });
    Some(vec![
        open(0, 0, Access::Both, false),
        allow(&[id, id]),
        allow(&[unknown(known)?]),
        allow(&[denied]),
        allow(&[shared]),
        counted(0, 0, Body::Allow { ids: vec![id] }, Some(DSMIL_ALLOW_MAX + 1)),
        allow(&known.allowed()),
        allow(&[id]),
    ])
}

pub(super) fn counts(known: &Known) -> Option<Vec<Op>> {
    let id = *own(known).first()?;
    let list = || Body::List { cursor: 0, room: 1 };
    let all = |selects| Body::Snapshot { age: DSMIL_AGE_ANY, selects, room: 1 };
    let one = || stage(vec![entry(id, 0, 1)]);
    Some(vec![
        open(0, 0, Access::Both, false),
        counted(0, 0, list(), Some(0)),
        counted(0, 0, list(), Some(DSMIL_LIST_MAX + 1)),
        counted(0, 0, read(0, &[id]), Some(0)),
        counted(0, 0, read(0, &[id]), Some(DSMIL_READ_MAX + 1)),
        op(0, 0, all(8)),
        counted(0, 0, all(1), Some(DSMIL_SNAPSHOT_MAX + 1)),
        op(0, 0, all(1)),
        counted(0, 0, one(), Some(0)),
        counted(0, 0, one(), Some(DSMIL_STAGE_MAX + 1)),
    ])
}

/// Every step of a transaction that comes at the wrong time, or from somebody else.
pub(super) fn steps(known: &Known) -> Option<Vec<Op>> {
    let id = *own(known).first()?;
    let denied = that(known, |token| token.denied).first()?.id;
    let other = that(known, |token| !token.denied && !token.allowed).first()?.id;
    let shared = that(known, |token| token.shared && token.allowed).first()?.id;
    let one = |id, select, value| stage(vec![entry(id, select, value)]);
    let mut ops = vec![
        open(0, 0, Access::Both, false),
        op(0, 0, begin()),
        op(0, 0, commit(0)),
        op(0, 0, one(id, 3, 1)),
        op(0, 0, one(unknown(known)?, 0, 1)),
        op(0, 0, one(denied, 0, 1)),
        op(0, 0, one(other, 0, 1)),
        op(0, 0, one(shared, 0, 0x7654_3210)),
        op(0, 0, one(id, 0, 0x1234)),
        op(0, 0, one(id, 0, 0x1234)),
        op(0, 0, commit(300)),
        op(0, 0, Body::Confirm { which: LATEST }),
        op(0, 0, commit(1)),
        op(0, 0, one(id, 1, 1)),
        op(0, 0, commit(0)),
        Op::new(0, Call::Spawn { slot: 1, kind: Kind::Process }),
        open(1, 1, Access::Both, false),
        op(1, 1, one(id, 1, 1)),
        op(1, 1, commit(0)),
    ];
    ops.extend([Body::Confirm { which: LATEST }, Body::Undo { which: LATEST }].map(|body| op(1, 1, body)));
    ops.push(op(0, 0, Body::Confirm { which: LATEST }));
    Some(ops)
}

/// A firmware that fails in all its ways: in reads, in writes, and last of all in the undo too.
pub(super) fn failing_commits(known: &Known) -> Option<Vec<Op>> {
    let two = some(known, 2)?;
    let id = two.first()?.id;
    let mut ops = vec![open(0, 0, Access::Both, false)];
    for spec in ["error,on=read,count=1", "unsupported,on=read,count=1"] {
        ops.extend([fault(spec), op(0, 0, read(0, &[id]))]);
    }
    let change = |entries: Vec<Stage>| [op(0, 0, begin()), op(0, 0, stage(entries)), op(0, 0, commit(0))];
    ops.extend(change(vec![Stage { expected: Expected::This(4_000_000), ..*two.first()? }]));
    for spec in [
        "error,on=write,count=1",
        "unsupported,on=write,count=1",
        "garbage,on=write,count=1,value=77",
        "write-ignored,on=write,count=1",
        "error,on=write,skip=1,count=3",
    ] {
        ops.extend([Op::new(0, Call::ClearFaults), fault(spec)]);
        ops.extend(change(two.clone()));
    }
    Some(ops)
}

/// An undo that fails, and everybody meanwhile.
pub(super) fn undoing(known: &Known) -> Option<Vec<Op>> {
    let one = some(known, 1)?;
    Some(vec![
        open(0, 0, Access::Both, false),
        op(0, 0, begin()),
        op(0, 0, stage(one.clone())),
        op(0, 0, commit(0)),
        fault("error,on=write,count=1"),
        op(0, 0, Body::Undo { which: LATEST }),
        op(0, 0, begin()),
        op(0, 0, stage(one)),
        op(0, 0, commit(0)),
        op(0, 0, Body::Confirm { which: LATEST }),
        op(0, 0, Body::Undo { which: LATEST }),
    ])
}

pub(super) fn undo_that_does_not_stick(known: &Known) -> Option<Vec<Op>> {
    Some(vec![
        open(0, 0, Access::Both, false),
        op(0, 0, begin()),
        op(0, 0, stage(some(known, 1)?)),
        op(0, 0, commit(0)),
        fault("write-ignored,on=write,count=1"),
        op(0, 0, Body::Undo { which: LATEST }),
    ])
}

/// Somebody reads a slow firmware, or waits for an event, and a signal comes.
pub(super) fn interrupted(known: &Known) -> Option<Vec<Op>> {
    let ids: Vec<u16> = own(known).into_iter().take(8).collect();
    let signal = || Op::new(0, Call::Signal { slot: 1 });
    Some(vec![
        Op::new(0, Call::Spawn { slot: 1, kind: Kind::Process }),
        open(1, 1, Access::Read, false),
        later(Op::new(1, Call::Events { file: 1, bytes: 720, to: Place::Room })),
        wait(20),
        signal(),
        fault("slow,on=read,count=0,value=40"),
        later(op(1, 1, snapshot(known, 0))),
        wait(60),
        signal(),
        later(op(1, 1, read(0, &ids))),
        wait(60),
        signal(),
        end_of(1),
    ])
}

/// The last of three writes does not stick, and while the reads are slow somebody else changes the first one's location.
pub(super) fn left_by_a_commit(known: &Known) -> Option<Vec<Op>> {
    let three = some(known, 3)?;
    let location = known.location(three.first()?.id)?;
    Some(vec![
        Op::new(0, Call::Spawn { slot: 1, kind: Kind::Process }),
        open(1, 1, Access::Both, false),
        op(1, 1, begin()),
        op(1, 1, stage(three)),
        fault("write-ignored,on=write,skip=2,count=1"),
        fault("slow,on=read,skip=3,count=0,value=20"),
        later(op(1, 1, commit(0))),
        wait(50),
        Op::new(0, Call::Poke { location, select: 0, value: 0x4321 }),
        end_of(1),
    ])
}

/// Values change all the time while somebody takes a snapshot.
pub(super) fn changing(known: &Known) -> Option<Vec<Op>> {
    let eight = some(known, 8)?;
    let mut ops = vec![
        Op::new(0, Call::Spawn { slot: 1, kind: Kind::Process }),
        open(0, 0, Access::Both, false),
        open(1, 1, Access::Read, false),
        later(op(1, 1, snapshot(known, 0))),
    ];
    for _ in 0..50 {
        let change = [begin(), stage(eight.clone()), commit(0), Body::Undo { which: LATEST }];
        ops.extend(change.map(|body| op(0, 0, body)));
    }
    ops.push(end_of(1));
    Some(ops)
}

/// The calls of a request that fail in turn: the first ones are its own.
const FAILING: std::ops::RangeInclusive<u8> = 1..=8;

pub(super) fn no_memory_to_allow(known: &Known) -> Option<Vec<Op>> {
    // Refused in any case, so that nothing is sealed.
    let ids = vec![*own(known).first()?; 2];
    let allow = |fail| Op { fail, ..op(0, 0, Body::Allow { ids: ids.clone() }) };
    Some([open(0, 0, Access::Both, false)].into_iter().chain(FAILING.map(allow)).collect())
}

pub(super) fn no_memory(known: &Known) -> Option<Vec<Op>> {
    let ids: Vec<u16> = own(known).into_iter().take(12).collect();
    let mut ops = vec![open(0, 0, Access::Both, false)];
    for fail in FAILING {
        let failing = |body| Op { fail, ..op(0, 0, body) };
        ops.extend([
            failing(read(DSMIL_AGE_ANY, &ids)),
            op(0, 0, begin()),
            failing(stage(some(known, 2)?)),
            op(0, 0, stage(some(known, 1)?)),
            failing(commit(0)),
            op(0, 0, Body::Undo { which: LATEST }),
        ]);
    }
    Some(ops)
}

pub(super) fn write_only(known: &Known) -> Option<Vec<Op>> {
    let ids: Vec<u16> = that(known, |token| !token.readable).iter().map(|token| token.id).take(4).collect();
    let ops =
        vec![open(0, 0, Access::Read, false), op(0, 0, read(0, &ids)), op(0, 0, read(DSMIL_AGE_ANY, &ids))];
    (!ids.is_empty()).then_some(ops)
}

/// More entries than a transaction takes, which needs a table of many locations.
pub(super) fn full(known: &Known) -> Option<Vec<Op>> {
    let most = usize::try_from(DSMIL_TRANSACTION_MAX).ok()?;
    let entries = some(known, most + 1)?;
    let mut ops = vec![open(0, 0, Access::Both, false), op(0, 0, begin())];
    let each = usize::try_from(DSMIL_STAGE_MAX).ok()?;
    ops.extend(entries.chunks(each).map(|some| op(0, 0, stage(some.to_vec()))));
    Some(ops)
}

/// More calls at once than the limits of the phase let through.
pub(super) fn too_fast(known: &Known) -> Option<Vec<Op>> {
    let ids: Vec<u16> = own(known).into_iter().take(8).collect();
    let mut ops = vec![open(0, 0, Access::Both, false)];
    ops.extend([read(0, &ids), read(0, &ids), snapshot(known, 0)].map(|body| op(0, 0, body)));
    for _ in 0..3 {
        let change = [begin(), stage(some(known, 4)?), commit(0), Body::Undo { which: LATEST }];
        ops.extend(change.map(|body| op(0, 0, body)));
    }
    Some(ops)
}

pub(super) fn one_change(known: &Known) -> Option<Vec<Op>> {
    let change = [begin(), stage(some(known, 1)?), commit(0)];
    Some([open(0, 0, Access::Both, false)].into_iter().chain(change.map(|body| op(0, 0, body))).collect())
}

pub(super) fn one_change_after_a_list(known: &Known) -> Option<Vec<Op>> {
    let allow = op(0, 0, Body::Allow { ids: vec![*own(known).first()?] });
    let mut ops = one_change(known)?;
    ops.insert(1, allow);
    Some(ops)
}
