//! Who comes before whom.

use crate::document::fields::{Field, nearest};
use crate::document::mistake::{Mistake, Mistakes, Place};
use crate::document::{self};

use types::agent::Name;
use types::workflow::STEPS_MAX;

use super::mode;
use super::step::Draft;

/// A step that another needs, as it is written.
#[derive(Debug)]
pub struct Need {
    id: String,
    place: Place,
    path: String,
}

/// How a step relates to one that looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It has ended before the other begins.
    Before,
    /// It is the other.
    Itself,
    /// It may not have ended: the other does not need it.
    Unneeded,
    /// It is an earlier stage of the same pipeline, and has not ended.
    Flowing,
}

/// The needs of all steps.
#[derive(Debug)]
pub struct Needs {
    /// For each step those it needs itself, ascending.
    pub direct: Vec<Vec<usize>>,
    /// For each step how it sees all others; nothing where that is uncertain because of a mistake.
    pub reach: Vec<Vec<Reach>>,
}

/// `needs`: one or a list.
pub fn read(field: Field, mistakes: &mut Mistakes) -> Option<Vec<Need>> {
    let advice = "write the “id” of a step, or a list of them";
    let fields = match field.node.kind {
        document::Kind::List(_) => field.list(STEPS_MAX, advice, mistakes)?,
        _ => vec![field],
    };
    let count = fields.len();
    let mut needs: Vec<Need> = Vec::with_capacity(count);
    for field in fields {
        let (place, path) = (field.node.place, field.path.clone());
        let Some(id) = field.text(advice, mistakes) else { continue };
        if needs.iter().any(|need| need.id == id) {
            let what = format!("“{id}” stands here a second time");
            mistakes.add(Mistake::new(place, what, "keep one of them").of(path));
        } else {
            needs.push(Need { id, place, path });
        }
    }
    (needs.len() == count).then_some(needs)
}

impl Needs {
    /// Finds the steps that are named, and refuses circles.
    pub fn of(drafts: &[Draft], mistakes: &mut Mistakes) -> Self {
        let mut is_sure = vec![true; drafts.len()];
        let mut direct = Vec::with_capacity(drafts.len());
        for (draft, is_sure) in drafts.iter().zip(&mut is_sure) {
            let found = draft.needs.as_ref().and_then(|needs| places(needs, drafts, mistakes));
            *is_sure = found.is_some();
            direct.push(found.unwrap_or_default());
        }
        let mut needs = Self { direct, reach: Vec::new() };
        needs.circles(drafts, &mut is_sure, mistakes);
        needs.reach = (0..drafts.len())
            .map(|step| {
                if needs.is_sure_before(step, &is_sure) { needs.seen_from(step, drafts) } else { Vec::new() }
            })
            .collect();
        needs
    }

    /// All that must be done before a step; itself too, in a circle.
    fn before(&self, step: usize) -> Vec<bool> {
        let mut before = vec![false; self.direct.len()];
        let mut open: Vec<usize> = vec![step];
        while let Some(step) = open.pop() {
            for need in self.direct.get(step).into_iter().flatten() {
                if let Some(seen @ false) = before.get_mut(*need) {
                    *seen = true;
                    open.push(*need);
                }
            }
        }
        before
    }

    /// Whether nothing is wrong with its needs and theirs.
    fn is_sure_before(&self, step: usize, is_sure: &[bool]) -> bool {
        let before = self.before(step);
        is_sure.get(step).copied().unwrap_or_default()
            && before.iter().zip(is_sure).all(|(is_before, is_sure)| *is_sure || !is_before)
    }

    fn seen_from(&self, step: usize, drafts: &[Draft]) -> Vec<Reach> {
        let reach = |is_before| if is_before { Reach::Before } else { Reach::Unneeded };
        let mut seen: Vec<Reach> = self.before(step).into_iter().map(reach).collect();
        if let Some(itself) = seen.get_mut(step) {
            *itself = Reach::Itself;
        }
        // Up the pipeline, whose stages all run at once. There is no circle here, so this ends.
        let mut stage = step;
        while let Some(before) = self.stage_before(stage, drafts) {
            if let Some(flowing) = seen.get_mut(before) {
                *flowing = Reach::Flowing;
            }
            stage = before;
        }
        seen
    }

    /// The stage whose outputs a later stage of a pipeline takes.
    fn stage_before(&self, step: usize, drafts: &[Draft]) -> Option<usize> {
        let mode = |step: usize| drafts.get(step).and_then(|draft| draft.mode.as_ref());
        match self.direct.get(step).map(Vec::as_slice) {
            Some([before])
                if mode(step).is_some_and(mode::Draft::is_later_stage)
                    && mode(*before).is_some_and(mode::Draft::is_stage) =>
            {
                Some(*before)
            }
            _ => None,
        }
    }

