//! How many tasks a step is: `mode: sequential`, or a map of the mode's word and what it is given.

use std::fmt;
use std::str::FromStr;

use types::workflow::step::AT_ONCE_MAX;
use types::workflow::{Compare, Expression, Mode, Take};

use crate::document::fields::{Field, Fields, nearest};
use crate::document::mistake::{Mistake, Mistakes, Place};
use crate::document::scalar::Count;
use crate::document::{self};

/// The modes, and what each can be given.
pub const MODES: &[(&str, &[&str])] = &[
    ("sequential", &[]),
    ("parallel", &["each", "at-once"]),
    ("pipeline", &["each", "buffer", "at-once"]),
    ("consensus", &["copies", "quorum", "compare"]),
    ("competitive", &["copies"]),
    ("redundant", &["copies", "take"]),
];
/// The comparisons that are given something.
pub const COMPARES: &[&str] = &["tolerance", "judge"];

/// Tasks at once of a parallel step or a stage, unless the file says otherwise.
pub const AT_ONCE: u32 = 8;
/// Outputs that may wait before a stage, unless the file says otherwise.
pub const BUFFER: u32 = 16;
/// Copies of a consensus and of a redundant step, unless the file says otherwise: the fewest of which one may be wrong.
pub const COPIES: u32 = 3;
/// Copies of a competitive step, unless the file says otherwise.
pub const COPIES_COMPETITIVE: u32 = 2;

/// A mode whose list is not understood yet.
#[derive(Debug)]
pub struct Draft {
    mode: Known,
    /// The list.
    pub each: Option<Field>,
    /// The agent that judges.
    pub judge: Option<Place>,
}

#[derive(Debug)]
enum Known {
    Whole(Mode),
    Parallel { at_once: u32 },
    Pipeline { buffer: u32, at_once: u32 },
}

impl Draft {
    const fn whole(mode: Mode) -> Self {
        Self { mode: Known::Whole(mode), each: None, judge: None }
    }

    /// Nothing is said of the mode.
    pub const fn sequential() -> Self {
        Self::whole(Mode::Sequential)
    }

    /// It runs once for each item, so that its output is a list.
    pub const fn is_for_each(&self) -> bool {
        matches!(self.mode, Known::Parallel { .. } | Known::Pipeline { .. })
    }

    /// It is a stage of a pipeline.
    pub const fn is_stage(&self) -> bool {
        matches!(self.mode, Known::Pipeline { .. })
    }

    /// It is a stage that takes the outputs of the one before.
    pub const fn is_later_stage(&self) -> bool {
        self.is_stage() && self.each.is_none()
    }

    /// The mode with its list.
    pub fn finish(self, read: impl FnOnce(&Field) -> Option<Expression>) -> Option<Mode> {
        let each = match &self.each {
            Some(field) => Some(read(field)?),
            None => None,
        };
        Some(match (self.mode, each) {
            (Known::Whole(mode), _) => mode,
            (Known::Parallel { at_once }, each) => Mode::Parallel { each: each?, at_once },
            (Known::Pipeline { buffer, at_once }, each) => Mode::Pipeline { each, buffer, at_once },
        })
    }
}

/// `mode`
pub fn read(field: Field, mistakes: &mut Mistakes) -> Option<Draft> {
    let advice = "write one of sequential, parallel, pipeline, consensus, competitive, redundant";
    if !matches!(field.node.kind, document::Kind::Map(_)) {
        let place = field.node.place;
        let path = field.path.clone();
        let word = field.text(advice, mistakes)?;
        return known(&word, place, &path, mistakes)?.without_options(place, path, mistakes);
    }
    let (place, path) = (field.node.place, field.path.clone());
    let mut fields = Fields::of(field, mistakes)?;
    let words: Vec<(String, Place)> = fields
        .keys()
        .filter(|key| !key.text.starts_with("x-"))
        .map(|key| (key.text.clone(), key.place))
        .collect();
    let [(word, word_place)] = words.as_slice() else {
        let what = format!("names {} modes", words.len());
        let advice = "write one, as in “mode: {parallel: {each: params.files}}”";
        mistakes.add(Mistake::new(place, what, advice).of(path));
        return None;
    };
    let mode = known(word, *word_place, &path, mistakes)?;
    let options = Fields::of(fields.take(word)?, mistakes)?;
    mode.with_options(options, mistakes)
}

