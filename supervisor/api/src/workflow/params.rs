//! What a run is given: names, kinds, defaults.

use types::agent::Name;
use types::workflow::{Kind, PARAMS_MAX, Param};

use crate::document;
use crate::document::fields::{Field, Fields};
use crate::document::mistake::{Mistake, Mistakes};
use crate::document::source::Source;

use super::template::{self, Reader};

/// The keys of a param that is written as a map.
pub const KEYS: &[&str] = &["type", "default", "description"];

/// Each param's name as it is written, and its kind where that is known: what expressions are checked against.
pub type Sketches = Vec<(String, Option<Kind>)>;

/// The params, unless one has a mistake; and all their names, so that no expression is blamed for it.
pub fn read(
    field: Option<Field>,
    source: &Source<'_>,
    mistakes: &mut Mistakes,
) -> (Option<Vec<Param>>, Sketches) {
    let Some(field) = field else { return (Some(Vec::new()), Vec::new()) };
    let path = field.path.clone();
    let entries = match field.node.kind {
        document::Kind::Map(entries) => entries,
        other => {
            let what = format!("is {}, not a map", other.noun());
            let advice = "write “name: default” lines, or “name: {type: text}” where a run must say";
            mistakes.add(Mistake::new(field.node.place, what, advice).of(path));
            return (None, Vec::new());
        }
    };
    if entries.len() > PARAMS_MAX {
        let what = format!("has more than {PARAMS_MAX} entries");
        mistakes.add(Mistake::new(field.node.place, what, "leave some out").of(path));
        return (None, Vec::new());
    }
    let count = entries.len();
    let (mut params, mut sketches) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (key, node) in entries {
        let path = format!("{path}.{}", key.text);
        let name = match key.text.parse::<Name>() {
            Ok(name) => Some(name),
            Err(error) => {
                let what = format!("“{}” {error}", key.text);
                let advice = "write a name of a–z, 0–9 and hyphens";
                mistakes.add(Mistake::new(key.place, what, advice).of(path.clone()));
                None
            }
        };
        let found = param(Field { path, node }, source, mistakes);
        sketches.push((key.text, found.as_ref().map(|found| found.kind)));
        if let Some((name, Found { kind, default, description })) = name.zip(found) {
            params.push(Param { name, kind, default, description });
        }
    }
    ((params.len() == count).then_some(params), sketches)
}

/// What is said of a param.
struct Found {
    kind: Kind,
    default: Option<String>,
    description: Option<String>,
}

/// A map says what the param is; anything else is its default.
fn param(field: Field, source: &Source<'_>, mistakes: &mut Mistakes) -> Option<Found> {
    if !matches!(field.node.kind, document::Kind::Map(_)) {
        let (kind, json) = default(field, None, source, mistakes)?;
        return Some(Found { kind, default: Some(json), description: None });
    }
    let mut fields = Fields::of(field, mistakes)?;
    let advice = "write text, number, bool, list or map";
    let said = fields.take("type").map(|field| field.parsed::<Kind>(advice, mistakes));
    let default = fields.take("default").map(|field| default(field, said.flatten(), source, mistakes));
    let description = super::description(&mut fields, mistakes);
    if said.is_none() && default.is_none() {
        fields.need("type", "write “type: text” or a default", mistakes);
    }
    super::end(fields, KEYS, mistakes);
    let (default_kind, default) = match default {
        Some(found) => found.map(|(kind, json)| (Some(kind), Some(json)))?,
        None => (None, None),
    };
    let kind = match said {
        Some(said) => said?,
        None => default_kind?,
    };
    Some(Found { kind, default, description: description? })
}

/// A default, and its kind.
fn default(
    field: Field,
    said: Option<Kind>,
    source: &Source<'_>,
    mistakes: &mut Mistakes,
) -> Option<(Kind, String)> {
    let (place, path) = (field.node.place, field.path.clone());
    let template = Reader { source, sight: None }.template(field, mistakes)?;
    let Some(kind) = template::kind(&template) else {
        let advice = "write a default, or “type: …” alone where a run must say";
        mistakes.add(Mistake::new(place, "has no value", advice).of(path));
        return None;
    };
    if let Some(said) = said.filter(|said| *said != kind) {
        let what = format!("is of type {kind}, not {said}");
        mistakes.add(Mistake::new(place, what, advice_for(said)).of(path));
        return None;
    }
    Some((kind, template::json(&template)))
}

/// How a value of this kind is written in a file.
const fn advice_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "quote it: \"…\"",
        Kind::Number => "write a number such as 5, without quotes",
        Kind::Bool => "write true or false, without quotes",
        Kind::List => "write a list such as [a, b]",
        Kind::Map => "write a map such as {a: 1}",
    }
}
