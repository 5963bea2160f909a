//! The component *files*: folders with everything in them.
//!
//! # Layout
//!
//! - [`entry`]: what a checkpoint says of one file
//! - [`root`]: the folders, held open
//! - [`known`]: what need not be read, because it is as a checkpoint read it
//! - [`scan`], `read`, `ahead`: walking a folder and reading what is there, and soon will be
//! - [`plan`]: what differs from a checkpoint, and the steps that change it back
//! - [`rules`]: what is left out, by patterns
//! - `mounts`: where else a root is mounted
//! - `selection`: which entries of a root a restore is about
//! - `restore`: turning a plan into effects
//!
//! # Invariants
//!
//! - Reading never follows a link and never leaves the root's file system.
//! - Nothing here changes a file: all changes are effects on an [`Executor`](crate::worker::effect::Executor).

mod ahead;
pub mod entry;
pub mod known;
mod mounts;
pub mod plan;
pub(crate) mod read;
mod restore;
pub mod root;
pub mod rules;
pub mod scan;
mod selection;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use store::chunk::Chunks;

use crate::Error;
use crate::component::{Component, Difference};
use crate::limit::Limit;
use crate::manifest::{Part, Tree};
use crate::remembered::Marked;
use crate::worker::effect::{Effect, Executor, Progress, Shared, Way};
use entry::Stamp;
use known::{Before, Known};
use plan::RootPlan;
use read::{Contents, Likely};
use root::Root;
use rules::Rules;
use scan::{Scan, Why};
use selection::Selection;

/// The component.
pub struct Files<'a> {
    roots: &'a [Root],
    executor: Option<Shared<'a>>,
    known: Known<'a>,
    /// Absolute paths that a restore is about; everything where there is none.
    paths: Vec<Vec<u8>>,
    /// Files that the last capture did not read.
    recognised: u64,
    /// How roots come back that can be exchanged.
    way: Way,
    /// What comes back is checked when it is staged, and not already when it is planned.
    checks_late: bool,
    limit: Limit,
    /// For each captured folder: what to do.
    plans: Vec<Planned>,
}

/// What is to be done in one root.
struct Planned {
    /// The root's index.
    number: u16,
    /// The captured folder's place in the checkpoint.
    place: usize,
    plan: RootPlan,
    way: Way,
    /// What was found at the last look, and when the restore began.
    scan: Scan,
    began: Stamp,
}

impl<'a> Files<'a> {
    /// The files of `roots`. Effects name a root by its index in this list, so `executor` must have the same list; it can
    /// be missing where nothing is restored. What is `known` is not read; with nothing known everything is.
    pub fn new(roots: &'a [Root], executor: Option<Shared<'a>>, known: Known<'a>) -> Self {
        let (paths, plans) = (Vec::new(), Vec::new());
        let (way, checks_late, limit) = (Way::InPlace, false, Limit::default());
        Self { roots, executor, known, paths, recognised: 0, way, checks_late, limit, plans }
    }

    /// Restores roots this way, where it can be.
    #[must_use]
    pub fn by(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// Checks the chunks of what comes back when they are staged, and not already for the plan.
    #[must_use]
    pub fn checking_late(self, checks_late: bool) -> Self {
        Self { checks_late, ..self }
    }

    /// Looks at this limit.
    #[must_use]
    pub(crate) fn until(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }

    /// Plans and restores nothing but what is at or below these absolute paths; everything where there is none.
    #[must_use]
    pub fn within(self, paths: Vec<Vec<u8>>) -> Self {
        Self { paths, ..self }
    }

    /// Reads all roots; also gives how many files were not read.
    fn trees(&self, contents: &mut dyn Contents) -> Result<(Vec<Tree>, u64), Error> {
        let (mut trees, mut recognised) = (Vec::new(), 0);
        for root in self.roots {
            let scan = scan::scan(root, contents, &self.known)?;
            recognised += scan.known;
            trees.push(Tree {
                path: root.path().as_os_str().as_bytes().to_vec(),
                marks: scan.marks(),
                rules: root.rules().patterns().to_vec(),
                entries: scan.entries.into_iter().map(|found| found.entry).collect(),
                notes: scan.notes,
            });
        }
        Ok((trees, recognised))
    }

    /// How a root comes back, and why it cannot be exchanged where that was wished.
    fn way_of(&self, root: &Root, scan: &Scan) -> (Way, Option<String>) {
        if self.way == Way::InPlace {
            return (Way::InPlace, None);
        }
        let inside = scan.notes.iter().find_map(|note| match note.why {
            Why::MountPoint => Some("another file system is mounted in it"),
            Why::TooLong => Some("it holds too long or too deep a path"),
            _ => None,
        });
        let elsewhere = || {
            let at = mounts::elsewhere(root.path())?;
            Some(format!("it is mounted at {}, too, where the old folder would stay", at.display()))
        };
        match root.place().err().or(inside).map(str::to_owned).or_else(elsewhere) {
            Some(why) => (Way::InPlace, Some(why)),
            None => (Way::Exchange, None),
        }
    }

    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        match &mut self.executor {
            Some(executor) => executor.perform(effect),
            None => Err(Error::Refused("nobody is there who may change files".into())),
        }
    }

