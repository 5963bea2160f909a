//! What the checks are about, and how their results are told.

use std::error::Error as StdError;
use std::fs::{File, OpenOptions};
use std::thread::sleep;
use std::time::{Duration, Instant};

use device::Device;
use types::token::{Change, Denied, Select, Token, TokenId};

/// What a check comes to.
pub(crate) type Check = Result<(), Box<dyn StdError>>;

/// What the checks are about.
pub(crate) struct Bench {
    pub(crate) node: String,
    pub(crate) device: Device,
    pub(crate) tokens: Vec<Token>,
    /// Tokens to write, not sharing their locations.
    pub(crate) own: Vec<TokenId>,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Bench {
    pub(crate) fn check(&mut self, name: &str, check: fn(&Self) -> Check) {
        match check(self) {
            Ok(()) => {
                println!("ok {name}");
                self.passed += 1;
            }
            Err(why) => {
                println!("FAIL {name} {why}");
                self.failed += 1;
            }
        }
    }

    pub(crate) fn open(&self) -> Result<File, Box<dyn StdError>> {
        Ok(OpenOptions::new().read(true).write(true).open(&self.node)?)
    }

    /// A token to write.
    pub(crate) fn token(&self) -> Result<TokenId, Box<dyn StdError>> {
        self.own.first().copied().ok_or_else(|| "no token to write".into())
    }

    /// A token that no rule denies, but that is not on the list.
    pub(crate) fn other(&self) -> Result<TokenId, Box<dyn StdError>> {
        let tokens = self.device.tokens()?;
        let other = tokens.iter().find(|t| t.denied.is_none() && !t.writable);
        Ok(other.ok_or("every token is on the list")?.id)
    }

    /// A token that the module denies for this reason.
    pub(crate) fn denied(&self, rule: Denied) -> Result<TokenId, Box<dyn StdError>> {
        let found = self.tokens.iter().find(|t| t.denied == Some(rule));
        Ok(found.ok_or_else(|| format!("the table has no token denied by {rule}"))?.id)
    }

    /// An id that is not in the table.
    pub(crate) fn absent(&self) -> Result<TokenId, Box<dyn StdError>> {
        let absent = (1..u16::MAX).map(TokenId).find(|id| self.tokens.iter().all(|t| t.id != *id));
        absent.ok_or_else(|| "the table is full".into())
    }

    pub(crate) fn value(&self, id: TokenId) -> Result<u32, Box<dyn StdError>> {
        let mut answers = self.device.read(&[(id, Select::Current)]);
        Ok(answers.pop().ok_or("no answer")??.value)
    }

    /// A change of one token to another value, and the value before.
    pub(crate) fn flip(&self, id: TokenId) -> Result<(Change, u32), Box<dyn StdError>> {
        let old = self.value(id)?;
        let change = Change { id, select: Select::Current, value: old ^ 1, expected: Some(old) };
        Ok((change, old))
    }

    /// Waits until the value stands, for 5 s at most.
    pub(crate) fn until_value(&self, id: TokenId, value: u32) -> Check {
        let start = Instant::now();
        while self.value(id)? != value {
            if start.elapsed() > Duration::from_secs(5) {
                return Err(format!("{id} holds {:#x}, not {value:#x}", self.value(id)?).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Both are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Check {
    if found == wanted { Ok(()) } else { Err(format!("found {found:?}, expected {wanted:?}").into()) }
}
