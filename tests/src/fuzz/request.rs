//! From an ioctl's arguments to the bytes that the kernel sees, and back from those bytes to what they ask for.
//!
//! The model of what may change reads the same bytes as the kernel, after every bit that was turned.

use std::mem::offset_of;

use super::known::{Cell, Known};
use super::program::{Body, Expected, Ioctl, Place, Stage, Which};
use super::raw::{bytes_of, structure_at};
use super::uapi::{self, *};

/// The bytes of one ioctl.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Request {
    pub(crate) command: u32,
    pub(crate) argument: Vec<u8>,
    pub(crate) array: Vec<u8>,
    /// Where in the structure the array's address goes.
    pub(crate) pointer: Option<usize>,
}

/// What a number means while a program runs.
pub(crate) trait Now {
    /// The number of a transaction.
    fn transaction(&self, which: Which) -> u64;
    /// The value that stood in a location when the sequence began.
    fn before(&self, id: u16, select: u8) -> u32;
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn joined<T>(of: impl Iterator<Item = T>, bytes: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    of.flat_map(|one| bytes(&one)).collect()
}

/// The bytes of an ioctl; the array's address is still zero.
pub(crate) fn request(ioctl: &Ioctl, now: &dyn Now) -> Request {
    let count = ioctl.count.unwrap_or(number(ioctl.body.entries()));
    let mut request = plain(&ioctl.body, count, now);
    turn(&mut request.argument, ioctl.flip, request.pointer);
    turn(&mut request.array, ioctl.flip_array, None);
    request
}

/// Turns a bit, but for those of the address, since what lies elsewhere is not known.
fn turn(bytes: &mut [u8], flip: Option<(u16, u8)>, pointer: Option<usize>) {
    let Some((at, bit)) = flip else { return };
    let at = usize::from(at) % bytes.len().max(1);
    if pointer.is_some_and(|pointer| (pointer..pointer + 8).contains(&at)) {
        return;
    }
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
}

fn plain(body: &Body, count: u32, now: &dyn Now) -> Request {
    let room = |size: usize| vec![0; body.entries() * size];
    let with =
        |command, argument, array, pointer| Request { command, argument, array, pointer: Some(pointer) };
    let alone = |command, argument| Request { command, argument, array: Vec::new(), pointer: None };
    let settle = |which| dsmil_settle { transaction: now.transaction(which), ..Default::default() };
    match body {
        Body::Version => alone(DSMIL_IOC_VERSION, bytes_of(&dsmil_version::default())),
        Body::Info => alone(DSMIL_IOC_INFO, bytes_of(&dsmil_info::default())),
        Body::List { cursor, .. } => {
            let list = dsmil_list { cursor: *cursor, count, ..Default::default() };
            with(
                DSMIL_IOC_LIST,
                bytes_of(&list),
                room(size_of::<dsmil_token>()),
                offset_of!(dsmil_list, tokens),
            )
        }
        Body::Read { age, entries } => {
            let read = dsmil_read { count, max_age_ms: *age, ..Default::default() };
            let entry = |(id, select): &(u16, u8)| {
                bytes_of(&dsmil_read_entry { id: *id, select: *select, ..Default::default() })
            };
            let array = joined(entries.iter().copied(), entry);
            with(DSMIL_IOC_READ, bytes_of(&read), array, offset_of!(dsmil_read, entries))
        }
        Body::Snapshot { age, selects, .. } => {
            let snapshot =
                dsmil_snapshot { count, selects: *selects, max_age_ms: *age, ..Default::default() };
            let array = room(size_of::<dsmil_read_entry>());
            with(DSMIL_IOC_SNAPSHOT, bytes_of(&snapshot), array, offset_of!(dsmil_snapshot, entries))
        }
        Body::Allow { ids } => {
            let array = joined(ids.iter().copied(), |id: &u16| id.to_le_bytes().to_vec());
            let allow = dsmil_allow { count, ..Default::default() };
            with(DSMIL_IOC_ALLOW, bytes_of(&allow), array, offset_of!(dsmil_allow, ids))
        }
        Body::Begin { deadline, flags } => {
            let begin = dsmil_begin { deadline_ms: *deadline, flags: *flags, ..Default::default() };
            alone(DSMIL_IOC_BEGIN, bytes_of(&begin))
        }
        Body::Stage { which, entries } => {
            let stage = dsmil_stage { transaction: now.transaction(*which), count, ..Default::default() };
            let array = joined(entries.iter().copied(), |entry| bytes_of(&staged(*entry, now)));
            with(DSMIL_IOC_STAGE, bytes_of(&stage), array, offset_of!(dsmil_stage, entries))
        }
        Body::Commit { which, .. } => {
            let commit = dsmil_commit { transaction: now.transaction(*which), count, ..Default::default() };
            with(DSMIL_IOC_COMMIT, bytes_of(&commit), room(4), offset_of!(dsmil_commit, old))
        }
        Body::Confirm { which } => alone(DSMIL_IOC_CONFIRM, bytes_of(&settle(*which))),
        Body::Undo { which } => alone(DSMIL_IOC_UNDO, bytes_of(&settle(*which))),
        Body::Raw { command, fill } => {
            let mut dice = super::dice::Dice::new(*fill);
            let size = usize::try_from(*command >> 16 & 0x3fff).unwrap_or(0).min(512);
            alone(*command, (0..size).map(|_| dice.byte(u8::MAX)).collect())
        }
    }
}

fn staged(entry: Stage, now: &dyn Now) -> dsmil_stage_entry {
    let (flags, expected) = match entry.expected {
        Expected::Any => (0, 0),
        Expected::Before => (1, now.before(entry.id, entry.select)),
        Expected::This(value) => (1, value),
    };
    let Stage { id, select, value, .. } = entry;
    dsmil_stage_entry { id, select, flags, value, expected, reserved: 0 }
}

/// The transaction that the bytes name, if they name one.
pub(crate) fn transaction(request: &Request) -> Option<u64> {
    match request.command {
        DSMIL_IOC_STAGE | DSMIL_IOC_COMMIT | DSMIL_IOC_CONFIRM | DSMIL_IOC_UNDO => {
            let bytes = request.argument.get(..8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        }
        _ => None,
    }
}

/// What a staging asks to write.
pub(crate) fn writes(request: &Request, known: &Known) -> Vec<(Cell, u32)> {
    let Some(stage) = structure_at::<dsmil_stage>(&request.argument, 0) else { return Vec::new() };
    let size = size_of::<dsmil_stage_entry>();
    (0..usize::try_from(stage.count).unwrap_or(0))
        .map_while(|index| structure_at::<dsmil_stage_entry>(&request.array, index * size))
        .filter_map(|entry| Some(((known.location(entry.id)?, entry.select), entry.value)))
        .collect()
}

/// What a list allows.
pub(crate) fn allowed(request: &Request) -> Vec<u16> {
    let Some(allow) = structure_at::<dsmil_allow>(&request.argument, 0) else { return Vec::new() };
    let ids = request.array.chunks_exact(2).map(|id| u16::from_le_bytes(id.try_into().unwrap_or_default()));
    ids.take(usize::try_from(allow.count).unwrap_or(0)).collect()
}

/// The failure that an ioctl wrote back, if its structure has one.
pub(crate) fn failure(command: u32, argument: &[u8]) -> Option<dsmil_failure> {
    let offset = match command {
        DSMIL_IOC_READ => offset_of!(dsmil_read, failure),
        DSMIL_IOC_SNAPSHOT => offset_of!(dsmil_snapshot, failure),
        DSMIL_IOC_ALLOW => offset_of!(dsmil_allow, failure),
        DSMIL_IOC_BEGIN => offset_of!(dsmil_begin, failure),
        DSMIL_IOC_STAGE => offset_of!(dsmil_stage, failure),
        DSMIL_IOC_COMMIT => offset_of!(dsmil_commit, failure),
        DSMIL_IOC_CONFIRM | DSMIL_IOC_UNDO => offset_of!(dsmil_settle, failure),
        _ => return None,
    };
    structure_at(argument, offset)
}

/// The number that a BEGIN wrote back.
pub(crate) fn begun(argument: &[u8]) -> Option<u64> {
    structure_at::<dsmil_begin>(argument, 0).map(|begin| begin.transaction)
}

/// The errors of single entries that a READ wrote back, as bits by error number.
pub(crate) fn entry_errors(argument: &[u8], array: &[u8]) -> u64 {
    let count = structure_at::<dsmil_read>(argument, 0).map_or(0, |read| read.count);
    let size = size_of::<dsmil_read_entry>();
    (0..usize::try_from(count).unwrap_or(0))
        .map_while(|index| structure_at::<dsmil_read_entry>(array, index * size))
        .filter_map(|entry| u32::try_from(entry.error).ok())
        .fold(0, |bits, error| bits | 1_u64.checked_shl(error).unwrap_or(0))
}

/// The short name of a command; none for what the interface does not have.
pub(crate) fn name(command: u32) -> Option<&'static str> {
    Some(match command {
        uapi::DSMIL_IOC_VERSION => "VERSION",
        DSMIL_IOC_INFO => "INFO",
        DSMIL_IOC_LIST => "LIST",
        DSMIL_IOC_READ => "READ",
        DSMIL_IOC_SNAPSHOT => "SNAPSHOT",
        DSMIL_IOC_ALLOW => "ALLOW",
        DSMIL_IOC_BEGIN => "BEGIN",
        DSMIL_IOC_STAGE => "STAGE",
        DSMIL_IOC_COMMIT => "COMMIT",
        DSMIL_IOC_CONFIRM => "CONFIRM",
        DSMIL_IOC_UNDO => "UNDO",
        _ => return None,
    })
}

/// True if the place is one from which the kernel's answer can be read back whole.
pub(crate) fn is_answered(place: Place) -> bool {
    matches!(place, Place::Room | Place::Odd)
}
