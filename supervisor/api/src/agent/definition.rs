//! Reads an agent's file: Markdown under YAML front matter, as people already write it, with our keys beside theirs.
//!
//! Reading is pure: bytes in, a definition or all mistakes out, each with line, column and what to do.
//!
//! # Layout
//!
//! - `section`: the keys of ours that are maps
//! - `foreign`: what is kept for others

mod foreign;

pub(crate) mod section;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};
use types::agent::{Definition, Limits, Milliseconds, Network, Retry, bounds};
use types::hash::Hash;

use crate::document::fields::{Field, Fields};
use crate::document::mistake::{Mistake, Mistakes, Place};
use crate::document::{self, Kind, Node};

/// Largest file, bytes.
pub const FILE_MAX: usize = 256 << 10;
/// Longest description, bytes: it is shown in lists.
pub const DESCRIPTION_MAX: usize = 8 << 10;
/// Most words of a command.
pub const WORDS_MAX: usize = 64;
/// Longest word of a command, bytes: the kernel's PATH_MAX.
pub const WORD_MAX: usize = 4096;
/// Most capabilities.
pub const CAPABILITIES_MAX: usize = 64;
/// Most tools of the convention.
pub const TOOLS_MAX: usize = 256;
/// Longest time of one attempt: a day.
pub const TIMEOUT_MAX: Milliseconds = Milliseconds(24 * 3_600_000);

/// The convention's keys, of which ours are a superset.
pub const CONVENTION: &[&str] = &[
    "name",
    "description",
    "tools",
    "disallowedTools",
    "model",
    "permissionMode",
    "maxTurns",
    "skills",
    "mcpServers",
    "hooks",
    "memory",
    "background",
    "effort",
    "isolation",
    "color",
    "initialPrompt",
];

/// Our own keys.
pub const OURS: &[&str] = &["command", "capabilities", "limits", "retry", "timeout", "network"];

/// Reads an agent's file.
///
/// # Errors
///
/// Every mistake that was found, in the order of the places, at most
/// [`MISTAKES_MAX`](crate::document::mistake::MISTAKES_MAX).
pub fn read(bytes: &[u8]) -> Result<Definition, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let found = parse(bytes, &mut mistakes);
    match found {
        Some(definition) if mistakes.is_empty() => Ok(definition),
        _ => Err(mistakes.into_vec()),
    }
}

/// The definition as far as it could be understood; it counts only if there is no mistake.
fn parse(bytes: &[u8], mistakes: &mut Mistakes) -> Option<Definition> {
    let text = document::text::read(bytes, FILE_MAX).map_err(|mistake| mistakes.add(mistake)).ok()?;
    let (front, body) = split(text).map_err(|mistake| mistakes.add(mistake)).ok()?;
    // The front matter begins in the second line, below its first “---”.
    let node = document::read(front, 2, mistakes)?;
    let node = match node.kind {
        // A front matter of comments alone is a map without entries.
        Kind::Scalar { text, is_plain: true } if text.is_empty() => {
            Node { place: Place::default(), kind: Kind::Map(Vec::new()) }
        }
        kind => Node { place: node.place, kind },
    };
    let mut fields = Fields::of(Field { path: String::new(), node }, mistakes)?;
    let hash = Hash(Sha256::digest(bytes).into());
    let definition = definition(&mut fields, mistakes, body, hash);
    let known: Vec<&str> = OURS.iter().chain(CONVENTION).copied().collect();
    fields.end(&known, mistakes);
    definition
}

