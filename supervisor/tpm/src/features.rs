//! What the chip offers and how much of it is left.

use crate::capability::{self, property};
use crate::chip::Chip;
use crate::counters::Kind;
use crate::{Error, Handle};

/// The bytes of NV memory that chips have at least (TCG PC Client Platform TPM Profile, section 4.5); how much of it
/// is left no chip tells, so it is counted against this.
pub const NV_BUDGET: u64 = 7 * 1024;

/// What an index takes besides its data, bytes: its public area, its authorisation value and the chip's own record of it, as
/// an upper bound.
const NV_OVERHEAD: u64 = 96;

// TPM_ALG, TPM 2.0 Library Part 2, section 6.3: those whose presence somebody asks for.
const ALGORITHMS: [(u16, &str); 17] = [
    (0x0001, "rsa"),
    (0x0004, "sha1"),
    (0x0005, "hmac"),
    (0x0006, "aes"),
    (0x0008, "keyedhash"),
    (0x000b, "sha256"),
    (0x000c, "sha384"),
    (0x000d, "sha512"),
    (0x0014, "rsassa"),
    (0x0016, "rsapss"),
    (0x0018, "ecdsa"),
    (0x0019, "ecdh"),
    (0x0023, "ecc"),
    (0x0025, "symcipher"),
    (0x0027, "sha3-256"),
    (0x0043, "cfb"),
    (0x0044, "ecb"),
];

/// TPM2_EncryptDecrypt2.
const ENCRYPT_DECRYPT_2: u32 = 0x193;

/// What the chip offers and holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Features {
    /// Algorithms in the words of tpm2-tools; unknown ones as `0x…`.
    pub algorithms: Vec<String>,
    /// PCR banks that have registers, likewise.
    pub banks: Vec<String>,
    /// It encrypts data for callers (TPM2_EncryptDecrypt2).
    pub encrypts: bool,
    /// NV indices defined, whoever did.
    pub nv_indices: usize,
    /// Bytes of NV memory that they take, counted generously.
    pub nv_used: u64,
    /// Bytes left of [`NV_BUDGET`].
    pub nv_left: u64,
    /// NV counters that can still be defined; `None` where the chip does not say.
    pub counters_left: Option<u32>,
    /// Wrong authorisations counted, and how many are allowed before a lockout.
    pub lockout: (u32, u32),
    /// It is locked out now.
    pub is_locked_out: bool,
}

impl Chip {
    fn features(&mut self) -> Result<Features, Error> {
        let link = &mut self.base.link;
        let algorithms = capability::algorithms(link)?.into_iter().map(name).collect();
        let banks = capability::banks(link)?.into_iter().map(name).collect();
        let encrypts = capability::has_command(link, ENCRYPT_DECRYPT_2)?;
        let variable = capability::properties(link, property::VARIABLE, 20)?;
        let value = |tag| variable.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value);
        let indices = capability::handles(link, capability::FIRST_NV)?;
        let mut used = 0;
        for index in &indices {
            // One that cannot be read has a name made with another hash; its data is unknown.
            let size = match self.nv_public(*index) {
                Ok(index) => index.map_or(0, |index| u64::from(index.size)),
                Err(Error::NvForeign { .. }) => 0,
                Err(error) => return Err(error),
            };
            used += size + NV_OVERHEAD;
        }
        Ok(Features {
            algorithms,
            banks,
            encrypts,
            nv_indices: indices.len(),
            nv_used: used,
            nv_left: NV_BUDGET.saturating_sub(used),
            counters_left: value(property::COUNTERS_LEFT),
            lockout: (
                value(property::LOCKOUT_COUNTER).unwrap_or_default(),
                value(property::LOCKOUT_MAX).unwrap_or_default(),
            ),
            is_locked_out: value(property::PERMANENT).is_some_and(|flags| flags & property::IN_LOCKOUT != 0),
        })
    }
}

fn name(algorithm: u16) -> String {
    let known = ALGORITHMS.iter().find(|(number, _)| *number == algorithm);
    known.map_or_else(|| format!("{algorithm:#06x}"), |(_, name)| (*name).to_owned())
}

impl Handle {
    /// What the chip offers and how much of it is left. Five commands, and one for each NV index.
    pub async fn features(&self) -> Result<Features, Error> {
        self.ask_chip(Kind::Resources, "what the chip offers", Chip::features).await
    }
}
