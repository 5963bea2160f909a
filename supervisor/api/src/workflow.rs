//! Reads a workflow's file: YAML in the words that people know from other programs.
//!
//! Reading is pure: bytes in, a workflow or all mistakes out, each with line, column and what to do. What was read is
//! checked as a whole, so that a run does not find out in its middle what could be known before.
//!
//! # Layout
//!
//! - [`expression`]: the language of `${{ … }}`
//! - `resolve`: its names and kinds, as far as they are known
//! - `template`: values with expressions in them
//! - `params`: what a run is given
//! - `needs`: who comes before whom
//! - `mode`: how many tasks a step is
//! - `step`: one step
//! - [`agents`]: what only the registry of agents can tell
//! - [`arguments`]: what a run is given, checked

pub mod expression;

mod resolve;

mod template;

mod params;

mod needs;

mod mode;

mod step;

pub mod agents;

pub mod arguments;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};
use types::agent::Milliseconds;
use types::hash::Hash;
use types::workflow::{OnFailure, Priority, STEPS_MAX, TIMEOUT, Workflow};

use crate::agent::definition::DESCRIPTION_MAX;
use crate::document::fields::{Field, Fields};
use crate::document::mistake::{Mistake, Mistakes, Place};
use crate::document::scalar::is_null;
use crate::document::source::Source;
use crate::document::{self, Kind, Node};

use self::needs::Needs;
use self::resolve::Names;
use self::step::Draft;

/// Largest file, bytes.
pub const FILE_MAX: usize = 256 << 10;
/// Longest time of a run: a week.
pub const TIMEOUT_MAX: Milliseconds = Milliseconds(7 * 24 * 3_600_000);

/// The keys of a file; those that begin with `x-` are somebody else's.
pub const KEYS: &[&str] = &["name", "description", "params", "timeout", "priority", "on-failure", "steps"];

/// A workflow, and where in its file stands what only the registry of agents can judge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// The workflow.
    pub workflow: Workflow,
    /// One for each step.
    pub places: Vec<Places>,
}

/// Where in the file a step names others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Its agents, in their order; or its capability.
    pub who: Vec<Place>,
    /// Its mode, or the step itself where that is left out.
    pub mode: Place,
    /// The agent that judges.
    pub judge: Option<Place>,
}

/// Reads a workflow's file.
///
/// # Errors
///
/// Every mistake that was found, in the order of the places, at most
/// [`MISTAKES_MAX`](crate::document::mistake::MISTAKES_MAX).
pub fn read(bytes: &[u8]) -> Result<Checked, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let found = parse(bytes, &mut mistakes);
    match found {
        Some(checked) if mistakes.is_empty() => Ok(checked),
        _ => Err(mistakes.into_vec()),
    }
}

/// The workflow as far as it could be understood; it counts only if there is no mistake.
fn parse(bytes: &[u8], mistakes: &mut Mistakes) -> Option<Checked> {
    let text = document::text::read(bytes, FILE_MAX).map_err(|mistake| mistakes.add(mistake)).ok()?;
    // Some editors put a byte order mark first; it says nothing in UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = document::read(text, 1, mistakes)?;
    let node = match node.kind {
        // A file of comments alone is a map without entries.
        Kind::Scalar { text, is_plain: true } if is_null(&text) => {
            Node { place: Place::default(), kind: Kind::Map(Vec::new()) }
        }
        kind => Node { place: node.place, kind },
    };
    let mut fields = Fields::of(Field { path: String::new(), node }, mistakes)?;
    let hash = Hash(Sha256::digest(bytes).into());
    let checked = workflow(&mut fields, &Source::new(text, 1), hash, mistakes);
    end(fields, KEYS, mistakes);
    checked
}

/// All keys; each is read even if another is missing, so that all mistakes are told at once.
fn workflow(
    fields: &mut Fields,
    source: &Source<'_>,
    hash: Hash,
    mistakes: &mut Mistakes,
) -> Option<Checked> {
    let advice = "write a name of a–z, 0–9 and hyphens, such as “name: nightly-report”";
    let name = fields.need("name", advice, mistakes).and_then(|field| field.parsed(advice, mistakes));
    let description = description(fields, mistakes);
    let (params, sketches) = params::read(fields.take("params"), source, mistakes);
    let timeout = fields.take("timeout").map_or(Some(TIMEOUT), |field| {
        field.within(Milliseconds(1), TIMEOUT_MAX, "write a time such as 10min", mistakes)
    });
    let priority = fields
        .take("priority")
        .map_or(Some(Priority::default()), |field| field.parsed("write low, normal or high", mistakes));
    let on_failure =
        fields.take("on-failure").map_or(Some(OnFailure::default()), |field| on_failure(field, mistakes));
    let drafts = drafts(fields, mistakes)?;
    let needs = Needs::of(&drafts, mistakes);
    for (index, draft) in drafts.iter().enumerate() {
        needs.check_stage(index, draft, &drafts, mistakes);
    }
    let names = Names::new(sketches, &drafts);
    let count = drafts.len();
    let mut steps = Vec::with_capacity(count);
    let mut places = Vec::with_capacity(count);
    for (index, draft) in drafts.into_iter().enumerate() {
        let reader = step::Reader { source, names: &names, needs: &needs, index, timeout };
        if let Some((step, place)) = reader.read(draft, mistakes) {
            steps.push(step);
            places.push(place);
        }
    }
    (steps.len() == count).then_some(())?;
    let workflow = Workflow {
        name: name?,
        description: description?,
        params: params?,
        steps,
        timeout: timeout?,
        priority: priority?,
        on_failure: on_failure?,
        hash,
    };
    Some(Checked { workflow, places })
}

/// The steps' ids, needs and modes, on which everything else depends.
fn drafts(fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Vec<Draft>> {
    let advice = "write a list: “steps:”, and below it “- id: …” for each step";
    let field = fields.need("steps", advice, mistakes)?;
    let (place, path) = (field.node.place, field.path.clone());
    let items = field.list(STEPS_MAX, advice, mistakes)?;
    if items.is_empty() {
        mistakes.add(Mistake::new(place, "is empty", advice).of(path));
    }
    let count = items.len();
    let mut drafts: Vec<Draft> = Vec::with_capacity(count);
    for item in items {
        if let Some(draft) = Draft::of(item, &drafts, mistakes) {
            drafts.push(draft);
        }
    }
    (drafts.len() == count).then_some(drafts)
}

/// What a thing is for, in its author's words; none is none.
#[expect(clippy::option_option, reason = "the outer one is a mistake, the inner one nothing said")]
fn description(fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Option<String>> {
    let Some(field) = fields.take("description") else { return Some(None) };
    let (place, path) = (field.node.place, field.path.clone());
    let text = field.text("say in a sentence what it is for, or remove it", mistakes)?;
    if text.len() > DESCRIPTION_MAX {
        let what = format!("has {} bytes", text.len());
        mistakes.add(Mistake::new(place, what, format!("write at most {DESCRIPTION_MAX}")).of(path));
        return None;
    }
    Some(Some(text))
}

fn on_failure(field: Field, mistakes: &mut Mistakes) -> Option<OnFailure> {
    field.parsed("write continue, stop or roll-back", mistakes)
}

/// Whatever is left is unknown, unless somebody marked it as their own with `x-`.
fn end(mut fields: Fields, known: &[&str], mistakes: &mut Mistakes) {
    fields.take_all(|key| key.starts_with("x-"));
    fields.end(known, mistakes);
}