    fn find(&self, tree: &Tree) -> Result<(u16, &'a Root), Error> {
        let index = self.roots.iter().position(|root| root.path().as_os_str().as_bytes() == tree.path);
        let found = index.and_then(|index| Some((u16::try_from(index).ok()?, self.roots.get(index)?)));
        found.ok_or_else(|| {
            let path = crate::error::shown(&tree.path);
            Error::Refused(format!("{path} is in the checkpoint but is not among the configured folders"))
        })
    }

    fn compare(&self, want: &Part, chunks: &Chunks) -> Result<Vec<Planned>, Error> {
        let Part::Files { roots } = want else { return Ok(Vec::new()) };
        if let Some(path) =
            self.paths.iter().find(|path| !roots.iter().any(|tree| below(&tree.path, path).is_some()))
        {
            let path = crate::error::shown(path);
            return Err(Error::Refused(format!("{path} is in none of the checkpoint's folders")));
        }
        let mut plans = Vec::new();
        for (place, tree) in roots.iter().enumerate() {
            let tops: Vec<_> = self.paths.iter().filter_map(|path| below(&tree.path, path)).collect();
            let selection = match (self.paths.as_slice(), tops.as_slice()) {
                ([], _) => Selection::everything(),
                (_, []) => continue,
                (_, tops) => Selection::new(&tree.entries, tops),
            };
            let (number, root) = self.find(tree)?;
            // What was left out then is not in the checkpoint, and what is left out now is nobody's to change.
            let rules = Arc::new(root.rules().and(&Rules::new(&tree.rules)?));
            let selection = selection.without(&tree.entries, &rules);
            let root = &root.again()?.without(&rules);
            let began = scan::now();
            let before = self.plans.iter().find(|planned| planned.number == number);
            let seen = before.map(Planned::seen);
            let scan = scan::scan_after(
                root,
                &mut Likely::new(chunks, &tree.entries, &self.limit),
                &self.known,
                seen.as_ref(),
            )?;
            let way = self.way_of(root, &scan).0;
            let plan = plan::plan((&tree.entries, &tree.notes), &scan, &selection, way);
            let (way, began) = before.map_or((way, began), |planned| (planned.way, planned.began));
            plans.push(Planned { number, place, plan, way, scan, began });
        }
        Ok(plans)
    }
}

/// A path relative to a root, if it is the root or below it.
fn below<'p>(root: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
    if rest.is_empty() {
        return Some(rest);
    }
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
    rest.strip_prefix(b"/").filter(|rest| rest.split(|byte| *byte == b'/').all(is_name))
}

impl Planned {
    fn is_exchange(&self) -> bool {
        self.way == Way::Exchange && !self.plan.is_empty()
    }

    /// What was seen of it, for the next look.
    fn seen(&self) -> Before<'_> {
        Before::new(self.began, &self.scan, self.is_exchange())
    }
}

fn differences(want: &Part, plans: &[Planned]) -> Vec<Difference> {
    let Part::Files { roots } = want else { return Vec::new() };
    let trees = plans.iter().filter_map(|planned| Some((roots.get(planned.place)?, &planned.plan)));
    trees
        .flat_map(|(tree, plan)| {
            let of = |difference: &plan::Difference| Difference::File {
                root: tree.path.clone(),
                difference: difference.clone(),
            };
            plan.differences.iter().map(of).collect::<Vec<_>>()
        })
        .collect()
}

