//! What the checks are about, and how their results are told.

use std::error::Error as StdError;
use std::fs::{File, OpenOptions};
use std::thread::sleep;
use std::time::{Duration, Instant};

use device::Device;
use types::token::{Change, Select, Token, TokenId};

use crate::laptop::Laptop;
use crate::raw::raw;
use crate::uapi::*;

/// What may fail.
pub(crate) type Fallible<T> = Result<T, Box<dyn StdError>>;
/// What a check comes to.
pub(crate) type Check = Fallible<()>;

/// How long something may take that happens by itself: undo at a deadline, on emulated hardware that others use too.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many checks have passed.
pub(crate) struct Tally {
    node: String,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), passed: 0, failed: 0 }
    }

    /// A check that has the node alone.
    pub(crate) fn check(&mut self, name: &str, check: fn(&str) -> Check) {
        let began = Instant::now();
        let result = check(&self.node);
        self.count(name, began, result);
    }

    fn count(&mut self, name: &str, began: Instant, result: Check) {
        match result {
            Ok(()) => {
                println!("ok {name} ({} ms)", began.elapsed().as_millis());
                self.passed += 1;
            }
            Err(why) => {
                println!("FAIL {name} {why}");
                self.failed += 1;
            }
        }
    }
}

/// What the checks are about.
pub(crate) struct Bench {
    pub(crate) node: String,
    pub(crate) device: Device,
    /// The machine's firmware, past the module.
    pub(crate) laptop: Laptop,
    pub(crate) tokens: Vec<Token>,
    /// Tokens to write, not sharing their locations.
    pub(crate) own: Vec<TokenId>,
    pub(crate) tally: Tally,
}

impl Bench {
    pub(crate) fn new(node: &str) -> Fallible<Self> {
        let device = Device::open(node)?;
        let tokens = device.tokens()?;
        let free = |t: &&Token| t.denied.is_none() && !t.shares_location && t.id.device().is_some();
        let own = tokens.iter().filter(free).map(|t| t.id).take(4).collect();
        let (laptop, tally) = (Laptop::open()?, Tally::new(node));
        Ok(Self { node: node.to_owned(), device, laptop, tokens, own, tally })
    }

    pub(crate) fn check(&mut self, name: &str, check: fn(&Self) -> Check) {
        let began = Instant::now();
        // Whatever a check leaves behind would be blamed on the next one.
        let result = check(self).and_then(|()| match self.info()?.state {
            DSMIL_STATE_IDLE => Ok(()),
            state => Err(format!("state {state} is left behind").into()),
        });
        let is_wrong = result.is_err();
        self.tally.count(name, began, result);
        if is_wrong {
            let _told_by_the_next_check = self.until_idle();
        }
    }

    pub(crate) fn open(&self) -> Fallible<File> {
        Ok(OpenOptions::new().read(true).write(true).open(&self.node)?)
    }

    /// A token to write.
    pub(crate) fn token(&self) -> Fallible<TokenId> {
        self.own.first().copied().ok_or_else(|| "no token to write".into())
    }

    /// Another one.
    pub(crate) fn second(&self) -> Fallible<TokenId> {
        self.own.get(1).copied().ok_or_else(|| "no second token to write".into())
    }

    /// A token that no rule denies, but that is not on the list.
    pub(crate) fn other(&self) -> Fallible<TokenId> {
        let tokens = self.device.tokens()?;
        let other = tokens.iter().find(|t| t.denied.is_none() && !t.writable);
        Ok(other.ok_or("every token is on the list")?.id)
    }

    /// The tokens of a shared location that no rule denies.
    pub(crate) fn shared(&self) -> Fallible<Vec<Token>> {
        let one = self.tokens.iter().find(|t| t.shares_location && t.denied.is_none());
        let location = one.ok_or("no free token shares a location")?.location;
        Ok(self.tokens.iter().filter(|t| t.location == location).copied().collect())
    }

    /// An id that is not in the table.
    pub(crate) fn absent(&self) -> Fallible<TokenId> {
        let absent = (1..u16::MAX).map(TokenId).find(|id| self.tokens.iter().all(|t| t.id != *id));
        absent.ok_or_else(|| "the table is full".into())
    }

    pub(crate) fn location(&self, id: TokenId) -> Fallible<u16> {
        let token = self.tokens.iter().find(|t| t.id == id);
        Ok(token.ok_or_else(|| format!("{id} is not in the table"))?.location)
    }

    pub(crate) fn value(&self, id: TokenId) -> Fallible<u32> {
        let mut answers = self.device.read(&[(id, Select::Current)]);
        Ok(answers.pop().ok_or("no answer")??.value)
    }

    /// What the firmware's storage holds, past module and cache.
    pub(crate) fn stored(&self, id: TokenId) -> Fallible<u32> {
        self.laptop.peek(self.location(id)?)
    }

    /// A change of one token to another value, and the value before.
    pub(crate) fn flip(&self, id: TokenId) -> Fallible<(Change, u32)> {
        let old = self.stored(id)?;
        let change = Change { id, select: Select::Current, value: old ^ 1, expected: Some(old) };
        Ok((change, old))
    }

    pub(crate) fn info(&self) -> Fallible<dsmil_info> {
        self.info_through(&self.open()?)
    }

    pub(crate) fn info_through(&self, file: &File) -> Fallible<dsmil_info> {
        let mut info = dsmil_info::default();
        raw(file, DSMIL_IOC_INFO, &mut info)?;
        Ok(info)
    }

    /// The state is idle, and the last transaction ended so.
    pub(crate) fn ended(&self, outcome: u32) -> Check {
        let info = self.info()?;
        same((info.state, info.outcome), (DSMIL_STATE_IDLE, outcome))
    }

    /// Waits until the storage holds the value.
    pub(crate) fn until_value(&self, id: TokenId, value: u32) -> Check {
        until(&format!("{id} to hold {value:#x}"), || Ok(self.stored(id)? == value))
    }

    pub(crate) fn until_idle(&self) -> Check {
        until("the module to be idle", || Ok(self.info()?.state == DSMIL_STATE_IDLE))
    }
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> Fallible<bool>) -> Check {
    let start = Instant::now();
    while !is_true()? {
        if start.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Both are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Check {
    if found == wanted { Ok(()) } else { Err(format!("found {found:?}, expected {wanted:?}").into()) }
}

/// It is so.
pub(crate) fn holds(is_so: bool, what: impl std::fmt::Display) -> Check {
    if is_so { Ok(()) } else { Err(what.to_string().into()) }
}
