//! Platform configuration registers: what was started, measured; and the TPM's own statement of them.

use types::hash::Hash;

use crate::attest::{ATTEST_QUOTE, Clock, Disbelief, NONCE_MAX, Statement};
use crate::chip::Chip;
use crate::codec::{Reader, Writer};
use crate::counters::Kind;
use crate::fault::LOCALITY;
use crate::handle::check_len;
use crate::key_dir::Role;
use crate::link::Entity;
use crate::public::{ALG_NULL, ALG_SHA256};
use crate::session::sha256;
use crate::{Error, Handle, PublicKey, code};

/// How many registers there are.
pub const PCR_COUNT: u8 = 24;

/// Some of the 24 registers of the SHA-256 bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcrSelection(u32);

impl PcrSelection {
    /// These registers; `None` if there are none, or one of them is above 23.
    pub fn new(registers: impl IntoIterator<Item = u8>) -> Option<Self> {
        let mut mask = 0;
        for register in registers {
            mask |= (register < PCR_COUNT).then(|| 1u32 << register)?;
        }
        (mask != 0).then_some(Self(mask))
    }

    /// From the bits, register 0 the lowest.
    pub fn from_mask(mask: u32) -> Option<Self> {
        (mask != 0 && mask >> PCR_COUNT == 0).then_some(Self(mask))
    }

    /// The bits, register 0 the lowest.
    pub const fn mask(self) -> u32 {
        self.0
    }

    /// In ascending order.
    pub fn registers(self) -> impl Iterator<Item = u8> {
        (0..PCR_COUNT).filter(move |register| self.0 >> register & 1 == 1)
    }

    /// TPML_PCR_SELECTION.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let [a, b, c, _] = self.0.to_le_bytes();
        Writer::new().u32(1).u16(ALG_SHA256).u8(3).bytes(&[a, b, c]).to_vec()
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        if (reader.u32()?, reader.u16()?, reader.u8()?) != (1, ALG_SHA256, 3) {
            return None;
        }
        let mut mask = [0; 4];
        mask.iter_mut().zip(reader.take(3)?).for_each(|(to, from)| *to = *from);
        Some(Self(u32::from_le_bytes(mask)))
    }
}

/// Registers and their values, in ascending order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pcrs(pub Vec<(u8, Hash)>);

impl Pcrs {
    /// The digest over the values that policies and quotes hold.
    pub fn digest(&self) -> Hash {
        let values: Vec<&[u8]> = self.0.iter().map(|(_, value)| value.0.as_slice()).collect();
        Hash(sha256(&values))
    }
}

/// What a register holds after this is extended into it.
pub fn extended(before: Hash, measurement: Hash) -> Hash {
    Hash(sha256(&[&before.0, &measurement.0]))
}

impl Chip {
    pub(crate) fn pcr_read(&mut self, selection: PcrSelection) -> Result<Pcrs, Error> {
        let malformed = || Error::malformed("PCR_Read", "not the registers");
        let mut left = selection;
        let mut values = Vec::new();
        // A chip gives at most eight at once, and says which.
        while left.0 != 0 {
            let parameters = Writer::new().bytes(&left.to_bytes());
            let response = self.base.secured(code::PCR_READ, &[], &parameters, &[])?;
            let mut reader = Reader::new(&response.parameters);
            let _update = reader.u32();
            let given =
                PcrSelection::read(&mut reader).filter(|given| given.0 != 0 && given.0 & !left.0 == 0);
            let given = given.ok_or_else(malformed)?;
            let count = reader.u32().and_then(|count| usize::try_from(count).ok());
            let registers: Vec<u8> = given.registers().collect();
            if count != Some(registers.len()) {
                return Err(malformed());
            }
            for register in registers {
                let value = reader.sized().and_then(|value| value.try_into().ok()).ok_or_else(malformed)?;
                values.push((register, Hash(value)));
            }
            left.0 &= !given.0;
        }
        values.sort_unstable_by_key(|(register, _)| *register);
        Ok(Pcrs(values))
    }

