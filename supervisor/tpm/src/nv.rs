//! NV indices: a few bytes, or a counter, that the chip keeps for good.
//!
//! Everybody who knows the owner's authorisation, empty on most machines, can read an index, and can remove it and
//! define another in its place. Who may *write* one is the index's own matter:
//!
//! - [`NvWriter::Value`]: who knows its authorisation value, which is derived from the key folder's secret. One command,
//!   and no protection against an index that was defined anew.
//! - [`NvWriter::Key`]: who can sign with the machine's general key (TPM2_PolicySigned over a fresh nonce). The key's name is
//!   in the policy, the policy in the index's public area, and its hash is the index's name: an index of the same name
//!   can be written by nobody else, whoever defined it. Eight commands.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use types::hash::Hash;

use crate::chip::{Base, Chip};
use crate::code::Code;
use crate::codec::{Reader, Writer};
use crate::counters::Kind;
use crate::fault::{Fault, NV_DEFINED, NV_SPACE, NV_UNINITIALIZED};
use crate::handle::check_len;
use crate::key::Resident;
use crate::key_dir::Role;
use crate::link::Entity;
use crate::operations::sign_raw;
use crate::public::ALG_SHA256;
use crate::session::{Session, sha256};
use crate::{Error, Handle, code};

/// The owner's NV indices (TCG Registry of Reserved TPM 2.0 Handles and Localities, section 2.2).
pub const NV_OWNERS: std::ops::RangeInclusive<u32> = 0x0180_0000..=0x01bf_ffff;

/// The longest data of an index here, bytes; chips take 2,048.
pub const NV_SIZE_MAX: usize = 512;

/// What one command reads or writes on every chip, bytes.
const CHUNK: usize = 256;

/// The length of a counter, bytes.
pub(crate) const COUNTER_SIZE: u16 = 8;

// TPMA_NV, TPM 2.0 Library Part 2, section 13.4.
const AUTH_WRITE: u32 = 1 << 2;
const POLICY_WRITE: u32 = 1 << 3;
/// What kind it is, TPM_NT; bytes are 0.
const NT: u32 = 0xf << 4;
const COUNTER: u32 = 1 << 4;
const OWNER_READ: u32 = 1 << 17;
const AUTH_READ: u32 = 1 << 18;
const NO_DA: u32 = 1 << 25;
const ORDERLY: u32 = 1 << 26;
const WRITTEN: u32 = 1 << 29;

/// What distinguishes our signatures for writing from others of the same key.
const POLICY_REF: &[u8] = b"dsmil nv write 1";

/// What an index holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NvKind {
    /// Bytes, 1 to [`NV_SIZE_MAX`].
    Bytes(u16),
    /// A counter that never goes back: not even an index that is defined anew, which begins above every counter that the
    /// chip ever had. Each increment wears the chip.
    Counter,
    /// The same, kept in memory while there is power: only each 256th increment wears the chip. After a power loss without
    /// TPM2_Shutdown it jumps forward, by at most some hundred.
    OrderlyCounter,
}

/// Who may write an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NvWriter {
    /// Who knows its authorisation value: this key folder.
    Value,
    /// Who can use this machine's general key; see the module's text.
    Key,
}

/// The name of an index: a hash of everything but its content and its authorisation value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NvName(pub [u8; 34]);

/// A public area: TPMS_NV_PUBLIC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Index {
    pub(crate) handle: u32,
    attributes: u32,
    policy: Vec<u8>,
    pub(crate) size: u16,
}

impl Index {
    /// What we define for this kind; `key` is the name of the general key.
    pub(crate) fn new(handle: u32, kind: NvKind, writer: NvWriter, key: &[u8]) -> Self {
        let (kind, size) = match kind {
            NvKind::Bytes(size) => (0, size),
            NvKind::Counter => (COUNTER, COUNTER_SIZE),
            NvKind::OrderlyCounter => (COUNTER | ORDERLY, COUNTER_SIZE),
        };
        let (writer, policy) = match writer {
            NvWriter::Value => (AUTH_WRITE, Vec::new()),
            NvWriter::Key => (POLICY_WRITE, signed_by(key)),
        };
        Self { handle, attributes: kind | writer | OWNER_READ | AUTH_READ | NO_DA, policy, size }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let handle = reader.u32()?;
        if reader.u16()? != ALG_SHA256 {
            return None;
        }
        let (attributes, policy, size) = (reader.u32()?, reader.sized()?.to_vec(), reader.u16()?);
        reader.is_empty().then_some(Self { handle, attributes, policy, size })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let writer = Writer::new().u32(self.handle).u16(ALG_SHA256).u32(self.attributes);
        writer.sized(&self.policy).u16(self.size).to_vec()
    }

