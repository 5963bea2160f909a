//! Names of agents and of what they ask for.

use std::fmt;
use std::str::FromStr;

/// Longest name, bytes: it becomes part of file names and of cgroups.
pub const NAME_MAX: usize = 64;
/// Longest kind of a capability, bytes.
pub const KIND_MAX: usize = 64;
/// Longest scope of a capability, bytes: a path or an address.
pub const SCOPE_MAX: usize = 512;

/// What an agent is called: 1 to 64 of `a–z`, `0–9` and `-`, a hyphen neither first nor last.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadName {
    /// It has no character.
    Empty,
    /// It has more than [`NAME_MAX`] bytes.
    TooLong,
    /// It holds this character.
    Character(char),
    /// It begins or ends with a hyphen.
    Hyphen,
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(BadName::TooLong);
        }
        if let Some(other) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(BadName::Character(other));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(BadName::Hyphen);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "has more than {NAME_MAX} characters"),
            Self::Character(c) => write!(f, "holds {c:?}, which a name cannot"),
            Self::Hyphen => f.write_str("begins or ends with a hyphen"),
        }
    }
}

impl std::error::Error for BadName {}

/// What an agent asks to be allowed: a kind such as `token.read`, and where, as in `file.read:/srv/data`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Capability {
    kind: String,
    scope: Option<String>,
}

/// Why a text is not a capability.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadCapability {
    /// The kind is not words of `a–z`, `0–9` and `_` joined by dots.
    Kind(String),
    /// There is a colon and nothing behind it.
    NoScope,
    /// Kind or scope is too long.
    TooLong,
    /// The scope holds this control character.
    Control(char),
}

impl Capability {
    /// What for, such as `token.read`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where; its form depends on the kind.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether who may do this is one who is wanted: of the same kind, and anywhere, at the same place, or below it in a
    /// folder's tree. What is wanted without a place is met by any.
    ///
    /// A path with `..` in it is met by its equal alone: where it leads is not known here.
    #[must_use]
    pub fn meets(&self, wanted: &Self) -> bool {
        self.kind == wanted.kind
            && match (&self.scope, &wanted.scope) {
                (None, _) | (_, None) => true,
                (Some(all), Some(one)) => all == one || is_below(all, one),
            }
    }
}

/// Whether an absolute path lies below another.
fn is_below(folder: &str, path: &str) -> bool {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    let rest = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    (folder.is_empty() || folder.starts_with('/'))
        && path.starts_with('/')
        && rest.is_some_and(|rest| rest.split('/').all(|part| part != ".."))
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            None => f.write_str(&self.kind),
            Some(scope) => write!(f, "{}:{scope}", self.kind),
        }
    }
}

impl FromStr for Capability {
    type Err = BadCapability;

    fn from_str(text: &str) -> Result<Self, BadCapability> {
        let (kind, scope) = match text.split_once(':') {
            None => (text, None),
            Some((_, "")) => return Err(BadCapability::NoScope),
            Some((kind, scope)) => (kind, Some(scope)),
        };
        if kind.len() > KIND_MAX || scope.is_some_and(|scope| scope.len() > SCOPE_MAX) {
            return Err(BadCapability::TooLong);
        }
        let is_word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        if !kind.split('.').all(is_word) {
            return Err(BadCapability::Kind(kind.to_owned()));
        }
        if let Some(control) = scope.and_then(|scope| scope.chars().find(|c| c.is_control())) {
            return Err(BadCapability::Control(control));
        }
        Ok(Self { kind: kind.to_owned(), scope: scope.map(str::to_owned) })
    }
}

impl fmt::Display for BadCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "“{kind}” is not a kind of capability"),
            Self::NoScope => f.write_str("nothing stands behind the colon"),
            Self::TooLong => {
                write!(f, "is too long: a kind has at most {KIND_MAX} bytes, a scope {SCOPE_MAX}")
            }
            Self::Control(c) => write!(f, "holds the control character {c:?}"),
        }
    }
}

impl std::error::Error for BadCapability {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_small_and_plain() {
        for good in ["a", "token-reader", "4", &"x".repeat(NAME_MAX)] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        assert_eq!("".parse::<Name>(), Err(BadName::Empty));
        assert_eq!("x".repeat(NAME_MAX + 1).parse::<Name>(), Err(BadName::TooLong));
        assert_eq!("a/b".parse::<Name>(), Err(BadName::Character('/')));
        assert_eq!("Tom".parse::<Name>(), Err(BadName::Character('T')));
        assert_eq!("..".parse::<Name>(), Err(BadName::Character('.')));
        assert_eq!("a-".parse::<Name>(), Err(BadName::Hyphen));
    }

    #[test]
    fn capabilities_meet_what_lies_below() {
        for (all, one, met) in [
            ("file.read", "file.read", true),
            ("file.read", "file.read:/srv", true),
            ("file.read:/srv", "file.read", true),
            ("file.read:/srv", "file.write:/srv", false),
            ("file.read:/srv", "file.read:/srv", true),
            ("file.read:/srv", "file.read:/srv/a", true),
            ("file.read:/srv/", "file.read:/srv/a/b", true),
            ("file.read:/", "file.read:/srv", true),
            ("file.read:/srv", "file.read:/srv2", false),
            ("file.read:/srv", "file.read:/srv/../etc", false),
            ("file.read:/srv/a", "file.read:/srv", false),
            ("http.get:example.org", "http.get:example.org/x", false),
        ] {
            let [all, one]: [Capability; 2] = [all, one].map(|text| text.parse().unwrap());
            assert_eq!(all.meets(&one), met, "{all} {one}");
        }
    }

    #[test]
    fn capabilities_have_a_kind_and_perhaps_a_scope() {
        let file: Capability = "file.read:/srv/a:b".parse().unwrap();
        assert_eq!((file.kind(), file.scope()), ("file.read", Some("/srv/a:b")));
        assert_eq!(file.to_string().parse(), Ok(file));
        assert_eq!("token.read".parse::<Capability>().unwrap().scope(), None);
        for (bad, why) in [
            ("", BadCapability::Kind(String::new())),
            ("file..read", BadCapability::Kind("file..read".into())),
            ("File.read", BadCapability::Kind("File.read".into())),
            ("file.read:", BadCapability::NoScope),
            ("file.read:a\0", BadCapability::Control('\0')),
            (&format!("f:{}", "x".repeat(SCOPE_MAX + 1)), BadCapability::TooLong),
        ] {
            assert_eq!(bad.parse::<Capability>(), Err(why), "{bad:?}");
        }
    }
}