/// The word of a mode.
#[derive(Clone, Copy)]
enum Word {
    Sequential,
    Parallel,
    Pipeline,
    Consensus,
    Competitive,
    Redundant,
}

fn known(word: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<Word> {
    let known = match word {
        "sequential" => Word::Sequential,
        "parallel" => Word::Parallel,
        "pipeline" => Word::Pipeline,
        "consensus" => Word::Consensus,
        "competitive" => Word::Competitive,
        "redundant" => Word::Redundant,
        _ => {
            let words: Vec<&str> = MODES.iter().map(|(word, _)| *word).collect();
            let advice = match nearest(word, &words) {
                Some(near) => format!("write “{near}”, if that is meant"),
                None => format!("write one of {}", words.join(", ")),
            };
            let what = format!("“{}” is no mode", document::fields::cut(word));
            mistakes.add(Mistake::new(place, what, advice).of(path));
            return None;
        }
    };
    Some(known)
}

impl Word {
    /// A word alone: everything as it is unless the file says otherwise.
    fn without_options(self, place: Place, path: String, mistakes: &mut Mistakes) -> Option<Draft> {
        let node = document::Node { place, kind: document::Kind::Map(Vec::new()) };
        let path = if matches!(self, Self::Parallel) { format!("{path}.parallel") } else { path };
        self.with_options(Fields::of(Field { path, node }, mistakes)?, mistakes)
    }

    fn with_options(self, mut fields: Fields, mistakes: &mut Mistakes) -> Option<Draft> {
        let draft = match self {
            Self::Sequential => Some(Draft::sequential()),
            Self::Parallel => parallel(&mut fields, mistakes),
            Self::Pipeline => pipeline(&mut fields, mistakes),
            Self::Consensus => consensus(&mut fields, mistakes),
            Self::Competitive => count(&mut fields, "copies", 2, COPIES_COMPETITIVE, mistakes)
                .map(|copies| Draft::whole(Mode::Competitive { copies })),
            Self::Redundant => redundant(&mut fields, mistakes),
        };
        let (_, keys) = MODES.iter().find(|(word, _)| *word == self.text())?;
        if keys.is_empty() {
            let what = "is given nothing";
            fields.take_all(|key| key.starts_with("x-"));
            for key in fields.keys() {
                let mistake = Mistake::new(key.place, what, "remove it, or choose another mode");
                mistakes.add(mistake.of(fields.path().to_owned()));
            }
        } else {
            super::end(fields, keys, mistakes);
        }
        draft
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel => "parallel",
            Self::Pipeline => "pipeline",
            Self::Consensus => "consensus",
            Self::Competitive => "competitive",
            Self::Redundant => "redundant",
        }
    }
}

/// A number from `least` to [`AT_ONCE_MAX`].
fn count(fields: &mut Fields, key: &str, least: u32, default: u32, mistakes: &mut Mistakes) -> Option<u32> {
    match fields.take(key) {
        None => Some(default),
        Some(field) => field
            .within(Count(least), Count(AT_ONCE_MAX), "write a whole number such as 3", mistakes)
            .map(|count| count.0),
    }
}