    /// The name that it has now.
    pub(crate) fn name(&self) -> NvName {
        let [a, b] = ALG_SHA256.to_be_bytes();
        let mut name = [0; 34];
        let bytes = [a, b].into_iter().chain(sha256(&[&self.to_bytes()]));
        name.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        NvName(name)
    }

    /// The same when it was written at least once.
    pub(crate) fn written(mut self) -> Self {
        self.attributes |= WRITTEN;
        self
    }

    /// The same when it was never written.
    pub(crate) fn fresh(&self) -> Self {
        Self { attributes: self.attributes & !WRITTEN, ..self.clone() }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.attributes & WRITTEN != 0
    }

    /// Whether it is this one, but for whether it was written.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let bytes = |index: &Self| index.clone().written().to_bytes();
        verify_slices_are_equal(&bytes(self), &bytes(other)).is_ok()
    }

    fn is_keyed(&self) -> bool {
        self.attributes & POLICY_WRITE != 0
    }

    pub(crate) fn entity(&self) -> Entity {
        Entity { handle: self.handle, name: self.name().0.to_vec() }
    }
}

/// The policy TPM2_PolicySigned for a key of this name, TPM 2.0 Library Part 3, section 23.3.
fn signed_by(key: &[u8]) -> Vec<u8> {
    let first = sha256(&[&[0; 32], &code::POLICY_SIGNED.number.to_be_bytes(), key]);
    sha256(&[&first, POLICY_REF]).to_vec()
}

/// What a refusal means to who asked for this index.
fn refused(index: u32, fault: Fault) -> Error {
    match fault.kind() {
        Some(NV_DEFINED) => Error::NvDefined { index },
        Some(NV_SPACE) => Error::NvSpace,
        Some(NV_UNINITIALIZED) => Error::NvUnwritten { index },
        _ if fault.is_handle() => Error::NvMissing { index },
        _ if fault.is_policy() => Error::NvForeign { index },
        // What the owner authorises.
        _ if fault.is_authorization()
            && ["NV_DefineSpace", "NV_UndefineSpace", "NV_Read"].contains(&fault.command) =>
        {
            Error::Authorization { what: "the owner hierarchy".to_owned() }
        }
        _ if fault.is_authorization() => Error::NvForeign { index },
        _ => fault.into(),
    }
}

impl Chip {
    /// Defines an index.
    pub(crate) fn nv_define(&mut self, index: &Index) -> Result<(), Error> {
        let parameters = Writer::new().sized(&self.nv_auth).sized(&index.to_bytes());
        let defined = self.base.secured(code::NV_DEFINE, &[&Entity::owner()], &parameters, &[]);
        defined.map(drop).map_err(|fault| refused(index.handle, fault))
    }

    /// Removes an index, whatever it is.
    pub(crate) fn nv_undefine(&mut self, handle: u32) -> Result<(), Error> {
        let index = self.nv_public(handle)?.ok_or(Error::NvMissing { index: handle })?;
        let handles = [&Entity::owner(), &index.entity()];
        let removed = self.base.secured(code::NV_UNDEFINE, &handles, &Writer::new(), &[]);
        removed.map(drop).map_err(|fault| refused(handle, fault))
    }

