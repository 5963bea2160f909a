//! Values with expressions in them.

use types::workflow::template::{Expression, Piece, Template};
use types::workflow::{INPUT_MAX, Kind};

use crate::document::fields::{Field, cut};
use crate::document::mistake::{Mistake, Mistakes};
use crate::document::scalar::{Meaning, is_null};
use crate::document::source::Source;
use crate::document::{self, Node};

use super::expression::{self, End, Wrong};
use super::resolve::{Sight, Sort, resolve};

/// What an expression in a text begins with.
const BEGIN: &str = "${{";

/// Reads expressions of one key.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'r> {
    /// The file.
    pub source: &'r Source<'r>,
    /// What they can see; without, no expression may stand here.
    pub sight: Option<Sight<'r>>,
}

impl Reader<'_> {
    /// A whole value. Its depth is bounded by the document's.
    pub fn template(self, field: Field, mistakes: &mut Mistakes) -> Option<Template> {
        let (place, path) = (field.node.place, field.path.clone());
        let template = self.value(field, mistakes)?;
        let length = length(&template);
        if length > INPUT_MAX {
            let what = format!("has {length} bytes as JSON before anything is filled in");
            mistakes.add(Mistake::new(place, what, format!("keep it within {INPUT_MAX}")).of(path));
            return None;
        }
        Some(template)
    }

    fn value(self, field: Field, mistakes: &mut Mistakes) -> Option<Template> {
        let Field { path, node } = field;
        match node.kind {
            document::Kind::Scalar { .. } => self.scalar(&Field { path, node }, mistakes),
            document::Kind::List(nodes) => {
                let count = nodes.len();
                let items: Vec<Template> = nodes
                    .into_iter()
                    .enumerate()
                    .filter_map(|(index, node)| {
                        self.value(Field { path: format!("{path}[{index}]"), node }, mistakes)
                    })
                    .collect();
                (items.len() == count).then_some(Template::List(items))
            }
            document::Kind::Map(entries) => {
                let count = entries.len();
                let mut values = Vec::with_capacity(count);
                for (key, node) in entries {
                    let path = format!("{path}.{}", cut(&key.text));
                    if key.text.contains(BEGIN) {
                        let what = "an expression in a key";
                        mistakes.add(Mistake::new(key.place, what, "only values are filled in").of(path));
                    } else if let Some(value) = self.value(Field { path, node }, mistakes) {
                        values.push((key.text, value));
                    }
                }
                (values.len() == count).then_some(Template::Map(values))
            }
        }
    }

    fn scalar(self, field: &Field, mistakes: &mut Mistakes) -> Option<Template> {
        let document::Kind::Scalar { text, is_plain } = &field.node.kind else { return None };
        match Meaning::of(text, *is_plain) {
            Meaning::Null => Some(Template::Null),
            Meaning::Bool(is_true) => Some(Template::Bool(is_true)),
            Meaning::Number if expression::is_number(text) => Some(Template::Number(text.clone())),
            Meaning::Number => {
                let what = format!("“{}” is a number that JSON cannot write", cut(text));
                field.wrong(
                    what,
                    "write it in decimal, such as 12, -0.5 or 1e9, or quote it as a text",
                    mistakes,
                );
                None
            }
            Meaning::Text => self.text(field, text, mistakes),
        }
    }

    /// A text with expressions in it.
    fn text(self, field: &Field, text: &str, mistakes: &mut Mistakes) -> Option<Template> {
        let mut pieces = Vec::new();
        let (mut at, mut is_good) = (0, true);
        while let Some(begin) = text.get(at..).and_then(|rest| rest.find(BEGIN)).map(|begin| at + begin) {
            let Some(sight) = self.sight else {
                let wrong = Wrong {
                    at: begin,
                    what: "an expression, where a value must stand as it is".to_owned(),
                    advice: "write the value".to_owned(),
                };
                self.tell(&field.node, &field.path, wrong, mistakes);
                return None;
            };
            if begin > at {
                pieces.push(Piece::Plain(text.get(at..begin)?.to_owned()));
            }
            let (syntax, end) = match expression::read(text, begin + BEGIN.len(), End::Braces) {
                Ok(read) => read,
                Err(wrong) => {
                    self.tell(&field.node, &field.path, wrong, mistakes);
                    return None;
                }
            };
            let mut wrong = Vec::new();
            match resolve(&syntax, sight, &mut wrong).0 {
                Some(expression) => pieces.push(Piece::Value(expression)),
                None => is_good = false,
            }
            for wrong in wrong {
                self.tell(&field.node, &field.path, wrong, mistakes);
            }
            at = end;
        }
        if at < text.len() {
            pieces.push(Piece::Plain(text.get(at..)?.to_owned()));
        }
        let whole = |pieces: Vec<Piece>| match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Value(expression)]) => Template::Value(expression),
            Ok([piece]) => Template::Text(vec![piece]),
            Err(pieces) => Template::Text(pieces),
        };
        is_good.then(|| whole(pieces))
    }

    /// A key whose value is one expression, bare or in `${{ … }}`, and can be of this kind.
    pub fn expression(self, field: &Field, kind: Kind, mistakes: &mut Mistakes) -> Option<Expression> {
        let text = match &field.node.kind {
            document::Kind::Scalar { text, is_plain } if !(*is_plain && is_null(text)) => text,
            document::Kind::Scalar { .. } => {
                field.wrong("has no value", "write an expression such as params.x", mistakes);
                return None;
            }
            other => {
                let advice = "write an expression such as params.x; a fixed list can be a param's default";
                field.wrong(format!("is {}, not an expression", other.noun()), advice, mistakes);
                return None;
            }
        };
        let mut wrong = Vec::new();
        let expression = self.whole(text, kind, &mut wrong);
        for wrong in wrong {
            self.tell(&field.node, &field.path, wrong, mistakes);
        }
        expression
    }

    fn whole(self, text: &str, kind: Kind, wrong: &mut Vec<Wrong>) -> Option<Expression> {
        let begin = text.len() - text.trim_start().len();
        let read = match text.get(begin..).and_then(|rest| rest.strip_prefix(BEGIN)) {
            None => expression::read(text, 0, End::Text),
            Some(_) => {
                expression::read(text, begin + BEGIN.len(), End::Braces).and_then(|(syntax, end)| match text
                    .get(end..)
                    .map(str::trim)
                {
                    Some("") | None => Ok((syntax, end)),
                    Some(_) => Err(Wrong {
                        at: end,
                        what: "something stands behind the “}}”".to_owned(),
                        advice: "put the whole expression into one “${{ … }}”, or leave that out".to_owned(),
                    }),
                })
            }
        };
        let (syntax, _) = read.map_err(|error| wrong.push(error)).ok()?;
        let (expression, sort) = resolve(&syntax, self.sight?, wrong);
        if expression.is_some() && !sort.may_be(kind) {
            let (what, wanted) = (format!("this is {sort}"), Sort::Of(kind));
            wrong.push(Wrong { at: syntax.at, what, advice: format!("write what is {wanted}") });
        }
        expression
    }

    /// Reports what is wrong with an expression where it stands in the file.
    fn tell(self, node: &Node, path: &str, wrong: Wrong, mistakes: &mut Mistakes) {
        // Finding a place takes time, and nobody would read it.
        if !mistakes.is_full() {
            let place = self.source.place(node, wrong.at);
            mistakes.add(Mistake::new(place, wrong.what, wrong.advice).of(path));
        }
    }
}

