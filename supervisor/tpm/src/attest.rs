//! What the TPM states about itself: TPMS_ATTEST (TPM 2.0 Library Part 2, section 10.12), signed by its attestation key.
//!
//! The attestation key is restricted: it signs only structures that the TPM made itself, which begin with a word that
//! nothing else that it is asked to sign may begin with. Verifying needs no chip.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use types::hash::Hash;

use crate::codec::Reader;
use crate::operations::ecdsa;
use crate::session::sha256;
use crate::{Error, PublicKey, Signature, verify};

/// TPM_GENERATED_VALUE: "\xffTCG".
const GENERATED: u32 = 0xff54_4347;

// TPM_ST, Part 2, section 6.9.
pub(crate) const ATTEST_NV: u16 = 0x8014;
pub(crate) const ATTEST_QUOTE: u16 = 0x8018;

/// The longest nonce, bytes: what TPM2B_DATA holds on every chip.
pub const NONCE_MAX: usize = 32;

/// A statement of the TPM's with its signature, as it came from the chip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// TPMS_ATTEST.
    pub bytes: Vec<u8>,
    /// Over its SHA-256, by the attestation key; DER.
    pub signature: Vec<u8>,
}

/// Why a statement is not believed.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disbelief {
    /// The signature is not that of the given key.
    #[error("the statement is not signed by the given attestation key")]
    Signature,
    /// It does not begin with TPM_GENERATED: it was not made by a TPM.
    #[error("the statement was not made by a TPM")]
    NotGenerated,
    /// It is well signed, but states something else.
    #[error("the statement is about something else")]
    Kind,
    /// It answers another question: it may be an old one.
    #[error("the statement does not carry the nonce that was asked with; it may be an old one")]
    Nonce,
    /// It ends too early or too late.
    #[error("the statement is malformed")]
    Malformed,
    /// PCRs differ from those that were expected.
    #[error("the statement's PCRs are not those that were expected")]
    Pcr,
    /// Two statements that belong together contradict each other.
    #[error("the statements contradict each other")]
    Contradiction,
}

/// The TPM's clock when it made a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Milliseconds with power, since the TPM was cleared.
    pub ms: u64,
    /// Times it was reset; the TPM obscures it from keys outside of its platform, equal values stay equal.
    pub resets: u32,
    /// Times it was suspended or restarted since the last reset; obscured likewise.
    pub restarts: u32,
    /// No greater value of `ms` was given out before a power loss.
    pub is_safe: bool,
}

impl Clock {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            ms: reader.u64()?,
            resets: reader.u32()?,
            restarts: reader.u32()?,
            is_safe: reader.u8()? != 0,
        })
    }
}

/// A statement that is believed: what all kinds have, and the rest.
pub(crate) struct Believed<'a> {
    pub(crate) clock: Clock,
    pub(crate) firmware: u64,
    pub(crate) body: Reader<'a>,
}

impl Statement {
    /// From a response: TPM2B_ATTEST, TPMT_SIGNATURE.
    pub(crate) fn from_response(command: &'static str, parameters: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(parameters);
        let bytes = reader.sized().map(<[u8]>::to_vec);
        let signature = ecdsa(&mut reader).map(|signature: Signature| signature.der().to_vec());
        let statement = bytes.zip(signature).map(|(bytes, signature)| Self { bytes, signature });
        statement.ok_or_else(|| Error::malformed(command, "not a signed statement"))
    }

    /// Checks who made it, that it is of this kind and answers this nonce.
    pub(crate) fn believe(
        &self,
        key: &PublicKey,
        kind: u16,
        nonce: &[u8],
    ) -> Result<Believed<'_>, Disbelief> {
        if !verify(key, Hash(sha256(&[&self.bytes])), &self.signature) {
            return Err(Disbelief::Signature);
        }
        let mut reader = Reader::new(&self.bytes);
        if reader.u32() != Some(GENERATED) {
            return Err(Disbelief::NotGenerated);
        }
        if reader.u16() != Some(kind) {
            return Err(Disbelief::Kind);
        }
        let _signer = reader.sized().ok_or(Disbelief::Malformed)?;
        let answered = reader.sized().ok_or(Disbelief::Malformed)?;
        verify_slices_are_equal(answered, nonce).map_err(|_| Disbelief::Nonce)?;
        let clock = Clock::read(&mut reader).ok_or(Disbelief::Malformed)?;
        let firmware = reader.u64().ok_or(Disbelief::Malformed)?;
        Ok(Believed { clock, firmware, body: reader })
    }
}
