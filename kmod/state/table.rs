// SPDX-License-Identifier: GPL-2.0-only

//! The tokens, their values, and what may be written.

use super::Shared;
use crate::{
    failure::{
        kernel_failure,
        refusal_failure,
        refuse,
        Outcome, //
    },
    firmware::Smbios,
    token::{
        self,
        Refusal,
        Token, //
    },
    transaction::{
        self,
        Entry,
        Firmware,
        Progress, //
    },
    uapi,
};
use kernel::prelude::*;

/// The firmware's table and its allow-list.
pub(super) struct Table {
    pub(super) tokens: KVVec<Token>,
    pub(super) sealed: bool,
}

impl Table {
    /// Fills in what is about the table.
    pub(super) fn describe(&self, info: &mut uapi::dsmil_info) {
        let count = |test: fn(&Token) -> bool| self.tokens.iter().filter(|t| test(t)).count();
        info.tokens = self.tokens.len() as u32;
        info.devices = count(|token| token.device().is_some()) as u32;
        info.writable = count(|token| token.writable) as u32;
        if self.sealed {
            info.flags |= uapi::DSMIL_INFO_SEALED;
        }
    }

    /// The entry that a commit works on, if it may be written.
    fn check(&self, index: usize, wanted: &uapi::dsmil_write_entry) -> Result<Entry, Refusal> {
        let flags = u32::from(wanted.flags);
        let expects = flags & uapi::DSMIL_WRITE_EXPECTED != 0;
        let is_plain = flags & !uapi::DSMIL_WRITE_EXPECTED == 0
            && wanted.old == 0
            && (expects || wanted.expected == 0);
        let refuse = |reason| Err(Refusal::entry(reason, index, wanted.id));
        if !is_plain {
            return refuse(uapi::DSMIL_REASON_RESERVED);
        }
        if u32::from(wanted.select) > uapi::DSMIL_SELECT_AC {
            return refuse(uapi::DSMIL_REASON_SELECT);
        }
        let location =
            token::check_write(&self.tokens, self.sealed, index, wanted.id, wanted.value)?;
        Ok(Entry {
            id: wanted.id,
            location,
            select: wanted.select,
            new: wanted.value,
            expected: expects.then_some(wanted.expected),
            old: 0,
            progress: Progress::Untouched,
        })
    }
}

impl Shared {
    /// The table's tokens from `start` on, `count` at most, as the interface shows them.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `start` lies beyond the end.
    /// - `ENOMEM`.
    pub(crate) fn tokens(&self, start: usize, count: usize) -> Result<KVec<uapi::dsmil_token>> {
        let mut tokens = KVec::with_capacity(count, GFP_KERNEL)?;
        let table = self.table.lock();
        for token in table.tokens.get(start..).ok_or(EINVAL)?.iter().take(count) {
            tokens.push(token.export(), GFP_KERNEL)?;
        }
        Ok(tokens)
    }

    /// Fills in one entry of a read: its value, or its error.
    pub(crate) fn read(&self, entry: &mut uapi::dsmil_read_entry) {
        let is_plain =
            entry.reserved == 0 && entry.value == 0 && entry.error == 0 && entry.status == 0;
        *entry = uapi::dsmil_read_entry {
            id: entry.id,
            select: entry.select,
            ..Default::default()
        };
        let is_select = u32::from(entry.select) <= uapi::DSMIL_SELECT_AC;
        // The table is not held over the call.
        let place = token::find(&self.table.lock().tokens, entry.id)
            .map(|token| (token.location, token.readable()));
        let error = match place {
            _ if !is_plain || !is_select => EINVAL,
            None => ENOENT,
            Some((_, false)) => EACCES,
            Some((location, true)) => match Smbios.read(location, entry.select) {
                Ok(value) => {
                    entry.value = value;
                    return;
                }
                Err(fault) => {
                    entry.status = fault.status;
                    entry.error = fault.error;
                    return;
                }
            },
        };
        entry.error = -error.to_errno();
    }

    /// Makes exactly these ids writable until the module is reloaded.
    pub(crate) fn allow(&self, ids: &[u16]) -> Outcome<()> {
        let mut table = self.table.lock();
        if table.sealed {
            return refuse(uapi::DSMIL_REASON_SEALED);
        }
        token::allow(&mut table.tokens, ids).map_err(|refusal| refusal_failure(&refusal))?;
        table.sealed = true;
        pr_info!("sealed, {} tokens may be written\n", ids.len());
        Ok(())
    }

    /// Everything that can be refused before the firmware is asked.
    pub(super) fn check(&self, wanted: &[uapi::dsmil_write_entry]) -> Outcome<KVec<Entry>> {
        let no_memory = |error: kernel::alloc::AllocError| kernel_failure(error.into());
        let mut entries = KVec::with_capacity(wanted.len(), GFP_KERNEL).map_err(no_memory)?;
        let table = self.table.lock();
        for (index, wanted) in wanted.iter().enumerate() {
            let entry = table
                .check(index, wanted)
                .map_err(|refusal| refusal_failure(&refusal))?;
            entries.push(entry, GFP_KERNEL).map_err(no_memory)?;
        }
        if let Some(index) = transaction::duplicate(&entries) {
            let id = entries.get(index).map_or(0, |entry| entry.id);
            let refusal = Refusal::entry(uapi::DSMIL_REASON_DUPLICATE, index, id);
            return Err(refusal_failure(&refusal));
        }
        Ok(entries)
    }
}