/// The kind of a value that stands as it is; null has none.
pub const fn kind(template: &Template) -> Option<Kind> {
    match template {
        Template::Bool(_) => Some(Kind::Bool),
        Template::Number(_) => Some(Kind::Number),
        Template::Text(_) => Some(Kind::Text),
        Template::List(_) => Some(Kind::List),
        Template::Map(_) => Some(Kind::Map),
        Template::Null | Template::Value(_) => None,
    }
}

/// A value as JSON text, numbers as they are written; what is filled in later is left out.
pub fn json(template: &Template) -> String {
    let mut text = String::new();
    write(&mut text, template);
    text
}

/// How long it is at least.
fn length(template: &Template) -> usize {
    json(template).len()
}

fn write(text: &mut String, template: &Template) {
    match template {
        Template::Null => text.push_str("null"),
        Template::Bool(is_true) => text.push_str(if *is_true { "true" } else { "false" }),
        Template::Number(number) => text.push_str(number),
        Template::Text(pieces) => {
            let plain: String = pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Plain(plain) => Some(plain.as_str()),
                    Piece::Value(_) => None,
                })
                .collect();
            quote(text, &plain);
        }
        Template::Value(_) => {}
        Template::List(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, item);
            }
            text.push(']');
        }
        Template::Map(entries) => {
            text.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                quote(text, key);
                text.push(':');
                write(text, value);
            }
            text.push('}');
        }
    }
}

fn quote(text: &mut String, plain: &str) {
    text.push_str(&serde_json::Value::from(plain).to_string());
}
