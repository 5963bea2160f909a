// SPDX-License-Identifier: GPL-2.0-only

//! The tokens, and what may be written.

use super::Shared;
use crate::{
    failure::{
        kernel_failure,
        refusal_failure,
        refuse,
        Outcome, //
    },
    token::{
        self,
        Refusal, //
    },
    transaction::{
        Entry,
        Progress, //
    },
    uapi,
};
use kernel::prelude::*;

impl Shared {
    /// The table's tokens from `start` on, `count` at most, as the interface shows them.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `start` lies beyond the end.
    /// - `ENOMEM`.
    pub(crate) fn list(&self, start: usize, count: usize) -> Result<KVec<uapi::dsmil_token>> {
        let rest = self.tokens.get(start..).ok_or(EINVAL)?;
        let mut tokens = KVec::with_capacity(count.min(rest.len()), GFP_KERNEL)?;
        let allowed = self.allowed.as_ref();
        for (index, token) in (start..).zip(rest.iter().take(count)) {
            let writable = allowed.is_some_and(|all| all.get(index).copied().unwrap_or(false));
            tokens.push(token.export(writable), GFP_KERNEL)?;
        }
        Ok(tokens)
    }

    /// Makes exactly these ids writable until the module is reloaded.
    pub(crate) fn allow(&self, ids: &[u16]) -> Outcome<()> {
        if self.allowed.as_ref().is_some() {
            return refuse(uapi::DSMIL_REASON_SEALED);
        }
        let mut marks = KVVec::from_elem(false, self.tokens.len(), GFP_KERNEL)
            .map_err(|error| kernel_failure(error.into()))?;
        token::allow(&self.tokens, ids, &mut marks).map_err(|refusal| refusal_failure(&refusal))?;
        // Of two at once, one comes second.
        if !self.allowed.populate(marks) {
            return refuse(uapi::DSMIL_REASON_SEALED);
        }
        pr_info!("sealed, {} tokens may be written\n", ids.len());
        self.tell_sealed(ids.len());
        Ok(())
    }

    /// The entry that a commit works on, if it may be written.
    pub(super) fn check(
        &self,
        index: usize,
        wanted: &uapi::dsmil_stage_entry,
    ) -> Result<Entry, Refusal> {
        let flags = u32::from(wanted.flags);
        let expects = flags & uapi::DSMIL_STAGE_EXPECTED != 0;
        let is_plain = flags & !uapi::DSMIL_STAGE_EXPECTED == 0
            && wanted.reserved == 0
            && (expects || wanted.expected == 0);
        let refuse = |reason| Err(Refusal::entry(reason, index, wanted.id));
        if !is_plain {
            return refuse(uapi::DSMIL_REASON_RESERVED);
        }
        if u32::from(wanted.select) > uapi::DSMIL_SELECT_AC {
            return refuse(uapi::DSMIL_REASON_SELECT);
        }
        let allowed = self.allowed.as_ref().map(|marks| &marks[..]);
        let location = token::check_write(&self.tokens, allowed, index, wanted.id, wanted.value)?;
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
