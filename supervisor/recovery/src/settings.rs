//! The component *settings*: values of the running kernel, from `/proc/sys` and `/sys`.
//!
//! # Layout
//!
//! - this file: the component
//! - [`knobs`]: which settings there are, reading and writing one
//! - `plan`: what differs and what stands in the way

pub mod knobs;
mod plan;

pub use plan::{Difference, Obstacle};

use minicbor::{Decode, Encode};
use store::chunk::Chunks;

use crate::Error;
use crate::component::{self, Component};
use crate::error::{length, shown};
use crate::manifest::Part;
use crate::worker::effect::{Effect, Executor, Shared};
use knobs::{Knobs, VALUE_BYTES_MAX, meaning};

/// How often everything that did not take its value is tried: one setting can bound another, such as a highest frequency the
/// lowest one, whichever is written first.
const PASSES: u32 = 2;
/// The most bytes of names and old values of one restore: they are recorded before the first write, in one fact.
pub const CHANGES_BYTES_MAX: usize = 16 << 10;

/// A captured value.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Setting {
    /// Where it is: an absolute path below `/proc/sys` or `/sys`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// What the kernel gave, unchanged.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// A setting whose value the kernel did not give.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Unread {
    /// Where it is, or should be.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Why, in words for people.
    #[n(1)]
    pub why: String,
}

/// What a setting held before a restore wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where it is.
    pub path: Vec<u8>,
    /// What is written.
    pub value: Vec<u8>,
    /// What stood there.
    pub before: Vec<u8>,
}

/// Checks values that were read from a disk.
pub(crate) fn check(values: &[Setting]) -> Result<(), Error> {
    let ordered = values.is_sorted_by(|a, b| a.path < b.path);
    let small = values.iter().all(|setting| setting.value.len() <= VALUE_BYTES_MAX);
    if ordered && small { Ok(()) } else { Err(Error::Damaged("the settings are out of order".into())) }
}

/// The component.
pub struct Settings<'a> {
    knobs: &'a Knobs,
    executor: Option<Shared<'a>>,
    /// Whether settings that cannot be written are left as they are, rather than refused.
    leave_obstacles: bool,
    changes: Vec<Change>,
}

impl<'a> Settings<'a> {
    /// The settings of `knobs`; `executor` writes them and has the same list.
    pub fn new(knobs: &'a Knobs, executor: Option<Shared<'a>>, leave_obstacles: bool) -> Self {
        Self { knobs, executor, leave_obstacles, changes: Vec::new() }
    }

    fn differences(&self, want: &Part) -> Vec<Difference> {
        match want {
            Part::Settings { values, .. } => plan::differences(self.knobs, values),
            _ => Vec::new(),
        }
    }

    fn executor(&mut self) -> Result<&mut Shared<'a>, Error> {
        self.executor.as_mut().ok_or_else(|| Error::Refused("nobody is there who may change settings".into()))
    }
}

/// Writes values, in as many passes as it takes up to [`PASSES`]; tells of the first that does not hold.
fn write<'v>(
    executor: &mut dyn Executor,
    values: impl Iterator<Item = (&'v [u8], &'v [u8])>,
) -> Result<(), Error> {
    let mut open: Vec<_> = values.collect();
    let mut first = Ok(());
    for _ in 0..PASSES {
        first = Ok(());
        open.retain(|(path, value)| {
            let effect = Effect::Set { path: path.to_vec(), value: value.to_vec() };
            let result = executor.perform(&effect).map(|_| ());
            let failed = result.is_err();
            if first.is_ok() {
                first = result;
            }
            failed
        });
    }
    first
}

/// Writes back what stood in settings before a restore, given as path and value in the order of the writes: the last one
/// first. Those that hold it already are left.
///
/// # Errors
///
/// The first that does not take its value; the others were tried.
pub fn put_back(
    knobs: &Knobs,
    executor: &mut dyn Executor,
    before: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), Error> {
    let differs =
        |path: &[u8], value: &[u8]| !knobs.read(path).is_ok_and(|now| meaning(&now) == meaning(value));
    let values = before.iter().rev().filter(|(path, value)| differs(path, value));
    write(executor, values.map(|(path, value)| (path.as_slice(), value.as_slice())))
}

impl Component for Settings<'_> {
    fn name(&self) -> &'static str {
        "settings"
    }

    fn after(&self) -> &'static [&'static str] {
        // A program that comes back may set some at its start.
        &["files"]
    }

    fn capture(&mut self, chunks: &mut Chunks) -> Result<Part, Error> {
        self.observe(chunks)
    }

    fn observe(&mut self, _chunks: &Chunks) -> Result<Part, Error> {
        let (mut values, mut unread) = (Vec::new(), Vec::new());
        for path in self.knobs.list()? {
            match self.knobs.read(&path) {
                Ok(value) => values.push(Setting { path, value }),
                Err(error) => unread.push(Unread { path, why: error.to_string() }),
            }
        }
        Ok(Part::Settings { values, unread })
    }

    fn plan(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let differences = self.differences(want);
        self.changes = plan::changes(&differences);
        let bytes: usize = self.changes.iter().map(|change| change.path.len() + change.before.len()).sum();
        if bytes > CHANGES_BYTES_MAX {
            let (found, limit) = (length(bytes), length(CHANGES_BYTES_MAX));
            return Err(Error::Limit { what: "the list of settings that change", found, limit });
        }
        Ok(differences.into_iter().map(component::Difference::Setting).collect())
    }

    fn prepare(&mut self, want: &Part, _chunks: &Chunks) -> Result<(), Error> {
        if self.leave_obstacles {
            return Ok(());
        }
        let blocked: Vec<_> = self.differences(want).into_iter().filter(|d| d.obstacle.is_some()).collect();
        match blocked.first() {
            None => Ok(()),
            Some(first) => Err(Error::Refused(format!(
                "{} settings cannot be restored, the first: {first}; list them again, or ask to leave them",
                blocked.len()
            ))),
        }
    }

    fn execute(&mut self) -> Result<(), Error> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.changes);
        let values = changes.iter().map(|change| (change.path.as_slice(), change.value.as_slice()));
        let result = self.executor().and_then(|executor| write(executor, values));
        self.changes = changes;
        result
    }

    fn undo(&mut self) -> Result<(), Error> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let before: Vec<_> =
            self.changes.iter().map(|change| (change.path.clone(), change.before.clone())).collect();
        let knobs = self.knobs;
        put_back(knobs, self.executor()?, &before)
    }

    fn verify(&mut self, want: &Part, _chunks: &Chunks) -> Result<Vec<component::Difference>, Error> {
        let leave = self.leave_obstacles;
        let counted = self.differences(want).into_iter().filter(|d| !leave || d.obstacle.is_none());
        Ok(counted.map(component::Difference::Setting).collect())
    }

    fn clean_up(&mut self) -> Result<(), Error> {
        self.changes.clear();
        Ok(())
    }
}

/// A value in one line, for people.
#[must_use]
pub fn told(value: &[u8]) -> String {
    /// Longer ones are cut, in bytes.
    const TOLD_MAX: usize = 64;
    let value = meaning(value);
    match value.get(..TOLD_MAX) {
        Some(start) => format!("{}…", shown(start)),
        None if value.is_empty() => "nothing".to_owned(),
        None => shown(value),
    }
}
