//! The anchor for others: the TPM's own word on it, believed without a chip.

use crate::anchor::{AnchorHandles, AnchorRecord, RECORD};
use crate::attest::{ATTEST_NV, Clock, Disbelief, NONCE_MAX, Statement};
use crate::chip::Chip;
use crate::codec::Writer;
use crate::counters::Kind;
use crate::handle::check_len;
use crate::key_dir::Role;
use crate::link::Entity;
use crate::nv::{COUNTER_SIZE, Index, NvName};
use crate::public::ALG_NULL;
use crate::{Error, Handle, PublicKey, code};

/// The TPM's word on the anchor, for somebody who trusts its attestation key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certification {
    /// On the counter.
    pub counter: Statement,
    /// On the record.
    pub record: Statement,
}

/// What a [`Certification`] proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnchorClaim {
    /// The names of counter and record: compare them with those that the log's owner told.
    pub counter_name: NvName,
    /// The record's.
    pub record_name: NvName,
    /// The counter's value.
    pub counter: u64,
    /// The record.
    pub record: AnchorRecord,
    /// The TPM's clock.
    pub clock: Clock,
    /// The version of the TPM's firmware, obscured as the clock's counts are: equal values stay equal.
    pub firmware: u64,
}

/// Checks the TPM's word on the anchor in software: who signed, that it answers `nonce`, and that the two parts agree.
///
/// # Errors
/// - one for each reason not to believe it
pub fn verify_certification(
    key: &PublicKey,
    nonce: &[u8],
    certification: &Certification,
) -> Result<AnchorClaim, Disbelief> {
    let part = |statement: &Statement, len: u16| {
        let mut believed = statement.believe(key, ATTEST_NV, nonce)?;
        let body = &mut believed.body;
        let fields = (body.sized(), body.u16(), body.sized());
        let (Some(name), Some(0), Some(content)) = fields else { return Err(Disbelief::Malformed) };
        if !body.is_empty() || content.len() != usize::from(len) {
            return Err(Disbelief::Malformed);
        }
        let name = NvName(name.try_into().map_err(|_| Disbelief::Malformed)?);
        Ok((name, content.to_vec(), believed.clock, believed.firmware))
    };
    let (counter_name, value, clock, firmware) = part(&certification.counter, COUNTER_SIZE)?;
    let (record_name, record, ..) = part(&certification.record, RECORD)?;
    let counter = value.try_into().map(u64::from_be_bytes).map_err(|_| Disbelief::Malformed)?;
    let record = AnchorRecord::from_bytes(&record).ok_or(Disbelief::Malformed)?;
    // The increment may be missing after a power cut; anything else is a mixture of two moments.
    if record.counter != counter && counter.checked_add(1) != Some(record.counter) {
        return Err(Disbelief::Contradiction);
    }
    Ok(AnchorClaim { counter_name, record_name, counter, record, clock, firmware })
}

impl Chip {
    fn certify_anchor(&mut self, handles: AnchorHandles, nonce: &[u8]) -> Result<Certification, Error> {
        let ours = self.indices(handles);
        self.with_key(Role::Attestation, |base, key| {
            let mut certify = |index: &Index| {
                let parameters = Writer::new().sized(nonce).u16(ALG_NULL).u16(index.size).u16(0);
                let entities = [&key.entity, &Entity::owner(), &index.entity()];
                let response = base.secured_twice(code::NV_CERTIFY, &entities, &parameters, &key.auth)?;
                Statement::from_response("NV_Certify", &response.parameters)
            };
            Ok(Certification { counter: certify(&ours.counter)?, record: certify(&ours.record)? })
        })
    }
}

impl Handle {
    /// Has the TPM state what the anchor holds, in answer to a nonce of at most [`NONCE_MAX`] bytes. Four commands.
    ///
    /// # Errors
    /// - `Length`: no nonce, or a longer one
    pub async fn certify_anchor(&self, handles: AnchorHandles, nonce: &[u8]) -> Result<Certification, Error> {
        check_len("a nonce", nonce.len(), NONCE_MAX)?;
        let nonce = nonce.to_vec();
        let certify = move |chip: &mut Chip| chip.certify_anchor(handles, &nonce);
        self.ask_chip(Kind::Attest, "certifying the anchor", certify).await
    }
}
