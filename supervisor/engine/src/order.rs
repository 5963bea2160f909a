//! A request with an effect, as it is granted, hashed and recorded.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use types::hash::Hash;
use types::token::{Change, Select, TokenId};

use crate::fact::Error;

/// One value of one location, named by a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Item {
    /// The token's id.
    #[n(0)]
    pub id: u16,
    /// The firmware's select code.
    #[n(1)]
    pub select: u8,
}

impl Item {
    /// From the words of `types`.
    #[must_use]
    pub const fn new(id: TokenId, select: Select) -> Self {
        Self { id: id.0, select: select.code() }
    }

    /// The token.
    #[must_use]
    pub const fn token(self) -> TokenId {
        TokenId(self.id)
    }

    /// Which value; codes of a newer log count as the current one.
    #[must_use]
    pub fn select(self) -> Select {
        Select::from_code(self.select).unwrap_or_default()
    }
}

/// An item with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Valued {
    /// Which value of which location.
    #[n(0)]
    pub item: Item,
    /// The value.
    #[n(1)]
    pub value: u32,
}

/// One change of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Write {
    /// Which value of which location.
    #[n(0)]
    pub item: Item,
    /// The value to write.
    #[n(1)]
    pub value: u32,
    /// What must stand there before.
    #[n(2)]
    pub expected: Option<u32>,
}

impl From<Change> for Write {
    fn from(change: Change) -> Self {
        Self { item: Item::new(change.id, change.select), value: change.value, expected: change.expected }
    }
}

/// What is to be done. Encoded in facts: variants and keys are only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Order {
    /// Look at locations.
    #[n(0)]
    ReadTokens {
        /// At which.
        #[n(0)]
        items: Vec<Item>,
    },
    /// Change locations, all or none.
    #[n(1)]
    WriteTokens {
        /// How.
        #[n(0)]
        writes: Vec<Write>,
    },
    /// Take a checkpoint.
    #[n(2)]
    CreateCheckpoint {
        /// Its number, never used before.
        #[n(0)]
        number: u64,
        /// Its name.
        #[n(1)]
        name: String,
    },
    /// Check a checkpoint.
    #[n(3)]
    VerifyCheckpoint {
        /// Its number.
        #[n(0)]
        number: u64,
    },
    /// Show what a restore would change.
    #[n(4)]
    PlanRestore {
        /// The checkpoint's number.
        #[n(0)]
        number: u64,
    },
    /// Restore a checkpoint.
    #[n(5)]
    Restore {
        /// Its number.
        #[n(0)]
        number: u64,
        /// Leave tokens that may not be written.
        #[n(1)]
        leave_denied: bool,
    },
}

impl Order {
    /// SHA-256 of the encoded order: what a grant is bound to.
    ///
    /// # Errors
    ///
    /// The encoder failed, which a grant treats as a denial.
    pub fn hash(&self) -> Result<Hash, Error> {
        let bytes = minicbor::to_vec(self).map_err(|error| Error::Encode(error.to_string()))?;
        Ok(Hash(Sha256::digest(&bytes).into()))
    }

    /// Whether it changes the machine or must see it unchanged: one such order at a time.
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        matches!(self, Self::WriteTokens { .. } | Self::CreateCheckpoint { .. } | Self::Restore { .. })
    }

    /// A few words for people.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::ReadTokens { .. } => "read tokens",
            Self::WriteTokens { .. } => "write tokens",
            Self::CreateCheckpoint { .. } => "create checkpoint",
            Self::VerifyCheckpoint { .. } => "verify checkpoint",
            Self::PlanRestore { .. } => "plan restore",
            Self::Restore { .. } => "restore",
        }
    }
}
