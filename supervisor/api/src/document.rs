//! YAML as a tree whose every key and value knows its place, for files that people write.
//!
//! - [`mistake`]: what is wrong in such a file, where, and what to do
//! - [`fields`]: takes a map apart, key by key
//! - [`text`]: a file's bytes as text
//! - [`source`]: where the characters of a value stand in the file
//! - [`scalar`]: what a value without quotes means
//!
//! # Invariants
//!
//! - Bounded in depth and nodes ([`DEPTH_MAX`], [`NODES_MAX`]); the caller bounds the bytes. Aliases are refused, so
//!   nothing grows beyond the text.
//! - A tree has no key twice, no key that is not a scalar, no tag.

pub mod fields;

pub mod mistake;

pub mod text;

pub mod source;

pub mod scalar;

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use self::mistake::{Mistake, Mistakes, Place};

/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 16;
/// Most keys and values of one document.
pub const NODES_MAX: usize = 10_000;

/// A value and where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A text.
    Scalar {
        /// The text without its quotes.
        text: String,
        /// It stands without quotes, so it may mean a number or nothing at all.
        is_plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the document's order.
    Map(Vec<(Key, Node)>),
}

impl Kind {
    /// The kind in words, for messages.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A map's key and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Where it begins.
    pub place: Place,
    /// The text without its quotes.
    pub text: String,
}

/// Reads one document whose first line is `line_first` of its file.
///
/// What can be left out is reported and left out; after a broken syntax there is no tree.
pub fn read(text: &str, line_first: u32, mistakes: &mut Mistakes) -> Option<Node> {
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut builder =
        Builder { line_first, open: Vec::new(), root: None, nodes: 0, documents: 0, at: Place::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, &span, mistakes),
            Err(error) => Err(Mistake::new(
                builder.place(error.marker().line(), error.marker().col()),
                error.info(),
                "look at the indentation here (spaces only), and quote texts that hold “: ” or “ #”",
            )),
        };
        if let Err(fatal) = step {
            mistakes.add(fatal);
            return None;
        }
    }
    let place = builder.at;
    builder.root.or(Some(Node { place, kind: Kind::Scalar { text: String::new(), is_plain: true } }))
}

/// A list or map that has not ended.
struct Open {
    place: Place,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, lines: HashMap<String, u32>, key: Awaited },
}

/// What a map waits for.
enum Awaited {
    Key,
    ValueOf(Key),
    /// The key was refused, and its value goes with it.
    Nothing,
}

struct Builder {
    line_first: u32,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    at: Place,
}

impl Builder {
    /// The place in the file of one in the document: lines from 1, columns from 0.
    fn place(&self, line: usize, column: usize) -> Place {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            line: self.line_first.saturating_add(count(line).saturating_sub(1)),
            column: count(column).saturating_add(1),
        }
    }

    /// Takes one event of the parser.
    ///
    /// # Errors
    ///
    /// After this mistake nothing else can be said of the document.
    fn take(&mut self, event: Event<'_>, span: &Span, mistakes: &mut Mistakes) -> Result<(), Mistake> {
        let place = self.place(span.start.line(), span.start.col());
        self.at = place;
        if event.is_node() {
            self.nodes += 1;
            if self.nodes > NODES_MAX {
                let what = format!("more than {NODES_MAX} keys and values");
                return Err(Mistake::new(place, what, "leave some out"));
            }
            self.refuse_decoration(&event, place, mistakes);
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Mistake::new(place, "a second document", "remove it"));
                }
            }
            Event::Scalar(text, style, _, _) => {
                let kind = Kind::Scalar { text: text.into_owned(), is_plain: style == ScalarStyle::Plain };
                self.put(Node { place, kind }, mistakes);
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let advice = "write the value out";
                mistakes.add(Mistake::new(place, "an alias, which is not taken here", advice));
                let kind = Kind::Scalar { text: String::new(), is_plain: true };
                self.put(Node { place, kind }, mistakes);
            }
            Event::SequenceStart(..) => self.begin(place, OpenKind::List(Vec::new()))?,
            Event::MappingStart(..) => {
                let kind = OpenKind::Map { entries: Vec::new(), lines: HashMap::new(), key: Awaited::Key };
                self.begin(place, kind)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { place, kind }) = self.open.pop() {
                    let kind = match kind {
                        OpenKind::List(nodes) => Kind::List(nodes),
                        OpenKind::Map { entries, .. } => Kind::Map(entries),
                    };
                    self.put(Node { place, kind }, mistakes);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tags and anchors say nothing to us, so who writes one means something that will not happen.
    fn refuse_decoration(&self, event: &Event<'_>, place: Place, mistakes: &mut Mistakes) {
        if event.tag().is_some() {
            mistakes.add(Mistake::new(
                place,
                "a tag, which is not taken here",
                "remove the “!…”, or quote the text",
            ));
        }
        if !event.is_alias() && event.anchor_id().is_some_and(|id| id != 0) {
            mistakes.add(Mistake::new(place, "an anchor, which is not taken here", "remove the “&…”"));
        }
    }

    fn begin(&mut self, place: Place, kind: OpenKind) -> Result<(), Mistake> {
        if self.open.len() >= DEPTH_MAX {
            let what = format!("lists and maps nested deeper than {DEPTH_MAX}");
            return Err(Mistake::new(place, what, "flatten it"));
        }
        self.open.push(Open { place, kind });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, mistakes: &mut Mistakes) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.kind {
            OpenKind::List(nodes) => nodes.push(node),
            OpenKind::Map { entries, lines, key } => match std::mem::replace(key, Awaited::Key) {
                Awaited::Key => *key = awaited(node, lines, mistakes),
                Awaited::ValueOf(found) => entries.push((found, node)),
                Awaited::Nothing => {}
            },
        }
    }
}

