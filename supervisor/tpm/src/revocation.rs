//! The revocation counter: an NV counter that only this key folder can increment. Terms name it and its highest value.
//!
//! It is made with the vault and goes on when every policy that was signed so far is to be void. Who defines it anew in its place
//! brings back no old value: a chip begins a new counter above every value that it ever had.

use crate::chip::Chip;
use crate::counters::Kind;
use crate::nv::{Index, NvKind, NvName, NvWriter};
use crate::{Error, Handle};

/// Where it is, in the owner's range, behind the log's anchor.
pub const REVOCATION: u32 = 0x0180_d513;

/// The counter as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// Its index.
    pub index: u32,
    /// Its name, which terms hold.
    pub name: NvName,
    /// Its value: terms that name a lower one are void.
    pub value: u64,
}

/// What is to become of one that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// It stays as it is.
    Keep,
    /// It goes on, so that earlier policies are void; one of another key folder is replaced.
    Renew,
}

impl Chip {
    fn revocation_index(&self) -> Index {
        Index::new(REVOCATION, NvKind::Counter, NvWriter::Key, &self.general_name)
    }

    fn revocation(&mut self) -> Result<Option<Revocation>, Error> {
        let ours = self.revocation_index();
        match self.nv_public(REVOCATION)? {
            None => Ok(None),
            Some(found) if !found.is_like(&ours) => Err(Error::NvForeign { index: REVOCATION }),
            Some(found) => {
                let value = self.nv_counter(&found)?.ok_or(Error::NvUnwritten { index: REVOCATION })?;
                Ok(Some(Revocation { index: REVOCATION, name: found.name(), value }))
            }
        }
    }

    fn make_revocation(&mut self, reuse: Reuse) -> Result<Revocation, Error> {
        let ours = self.revocation_index();
        match (self.revocation(), reuse) {
            (Ok(Some(found)), Reuse::Keep) => return Ok(found),
            (Ok(Some(_)), Reuse::Renew) => self.nv_increment(&ours.written())?,
            (Ok(None), _) => {
                self.nv_define(&ours)?;
                self.nv_increment(&ours)?;
            }
            // Its definition was interrupted, or somebody defined the same again: it begins above every earlier value.
            (Err(Error::NvUnwritten { .. }), _) => self.nv_increment(&ours)?,
            (Err(Error::NvForeign { .. }), Reuse::Renew) => {
                self.nv_undefine(REVOCATION)?;
                self.nv_define(&ours)?;
                self.nv_increment(&ours)?;
            }
            (Err(error), _) => return Err(error),
        }
        self.revocation()?.ok_or(Error::NvMissing { index: REVOCATION })
    }

    fn revoke(&mut self) -> Result<Revocation, Error> {
        self.revocation()?.ok_or(Error::NvMissing { index: REVOCATION })?;
        let ours = self.revocation_index().written();
        self.nv_increment(&ours)?;
        self.revocation()?.ok_or(Error::NvMissing { index: REVOCATION })
    }
}

impl Handle {
    /// The revocation counter; `None` where none was made. Three commands.
    ///
    /// # Errors
    /// - `NvForeign`: another key folder's lies there
    /// - `NvUnwritten`: it was defined anew
    pub async fn revocation(&self) -> Result<Option<Revocation>, Error> {
        self.ask_chip(Kind::Nv, "a revocation counter", Chip::revocation).await
    }

    /// Makes the revocation counter, or takes the one that is there. Some fifteen commands.
    ///
    /// # Errors
    /// - `NvForeign`: another key folder's lies there, and it is to be kept
    /// - `NvSpace`: the chip has no room left
    /// - `Authorization`: the owner hierarchy has an authorisation value
    pub async fn make_revocation(&self, reuse: Reuse) -> Result<Revocation, Error> {
        self.ask_chip(Kind::Nv, "a revocation counter", move |chip| chip.make_revocation(reuse)).await
    }

    /// Lets the counter go on: every policy that was signed so far is void. Some fifteen commands and one write to the chip's memory.
    ///
    /// # Errors
    /// - `NvMissing`, `NvForeign`, `NvUnwritten`: it is gone, or another one
    pub async fn revoke(&self) -> Result<Revocation, Error> {
        self.ask_chip(Kind::Nv, "a revocation counter", Chip::revoke).await
    }

    /// Removes the counter, whoever made it; where there is none that is no error. Two commands.
    pub async fn forget_revocation(&self) -> Result<(), Error> {
        self.ask_chip(Kind::Nv, "a revocation counter", |chip| match chip.nv_undefine(REVOCATION) {
            Ok(()) | Err(Error::NvMissing { .. }) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}
