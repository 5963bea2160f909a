//! What may stand in the firmware after a sequence: *no token outside the allow-list ever changed, and no unconfirmed
//! change survived*.
//!
//! The model trusts what was done, not what the module says of itself: a value may be new only if it was staged into a
//! transaction whose CONFIRM succeeded. Where a process was killed before it could tell how its CONFIRM ended, both the
//! old value and the new one may stand.

use std::collections::{BTreeMap, BTreeSet};

use super::actor::Done;
use super::known::{Cell, Known};
use super::program::{Body, Call, Ioctl, Program, Which};
use super::request::{self, Now, Request};

/// How an operation ended, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fate {
    /// The result, if it was told.
    pub(crate) done: Option<Done>,
    /// It reached the kernel.
    pub(crate) begun: bool,
    /// The transaction that it named.
    pub(crate) transaction: u64,
}

impl Fate {
    /// It succeeded: surely, perhaps (None), or not.
    fn succeeded(&self) -> Option<bool> {
        match self.done {
            Some(done) => Some(done.answer == 0 && done.flags & Done::SKIPPED == 0),
            None if self.begun => None,
            None => Some(false),
        }
    }
}

/// The firmware's values, and what may become of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// The values that stood when they were looked at last.
    pub(crate) values: BTreeMap<Cell, u32>,
    /// Locations on the sealed list, or on any that may have been sealed.
    pub(crate) allowed: BTreeSet<u16>,
}

/// A value that must not stand where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) cell: Cell,
    pub(crate) found: u32,
    pub(crate) permitted: Vec<u32>,
    pub(crate) is_allowed: bool,
}

struct Past<'a> {
    model: &'a Model,
    known: &'a Known,
    transaction: u64,
}

impl Now for Past<'_> {
    fn transaction(&self, _which: Which) -> u64 {
        self.transaction
    }

    fn before(&self, id: u16, select: u8) -> u32 {
        let cell = self.known.location(id).map(|location| (location, select));
        cell.and_then(|cell| self.model.values.get(&cell)).copied().unwrap_or(0)
    }
}

impl Model {
    /// Takes note of the lists that a sequence has sealed, or may have.
    pub(crate) fn learn(&mut self, program: &Program, fates: &[Fate], known: &Known) {
        let mut allowed = BTreeSet::new();
        for (ioctl, fate) in ioctls(program, fates) {
            if matches!(ioctl.body, Body::Allow { .. }) && fate.succeeded() != Some(false) {
                let request = self.request(ioctl, fate, known);
                // What is never written stays so, whatever a list was taken for.
                let writable = request::allowed(&request).into_iter().filter(|id| !known.is_denied(*id));
                allowed.extend(writable.filter_map(|id| known.location(id)));
            }
        }
        self.allowed.extend(allowed);
    }

    /// The values that may stand after a sequence, where others than before may.
    pub(crate) fn permitted(
        &self,
        program: &Program,
        fates: &[Fate],
        known: &Known,
    ) -> BTreeMap<Cell, Vec<u32>> {
        let mut permitted: BTreeMap<Cell, Vec<u32>> = BTreeMap::new();
        let before = |cell: &Cell| self.values.get(cell).copied().into_iter().collect::<Vec<u32>>();
        let mut poked = BTreeSet::new();
        for (op, fate) in program.0.iter().zip(fates) {
            if let Call::Poke { location, select, value } = op.call
                && fate.succeeded() == Some(true)
            {
                let cell = (location, select);
                poked.insert(cell);
                permitted.entry(cell).or_insert_with(|| before(&cell)).push(value);
            }
        }
        for (number, confirmed) in self.confirmed(program, fates) {
            for (ioctl, fate) in ioctls(program, fates) {
                let staged = fate.succeeded();
                if !matches!(ioctl.body, Body::Stage { .. }) || staged == Some(false) {
                    continue;
                }
                let request = self.request(ioctl, fate, known);
                if request::transaction(&request) != Some(number) {
                    continue;
                }
                for (cell, value) in request::writes(&request, known) {
                    if !self.allowed.contains(&cell.0) {
                        continue;
                    }
                    let values = permitted.entry(cell).or_insert_with(|| before(&cell));
                    // What is certain leaves nothing else, unless somebody else has written too.
                    if confirmed && staged == Some(true) && !poked.contains(&cell) {
                        values.clear();
                    }
                    values.push(value);
                }
            }
        }
        permitted
    }

    /// The transactions that were confirmed, surely or perhaps, in their order.
    fn confirmed(&self, program: &Program, fates: &[Fate]) -> BTreeMap<u64, bool> {
        let mut confirmed = BTreeMap::new();
        for (ioctl, fate) in ioctls(program, fates) {
            if matches!(ioctl.body, Body::Confirm { .. })
                && let sure @ (Some(true) | None) = fate.succeeded()
            {
                let known = Known::default();
                let request = self.request(ioctl, fate, &known);
                if let Some(number) = request::transaction(&request) {
                    *confirmed.entry(number).or_insert(false) |= sure == Some(true);
                }
            }
        }
        confirmed
    }

    /// The bytes that the kernel saw. The number was noted after every turned bit, so turning it again would be wrong.
    fn request(&self, ioctl: &Ioctl, fate: &Fate, known: &Known) -> Request {
        let now = Past { model: self, known, transaction: fate.transaction };
        let mut request = request::request(ioctl, &now);
        if request::transaction(&request).is_some()
            && let Some(number) = request.argument.get_mut(..8)
        {
            number.copy_from_slice(&fate.transaction.to_le_bytes());
        }
        request
    }

