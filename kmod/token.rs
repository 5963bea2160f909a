// SPDX-License-Identifier: GPL-2.0-only

//! The firmware's token table and the rules about it.
//!
//! Pure: no kernel, no memory of its own, so that the same file is tested on the host. The caller owns
//! the table and keeps it as [`classify`] leaves it.
//!
//! # Invariants
//!
//! - A classified table is sorted by id, and no id is in it twice.
//! - A token is denied if a rule names it or any token that was ever parsed at its location, also one
//!   that was dropped as a duplicate.
//! - No denied token is marked by an allow-list.

use crate::uapi;

/// SMBIOS type of the structures that hold tokens.
const STRUCTURE_TYPE: u8 = 0xda;
/// Offset of the first token in such a structure, behind header, command address and classes.
const STRUCTURE_TOKENS: usize = 11;
/// Bytes of one token: id, location, value, each a little-endian u16.
const STRUCTURE_TOKEN: usize = 6;
/// Id of a structure's last entry.
const TERMINATOR: u16 = 0xffff;
/// Id of an entry that dell-smbios has crossed out as a duplicate.
const CROSSED_OUT: u16 = 0;

/// First token of the DSMIL window.
const DEVICE_FIRST: u16 = 0x8000;
/// Distance between the first tokens of two neighbouring groups.
const DEVICE_STRIDE: u16 = 0x10;
/// Groups in the window.
const DEVICE_GROUPS: u16 = 7;
/// Devices in a group; the ids up to the next group are not devices.
const DEVICE_MEMBERS: u16 = 12;

/// `DSMIL_NO_DEVICE` as wide as group and member are.
const NO_DEVICE: u8 = u8::MAX;
const _: () = assert!(uapi::DSMIL_NO_DEVICE == 0xff);

/// Tokens that are denied: first id, last id, `DSMIL_RULE_*`. The first range that has an id names the rule.
const NEVER_WRITTEN: [(u16, u16, u32); 28] = [
    // Secure wipe, recovery, hidden memory; network kill; communications blackout.
    (0x8009, 0x800b, uapi::DSMIL_RULE_QUARANTINE),
    (0x8019, 0x8019, uapi::DSMIL_RULE_QUARANTINE),
    (0x8029, 0x8029, uapi::DSMIL_RULE_QUARANTINE),
    // libsmbios: "power off requested".
    (0x8004, 0x8004, uapi::DSMIL_RULE_POWER),
    // Data wipe.
    (0x0436, 0x0437, uapi::DSMIL_RULE_DESTRUCTIVE),
    (0xa000, 0xa003, uapi::DSMIL_RULE_DESTRUCTIVE),
    // What follows is dell-smbios' token_blacklist (dell-smbios-base.c).
    (0x0058, 0x0059, uapi::DSMIL_RULE_UPSTREAM),
    (0x007d, 0x007d, uapi::DSMIL_RULE_UPSTREAM),
    (0x00cd, 0x00d0, uapi::DSMIL_RULE_UPSTREAM),
    (0x013a, 0x01ff, uapi::DSMIL_RULE_UPSTREAM),
    (0x027d, 0x0284, uapi::DSMIL_RULE_UPSTREAM),
    (0x02e3, 0x02e3, uapi::DSMIL_RULE_UPSTREAM),
    (0x02ea, 0x02ec, uapi::DSMIL_RULE_UPSTREAM),
    (0x02f6, 0x02f6, uapi::DSMIL_RULE_UPSTREAM),
    (0x02ff, 0x0302, uapi::DSMIL_RULE_UPSTREAM),
    (0x0325, 0x0326, uapi::DSMIL_RULE_UPSTREAM),
    (0x0332, 0x0335, uapi::DSMIL_RULE_UPSTREAM),
    (0x0350, 0x0350, uapi::DSMIL_RULE_UPSTREAM),
    (0x0363, 0x0365, uapi::DSMIL_RULE_UPSTREAM),
    (0x0368, 0x0368, uapi::DSMIL_RULE_UPSTREAM),
    (0x03f6, 0x03f7, uapi::DSMIL_RULE_UPSTREAM),
    (0x0451, 0x0451, uapi::DSMIL_RULE_UPSTREAM),
    (0x049e, 0x04a3, uapi::DSMIL_RULE_UPSTREAM),
    (0x04e6, 0x04e7, uapi::DSMIL_RULE_UPSTREAM),
    (0x4000, 0x7fff, uapi::DSMIL_RULE_UPSTREAM),
    (0x9000, 0x9001, uapi::DSMIL_RULE_UPSTREAM),
    (0xa000, 0xbfff, uapi::DSMIL_RULE_UPSTREAM),
    (0xeff0, 0xefff, uapi::DSMIL_RULE_UPSTREAM),
];

/// Tokens that dell-smbios calls "write only": reading them gives nothing.
const WRITE_ONLY: core::ops::RangeInclusive<u16> = 0xa000..=0xbfff;