    /// What is defined there.
    pub(crate) fn nv_public(&mut self, handle: u32) -> Result<Option<Index>, Error> {
        match self.base.link.plain(code::NV_READ_PUBLIC, &[&Entity::bare(handle)], &Writer::new()) {
            Ok(response) => {
                let index = Reader::new(&response.parameters).sized().and_then(Index::from_bytes);
                let index = index.filter(|index| index.handle == handle);
                // One whose name is made with another hash is none of ours, and nothing that we could use.
                index.map(Some).ok_or(Error::NvForeign { index: handle })
            }
            Err(fault) if fault.is_handle() => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// All bytes of an index. The name goes into the command: a changed index is refused.
    pub(crate) fn nv_read(&mut self, index: &Index) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(index.size.into());
        while bytes.len() < usize::from(index.size) {
            let len = CHUNK.min(usize::from(index.size) - bytes.len());
            let parameters = Writer::new()
                .u16(u16::try_from(len).unwrap_or_default())
                .u16(u16::try_from(bytes.len()).unwrap_or_default());
            let handles = [&Entity::owner(), &index.entity()];
            let read = self.base.secured(code::NV_READ, &handles, &parameters, &[]);
            let read = read.map_err(|fault| refused(index.handle, fault))?;
            match Reader::new(&read.parameters).sized() {
                Some(part) if part.len() == len => bytes.extend_from_slice(part),
                _ => return Err(Error::malformed("NV_Read", "a wrong number of bytes")),
            }
        }
        Ok(bytes)
    }

    /// The value of a counter; `None` where it was never incremented.
    pub(crate) fn nv_counter(&mut self, index: &Index) -> Result<Option<u64>, Error> {
        if !index.is_written() {
            return Ok(None);
        }
        let bytes = self.nv_read(index)?;
        let value = bytes.try_into().map(u64::from_be_bytes);
        value.map(Some).map_err(|_| Error::malformed("NV_Read", "not a counter"))
    }

    /// Writes all bytes of an index from its beginning.
    pub(crate) fn nv_write(&mut self, index: &Index, data: &[u8]) -> Result<(), Error> {
        let mut index = index.clone();
        for (number, part) in data.chunks(CHUNK).enumerate() {
            let offset = u16::try_from(number * CHUNK).unwrap_or(u16::MAX);
            let parameters = Writer::new().sized(part).u16(offset);
            self.nv_change(code::NV_WRITE, &index, &parameters)?;
            // Its name changes with the first write.
            index = index.written();
        }
        Ok(())
    }

    /// Adds one to a counter.
    pub(crate) fn nv_increment(&mut self, index: &Index) -> Result<(), Error> {
        self.nv_change(code::NV_INCREMENT, index, &Writer::new())
    }

    fn nv_change(&mut self, code: Code, index: &Index, parameters: &Writer) -> Result<(), Error> {
        let entity = index.entity();
        let handles = [&entity, &entity];
        if !index.is_keyed() {
            let done = self.base.secured(code, &handles, parameters, &self.nv_auth);
            return done.map(drop).map_err(|fault| refused(index.handle, fault));
        }
        self.with_key(Role::General, |base, key| {
            let mut policy = base.start_policy()?;
            let done = sign_policy(base, key, &policy).and_then(|()| {
                let done = base.under_policy(code, &handles, parameters, &mut policy);
                done.map(drop).map_err(|fault| refused(index.handle, fault))
            });
            let flushed = base.link.flush(policy.handle);
            done?;
            Ok(flushed?)
        })
    }
}

/// Satisfies the policy of [`signed_by`] with a signature over the session's nonce.
fn sign_policy(base: &mut Base, key: &Resident, policy: &Session) -> Result<(), Error> {
    // No expiry: the nonce is fresh and the session short.
    let expiration = 0u32;
    let digest = Hash(sha256(&[&policy.nonce, &expiration.to_be_bytes(), POLICY_REF]));
    let signature = sign_raw(base, key, digest).map_err(|refusal| refusal.into_error(&key.file))?;
    let parameters = Writer::new().sized(&policy.nonce).sized(&[]).sized(POLICY_REF).u32(expiration);
    let handles = [&key.entity, &Entity::bare(policy.handle)];
    base.link.plain(code::POLICY_SIGNED, &handles, &parameters.bytes(&signature))?;
    Ok(())
}

impl Handle {
    /// Defines an index of the owner's. One command; the chip keeps it for good.
    ///
    /// # Errors
    /// - `Length`: a size of 0 or above [`NV_SIZE_MAX`]
    /// - `NvDefined`: something is defined there
    /// - `NvSpace`: the chip has no room left
    /// - `NvForeign`: the handle is not one of [`NV_OWNERS`]
    /// - `Authorization`: the owner hierarchy has an authorisation value
    pub async fn nv_define(&self, index: u32, kind: NvKind, writer: NvWriter) -> Result<(), Error> {
        if let NvKind::Bytes(size) = kind {
            check_len("NV data", size.into(), NV_SIZE_MAX)?;
        }
        if !NV_OWNERS.contains(&index) {
            return Err(Error::NvForeign { index });
        }
        self.ask_chip(Kind::Nv, "NV storage", move |chip| {
            let key = chip.general_name.clone();
            chip.nv_define(&Index::new(index, kind, writer, &key))
        })
        .await
    }

