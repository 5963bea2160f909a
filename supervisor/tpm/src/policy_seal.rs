//! Sealing to a policy key, and opening under terms that it signed.

use types::hash::Hash;
use zeroize::Zeroizing;

use crate::blob::{BLOB_MAX, Blob};
use crate::chip::Chip;
use crate::code;
use crate::codec::{Reader, Writer};
use crate::counters::Kind;
use crate::fault::POLICY;
use crate::handle::check_len;
use crate::key;
use crate::link::Entity;
use crate::operations::SEAL_MAX;
use crate::policy::{POLICY_REF, SignedPolicy, Terms, UNSIGNED_LE, authorized_by};
use crate::public::{self, Public, policy_key};
use crate::session::{Session, sha256};
use crate::{Error, Handle, PublicKey, Signature};

/// TPM_RH_OWNER.
const OWNER: u32 = 0x4000_0001;

impl Chip {
    fn seal_to_policy(&mut self, data: &[u8], key: &PublicKey) -> Result<Vec<u8>, Error> {
        let template = public::sealed().with_policy(&authorized_by(key));
        let made = key::make(&mut self.base, &[], data, &template)?;
        Blob::new(self.base.root.entity.name.clone(), made.public.to_bytes(), made.private).to_bytes()
    }

    fn unseal_under(&mut self, bytes: &[u8], policy: &SignedPolicy) -> Result<Zeroizing<Vec<u8>>, Error> {
        let blob = Blob::from_bytes(bytes)?;
        if blob.parent_name != self.base.root.entity.name {
            return Err(Error::ForeignBlob);
        }
        let damaged = |reason: &str| Error::DamagedBlob { reason: reason.to_owned() };
        let public = Public::from_bytes(&blob.public).ok_or_else(|| damaged("its areas are malformed"))?;
        if public.policy() != authorized_by(&policy.key) || !policy.is_genuine() {
            return Err(Error::PolicyKey);
        }
        self.check_revocation(&policy.terms)?;
        let mut session = self.base.start_policy()?;
        let done = self.satisfy(&session, policy).and_then(|()| {
            let loaded = key::load(&mut self.base, &blob.private, &public).map_err(|fault| {
                if fault.is_parameter() { damaged("the TPM does not know it") } else { fault.into() }
            })?;
            let done = self.base.under_policy(code::UNSEAL, &[&loaded], &Writer::new(), &mut session);
            let flushed = self.base.link.flush(loaded.handle);
            let done = done?;
            flushed?;
            Ok(done)
        });
        let flushed = self.base.link.flush(session.handle);
        let response = done?;
        flushed?;
        let data = Reader::new(&response.parameters).sized().map(<[u8]>::to_vec);
        data.map(Zeroizing::new).ok_or_else(|| Error::malformed("Unseal", "no data"))
    }

    /// What the chip will refuse too; asked first for the sake of the message.
    fn check_revocation(&mut self, terms: &Terms) -> Result<(), Error> {
        let index = self.nv_public(terms.revocation)?;
        let index = index.ok_or(Error::NvMissing { index: terms.revocation })?;
        if !index.is_written() {
            return Err(Error::NvUnwritten { index: terms.revocation });
        }
        if index.name() != terms.revocation_name {
            return Err(Error::NvForeign { index: terms.revocation });
        }
        Ok(())
    }

