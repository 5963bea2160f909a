//! The arguments of ioctls.

use super::Generator;
use crate::fuzz::known::Token;
use crate::fuzz::program::{Body, Call, Expected, Stage, Which};
use crate::fuzz::uapi::*;

impl Generator<'_> {
    pub(super) fn read(&mut self, file: u8) -> Call {
        let age = self.age();
        let body = if self.dice.one_in(3) {
            // From the firmware a snapshot takes a tenth of a second.
            let age = if self.dice.one_in(200) { age } else { DSMIL_AGE_ANY };
            let selects = if self.dice.one_in(9) { self.odd_number(9) } else { 1 << self.dice.byte(3) };
            Body::Snapshot { age, selects, room: self.dice.pick(&[0, 40, 180, 180, 180, 180, 600]) }
        } else {
            let count = if age == DSMIL_AGE_ANY { self.dice.below(12) } else { 1 + self.dice.below(2) };
            Body::Read { age, entries: (0..count).map(|_| (self.id(), self.select())).collect() }
        };
        self.ioctl(file, body)
    }

    pub(super) fn transact(&mut self) -> Body {
        let which = self.which();
        match self.dice.below(16) {
            0..3 => self.begin(),
            3..9 => self.stage(which),
            9..11 => Body::Commit { which, room: self.dice.pick(&[0, 0, 1, 2, 3, 8, 300]) },
            11..14 => Body::Confirm { which },
            _ => Body::Undo { which },
        }
    }

    pub(super) fn begin(&mut self) -> Body {
        let deadline = match self.dice.below(12) {
            0 => self.odd_number(1000),
            1 => self.dice.pick(&[999, 600_001, u32::MAX]),
            2 | 3 => 1000,
            4 => 600_000,
            _ => 0,
        };
        Body::Begin {
            deadline,
            flags: if self.dice.one_in(12) { self.dice.word() } else { u32::from(self.dice.byte(2)) },
        }
    }

    pub(super) fn stage(&mut self, which: Which) -> Body {
        let count = match self.dice.below(40) {
            0 => 0,
            1 => 300,
            2..6 => 4 + self.dice.below(12),
            _ => 1 + self.dice.below(3),
        };
        Body::Stage { which, entries: (0..count).map(|_| self.entry()).collect() }
    }

    pub(crate) fn entry(&mut self) -> Stage {
        let id = self.id();
        let token = self.known.tokens.iter().find(|token| token.id == id);
        // At a shared location only table values will do, each of its own tokens'.
        let value = match token {
            Some(token) if token.shared && !self.dice.one_in(12) => u32::from(token.value),
            _ if self.dice.one_in(8) => self.dice.word(),
            _ => self.odd_number(1000),
        };
        let expected = match self.dice.below(12) {
            0 => Expected::This(self.odd_number(1000)),
            1 | 2 => Expected::Before,
            _ => Expected::Any,
        };
        Stage { id, select: self.select(), value, expected }
    }

    /// Mostly a list that is refused: one that is not seals the module until it is loaded anew.
    pub(crate) fn allow(&mut self) -> Body {
        let of = |token: Option<Token>| token.map(|token| token.id);
        let ids = match self.dice.below(12) {
            0 if self.dice.one_in(2) => Vec::new(),
            0 => self.known.allowed(),
            1..3 => (0..2 + self.dice.below(6)).map(|_| self.id()).collect(),
            3..5 => {
                let id = of(self.token_that(|token| token.allowed && !token.shared));
                id.into_iter().chain(id).collect()
            }
            // One token of a shared location alone.
            5..7 => of(self.token_that(|token| token.shared && token.allowed)).into_iter().collect(),
            7..9 => of(self.token_that(|token| token.denied)).into_iter().collect(),
            9 => vec![u16::try_from(self.dice.below(0x1_0000)).unwrap_or_default()],
            _ => {
                let mut ids = self.known.allowed();
                let at = self.dice.below(ids.len() + 1);
                ids.insert(at, self.id());
                ids
            }
        };
        Body::Allow { ids }
    }

    pub(super) fn raw(&mut self) -> Body {
        let known = [
            DSMIL_IOC_VERSION,
            DSMIL_IOC_INFO,
            DSMIL_IOC_LIST,
            DSMIL_IOC_READ,
            DSMIL_IOC_SNAPSHOT,
            DSMIL_IOC_ALLOW,
            DSMIL_IOC_BEGIN,
            DSMIL_IOC_STAGE,
            DSMIL_IOC_COMMIT,
            DSMIL_IOC_CONFIRM,
            DSMIL_IOC_UNDO,
        ];
        let command = match self.dice.below(4) {
            0 => self.dice.word(),
            1 => self.dice.pick(&known) ^ 1 << self.dice.byte(32),
            2 => DSMIL_IOC_MAGIC << 8 | self.dice.word() & 0xff,
            _ => self.dice.pick(&known),
        };
        Body::Raw { command, fill: self.dice.next() }
    }
}