    /// The name of an index; `None` where none is defined. One command.
    pub async fn nv_name(&self, index: u32) -> Result<Option<NvName>, Error> {
        self.ask_chip(Kind::Nv, "NV storage", move |chip| {
            Ok(chip.nv_public(index)?.map(|public| public.name()))
        })
        .await
    }

    /// All bytes of an index; a counter has eight, big-endian. Two commands, and one more for each further 256 bytes.
    ///
    /// # Errors
    /// - `NvMissing`, `NvUnwritten`
    /// - `NvForeign`: it is named with another hash than SHA-256, so none of ours
    /// - `Authorization`: the owner hierarchy has an authorisation value
    pub async fn nv_read(&self, index: u32) -> Result<Vec<u8>, Error> {
        self.ask_chip(Kind::Nv, "NV storage", move |chip| {
            let public = chip.nv_public(index)?.ok_or(Error::NvMissing { index })?;
            chip.nv_read(&public)
        })
        .await
    }

    /// Writes the first bytes of an index. Two commands, nine where a policy guards it.
    ///
    /// # Errors
    /// - `Length`: none, or more bytes than the index has
    /// - `NvMissing`
    /// - `NvOther`: it is a counter
    /// - `NvForeign`: it was defined by somebody else
    pub async fn nv_write(&self, index: u32, data: &[u8]) -> Result<(), Error> {
        check_len("NV data", data.len(), NV_SIZE_MAX)?;
        let data = data.to_vec();
        self.ask_chip(Kind::Nv, "NV storage", move |chip| {
            let public = chip.nv_public(index)?.ok_or(Error::NvMissing { index })?;
            if public.attributes & NT != 0 {
                return Err(Error::NvOther { index, wanted: "bytes" });
            }
            check_len("NV data", data.len(), public.size.into())?;
            chip.nv_write(&public, &data)
        })
        .await
    }

    /// Adds one to a counter and reads it. Three commands, ten where a policy guards it.
    ///
    /// # Errors
    /// - `NvMissing`
    /// - `NvOther`: it is no counter
    /// - `NvForeign`: it was defined by somebody else
    pub async fn nv_increment(&self, index: u32) -> Result<u64, Error> {
        let mut is_done = false;
        self.ask_chip(Kind::Nv, "NV storage", move |chip| {
            let public = chip.nv_public(index)?.ok_or(Error::NvMissing { index })?;
            if public.attributes & NT != COUNTER {
                return Err(Error::NvOther { index, wanted: "a counter" });
            }
            // Where the chip was reset before it was read, it is read again and not incremented twice.
            if !is_done {
                chip.nv_increment(&public)?;
                is_done = true;
            }
            chip.nv_counter(&public.written())?.ok_or(Error::NvUnwritten { index })
        })
        .await
    }

    /// Removes an index of the owner's, whoever defined it. Two commands.
    ///
    /// # Errors
    /// - `NvMissing`
    /// - `NvForeign`: it is named with another hash than SHA-256
    /// - `Authorization`: the owner hierarchy has an authorisation value
    pub async fn nv_undefine(&self, index: u32) -> Result<(), Error> {
        self.ask_chip(Kind::Nv, "NV storage", move |chip| chip.nv_undefine(index)).await
    }
}
