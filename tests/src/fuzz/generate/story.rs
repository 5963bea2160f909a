//! Transactions from their beginning to their end.

use super::Generator;
use crate::fuzz::program::{ACTORS, Access, Body, Call, Expected, Ioctl, Kind, Op, Place, Stage, Which};

impl Generator<'_> {
    /// A transaction as it should be, more or less, so that states are reached that chance alone seldom reaches.
    pub(super) fn story(&mut self, ops: &mut Vec<Op>) {
        let (on, file) = (self.actor(), self.file());
        let which = Which::Latest;
        if on > 0 {
            let kind = self.dice.weighted(&[(5, Kind::Process), (3, Kind::Thread), (1, Kind::Sharer)]);
            ops.push(Op::new(0, Call::Spawn { slot: on, kind }));
        }
        let then = |ops: &mut Vec<Op>, this: &mut Self, body: Body| {
            if this.dice.one_in(6) {
                let op = this.op();
                ops.push(op);
            }
            let mut op = Op::new(on, this.ioctl(file, body));
            op.later = this.dice.one_in(10);
            ops.push(op);
        };
        if self.dice.one_in(3) {
            ops.push(Op::new(on, Call::Open { file, access: Access::Both, nonblock: true, weak: false }));
        }
        if self.dice.one_in(8) {
            let fault = self.fault();
            ops.push(Op::new(0, fault));
        }
        let begin = self.begin();
        then(ops, self, begin);
        for _ in 0..1 + self.dice.below(2) {
            if self.dice.one_in(2) {
                let stage = self.stage(which);
                then(ops, self, stage);
            }
            let stage = Body::Stage { which, entries: self.good_entries() };
            then(ops, self, stage);
        }
        if self.dice.one_in(8) {
            then(ops, self, Body::Confirm { which });
        }
        then(ops, self, Body::Commit { which, room: 0 });
        if self.dice.one_in(12) {
            // The undo fails.
            let spec = self.dice.pick(&[
                "error,on=write,count=1",
                "error,on=read,count=1",
                "late-error,on=write,count=1",
            ]);
            ops.push(Op::new(0, Call::Fault { spec: spec.to_owned() }));
        }
        if self.dice.one_in(8) {
            let poke = self.firmware();
            ops.push(Op::new(0, poke));
        }
        match self.dice.below(10) {
            0..3 => then(ops, self, Body::Confirm { which }),
            3..5 => then(ops, self, Body::Undo { which }),
            5 => ops.push(Op::new(on, Call::Close { file })),
            6 | 7 if on > 0 => ops.push(Op::new(0, Call::Kill { slot: on })),
            8 => ops.push(Op::new(on, Call::Exit)),
            _ => {}
        }
    }

    /// Somebody waits or reads and is interrupted, or the firmware fails while it is read.
    pub(super) fn short_story(&mut self, ops: &mut Vec<Op>) {
        let (slot, file) = (1 + self.dice.byte(ACTORS - 1), self.file());
        let kind = self.dice.weighted(&[(2, Kind::Process), (2, Kind::Thread)]);
        let entries = (0..3).map(|_| (self.good_id(), self.dice.byte(3))).collect();
        let read = self.plain(file, Body::Read { age: 0, entries });
        ops.push(Op::new(0, Call::Spawn { slot, kind }));
        ops.push(Op::new(slot, Call::Open { file, access: Access::Read, nonblock: false, weak: false }));
        let later = |call| Op { later: true, ..Op::new(slot, call) };
        match self.dice.below(3) {
            0 => ops.push(later(Call::Events { file, bytes: 720, to: Place::Room })),
            1 => ops.push(later(read)),
            _ => {
                let spec = self.dice.pick(&["error,on=read,count=1", "unsupported,on=read,count=1"]);
                ops.push(Op::new(0, Call::Fault { spec: spec.to_owned() }));
                ops.push(Op::new(slot, read));
                return;
            }
        }
        if self.dice.one_in(2) {
            ops.push(Op::new(0, Call::Wait { ms: 1 }));
        }
        ops.push(Op::new(0, if self.dice.one_in(4) { Call::Kill { slot } } else { Call::Signal { slot } }));
    }

    /// A token that may be written.
    fn good_id(&mut self) -> u16 {
        self.token_that(|token| token.allowed).map_or(0, |token| token.id)
    }

    /// An ioctl with nothing wrong about it.
    fn plain(&self, file: u8, body: Body) -> Call {
        let room = Place::Room;
        Call::Ioctl(Ioctl {
            file,
            at: room,
            array: room,
            count: None,
            flip: None,
            flip_array: None,
            compat: false,
            body,
        })
    }

    /// Entries that nothing speaks against for the most part, of different locations for the most part.
    pub(super) fn good_entries(&mut self) -> Vec<Stage> {
        (0..1 + self.dice.below(3))
            .filter_map(|_| {
                // Now and then one that must be refused, whatever else is right about it.
                let token = if self.dice.one_in(20) {
                    self.token_that(|token| !token.allowed)?
                } else {
                    self.token_that(|token| token.allowed)?
                };
                let value = if token.shared { u32::from(token.value) } else { self.odd_number(1000) };
                let expected = self.dice.weighted(&[
                    (8, Expected::Any),
                    (3, Expected::Before),
                    (1, Expected::This(4_000_000)),
                ]);
                Some(Stage { id: token.id, select: self.dice.byte(3), value, expected })
            })
            .collect()
    }
}