fn parallel(fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Draft> {
    let advice = "name a list, as in “mode: {parallel: {each: params.files}}”";
    let each = fields.need("each", advice, mistakes);
    let at_once = count(fields, "at-once", 1, AT_ONCE, mistakes);
    Some(Draft { mode: Known::Parallel { at_once: at_once? }, each: Some(each?), judge: None })
}

fn pipeline(fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Draft> {
    let each = fields.take("each");
    let buffer = count(fields, "buffer", 1, BUFFER, mistakes);
    let at_once = count(fields, "at-once", 1, AT_ONCE, mistakes);
    Some(Draft { mode: Known::Pipeline { buffer: buffer?, at_once: at_once? }, each, judge: None })
}

fn consensus(fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Draft> {
    let copies = count(fields, "copies", 2, COPIES, mistakes);
    let quorum = fields.take("quorum");
    let (compare, judge) = match fields.take("compare") {
        None => (Some(Compare::Equal), None),
        Some(field) => compare(field, mistakes),
    };
    let copies = copies?;
    let more_than_half = copies / 2 + 1;
    let quorum = match quorum {
        None => Some(more_than_half),
        Some(field) => {
            let advice = "write a whole number such as 2";
            let (place, path) = (field.node.place, field.path.clone());
            let quorum: Option<Count> = field.parsed(advice, mistakes);
            let wrong = quorum.filter(|quorum| !(more_than_half..=copies).contains(&quorum.0));
            if let Some(wrong) = wrong {
                let what = if wrong.0 < more_than_half {
                    format!("{wrong} of {copies} is not more than half")
                } else {
                    format!("{wrong} is more than the {copies} copies")
                };
                let advice = format!("write {more_than_half} to {copies}");
                mistakes.add(Mistake::new(place, what, advice).of(path));
            }
            quorum.filter(|_| wrong.is_none()).map(|quorum| quorum.0)
        }
    };
    let mode = Mode::Consensus { copies, quorum: quorum?, compare: compare? };
    Some(Draft { mode: Known::Whole(mode), each: None, judge })
}

/// `compare`: the word equal, or a map of one other and what it is given.
fn compare(field: Field, mistakes: &mut Mistakes) -> (Option<Compare>, Option<Place>) {
    let advice = "write equal, {tolerance: 0.001} or {judge: AGENT}";
    let (place, path) = (field.node.place, field.path.clone());
    if !matches!(field.node.kind, document::Kind::Map(_)) {
        let Some(word) = field.text(advice, mistakes) else { return (None, None) };
        if word == "equal" {
            return (Some(Compare::Equal), None);
        }
        let what = format!("“{}” is no comparison", document::fields::cut(&word));
        mistakes.add(Mistake::new(place, what, advice).of(path));
        return (None, None);
    }
    let Some(mut fields) = Fields::of(field, mistakes) else { return (None, None) };
    let (tolerance, judge) = (fields.take("tolerance"), fields.take("judge"));
    super::end(fields, COMPARES, mistakes);
    match (tolerance, judge) {
        (Some(field), None) => {
            let advice = "write a share of the larger number, such as 0.001";
            let share = field.within(Share(1), Share(1_000_000), advice, mistakes);
            (share.map(|Share(millionths)| Compare::Tolerance { millionths }), None)
        }
        (None, Some(field)) => {
            let place = field.node.place;
            let agent = field.parsed("write the name of an agent", mistakes);
            (agent.map(|agent| Compare::Judge { agent }), Some(place))
        }
        _ => {
            mistakes.add(Mistake::new(place, "is not one comparison", advice).of(path));
            (None, None)
        }
    }
}

fn redundant(fields: &mut Fields, mistakes: &mut Mistakes) -> Option<Draft> {
    let copies = count(fields, "copies", 2, COPIES, mistakes);
    let take = match fields.take("take") {
        None => Some(Take::default()),
        Some(field) => field.parsed("write majority or first", mistakes),
    };
    Some(Draft::whole(Mode::Redundant { copies: copies?, take: take? }))
}

/// A share of one in millionths, written as a decimal fraction.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Share(u32);

struct NotAShare;

impl fmt::Display for NotAShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a decimal fraction with at most six digits behind the point")
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(part) || part.len() > 6 {
            return Err(NotAShare);
        }
        let millionths = format!("{whole}{part:0<6}").parse().map_err(|_| NotAShare)?;
        Ok(Self(millionths))
    }
}
