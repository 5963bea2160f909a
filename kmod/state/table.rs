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
        Refusal,
        Token, //
    },
    transaction::Entry,
    uapi,
};
use kernel::prelude::*;

/// The sealed allow-list.
pub(super) struct Allowed {
    /// For each token, whether it is on the list.
    pub(super) marks: KVVec<bool>,
    /// The tokens as the interface shows them.
    listed: KVVec<uapi::dsmil_token>,
    /// How many are on the list.
    pub(super) count: u32,
}

/// The tokens as the interface shows them; where `marks` is true they are writable.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn list_of(tokens: &[Token], marks: &[bool]) -> Result<KVVec<uapi::dsmil_token>> {
    let mut listed = KVVec::with_capacity(tokens.len(), GFP_KERNEL)?;
    for (index, token) in tokens.iter().enumerate() {
        let writable = marks.get(index).copied().unwrap_or(false);
        listed.push(token.export(writable), GFP_KERNEL)?;
    }
    Ok(listed)
}

impl Shared {
    /// The table's tokens from `start` on, `count` at most, as the interface shows them.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `start` lies beyond the end.
    pub(crate) fn list(&self, start: usize, count: usize) -> Result<&[uapi::dsmil_token]> {
        let sealed = self.allowed.as_ref();
        let all = sealed.map_or(&self.listed, |sealed| &sealed.listed);
        let rest = all.get(start..).ok_or(EINVAL)?;
        Ok(rest.get(..count).unwrap_or(rest))
    }

    /// Makes exactly these ids writable until the module is reloaded.
    pub(crate) fn allow(&self, ids: &[u16]) -> Outcome<()> {
        if self.allowed.as_ref().is_some() {
            return refuse(uapi::DSMIL_REASON_SEALED);
        }
        let mut marks = KVVec::from_elem(false, self.tokens.len(), GFP_KERNEL)
            .map_err(|error| kernel_failure(error.into()))?;
        token::allow(&self.tokens, ids, &mut marks).map_err(|refusal| refusal_failure(&refusal))?;
        let sealed = Allowed {
            listed: list_of(&self.tokens, &marks).map_err(kernel_failure)?,
            count: ids.len() as u32,
            marks,
        };
        // Of two at once, one comes second.
        if !self.allowed.populate(sealed) {
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
        let allowed = self.allowed.as_ref().map(|sealed| &sealed.marks[..]);
        let location = token::check_write(&self.tokens, allowed, index, wanted.id, wanted.value)?;
        let expected = expects.then_some(wanted.expected);
        Ok(Entry::new(
            wanted.id,
            location,
            wanted.select,
            wanted.value,
            expected,
        ))
    }
}
