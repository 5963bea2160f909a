//! The reader against every result that a weakly ordered machine may give it.
//!
//! x86 hides a missing barrier, so the reader runs over a model of memory instead: one writer's stores in their order,
//! and loads that may give any store that the reader cannot know to be overwritten. Every choice is tried.
//!
//! What a load gives is never older than what the same place gave before. A store carries what the writer did before
//! its last barrier; a reader that loaded the store knows of that after its next barrier.

use std::cell::RefCell;

use super::*;

/// Loads with a choice: three attempts. Later ones give what is newest, so that each run ends.
const CHOICES_MAX: usize = 12;
/// Changes of the pages by the writer.
const CHANGES: u64 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spot {
    Sequence,
    Time,
    Value,
}

#[derive(Clone, Copy)]
struct Store {
    spot: Spot,
    number: u64,
    /// How many stores of the writer come before its last barrier before this one.
    carries: usize,
}

/// What is wrong with the reader, or with the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The fence behind the first sequence is left out.
    FirstFence,
    /// The fence before the second sequence is left out.
    SecondFence,
    /// The second sequence is not compared.
    Comparison,
    /// Odd sequences are not waited out.
    Parity,
    /// The writer has no barriers.
    Writer,
}

struct Model {
    stores: Vec<Store>,
    broken: Broken,
    run: RefCell<Run>,
}

#[derive(Default)]
struct Run {
    /// Of each choice: what was taken, and among how many.
    choices: Vec<(usize, usize)>,
    next: usize,
    /// The oldest store that each spot may still give: sequence, time, value.
    oldest: [usize; 3],
    /// Stores of the writer that are known of after the next barrier.
    heard: usize,
    fences: usize,
    sequences: u64,
    sequence: u64,
}

impl Model {
    fn new(broken: Broken) -> Self {
        let initial = [(Spot::Sequence, 0), (Spot::Time, 1), (Spot::Value, 1)];
        let mut stores: Vec<_> =
            initial.into_iter().map(|(spot, number)| Store { spot, number, carries: 0 }).collect();
        for change in 1..=CHANGES {
            let store = |spot, number, carries| Store { spot, number, carries };
            let barrier = |before| if broken == Broken::Writer { 0 } else { before };
            let carries = stores.last().map_or(0, |last| last.carries);
            stores.push(store(Spot::Sequence, 2 * change - 1, carries));
            let carries = barrier(stores.len());
            stores.push(store(Spot::Time, change + 1, carries));
            stores.push(store(Spot::Value, change + 1, carries));
            stores.push(store(Spot::Sequence, 2 * change, barrier(stores.len())));
        }
        Self { stores, broken, run: RefCell::new(Run::default()) }
    }

    fn load(&self, spot: Spot) -> u64 {
        let run = &mut *self.run.borrow_mut();
        let oldest = &mut run.oldest[spot as usize];
        let may: Vec<usize> =
            (*oldest..self.stores.len()).filter(|index| self.stores[*index].spot == spot).collect();
        let chosen = if run.next >= CHOICES_MAX {
            may.len() - 1
        } else if let Some((chosen, _)) = run.choices.get(run.next) {
            *chosen
        } else {
            run.choices.push((0, may.len()));
            0
        };
        run.next += 1;
        *oldest = may[chosen];
        run.heard = run.heard.max(self.stores[may[chosen]].carries);
        self.stores[may[chosen]].number
    }

    /// Gets ready for the next run; whether there is one.
    fn again(&self) -> bool {
        let run = &mut *self.run.borrow_mut();
        let mut choices = std::mem::take(&mut run.choices);
        while choices.last().is_some_and(|(chosen, among)| chosen + 1 == *among) {
            choices.pop();
        }
        let Some((chosen, _)) = choices.last_mut() else { return false };
        *chosen += 1;
        *run = Run { choices, ..Run::default() };
        true
    }
}

impl Memory for &Model {
    fn bytes(&self) -> usize {
        144
    }

    fn head32<const AT: usize>(&self) -> u32 {
        if AT != offset_of!(dsmil_page, sequence) {
            // abi, sequence, cells_offset, cell_bytes, cells
            return [1, 0, 128, 16, 1][AT / 4];
        }
        let second = {
            let mut run = self.run.borrow_mut();
            run.sequences += 1;
            run.sequences.is_multiple_of(2)
        };
        if second && self.broken == Broken::Comparison {
            return u32::try_from(self.run.borrow().sequence).unwrap();
        }
        let mut sequence = self.load(Spot::Sequence);
        if self.broken == Broken::Parity {
            sequence &= !1;
        } else if sequence % 2 == 1 && !second {
            // The reader starts over at once.
            self.run.borrow_mut().sequences += 1;
        }
        self.run.borrow_mut().sequence = sequence;
        u32::try_from(sequence).unwrap()
    }

    fn head64<const AT: usize>(&self) -> u64 {
        0
    }

    fn cell(&self, _place: Place) -> (u64, u32) {
        (self.load(Spot::Time), u32::try_from(self.load(Spot::Value)).unwrap())
    }

    fn label(&self, _place: Place) -> Option<u32> {
        Some(0)
    }

    fn fence(&self) {
        let run = &mut *self.run.borrow_mut();
        run.fences += 1;
        let left_out = match self.broken {
            Broken::FirstFence => run.fences % 2 == 1,
            Broken::SecondFence => run.fences.is_multiple_of(2),
            _ => false,
        };
        if !left_out {
            let known = &self.stores[..run.heard];
            for spot in [Spot::Sequence, Spot::Time, Spot::Value] {
                let newest = known.iter().rposition(|store| store.spot == spot).unwrap_or(0);
                let oldest = &mut run.oldest[spot as usize];
                *oldest = newest.max(*oldest);
            }
        }
    }
}

/// Of all runs: how many, and how many gave a time with another change's value.
fn torn(broken: Broken) -> (u32, u32) {
    let model = Model::new(broken);
    let reader = Reader::new(&model).unwrap();
    let cell = reader.find(TokenId(0), Select::Current).unwrap();
    let (mut runs, mut torn) = (0, 0);
    loop {
        let cached = reader.get(cell).unwrap().unwrap();
        runs += 1;
        torn += u32::from(cached.time_ns != u64::from(cached.value));
        if !model.again() {
            return (runs, torn);
        }
    }
}

#[test]
fn no_order_of_loads_is_torn() {
    let (runs, torn) = torn(Broken::Nothing);
    assert!(runs > 10_000, "only {runs} runs");
    assert_eq!(torn, 0, "of {runs} runs");
}

#[test]
fn each_part_of_the_lock_is_needed() {
    use Broken::*;
    for broken in [FirstFence, SecondFence, Comparison, Parity, Writer] {
        let (runs, torn) = torn(broken);
        assert!(torn > 0, "{broken:?} is not noticed in {runs} runs");
    }
}
