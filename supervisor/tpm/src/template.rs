//! The public areas of the objects that are made, and whether one that is found is as if we had made it.

use tss_esapi::Result;
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyedHashScheme, Public, PublicBuilder,
    PublicEccParametersBuilder, PublicKeyedHashParameters, SymmetricDefinitionObject,
};

/// What every object of ours is: it cannot leave this TPM, the authorisation value opens it, and wrong values do not
/// count against the lockout: ours are 256 bits, so guessing is hopeless and a lockout would stop only the owner.
fn attributes() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

/// The storage root key: ECC P-256 as in the TCG's TPM v2.0 Provisioning Guidance, so that the one which other
/// software makes from the owner's seed is the same key.
pub(crate) fn storage_root_key() -> Result<Public> {
    let attributes =
        attributes().with_sensitive_data_origin(true).with_restricted(true).with_decrypt(true).build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    // The guidance's `unique` is zeros of the coordinates' length, which gives another key than empty ones.
    let zeros = || EccParameter::try_from(vec![0; 32]);
    ecc(attributes, parameters, EccPoint::new(zeros()?, zeros()?))
}

/// The signing key: ECDSA over P-256 with SHA-256, unrestricted, since it signs digests made outside the TPM.
pub(crate) fn signing_key() -> Result<Public> {
    let attributes = attributes().with_sensitive_data_origin(true).with_sign_encrypt(true).build()?;
    let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
    let parameters = PublicEccParametersBuilder::new_unrestricted_signing_key(scheme, EccCurve::NistP256);
    ecc(attributes, parameters, EccPoint::default())
}

/// Sealed data: comes from outside, so without the attribute sensitiveDataOrigin.
pub(crate) fn sealed() -> Result<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes().build()?)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

fn ecc(
    attributes: ObjectAttributes,
    parameters: PublicEccParametersBuilder,
    unique: EccPoint,
) -> Result<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(unique)
        .build()
}

/// TPMA_OBJECT, bit 10.
const NO_DA: u32 = 1 << 10;

/// Whether `found` was made from `template`: all is equal but the key itself.
///
/// The attribute noDA may differ: the templates of storage keys disagree on it.
pub(crate) fn matches(found: &Public, template: &Public) -> bool {
    let parts = |public: &Public| match public {
        Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. } => {
            let attributes = u32::from(*object_attributes) | NO_DA;
            Some((attributes, *name_hashing_algorithm, auth_policy.clone(), *parameters))
        }
        _ => None,
    };
    parts(found).is_some() && parts(found) == parts(template)
}

/// What a public area is, for messages.
pub(crate) fn describe(public: &Public) -> String {
    let kind = match public {
        Public::Rsa { .. } => "an RSA",
        Public::KeyedHash { .. } => "a keyed-hash",
        Public::Ecc { .. } => "an ECC",
        Public::SymCipher { .. } => "a symmetric",
    };
    let attributes = public.object_attributes();
    let usage = match (attributes.restricted(), attributes.decrypt(), attributes.sign_encrypt()) {
        (true, true, _) => "storage key",
        (true, false, true) => "attestation key",
        (false, _, true) => "signing key",
        _ => "object",
    };
    format!("{kind} {usage}")
}