impl Component for Files<'_> {
    fn name(&self) -> &'static str {
        "files"
    }

    fn after(&self) -> &'static [&'static str] {
        &[]
    }

    fn capture(&mut self, chunks: &mut Chunks) -> Result<Part, Error> {
        let (roots, recognised) = self.trees(&mut read::Keep(chunks))?;
        self.recognised = recognised;
        Ok(Part::Files { roots })
    }

    fn observe(&mut self, chunks: &Chunks) -> Result<Part, Error> {
        self.trees(&mut read::Name(chunks)).map(|(roots, _)| Part::Files { roots })
    }

    fn recognised(&self) -> u64 {
        self.recognised
    }

    fn plan(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<Difference>, Error> {
        if let Part::Files { roots } = want {
            self.plans = self.compare(want, chunks)?;
            // What is not put back is not needed; who trusts nothing has all of it checked.
            let checks_all = self.known.is_nothing() && self.paths.is_empty();
            for planned in &self.plans {
                let Some(tree) = roots.get(planned.place) else { continue };
                let staged: HashSet<usize> = planned.plan.places.iter().copied().collect();
                let is_checked = |place: &usize| {
                    if staged.contains(place) { !self.checks_late } else { checks_all }
                };
                let places = (0..tree.entries.len()).filter(is_checked);
                restore::check_chunks(tree, places, chunks, &self.limit)?;
            }
        }
        Ok(differences(want, &self.plans))
    }

    fn in_place(&self) -> Vec<String> {
        let planned = self.plans.iter().filter(|planned| !planned.plan.is_empty());
        let reason = |planned: &Planned| {
            let root = self.roots.get(usize::from(planned.number))?;
            let (_, why) = self.way_of(root, &planned.scan);
            Some(format!("{}: {}", root.path().display(), why?))
        };
        planned.filter_map(reason).collect()
    }

    fn prepare(&mut self, want: &Part, chunks: &Chunks) -> Result<(), Error> {
        let Part::Files { roots: trees } = want else { return Ok(()) };
        self.make_way()?;
        let plans = std::mem::take(&mut self.plans);
        let result = plans.iter().filter(|planned| !planned.plan.is_empty()).try_for_each(|planned| {
            let Planned { number, place, plan, way, .. } = planned;
            let root = self.roots.get(usize::from(*number));
            let (Some(root), Some(tree)) = (root, trees.get(*place)) else { return Ok(()) };
            restore::check_space(root, tree, plan)?;
            let mut perform = |effect: &Effect| {
                self.limit.check()?;
                self.perform(effect).map(|_| ())
            };
            restore::stage((*number, *way), tree, plan, chunks, &mut perform)
        });
        self.plans = plans;
        result
    }

    fn execute(&mut self) -> Result<(), Error> {
        self.numbers().into_iter().try_for_each(|root| self.perform(&Effect::Execute { root }).map(|_| ()))
    }

    fn undo(&mut self) -> Result<(), Error> {
        self.each(|root| Effect::Undo { root })
    }

    fn verify(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<Difference>, Error> {
        let now = self.compare(want, chunks)?;
        let differences = differences(want, &now);
        // What was planned is what is to be taken back or finished.
        for Planned { number, scan, .. } in now {
            if let Some(planned) = self.plans.iter_mut().find(|planned| planned.number == number) {
                planned.scan = scan;
            }
        }
        Ok(differences)
    }

    fn clean_up(&mut self) -> Result<(), Error> {
        self.each(|root| Effect::Finish { root })?;
        self.each(|root| Effect::Clean { root })
    }

    fn remember(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<Marked>, Error> {
        let Part::Files { roots: trees } = want else { return Ok(Vec::new()) };
        let mut marked = Vec::new();
        for planned in &self.plans {
            let root = self.roots.get(usize::from(planned.number));
            let (Some(root), Some(tree)) = (root, trees.get(planned.place)) else { continue };
            // The old root is gone, and with it the second names: once more another ctime.
            let marks = if planned.is_exchange() {
                scan::scan_after(
                    root,
                    &mut Likely::new(chunks, &tree.entries, &self.limit),
                    &self.known,
                    Some(&planned.seen()),
                )?
                .marks_of(&tree.entries)
            } else {
                planned.scan.marks_of(&tree.entries)
            };
            marked.extend(marks.map(|marks| Marked { path: tree.path.clone(), marks }));
        }
        Ok(marked)
    }
}

impl Files<'_> {
    /// The roots that differ.
    fn numbers(&self) -> Vec<u16> {
        self.plans.iter().filter(|planned| !planned.plan.is_empty()).map(|planned| planned.number).collect()
    }

    /// Looks for an earlier restore before anything is staged.
    fn make_way(&mut self) -> Result<(), Error> {
        for root in self.numbers() {
            match self.perform(&Effect::Look { root })? {
                Progress::None => {}
                // Nothing in it is needed.
                Progress::Loose | Progress::Finished => self.perform(&Effect::Clean { root }).map(|_| ())?,
                Progress::Committed | Progress::Executed => {
                    let path =
                        self.roots.get(usize::from(root)).map(|root| root.path().display().to_string());
                    return Err(Error::Unfinished(path.unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    /// One effect on every root that differs. Goes on after an error, then reports the first.
    fn each(&mut self, effect: impl Fn(u16) -> Effect) -> Result<(), Error> {
        let mut first = Ok(());
        for number in self.numbers() {
            let result = self.perform(&effect(number)).map(|_| ());
            first = first.and(result);
        }
        first
    }
}
