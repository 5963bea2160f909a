//! Where the characters of a value stand in the file.
//!
//! A value is folded, indented and escaped in its file, so its characters are counted along both: those that are no
//! white space come in the same order and number in both, once each escape is taken for what it stands for.

use super::mistake::Place;
use super::{Kind, Node};

/// A document's text with the beginnings of its lines.
#[derive(Debug)]
pub struct Source<'t> {
    text: &'t str,
    line_first: u32,
    lines: Vec<usize>,
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

impl<'t> Source<'t> {
    /// A document whose first line is `line_first` of its file, as for [`read`](super::read).
    #[must_use]
    pub fn new(text: &'t str, line_first: u32) -> Self {
        let next = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, line_first, lines: std::iter::once(0).chain(next).collect() }
    }

    /// The place of the byte `offset` of a single value's text; of the character behind it where that is white space.
    ///
    /// What is no single value has its own place alone.
    #[must_use]
    pub fn place(&self, node: &Node, offset: usize) -> Place {
        let Kind::Scalar { text, is_plain } = &node.kind else { return node.place };
        let Some((line, rest)) = self.rest(node.place) else { return node.place };
        let (style, body) = match rest.chars().next() {
            Some('\'') if !is_plain => (Style::Single, rest.get(1..)),
            Some('"') if !is_plain => (Style::Double, rest.get(1..)),
            // The first line of a block has its header alone.
            Some('|' | '>') if !is_plain => (Style::Plain, rest.split_once('\n').map(|(_, body)| body)),
            _ => (Style::Plain, Some(rest)),
        };
        let Some(body) = body else { return node.place };
        let before = text.get(..offset).unwrap_or(text).chars().filter(|c| !is_space(*c)).count();
        let passed = pass(body, style, before, offset >= text.len());
        let at = self.text.len() - rest.len() + (rest.len() - body.len()) + passed;
        self.place_of(line, at)
    }

    /// The line's number and what stands from a place on.
    fn rest(&self, place: Place) -> Option<(usize, &'t str)> {
        let line = usize::try_from(place.line.checked_sub(self.line_first)?).ok()?;
        let column = usize::try_from(place.column.saturating_sub(1)).ok()?;
        let text = self.text.get(*self.lines.get(line)?..)?;
        let (at, _) = text.char_indices().nth(column)?;
        Some((line, text.get(at..)?))
    }

    /// The place of a byte in or below a line.
    fn place_of(&self, line: usize, at: usize) -> Place {
        let after = self.lines.partition_point(|start| *start <= at).max(line + 1);
        let start = self.lines.get(after - 1).copied().unwrap_or_default();
        let column = self.text.get(start..at).unwrap_or_default().chars().count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            line: self.line_first.saturating_add(count(after - 1)),
            column: count(column).saturating_add(1),
        }
    }
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// How many bytes of `body` pass until `count` characters that are no white space have; and the white space behind
/// them, unless the value ends there.
fn pass(body: &str, style: Style, count: usize, is_end: bool) -> usize {
    let (mut at, mut passed, mut behind) = (0, 0, 0);
    while let Some((length, is_white)) = unit(body.get(at..).unwrap_or_default(), style) {
        if !is_white {
            if passed == count {
                break;
            }
            passed += 1;
            behind = at + length;
        }
        at += length;
    }
    if is_end { behind } else { at }
}

/// The length of the next character as it is written, and whether it stands for white space or nothing.
fn unit(rest: &str, style: Style) -> Option<(usize, bool)> {
    let c = rest.chars().next()?;
    let next = rest.chars().nth(1);
    match (style, c) {
        (Style::Single, '\'') => Some((if next == Some('\'') { 2 } else { 1 }, false)),
        (Style::Double, '\\') => {
            let escaped = next?;
            let digits = match escaped {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            let code = rest.get(2..2 + digits).filter(|code| !code.is_empty());
            let meant = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
            let is_white =
                matches!(escaped, 'n' | 't' | 'r') || is_space(escaped) || meant.is_some_and(is_space);
            Some((1 + escaped.len_utf8() + code.map_or(0, str::len), is_white))
        }
        _ => Some((c.len_utf8(), is_space(c))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document;
    use crate::document::mistake::Mistakes;

    /// The place of `mark` in the value of `a`.
    fn found(text: &str, mark: char) -> (u32, u32) {
        let mut mistakes = Mistakes::default();
        let root = document::read(text, 1, &mut mistakes).unwrap();
        let Kind::Map(mut entries) = root.kind else { panic!("{text}") };
        let node = entries.pop().unwrap().1;
        let Kind::Scalar { text: value, .. } = &node.kind else { panic!("{text}") };
        let offset = value.find(mark).unwrap_or_else(|| panic!("{value:?}"));
        let place = Source::new(text, 1).place(&node, offset);
        (place.line, place.column)
    }

    #[test]
    fn characters_are_found_however_they_are_written() {
        for text in [
            "a: x §\n",
            "a: ä λ §\n",
            "a: 'it''s §'\n",
            "a: \"\\\"\\x41\\u00e4\\n \\t§\"\n",
            "a: one\n   two\n\n   three §\n",
            "a: |\n  one\n\n    two §\n  three\n",
            "a: >2- # why\n   one\n  two\n\n  §\n",
            "a: \"one \\\n   two\n\n  §\"\n",
            "a:\n  'one\n\n   two''§'\n",
            "b: 1\r\na: |\r\n  x\r\n  §\r\n",
            "a:   \"§\"\n",
            "a: §",
            "a: |+\n\n\n  §\n\n",
        ] {
            let at = text.find('§').unwrap();
            let line = text[..at].matches('\n').count() + 1;
            let column = text[..at].rsplit('\n').next().unwrap().chars().count() + 1;
            let expected = (u32::try_from(line).unwrap(), u32::try_from(column).unwrap());
            assert_eq!(found(text, '§'), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_offset_makes_it_panic(text in "a: [-|>'\"\\\\ \nxuä0-9A]{0,40}", offset in 0_usize..60) {
            let mut mistakes = Mistakes::default();
            if let Some(Node { kind: Kind::Map(entries), .. }) = document::read(&text, 1, &mut mistakes) {
                for (_, node) in entries {
                    let place = Source::new(&text, 1).place(&node, offset);
                    prop_assert!(place >= node.place);
                }
            }
        }
    }
}
