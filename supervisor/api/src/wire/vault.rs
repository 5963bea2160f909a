//! What is told of the vault. Fields are only added.

use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// How the vault stands, for everybody.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// There is a vault.
    pub provisioned: bool,
    /// The daemon has the repository's key, so that checkpoints can be taken and read.
    pub open: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<String>,
    /// Whether a policy is in force that holds on the machine as it is.
    pub policy_holds: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Short id of the policy key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_key: Option<String>,
    /// The policy key is in the vault, wrapped with the recovery key; else it is with the owner.
    pub wrapped: bool,
    /// Which PCRs the policy names.
    pub pcrs: Vec<u8>,
    /// Where the revocation counter stands; none where there is none, or another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// The highest value at which the policy holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_max: Option<u64>,
}

/// The vault, for its owner.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// How it stands.
    pub standing: Standing,
    /// The whole vault, base64; nothing in it is secret without the TPM or the recovery key. None where there is none.
    pub vault: Option<String>,
    /// The terms that hold on the machine as it is, to be signed, base64; none where there is no vault or counter.
    pub terms: Option<String>,
}

/// What the owner makes a vault of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// The terms that hold on the machine as it is, base64.
    pub terms: String,
    /// SHA-256 of the key that signs the log's heads, hexadecimal.
    pub machine: String,
    /// The repository's key sealed to the policy key, base64.
    pub sealed: String,
    /// The repository's key, to be wrapped with the recovery key.
    pub repository: Secret,
}

/// The TPM's own statement of the log's anchor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Certification {
    /// On the counter: TPMS_ATTEST as it came from the TPM, hexadecimal; it holds the nonce.
    pub counter: String,
    /// ECDSA over its SHA-256 in DER, hexadecimal.
    pub counter_signature: String,
    /// On the record.
    pub record: String,
    /// Over it.
    pub record_signature: String,
    /// The attestation key, PEM. Who checks compares it with what the owner told.
    pub key: String,
    /// SHA-256 over the names of counter and record, hexadecimal: who checks compares it with what the owner told.
    pub anchor: String,
}