    /// Brings a policy session to where the object's policy is.
    fn satisfy(&mut self, session: &Session, policy: &SignedPolicy) -> Result<(), Error> {
        let terms = &policy.terms;
        let session = Entity::bare(session.handle);
        let parameters = Writer::new().sized(&terms.pcr_digest.0).bytes(&terms.pcrs.to_bytes());
        self.base.link.plain(code::POLICY_PCR, &[&session], &parameters).map_err(|fault| {
            match fault.is_value() {
                true => Error::WrongPcr { registers: terms.pcrs.registers().collect() },
                false => fault.into(),
            }
        })?;
        let index = Entity { handle: terms.revocation, name: terms.revocation_name.0.to_vec() };
        let operand = terms.counter_max.to_be_bytes();
        let parameters = Writer::new().sized(&operand).u16(0).u16(UNSIGNED_LE);
        let handles = [&Entity::owner(), &index, &session];
        self.base.secured(code::POLICY_NV, &handles, &parameters, &[]).map_err(|fault| {
            match fault.kind() {
                Some(POLICY) => Error::PolicyRevoked { counter_max: terms.counter_max },
                _ if fault.is_authorization() => {
                    Error::Authorization { what: "the owner hierarchy".to_owned() }
                }
                _ => fault.into(),
            }
        })?;
        let ticket = self.ticket(policy)?;
        let parameters = Writer::new()
            .sized(&terms.digest())
            .sized(POLICY_REF)
            .sized(&policy_key(&policy.key).name())
            .bytes(&ticket);
        self.base.link.plain(code::POLICY_AUTHORIZE, &[&session], &parameters)?;
        Ok(())
    }

    /// The chip's own word that the policy key signed the terms.
    fn ticket(&mut self, policy: &SignedPolicy) -> Result<Vec<u8>, Error> {
        let public = policy_key(&policy.key);
        let parameters = Writer::new().sized(&[]).sized(&public.to_bytes()).u32(OWNER);
        let loaded = self
            .base
            .link
            .plain(code::LOAD_EXTERNAL, &[], &parameters)
            .map_err(|fault| if fault.is_parameter() { Error::PolicyKey } else { fault.into() })?;
        let key = Entity { handle: loaded.handle, name: public.name() };
        let digest = Hash(sha256(&[&policy.terms.digest(), POLICY_REF]));
        let signature = Signature::from_der(&policy.signature).to_chip().ok_or(Error::PolicyKey)?;
        let parameters = Writer::new().sized(&digest.0).bytes(&signature);
        let verified = self.base.link.plain(code::VERIFY_SIGNATURE, &[&key], &parameters);
        let flushed = self.base.link.flush(key.handle);
        let verified = verified?;
        flushed?;
        Ok(verified.parameters.to_vec())
    }
}

impl Handle {
    /// Encrypts 1 to [`SEAL_MAX`] bytes so that only this TPM can decrypt them, and only under terms that this policy key
    /// signed. One command.
    ///
    /// # Errors
    /// - `Length`: none or too many bytes
    pub async fn seal_policy(&self, data: &[u8], key: &PublicKey) -> Result<Vec<u8>, Error> {
        check_len("data to seal", data.len(), SEAL_MAX)?;
        let (data, key) = (Zeroizing::new(data.to_vec()), *key);
        let seal = move |chip: &mut Chip| chip.seal_to_policy(&data, &key);
        self.ask_chip(Kind::Seal, "sealing to a policy key", seal).await
    }

    /// Decrypts what [`seal_policy`](Self::seal_policy) made. Twelve commands.
    ///
    /// # Errors
    /// - `PolicyKey`: another key signed the policy, or it was changed
    /// - `WrongPcr`: the machine is in another state than the terms name
    /// - `PolicyRevoked`: the revocation counter went on since
    /// - `NvMissing`, `NvForeign`, `NvUnwritten`: the revocation counter is not the one that the terms name
    /// - `Authorization`: the owner hierarchy has an authorisation value, which reading the counter takes
    /// - `ForeignBlob`: another TPM sealed it
    /// - `DamagedBlob`: it was changed
    /// - `Length`: it is no sealed data, being empty or too long
    pub async fn unseal_policy(
        &self,
        blob: &[u8],
        policy: &SignedPolicy,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        check_len("sealed data", blob.len(), BLOB_MAX)?;
        let (blob, policy) = (blob.to_vec(), policy.clone());
        let unseal = move |chip: &mut Chip| chip.unseal_under(&blob, &policy);
        self.ask_chip(Kind::Unseal, "unsealing under a policy", unseal).await
    }
}