/// One entry of the firmware's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its number.
    pub(crate) id: u16,
    /// The storage behind it.
    pub(crate) location: u16,
    /// The value at which it counts as active.
    pub(crate) value: u16,
    /// `DSMIL_RULE_*` that denies it.
    pub(crate) rule: u32,
    /// A token with another id has the same location.
    pub(crate) shared: bool,
    /// Where it stood in the firmware's table: of duplicates the first counts.
    order: usize,
}

impl Token {
    /// Reading it is worth a call to the firmware.
    pub(crate) fn readable(&self) -> bool {
        !WRITE_ONLY.contains(&self.id)
    }

    /// Its group and member, if it is a DSMIL device.
    pub(crate) fn device(&self) -> Option<(u8, u8)> {
        let offset = self.id.checked_sub(DEVICE_FIRST)?;
        let (group, member) = (offset / DEVICE_STRIDE, offset % DEVICE_STRIDE);
        if group < DEVICE_GROUPS && member < DEVICE_MEMBERS {
            Some((group.try_into().ok()?, member.try_into().ok()?))
        } else {
            None
        }
    }

    /// The token as the interface shows it; `writable` says whether it is on the sealed allow-list.
    pub(crate) fn export(&self, writable: bool) -> uapi::dsmil_token {
        let device = self.device();
        let (group, member) = device.unwrap_or((NO_DEVICE, NO_DEVICE));
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        uapi::dsmil_token {
            id: self.id,
            location: self.location,
            value: self.value,
            rule: u16::try_from(self.rule).unwrap_or(u16::MAX),
            flags: flag(device.is_some(), uapi::DSMIL_TOKEN_DEVICE)
                | flag(self.readable(), uapi::DSMIL_TOKEN_READABLE)
                | flag(writable, uapi::DSMIL_TOKEN_WRITABLE)
                | flag(self.denied(), uapi::DSMIL_TOKEN_DENIED)
                | flag(self.shared, uapi::DSMIL_TOKEN_SHARED),
            group,
            member,
            reserved: 0,
        }
    }

    /// It is never written.
    pub(crate) fn denied(&self) -> bool {
        self.rule != uapi::DSMIL_RULE_NONE
    }
}

/// Why something is refused, and on account of which entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `DSMIL_REASON_*`.
    pub(crate) reason: u32,
    /// Index of the entry.
    pub(crate) index: usize,
    /// The token.
    pub(crate) id: u16,
    /// `DSMIL_RULE_*`.
    pub(crate) rule: u32,
}

impl Refusal {
    /// A refusal on account of one entry.
    pub(crate) fn entry(reason: u32, index: usize, id: u16) -> Self {
        Self {
            reason,
            index,
            id,
            rule: uapi::DSMIL_RULE_NONE,
        }
    }
}

/// The rule that denies a token by its id alone.
pub(crate) fn rule(id: u16) -> u32 {
    NEVER_WRITTEN
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&id))
        .map_or(uapi::DSMIL_RULE_NONE, |(_, _, rule)| *rule)
}

/// The tokens of one SMBIOS structure, given its formatted area (as long as its header says).
///
/// Nothing if the structure is of another type; a token that the area cuts off is not one.
pub(crate) fn parse(structure: &[u8]) -> impl Iterator<Item = Token> + '_ {
    let tokens = match structure {
        [STRUCTURE_TYPE, ..] => structure.get(STRUCTURE_TOKENS..).unwrap_or(&[]),
        _ => &[],
    };
    tokens
        .chunks_exact(STRUCTURE_TOKEN)
        .filter_map(|entry| match *entry {
            [i0, i1, l0, l1, v0, v1] => Some(Token {
                id: u16::from_le_bytes([i0, i1]),
                location: u16::from_le_bytes([l0, l1]),
                value: u16::from_le_bytes([v0, v1]),
                rule: uapi::DSMIL_RULE_NONE,
                shared: false,
                order: 0,
            }),
            _ => None,
        })
        // A terminator in the middle ends nothing: dell-smbios reads on, and so must the rules.
        .filter(|token| token.id != TERMINATOR && token.id != CROSSED_OUT)
}

/// Marks what is denied and what shares a location, sorts by id and drops duplicates behind the end.
///
/// Takes the tokens as they were parsed, in order; returns how many at the front are the table.
pub(crate) fn classify(tokens: &mut [Token]) -> usize {
    for (order, token) in tokens.iter_mut().enumerate() {
        token.order = order;
        token.rule = rule(token.id);
    }
    sort(tokens, |token| (token.location, token.order));
    for same in tokens.chunk_by_mut(|a, b| a.location == b.location) {
        let shared = same.windows(2).any(|pair| match pair {
            [a, b] => a.id != b.id,
            _ => false,
        });
        let denied = same.iter().any(Token::denied);
        for token in same {
            token.shared = shared;
            if denied && !token.denied() {
                token.rule = uapi::DSMIL_RULE_SHARED_LOCATION;
            }
        }
    }
    sort(tokens, |token| (token.id, token.order));
    drop_duplicates(tokens)
}

