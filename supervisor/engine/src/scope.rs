//! Of what a restore is: components, and paths of files.

use std::fmt;

use minicbor::{Decode, Encode};

/// Most paths in one order.
pub const PATHS_MAX: usize = 64;
/// Most bytes of all paths of one order together: whoever may look may have them recorded, and must not fill the log.
pub const PATHS_BYTES_MAX: usize = 4 << 10;

/// An absolute path; any bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct FilePath(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Of what a restore is. Encoded in orders: keys are only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Scope {
    /// Files.
    #[n(0)]
    pub files: bool,
    /// Tokens.
    #[n(1)]
    pub tokens: bool,
    /// Of files only what is at or below these paths; all where there is none.
    #[n(2)]
    pub paths: Vec<FilePath>,
    /// Settings of the kernel.
    #[cbor(n(3), default, skip_if = "is_unset")]
    pub settings: bool,
    /// Databases.
    #[cbor(n(4), default, skip_if = "is_unset")]
    pub databases: bool,
    /// Services: units of systemd.
    #[cbor(n(5), default, skip_if = "is_unset")]
    pub services: bool,
}

/// A flag that is not set is not encoded, as scopes were before it.
fn is_unset(flag: &bool) -> bool {
    !*flag
}

/// How many of each component beside files and tokens: entries, or differences. Encoded in facts and snapshots: keys are only
/// ever added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Others {
    /// Settings of the kernel.
    #[cbor(n(0), default, skip_if = "is_zero")]
    pub settings: u64,
    /// Databases.
    #[cbor(n(1), default, skip_if = "is_zero")]
    pub databases: u64,
    /// Services.
    #[cbor(n(2), default, skip_if = "is_zero")]
    pub services: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Others {
    /// All of them together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.settings.saturating_add(self.databases).saturating_add(self.services)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total() == 0
    }
}

/// What a setting of the kernel held before it was written, or how a service was before it was changed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Held {
    /// Where it is: an absolute path. Of a service its unit's name, which never begins with a slash.
    #[n(0)]
    pub path: FilePath,
    /// Its value, as the kernel gave it. Of a service what recovery wrote.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.paths.is_empty() { "files".to_owned() } else { listed(&self.paths) };
        let parts = [
            (self.files, files.as_str()),
            (self.settings, "settings"),
            (self.databases, "databases"),
            (self.services, "services"),
            (self.tokens, "tokens"),
        ];
        let named: Vec<_> = parts.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect();
        f.write_str(&named.join(" and "))
    }
}

/// Paths in one line.
#[must_use]
pub fn listed(paths: &[FilePath]) -> String {
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is wrong with what a restore is to be of, if anything.
#[must_use]
pub fn scope_fault(scope: &Scope) -> Option<&'static str> {
    if !(scope.files || scope.tokens || scope.settings || scope.databases || scope.services) {
        Some("a restore is of files, tokens, settings, databases, services, or several of them")
    } else if !scope.files && !scope.paths.is_empty() {
        Some("paths are of files")
    } else {
        paths_fault(&scope.paths)
    }
}

/// What is wrong with paths, if anything.
#[must_use]
pub fn paths_fault(paths: &[FilePath]) -> Option<&'static str> {
    let bytes: usize = paths.iter().map(|path| path.0.len()).sum();
    let is_plain = |path: &FilePath| {
        let rest = path.0.strip_prefix(b"/")?;
        let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        (rest.is_empty() || rest.split(|byte| *byte == b'/').all(is_name)).then_some(())
    };
    if paths.len() > PATHS_MAX || bytes > PATHS_BYTES_MAX {
        Some("at most 64 paths of 4 KiB together are named at once: name a folder above them")
    } else if !paths.iter().all(|path| is_plain(path).is_some()) {
        Some("a path is absolute, and has no empty name, “.” or “..” in it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(files: bool, tokens: bool, paths: Vec<FilePath>) -> Scope {
        Scope { files, tokens, paths, settings: false, databases: false, services: false }
    }

    #[test]
    fn scopes_say_what_they_are_of() {
        let both = Scope { settings: true, ..scope(false, true, Vec::new()) };
        assert_eq!(both.to_string(), "settings and tokens");
        assert_eq!(scope_fault(&Scope { databases: true, ..scope(false, false, Vec::new()) }), None);
        let services = Scope { services: true, ..scope(false, true, Vec::new()) };
        assert_eq!((services.to_string().as_str(), scope_fault(&services)), ("services and tokens", None));
        let paths = vec![FilePath(b"/a".into()), FilePath(b"/b".into())];
        assert_eq!(scope(true, true, paths).to_string(), "/a, /b and tokens");
    }

    #[test]
    fn scopes_hold_something_and_paths_are_plain() {
        let paths =
            |paths: &[&str]| -> Vec<FilePath> { paths.iter().map(|path| FilePath((*path).into())).collect() };
        let fault = |files, tokens, named: &[&str]| scope_fault(&scope(files, tokens, paths(named)));
        for (files, tokens, named) in
            [(true, false, &[][..]), (false, true, &[]), (true, true, &["/", "/a/.b/c.."])]
        {
            assert_eq!(fault(files, tokens, named), None);
        }
        assert!(fault(false, false, &[]).is_some() && fault(false, true, &["/a"]).is_some());
        for path in ["", "a", "/a/", "//a", "/a/../b", "/.", "/a\0b"] {
            assert!(fault(true, false, &["/good", path]).is_some(), "{path:?}");
        }
        assert!(paths_fault(&paths(&["/a"; PATHS_MAX])).is_none());
        assert!(paths_fault(&paths(&["/a"; PATHS_MAX + 1])).is_some());
        assert!(paths_fault(&paths(&[&format!("/{}", "a".repeat(PATHS_BYTES_MAX))])).is_some());
    }
}