/// All keys; each is read even if another is missing, so that all mistakes are told at once.
fn definition(fields: &mut Fields, mistakes: &mut Mistakes, body: &str, hash: Hash) -> Option<Definition> {
    let name_advice = "write a name of a–z, 0–9 and hyphens, such as “name: token-reader”";
    let name =
        fields.need("name", name_advice, mistakes).and_then(|field| field.parsed(name_advice, mistakes));
    let description = fields
        .need("description", "say in a sentence what the agent is for", mistakes)
        .and_then(|field| description(field, mistakes));
    let command = fields
        .need("command", "write “command: [/path/of/program, argument]”", mistakes)
        .and_then(|field| command(field, mistakes));
    let tools = fields.take("tools").and_then(|field| foreign::tools(field, mistakes));
    let model = fields.take("model").and_then(|field| field.text("name a model, or remove it", mistakes));
    let capabilities =
        fields.take("capabilities").map_or(Some(Vec::new()), |field| section::capabilities(field, mistakes));
    let limits = fields.take("limits").map_or(Some(Limits::default()), |f| section::limits(f, mistakes));
    let retry =
        fields.take("retry").map_or(Some(Retry::default()), |f| section::retry(f, "delay_max", mistakes));
    let timeout = fields.take("timeout").map_or(Some(bounds::TIMEOUT), |field| {
        field.within(Milliseconds(1), TIMEOUT_MAX, "write a time such as 30s", mistakes)
    });
    let network = fields
        .take("network")
        .map_or(Some(Network::None), |field| field.parsed("write none, loopback or full", mistakes));
    let foreign = foreign::rest(fields);
    Some(Definition {
        name: name?,
        description: description?,
        tools,
        model,
        foreign,
        command: command?,
        capabilities: capabilities?,
        limits: limits?,
        retry: retry?,
        timeout: timeout?,
        network: network?,
        body: body.to_owned(),
        hash,
    })
}

fn description(field: Field, mistakes: &mut Mistakes) -> Option<String> {
    let place = field.node.place;
    let text = field.text("say in a sentence what the agent is for", mistakes)?;
    if text.trim().is_empty() || text.len() > DESCRIPTION_MAX {
        let what = format!("has {} bytes", text.len());
        let advice = format!("write 1 to {DESCRIPTION_MAX}");
        mistakes.add(Mistake::new(place, what, advice).of("description"));
        return None;
    }
    Some(text)
}

/// The program's absolute path and its arguments.
///
/// A name that is searched for would make what runs depend on more than the file that was approved.
fn command(field: Field, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    let place = field.node.place;
    let advice = "write it as a list: “command: [/path/of/program, argument]”";
    let fields = field.list(WORDS_MAX, advice, mistakes)?;
    let count = fields.len();
    let mut words = Vec::with_capacity(count);
    for (index, field) in fields.into_iter().enumerate() {
        let (place, path) = (field.node.place, field.path.clone());
        let Some(word) = word(field, mistakes) else { continue };
        if word.len() > WORD_MAX {
            let what = format!("has {} bytes", word.len());
            mistakes.add(Mistake::new(place, what, format!("write at most {WORD_MAX}")).of(path));
        } else if index == 0 && !word.starts_with('/') {
            let what = format!("“{}” is not an absolute path", word.escape_debug());
            let advice = "write where the program lies, such as /usr/bin/python3";
            mistakes.add(Mistake::new(place, what, advice).of(path));
        } else {
            words.push(word);
        }
    }
    if count == 0 {
        mistakes.add(Mistake::new(place, "is empty", advice).of("command"));
    }
    (count > 0 && words.len() == count).then_some(words)
}

/// One word of a command: any text but NUL, which no program can be given; it may be empty, in quotes.
fn word(field: Field, mistakes: &mut Mistakes) -> Option<String> {
    match &field.node.kind {
        Kind::Scalar { text, .. } if text.contains('\0') => {
            field.wrong("holds a NUL character", "remove it", mistakes);
            None
        }
        Kind::Scalar { text, is_plain } if !(*is_plain && text.is_empty()) => Some(text.clone()),
        Kind::Scalar { .. } => {
            field.wrong("has no value", "write \"\" for an empty argument", mistakes);
            None
        }
        other => {
            field.wrong(format!("is {}, not a single value", other.noun()), "write one word", mistakes);
            None
        }
    }
}

/// Front matter and body.
fn split(text: &str) -> Result<(&str, &str), Mistake> {
    let is_fence = |line: &str| line.trim_end() == "---";
    // Some editors put a byte order mark first; it says nothing in UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if !is_fence(first) {
        let what = "the front matter does not begin here";
        return Err(Mistake::new(Place::default(), what, "make “---” the first line"));
    }
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if is_fence(line) {
            let (front, fence_and_body) = rest.split_at(end);
            return Ok((front, fence_and_body.get(line.len()..).unwrap_or_default()));
        }
        end += line.len();
    }
    let what = "the front matter does not end";
    Err(Mistake::new(Place::default(), what, "put a line “---” below the last key"))
}