    /// A later stage of a pipeline needs exactly one step, which is a stage too and hands its items on to no other.
    pub fn check_stage(&self, step: usize, draft: &Draft, drafts: &[Draft], mistakes: &mut Mistakes) {
        let is_later_stage = draft.mode.as_ref().is_some_and(mode::Draft::is_later_stage);
        let is_known = self.reach.get(step).is_some_and(|reach| !reach.is_empty());
        if !is_later_stage || !is_known {
            return;
        }
        let mut wrong = |what: String, advice: &str| {
            mistakes.add(Mistake::new(draft.mode_place, what, advice).of(format!("{}.mode", draft.path)));
        };
        let id = |step: usize| drafts.get(step).and_then(|draft| draft.id.as_ref()).map_or("", Name::as_str);
        if let Some(before) = self.stage_before(step, drafts) {
            if let Some(other) = (0..step).find(|other| self.stage_before(*other, drafts) == Some(before)) {
                let what = format!("“{}” hands its items on to “{}” already", id(before), id(other));
                wrong(what, "need that one, or name a list with “each”");
            }
            return;
        }
        let what = match self.direct.get(step).map(Vec::as_slice) {
            Some([before]) => match drafts.get(*before) {
                // Its own mode has a mistake.
                Some(before) if before.mode.is_none() => return,
                _ => format!("takes its items from “{}”, which is no pipeline", id(*before)),
            },
            Some([]) | None => "has no list, and needs no stage before it".to_owned(),
            Some(many) => format!("takes its items from one stage, but needs {} steps", many.len()),
        };
        let advice =
            "need exactly one pipeline step, or give the list: “mode: {pipeline: {each: params.files}}”";
        wrong(what, advice);
    }

    /// Names each circle once, at the need that closes it.
    fn circles(&self, drafts: &[Draft], is_sure: &mut [bool], mistakes: &mut Mistakes) {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            OnPath,
            Done,
        }
        let mut seen = vec![Seen::Not; drafts.len()];
        for start in 0..drafts.len() {
            // Each entry is a step and how many of its needs were followed.
            let mut path: Vec<(usize, usize)> = Vec::new();
            if seen.get(start) == Some(&Seen::Not) {
                path.push((start, 0));
            }
            while let Some((step, next)) = path.last_mut() {
                let (step, need) =
                    (*step, self.direct.get(*step).and_then(|needs| needs.get(*next)).copied());
                *next += 1;
                if let Some(seen) = seen.get_mut(step) {
                    *seen = if need.is_some() { Seen::OnPath } else { Seen::Done };
                }
                match need.map(|need| (need, seen.get(need).copied())) {
                    None => {
                        path.pop();
                    }
                    Some((need, Some(Seen::Not))) => path.push((need, 0)),
                    Some((need, Some(Seen::OnPath))) => {
                        let from = path.iter().position(|(step, _)| *step == need).unwrap_or_default();
                        let circle: Vec<usize> = path.iter().skip(from).map(|(step, _)| *step).collect();
                        for step in &circle {
                            if let Some(is_sure) = is_sure.get_mut(*step) {
                                *is_sure = false;
                            }
                        }
                        circle_mistake(drafts, &circle, mistakes);
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// Each step of the circle needs the next, and the last the first.
fn circle_mistake(drafts: &[Draft], circle: &[usize], mistakes: &mut Mistakes) {
    let id = |step: usize| {
        drafts.get(step).and_then(|draft| draft.id.as_ref()).map_or_else(String::new, ToString::to_string)
    };
    let Some((first, last)) = circle.first().zip(circle.last()) else { return };
    let (target, closing) = (id(*first), drafts.get(*last));
    let need = closing
        .and_then(|draft| draft.needs.as_ref())
        .and_then(|needs| needs.iter().find(|need| need.id == target));
    let Some(need) = need else { return };
    let what = if circle.len() == 1 {
        format!("“{target}” needs itself")
    } else {
        const SHOWN: usize = 16;
        let mut names: Vec<String> = circle.iter().take(SHOWN).map(|step| id(*step)).collect();
        if circle.len() > SHOWN {
            names.push("…".to_owned());
        }
        names.push(target);
        format!("the needs form a circle: {}", names.join(" needs "))
    };
    mistakes.add(Mistake::new(need.place, what, "remove one of these needs").of(need.path.clone()));
}

/// The places of the steps that are named.
fn places(needs: &[Need], drafts: &[Draft], mistakes: &mut Mistakes) -> Option<Vec<usize>> {
    let mut places = Vec::with_capacity(needs.len());
    for need in needs {
        let is_named = |draft: &Draft| draft.id.as_ref().is_some_and(|id| id.as_str() == need.id);
        if let Some(place) = drafts.iter().position(is_named) {
            places.push(place);
            continue;
        }
        let known: Vec<&str> =
            drafts.iter().filter_map(|draft| draft.id.as_ref()).map(|id| id.as_str()).collect();
        let advice = match nearest(&need.id, &known) {
            Some(near) => format!("write “{near}”, if that is meant"),
            None => "write the “id” of a step".to_owned(),
        };
        let what = format!("there is no step “{}”", document::fields::cut(&need.id));
        mistakes.add(Mistake::new(need.place, what, advice).of(need.path.clone()));
    }
    places.sort_unstable();
    (places.len() == needs.len()).then_some(places)
}
