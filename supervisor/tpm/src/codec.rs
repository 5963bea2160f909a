//! The TPM's encoding (TPM 2.0 Library Part 1, section 5): big-endian, nothing aligned, buffers behind their length.

use zeroize::Zeroizing;

/// Room for every command that we send, so that growing leaves no copy of a secret behind.
const ROOM: usize = 2048;

/// Writes one value after the other. Wiped when dropped: some of it is secret.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(ROOM)))
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A TPM2B: the length in 16 bits, then the bytes. A length that does not fit is written as the largest, and the
    /// TPM refuses it; our own are checked before.
    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }

    pub(crate) fn done(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// For what is public.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

/// Reads one value after the other; `None` where the bytes end.
#[derive(Clone)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A TPM2B.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back(a: u8, b: u16, c: u32, d: u64, e in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = Writer::new().u8(a).u16(b).u32(c).u64(d).sized(&e).bytes(&e).done();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.u8(), Some(a));
            prop_assert_eq!(reader.u16(), Some(b));
            prop_assert_eq!(reader.u32(), Some(c));
            prop_assert_eq!(reader.u64(), Some(d));
            prop_assert_eq!(reader.sized(), Some(e.as_slice()));
            prop_assert_eq!(reader.rest(), e.as_slice());
            prop_assert_eq!(reader.take(e.len() + 1), None);
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_none() {
        assert_eq!(Reader::new(&[0, 2, 1]).sized(), None);
        assert_eq!(Reader::new(&[0]).u16(), None);
    }
}