/// Heap sort by a key. The standard library's sorts call functions that the kernel's objtool does not know
/// to be without return, and are larger than the rest of this module's text.
fn sort(tokens: &mut [Token], key: impl Fn(&Token) -> (u16, usize)) {
    for root in (0..tokens.len() / 2).rev() {
        sift_down(tokens, root, &key);
    }
    for end in (1..tokens.len()).rev() {
        tokens.swap(0, end);
        if let Some(heap) = tokens.get_mut(..end) {
            sift_down(heap, 0, &key);
        }
    }
}

/// Moves the token at `root` down until no child has a larger key.
fn sift_down(heap: &mut [Token], mut root: usize, key: &impl Fn(&Token) -> (u16, usize)) {
    loop {
        let mut largest = root;
        for child in [2 * root + 1, 2 * root + 2] {
            if heap.get(child).map(key) > heap.get(largest).map(key) {
                largest = child;
            }
        }
        if largest == root {
            return;
        }
        heap.swap(root, largest);
        root = largest;
    }
}

/// Moves the first token of each id to the front; returns how many there are.
fn drop_duplicates(tokens: &mut [Token]) -> usize {
    let mut kept = 0;
    let mut last = None;
    for index in 0..tokens.len() {
        match tokens.get(index) {
            Some(token) if last != Some(token.id) => last = Some(token.id),
            _ => continue,
        }
        tokens.swap(kept, index);
        kept += 1;
    }
    kept
}

/// Where the token of an id stands, in a classified table.
pub(crate) fn position(table: &[Token], id: u16) -> Option<usize> {
    table.binary_search_by_key(&id, |token| token.id).ok()
}

/// As [`position`], quicker where it is at `near` or next to it, as for who goes through the table in order.
pub(crate) fn position_near(table: &[Token], id: u16, near: Option<usize>) -> Option<usize> {
    let is_at = |at: &usize| table.get(*at).is_some_and(|token| token.id == id);
    near.and_then(|near| [near, near.saturating_add(1)].into_iter().find(is_at))
        .or_else(|| position(table, id))
}

/// The token of an id, in a classified table.
pub(crate) fn find(table: &[Token], id: u16) -> Option<&Token> {
    table.get(position(table, id)?)
}

/// Marks exactly these ids; `marks` has one place for each token, all false. What a refusal leaves there means
/// nothing.
pub(crate) fn allow(table: &[Token], ids: &[u16], marks: &mut [bool]) -> Result<(), Refusal> {
    for (index, id) in ids.iter().enumerate() {
        mark(table, marks, index, *id)?;
    }
    // Whoever may write one token of a location moves the others too, so all must have been meant.
    for (index, id) in ids.iter().enumerate() {
        let Some(token) = find(table, *id).filter(|token| token.shared) else {
            continue;
        };
        let mut all = table.iter().zip(marks.iter());
        let missing = all.find(|(t, marked)| t.location == token.location && !**marked);
        if let Some((missing, _)) = missing {
            let reason = uapi::DSMIL_REASON_PARTIAL_LOCATION;
            return Err(Refusal::entry(reason, index, missing.id));
        }
    }
    Ok(())
}

fn mark(table: &[Token], marks: &mut [bool], index: usize, id: u16) -> Result<(), Refusal> {
    let (at, _) = harmless(table, index, id)?;
    match marks.get_mut(at) {
        Some(mark) if !*mark => *mark = true,
        _ => {
            let reason = uapi::DSMIL_REASON_DUPLICATE;
            return Err(Refusal::entry(reason, index, id));
        }
    }
    Ok(())
}

/// The token of an id and where it stands, unless there is none or it is never written.
fn harmless(table: &[Token], index: usize, id: u16) -> Result<(usize, &Token), Refusal> {
    let refuse = |reason| Refusal::entry(reason, index, id);
    let unknown = refuse(uapi::DSMIL_REASON_UNKNOWN);
    let at = position(table, id).ok_or(unknown)?;
    let token = table.get(at).ok_or(unknown)?;
    if token.denied() {
        return Err(Refusal {
            rule: token.rule,
            ..refuse(uapi::DSMIL_REASON_NEVER_WRITTEN)
        });
    }
    Ok((at, token))
}

/// The location that a write of `value` to token `id` goes to.
///
/// `allowed` is the sealed allow-list, a mark for each token; the never-written list stands above it.
pub(crate) fn check_write(
    table: &[Token],
    allowed: Option<&[bool]>,
    index: usize,
    id: u16,
    value: u32,
) -> Result<u16, Refusal> {
    let refuse = |reason| Refusal::entry(reason, index, id);
    let (at, token) = harmless(table, index, id)?;
    let allowed = allowed.ok_or(refuse(uapi::DSMIL_REASON_NOT_SEALED))?;
    if allowed.get(at) != Some(&true) {
        return Err(refuse(uapi::DSMIL_REASON_NOT_ALLOWED));
    }
    let mut companions = table.iter().filter(|t| t.location == token.location);
    if token.shared && !companions.any(|companion| u32::from(companion.value) == value) {
        return Err(refuse(uapi::DSMIL_REASON_VALUE));
    }
    Ok(token.location)
}
