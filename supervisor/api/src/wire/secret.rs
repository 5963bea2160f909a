//! What must not be shown: data that is sealed or opened, on its way over the socket.
//!
//! It travels as base64. It is wiped when it is dropped and shows itself to nobody: neither in logs nor in errors.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Most bytes of one: a vault has some 1,500.
pub const SECRET_MAX: usize = 8192;

/// Base64 (RFC 4648, with padding) of bytes that are nobody else's business.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From the bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        // As long as it becomes, so that it does not grow and leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
        STANDARD.encode_string(bytes, &mut text);
        Self(text)
    }

    /// The bytes; none where it is no base64, or holds more than [`SECRET_MAX`].
    #[must_use]
    pub fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        if self.0.len() > SECRET_MAX.div_ceil(3) * 4 {
            return None;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.0.len() / 4 * 3 + 3));
        STANDARD.decode_vec(self.0.as_bytes(), &mut bytes).ok()?;
        Some(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_shows_nothing() {
        for bytes in [&[][..], b"a", &[0xff; 128]] {
            let secret = Secret::new(bytes);
            assert_eq!(**secret.bytes().unwrap(), *bytes);
            let json = serde_json::to_string(&secret).unwrap();
            assert_eq!(serde_json::from_str::<Secret>(&json).unwrap(), secret);
            assert_eq!(format!("{secret:?}"), "Secret(…)");
        }
        assert!(serde_json::from_str::<Secret>("\"/wD\"").unwrap().bytes().is_none());
        assert!(Secret::new(&vec![0; SECRET_MAX + 3]).bytes().is_none());
    }
}
