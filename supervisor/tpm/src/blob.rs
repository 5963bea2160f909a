//! Sealed data as bytes: a CBOR map with integer keys and a version.

use minicbor::{Decode, Encode};

use crate::Error;

/// The version of the encoding; it is refused when newer.
const VERSION: u32 = 1;

/// The longest blob that is looked at, bytes: the TPM's two areas have at most 1,500.
pub(crate) const BLOB_MAX: usize = 4096;

/// What the TPM needs to open it again; all of it may be public.
#[derive(Encode, Decode, PartialEq, Debug)]
#[cbor(map)]
pub(crate) struct Blob {
    #[n(0)]
    version: u32,
    /// The name of the storage root key under which it lies: whose it is can be told without trying.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) parent_name: Vec<u8>,
    /// TPMT_PUBLIC.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) public: Vec<u8>,
    /// TPM2B_PRIVATE without its length; encrypted by the TPM.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) private: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(parent_name: Vec<u8>, public: Vec<u8>, private: Vec<u8>) -> Self {
        Self { version: VERSION, parent_name, public, private }
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        minicbor::to_vec(self).map_err(|error| Error::DamagedBlob { reason: error.to_string() })
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |reason: String| Error::DamagedBlob { reason };
        if bytes.len() > BLOB_MAX {
            return Err(damaged(format!("{} bytes, more than {BLOB_MAX}", bytes.len())));
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let blob: Self = decoder.decode().map_err(|error| damaged(error.to_string()))?;
        if decoder.position() != bytes.len() {
            return Err(damaged("bytes after its end".to_owned()));
        }
        if blob.version != VERSION {
            return Err(damaged(format!("its version is {}, this program knows {VERSION}", blob.version)));
        }
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back(name: Vec<u8>, public: Vec<u8>, private: Vec<u8>, cut in 1..100usize) {
            let blob = Blob::new(name, public, private);
            let bytes = blob.to_bytes().unwrap();
            prop_assert_eq!(&Blob::from_bytes(&bytes).unwrap(), &blob);
            prop_assert!(Blob::from_bytes(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
            prop_assert!(Blob::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
        }

        #[test]
        fn noise_is_refused(noise: Vec<u8>) {
            prop_assert!(Blob::from_bytes(&noise).is_err());
        }
    }

    #[test]
    fn newer_versions_and_giants_are_refused() {
        let blob = Blob { version: 2, ..Blob::new(vec![1], vec![2], vec![3]) };
        assert!(
            Blob::from_bytes(&blob.to_bytes().unwrap()).unwrap_err().to_string().contains("version is 2")
        );
        let giant = Blob::new(vec![0; BLOB_MAX], vec![], vec![]);
        assert!(Blob::from_bytes(&giant.to_bytes().unwrap()).is_err());
    }
}
