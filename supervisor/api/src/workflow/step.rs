//! One step.

use types::agent::{Milliseconds, Name};
use types::workflow::{Kind, Step, Template, Who};

use crate::agent::definition::{TIMEOUT_MAX, section};
use crate::document::fields::{Field, Fields};
use crate::document::mistake::{Mistake, Mistakes, Place};
use crate::document::scalar::Flag;
use crate::document::source::Source;
use crate::document::{self};

use super::needs::{self, Need, Needs};
use super::resolve::{Names, Sight};
use super::{Places, mode, template};

/// The keys of a step.
pub const KEYS: &[&str] =
    &["id", "needs", "agent", "mode", "with", "if", "retry", "timeout", "checkpoint-before", "on-failure"];
/// Most agents of which a step takes one.
pub const AGENTS_MAX: usize = 256;

/// A step of which id, needs and mode are understood, on which everything else depends.
#[derive(Debug)]
pub struct Draft {
    fields: Fields,
    /// Such as `steps[0]`.
    pub path: String,
    /// What it is called.
    pub id: Option<Name>,
    /// What it needs; none where that has a mistake.
    pub needs: Option<Vec<Need>>,
    /// None where it has a mistake.
    pub mode: Option<mode::Draft>,
    /// Where the mode stands, or the step.
    pub mode_place: Place,
}

impl Draft {
    /// Of an entry of `steps`, behind those `before` it.
    pub fn of(field: Field, before: &[Self], mistakes: &mut Mistakes) -> Option<Self> {
        let (place, path) = (field.node.place, field.path.clone());
        let mut fields = Fields::of(field, mistakes)?;
        let advice = "write a name of a–z, 0–9 and hyphens, such as “id: read-tokens”";
        let id = fields.need("id", advice, mistakes).and_then(|field| {
            let (place, path) = (field.node.place, field.path.clone());
            let id: Name = field.parsed(advice, mistakes)?;
            if before.iter().any(|other| other.id.as_ref() == Some(&id)) {
                let what = format!("“{id}” is already the id of a step");
                mistakes.add(Mistake::new(place, what, "give each step its own").of(path));
            }
            Some(id)
        });
        let needs = fields.take("needs").map_or(Some(Vec::new()), |field| needs::read(field, mistakes));
        let (mode, mode_place) = match fields.take("mode") {
            None => (Some(mode::Draft::sequential()), place),
            Some(field) => {
                let place = field.node.place;
                (mode::read(field, mistakes), place)
            }
        };
        Some(Self { fields, path, id, needs, mode, mode_place })
    }
}

/// Reads one step to its end.
#[derive(Debug)]
pub struct Reader<'r> {
    /// The file.
    pub source: &'r Source<'r>,
    /// What expressions can name.
    pub names: &'r Names,
    /// All steps' needs.
    pub needs: &'r Needs,
    /// The step's place.
    pub index: usize,
    /// How long a whole run may take, where that has no mistake.
    pub timeout: Option<Milliseconds>,
}