    /// Compares what was found with what may stand, and takes it over.
    pub(crate) fn compare(
        &mut self,
        permitted: &BTreeMap<Cell, Vec<u32>>,
        found: &[(Cell, u32)],
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (cell, found) in found {
            let before: Vec<u32> = self.values.get(cell).copied().into_iter().collect();
            let permitted = permitted.get(cell).unwrap_or(&before);
            if !permitted.contains(found) {
                let is_allowed = self.allowed.contains(&cell.0);
                violations.push(Violation {
                    cell: *cell,
                    found: *found,
                    permitted: permitted.clone(),
                    is_allowed,
                });
            }
            self.values.insert(*cell, *found);
        }
        violations
    }
}

fn ioctls<'a>(program: &'a Program, fates: &'a [Fate]) -> impl Iterator<Item = (&'a Ioctl, &'a Fate)> {
    program.0.iter().zip(fates).filter_map(|(op, fate)| match &op.call {
        Call::Ioctl(ioctl) => Some((ioctl, fate)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::known::Token;
    use super::super::program::{Op, Place, Stage};
    use super::*;

    fn known() -> Known {
        let token = |id, location| Token {
            id,
            location,
            value: 1,
            denied: false,
            shared: false,
            readable: true,
            allowed: true,
        };
        Known { tokens: vec![token(1, 10), token(2, 20)], locations: vec![10, 20] }
    }

    fn model() -> Model {
        let values = known().cells().map(|cell| (cell, 5)).collect();
        Model { values, allowed: BTreeSet::from([10]) }
    }

    fn ioctl(body: Body) -> Op {
        let plain = Ioctl {
            file: 0,
            at: Place::Room,
            array: Place::Room,
            count: None,
            flip: None,
            flip_array: None,
            compat: false,
            body,
        };
        Op::new(0, Call::Ioctl(plain))
    }

    fn stage(id: u16, value: u32) -> Op {
        let entry = Stage { id, select: 0, value, expected: Default::default() };
        ioctl(Body::Stage { which: Which::Latest, entries: vec![entry] })
    }

    fn confirm() -> Op {
        ioctl(Body::Confirm { which: Which::Latest })
    }

    fn fate(answer: Option<i64>, transaction: u64) -> Fate {
        Fate { done: answer.map(|answer| Done { answer, ..Done::default() }), begun: true, transaction }
    }

    /// What may stand at location 10, select 0.
    fn check(ops: Vec<Op>, fates: &[Fate], expected: &[u32]) {
        let permitted = model().permitted(&Program(ops.clone()), fates, &known());
        assert_eq!(permitted.get(&(10, 0)).map_or(&[5][..], |values| values), expected, "{ops:?}");
    }

    #[test]
    fn only_what_was_confirmed_may_stand() {
        let ops = || vec![stage(1, 7), confirm()];
        check(ops(), &[fate(Some(0), 3), fate(Some(0), 3)], &[7]);
        check(ops(), &[fate(Some(0), 3), fate(Some(-1), 3)], &[5]);
        check(ops(), &[fate(Some(-22), 3), fate(Some(0), 3)], &[5]);
        check(ops(), &[fate(Some(0), 3), fate(Some(0), 4)], &[5]);
        // Nobody could tell how it ended.
        check(ops(), &[fate(Some(0), 3), fate(None, 3)], &[5, 7]);
        // It never came to the kernel.
        check(ops(), &[fate(Some(0), 3), Fate::default()], &[5]);
    }

    #[test]
    fn what_is_not_allowed_stays_whatever_was_confirmed() {
        let program = Program(vec![stage(2, 7), confirm()]);
        let fates = [fate(Some(0), 3), fate(Some(0), 3)];
        assert_eq!(model().permitted(&program, &fates, &known()), BTreeMap::new());
        let violations = model().compare(&BTreeMap::new(), &[((20, 0), 7), ((10, 0), 5)]);
        assert_eq!(violations.len(), 1);
        assert!(!violations[0].is_allowed);
    }

    #[test]
    fn a_list_never_allows_what_is_never_written() {
        let mut known = known();
        known.tokens[1].denied = true;
        let mut model = Model { allowed: BTreeSet::new(), ..model() };
        let program = Program(vec![ioctl(Body::Allow { ids: vec![1, 2] })]);
        model.learn(&program, &[fate(Some(-1), 0)], &known);
        assert_eq!(model.allowed, BTreeSet::new());
        model.learn(&program, &[fate(Some(0), 0)], &known);
        assert_eq!(model.allowed, BTreeSet::from([10]));
    }

    #[test]
    fn the_last_confirmed_value_stands_and_pokes_may() {
        let ops = vec![stage(1, 7), confirm(), stage(1, 9), confirm()];
        let fates: Vec<Fate> = [3, 3, 4, 4].into_iter().map(|number| fate(Some(0), number)).collect();
        check(ops.clone(), &fates, &[9]);
        let mut ops = ops;
        ops.push(Op::new(0, Call::Poke { location: 10, select: 0, value: 1 }));
        let fates = [fates, vec![fate(Some(0), 0)]].concat();
        check(ops, &fates, &[5, 1, 7, 9]);
    }
}
