//! New programs from old ones.

use super::generate::Generator;
use super::program::{ACTORS, Body, Call, OPS_MAX, Op, Place, Program};

impl Generator<'_> {
    /// One to four changes of a program; another one lends operations.
    pub(crate) fn mutation(&mut self, of: &Program, other: &Program) -> Program {
        let mut ops = of.0.clone();
        for _ in 0..1 + self.dice.below(4) {
            let at = self.dice.below(ops.len().max(1));
            match self.dice.below(9) {
                0..3 => {
                    let op = self.op();
                    ops.insert(at.min(ops.len()), op);
                }
                3 if !ops.is_empty() => {
                    let upto = (at + 1 + self.dice.below(4)).min(ops.len());
                    ops.drain(at..upto);
                }
                4 => {
                    if let Some(op) = ops.get(at).cloned() {
                        ops.insert(at, op);
                    }
                }
                5 => self.splice(&mut ops, at, other),
                6 if !ops.is_empty() => {
                    let to = self.dice.below(ops.len());
                    ops.swap(at, to);
                }
                _ => {
                    if let Some(op) = ops.get_mut(at) {
                        self.tweak(op);
                    }
                }
            }
        }
        ops.truncate(OPS_MAX);
        // What makes everybody wait for a second or more would gather in the programs that are kept.
        ops.retain(|op| !op.is_slow() || self.dice.one_in(8));
        Program(ops)
    }

    fn splice(&mut self, ops: &mut Vec<Op>, at: usize, other: &Program) {
        let from = self.dice.below(other.0.len().max(1));
        let count = 1 + self.dice.below(12);
        let lent: Vec<Op> = other.0.iter().skip(from).take(count).cloned().collect();
        let at = at.min(ops.len());
        ops.splice(at..at, lent);
    }

    /// Changes one thing about an operation.
    fn tweak(&mut self, op: &mut Op) {
        match self.dice.below(5) {
            0 => op.on = self.dice.byte(ACTORS),
            1 => op.later = !op.later,
            2 => op.fail = if op.fail == 0 { 1 + self.dice.byte(20) } else { 0 },
            _ => self.tweak_call(&mut op.call),
        }
    }

    fn tweak_call(&mut self, call: &mut Call) {
        let Call::Ioctl(ioctl) = call else {
            *call = self.op().call;
            return;
        };
        let at = u16::try_from(self.dice.below(256)).unwrap_or_default();
        match self.dice.below(8) {
            0 => ioctl.flip = Some((at, self.dice.byte(8))),
            1 => ioctl.flip_array = Some((at, self.dice.byte(8))),
            2 => (ioctl.flip, ioctl.flip_array, ioctl.count) = (None, None, None),
            3 => ioctl.at = self.dice.pick(&[Place::Room, Place::ReadOnly, Place::Cut(8), Place::Odd]),
            4 => ioctl.array = self.dice.pick(&[Place::Room, Place::ReadOnly, Place::Cut(8), Place::Null]),
            5 => ioctl.compat = !ioctl.compat,
            6 => ioctl.file = self.dice.byte(super::program::FILES),
            _ => self.tweak_body(&mut ioctl.body),
        }
    }

    fn tweak_body(&mut self, body: &mut Body) {
        match body {
            Body::Stage { entries, .. } => {
                let fresh = self.entry();
                let at = self.dice.below(entries.len().max(1));
                if entries.len() >= 300 {
                    entries.truncate(1);
                } else if let Some(entry) = entries.get_mut(at)
                    && self.dice.one_in(2)
                {
                    *entry = fresh;
                } else {
                    entries.push(fresh);
                }
            }
            Body::Commit { room, .. } => *room = u16::from(self.dice.byte(9)),
            Body::List { cursor, .. } => *cursor = self.odd_number(200),
            Body::Read { age, .. } => *age = self.age(),
            Body::Snapshot { selects, .. } => *selects = self.odd_number(9),
            Body::Begin { deadline, .. } => *deadline = self.odd_number(2000),
            Body::Allow { .. } => *body = self.allow(),
            Body::Raw { fill, .. } => *fill = self.dice.next(),
            Body::Version | Body::Info | Body::Confirm { .. } | Body::Undo { .. } => {}
        }
    }
}