impl Reader<'_> {
    /// What reads a key that sees an item or none.
    fn expressions(&self, has_item: bool) -> template::Reader<'_> {
        let reach = self.needs.reach.get(self.index).map_or(&[][..], Vec::as_slice);
        template::Reader { source: self.source, sight: Some(Sight { names: self.names, reach, has_item }) }
    }

    /// The step, and where it names others.
    pub fn read(&self, draft: Draft, mistakes: &mut Mistakes) -> Option<(Step, Places)> {
        let Draft { mut fields, id, mode, mode_place, .. } = draft;
        // Where the mode has a mistake nobody knows whether there is an item.
        let has_item = mode.as_ref().is_none_or(mode::Draft::is_for_each);
        let judge = mode.as_ref().and_then(|mode| mode.judge);
        let mode = mode.and_then(|mode| {
            mode.finish(|each| self.expressions(false).expression(each, Kind::List, mistakes))
        });
        let advice = "name an agent, a list of them, or {capability: file.read}";
        let agent = fields.need("agent", advice, mistakes).and_then(|field| who(field, mistakes));
        let input = fields.take("with").map_or(Some(Template::Map(Vec::new())), |field| {
            self.expressions(has_item).template(field, mistakes)
        });
        let when = match fields.take("if") {
            None => Some(None),
            Some(field) => self.expressions(false).expression(&field, Kind::Bool, mistakes).map(Some),
        };
        let retry = match fields.take("retry") {
            None => Some(None),
            Some(field) => section::retry(field, "delay-max", mistakes).map(Some),
        };
        let timeout =
            fields.take("timeout").map_or(Some(None), |field| self.timeout(field, mistakes).map(Some));
        let checkpoint_before = fields
            .take("checkpoint-before")
            .map_or(Some(Flag(false)), |field| field.parsed("write true or false", mistakes));
        let on_failure = fields
            .take("on-failure")
            .map_or(Some(None), |field| super::on_failure(field, mistakes).map(Some));
        super::end(fields, KEYS, mistakes);
        let (who, who_places) = agent?;
        let step = Step {
            id: id?,
            needs: self.needs.direct.get(self.index)?.clone(),
            who,
            mode: mode?,
            input: input?,
            when: when?,
            retry: retry?,
            timeout: timeout?,
            checkpoint_before: checkpoint_before?.0,
            on_failure: on_failure?,
        };
        Some((step, Places { who: who_places, mode: mode_place, judge }))
    }

    /// One attempt's; longer than the whole run it could never fire.
    fn timeout(&self, field: Field, mistakes: &mut Mistakes) -> Option<Milliseconds> {
        let (place, path) = (field.node.place, field.path.clone());
        let timeout = field.within(Milliseconds(1), TIMEOUT_MAX, "write a time such as 30s", mistakes)?;
        if let Some(whole) = self.timeout.filter(|whole| timeout > *whole) {
            let what = format!("{timeout} is longer than the whole run may take, which is {whole}");
            let advice = "shorten it, or give the workflow a longer “timeout”";
            mistakes.add(Mistake::new(place, what, advice).of(path));
            return None;
        }
        Some(timeout)
    }
}

/// `agent`, and the place of each name.
fn who(field: Field, mistakes: &mut Mistakes) -> Option<(Who, Vec<Place>)> {
    let advice = "name an agent, a list of them, or {capability: file.read}";
    let (place, path) = (field.node.place, field.path.clone());
    let names = match field.node.kind {
        document::Kind::Map(_) => {
            let mut fields = Fields::of(field, mistakes)?;
            let advice = "write a kind such as token.read, and perhaps where: \"file.read:/srv/data\"";
            let capability = fields.need("capability", advice, mistakes);
            super::end(fields, &["capability"], mistakes);
            let field = capability?;
            let place = field.node.place;
            return Some((Who::Capability(field.parsed(advice, mistakes)?), vec![place]));
        }
        document::Kind::List(_) => field.list(AGENTS_MAX, advice, mistakes)?,
        document::Kind::Scalar { .. } => vec![field],
    };
    let count = names.len();
    let (mut agents, mut places): (Vec<Name>, Vec<Place>) = (Vec::new(), Vec::new());
    for field in names {
        let (place, path) = (field.node.place, field.path.clone());
        let advice = "write an agent's name, of a–z, 0–9 and hyphens";
        let Some(name) = field.parsed(advice, mistakes) else { continue };
        if agents.contains(&name) {
            let what = format!("“{name}” stands here a second time");
            mistakes.add(Mistake::new(place, what, "keep one of them").of(path));
        } else {
            agents.push(name);
            places.push(place);
        }
    }
    if count == 0 {
        mistakes.add(Mistake::new(place, "is empty", advice).of(path));
    }
    (count > 0 && agents.len() == count).then_some((Who::Agents(agents), places))
}