    fn pcr_extend(&mut self, register: u8, measurement: Hash) -> Result<(), Error> {
        let parameters = Writer::new().u32(1).u16(ALG_SHA256).bytes(&measurement.0);
        let handles = [&Entity::bare(register.into())];
        let extended = self.base.secured(code::PCR_EXTEND, &handles, &parameters, &[]);
        extended.map(drop).map_err(|fault| match fault.kind() {
            Some(LOCALITY) => Error::PcrReserved { register },
            _ => fault.into(),
        })
    }

    fn quote(&mut self, selection: PcrSelection, nonce: &[u8]) -> Result<Statement, Error> {
        self.with_key(Role::Attestation, |base, key| {
            let parameters = Writer::new().sized(nonce).u16(ALG_NULL).bytes(&selection.to_bytes());
            let response = base.secured(code::QUOTE, &[&key.entity], &parameters, &key.auth)?;
            Statement::from_response("Quote", &response.parameters)
        })
    }
}

/// What a quote proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuoteClaim {
    /// Which registers.
    pub selection: PcrSelection,
    /// The digest over their values.
    pub digest: Hash,
    /// The TPM's clock.
    pub clock: Clock,
    /// The version of the TPM's firmware, obscured as the clock's counts are: equal values stay equal.
    pub firmware: u64,
}

/// Checks a quote in software: that it was made by a TPM, who signed, that it answers `nonce`, and that the registers hold
/// what is expected.
///
/// # Errors
/// - one for each reason not to believe it
pub fn verify_quote(
    key: &PublicKey,
    nonce: &[u8],
    expected: &Pcrs,
    quote: &Statement,
) -> Result<QuoteClaim, Disbelief> {
    let mut believed = quote.believe(key, ATTEST_QUOTE, nonce)?;
    let selection = PcrSelection::read(&mut believed.body).ok_or(Disbelief::Malformed)?;
    let digest = believed.body.sized().and_then(|digest| digest.try_into().ok()).map(Hash);
    let digest = digest.filter(|_| believed.body.is_empty()).ok_or(Disbelief::Malformed)?;
    let registers = PcrSelection::new(expected.0.iter().map(|(register, _)| *register));
    if registers != Some(selection) || expected.digest() != digest {
        return Err(Disbelief::Pcr);
    }
    Ok(QuoteClaim { selection, digest, clock: believed.clock, firmware: believed.firmware })
}

impl Handle {
    /// The values of registers of the SHA-256 bank. One command for each eight.
    pub async fn pcr_read(&self, selection: PcrSelection) -> Result<Pcrs, Error> {
        self.ask_chip(Kind::Pcr, "reading PCRs", move |chip| chip.pcr_read(selection)).await
    }

    /// Extends a register of the SHA-256 bank: its value is then [`extended`]. One command.
    ///
    /// # Errors
    /// - `Length`: a register above 23
    /// - `PcrReserved`: the register is reserved for others, as 17 to 22 are
    pub async fn pcr_extend(&self, register: u8, measurement: Hash) -> Result<(), Error> {
        if register >= PCR_COUNT {
            return Err(Error::Length { what: "a PCR", len: register.into(), max: 23 });
        }
        self.ask_chip(Kind::Pcr, "extending a PCR", move |chip| chip.pcr_extend(register, measurement)).await
    }

    /// Has the TPM state its registers, in answer to a nonce of 1 to [`NONCE_MAX`] bytes. Three commands.
    ///
    /// # Errors
    /// - `Length`: no nonce, or a longer one
    pub async fn quote(&self, selection: PcrSelection, nonce: &[u8]) -> Result<Statement, Error> {
        check_len("a nonce", nonce.len(), NONCE_MAX)?;
        let nonce = nonce.to_vec();
        self.ask_chip(Kind::Attest, "a quote", move |chip| chip.quote(selection, &nonce)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_read_back() {
        for mask in [1, 0x81, 0x80_0000, 0xff_ffff, 0x1_0000] {
            let selection = PcrSelection::from_mask(mask).unwrap();
            assert_eq!(PcrSelection::new(selection.registers()), Some(selection));
            assert_eq!(PcrSelection::read(&mut Reader::new(&selection.to_bytes())), Some(selection));
        }
        assert_eq!(PcrSelection::from_mask(0), None);
        assert_eq!(PcrSelection::from_mask(1 << 24), None);
        assert_eq!(PcrSelection::new([24]), None);
    }
}