/// What a map waits for after this node, which stands where a key does.
fn awaited(node: Node, lines: &mut HashMap<String, u32>, mistakes: &mut Mistakes) -> Awaited {
    let Kind::Scalar { text, .. } = node.kind else {
        let what = format!("{} where a key belongs", node.kind.noun());
        mistakes.add(Mistake::new(node.place, what, "write the key as a text"));
        return Awaited::Nothing;
    };
    if let Some(line) = lines.get(&text) {
        let what = format!("“{text}” stands here a second time, first in line {line}");
        mistakes.add(Mistake::new(node.place, what, "keep one of them"));
        return Awaited::Nothing;
    }
    lines.insert(text.clone(), node.place.line);
    Awaited::ValueOf(Key { place: node.place, text })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        read(text, 2, &mut mistakes);
        mistakes.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_know_their_places() {
        let mut mistakes = Mistakes::default();
        let node = read("a: 1\nb:\n  - \"x\"\n  - c: [y]\n", 2, &mut mistakes).unwrap();
        assert!(mistakes.is_empty());
        let Kind::Map(entries) = node.kind else { panic!("{node:?}") };
        assert_eq!(entries[1].0, Key { place: Place { line: 3, column: 1 }, text: "b".into() });
        let Kind::List(items) = &entries[1].1.kind else { panic!("{entries:?}") };
        assert_eq!(items[0].kind, Kind::Scalar { text: "x".into(), is_plain: false });
        assert_eq!(items[1].place, Place { line: 5, column: 5 });
    }

    #[test]
    fn what_yaml_has_beyond_a_tree_is_refused() {
        for (text, place, what) in [
            ("a: &x 1\nb: *x\n", "2:", "anchor"),
            ("a: *x\n", "2:4", "alias"),
            ("a: !!int 1\n", "2:", "tag"),
            ("a: 1\nb: 2\na: 3\n", "4:1", "first in line 2"),
            ("a: {b: 1, b: 2}\n", "2:11", "first in line 2"),
            ("? [a]\n: 1\n", "2:3", "where a key belongs"),
            ("a: 1\n--- \nb: 2\n", "3:1", "second document"),
            ("a: \"x\n", "", ""),
            ("%YAML 1.2\n---\na: 1\n", "2:1", ""),
        ] {
            let found = mistakes(text);
            assert!(
                found.iter().any(|found| found.starts_with(place) && found.contains(what)),
                "{text:?}: {found:?}"
            );
        }
    }

    #[test]
    fn a_thousand_million_laughs_are_not_laughed() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in ('b'..='z').zip('a'..) {
            text += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","));
        }
        assert!(!mistakes(&text).is_empty());
        assert!(mistakes(&"[".repeat(100_000)).len() == 1);
        assert!(mistakes(&format!("a: {}", "[".repeat(DEPTH_MAX + 1)))[0].contains("2:"));
        let deep = (0..100).map(|depth| " ".repeat(depth) + "a:\n").collect::<String>();
        assert_eq!(mistakes(&deep).len(), 1);
        assert!(mistakes(&"- 1\n".repeat(NODES_MAX + 1))[0].contains("more than"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            mistakes(&text);
        }

        #[test]
        fn no_text_of_its_signs_makes_it_panic(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \n\ta0~.]{0,80}") {
            mistakes(&text);
        }
    }
}
