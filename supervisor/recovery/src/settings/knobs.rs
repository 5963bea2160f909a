//! Which settings there are, and reading and writing one.
//!
//! A list of patterns names them. Whoever writes looks a path up in its own list, beneath the kernel's own folder, and never
//! in another file system that is mounted there.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::Error;
use crate::error::length;

/// The longest value, in bytes: what the kernel gives in one piece.
pub const VALUE_BYTES_MAX: usize = 4096;
/// The most patterns of a list.
pub const PATTERNS_MAX: usize = 1024;
/// The most settings that patterns may name together.
pub const SETTINGS_MAX: usize = 16_384;

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
const PROC_MAGIC: u64 = 0x9fa0;
/// `SYSFS_MAGIC`.
const SYS_MAGIC: u64 = 0x6265_6572;

/// Never read nor written, whatever the list says: their values name programs that the kernel starts as root, or they are
/// commands and no settings. Who may choose them has the machine.
const NEVER: [&[u8]; 8] = [
    b"/proc/sys/kernel/core_pattern",
    b"/proc/sys/kernel/hotplug",
    b"/proc/sys/kernel/modprobe",
    b"/proc/sys/kernel/poweroff_cmd",
    b"/proc/sys/kernel/ns_last_pid",
    b"/proc/sys/vm/drop_caches",
    b"/sys/kernel/uevent_helper",
    b"/sys/power/state",
];

/// A folder of the kernel's.
#[derive(Clone, Debug)]
struct Top {
    /// As names of settings begin.
    name: &'static [u8],
    /// Where it is; elsewhere in tests only.
    path: PathBuf,
    /// What file system it is; none in tests.
    magic: Option<u64>,
    /// Links in it lead to the devices; in the other there are none.
    has_links: bool,
}

/// One pattern: names of which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug)]
struct Pattern {
    /// The place of its folder.
    top: usize,
    names: Vec<Vec<u8>>,
}

/// A list of settings.
#[derive(Clone, Debug)]
pub struct Knobs {
    tops: [Top; 2],
    patterns: Vec<Pattern>,
}

impl Default for Knobs {
    /// None.
    fn default() -> Self {
        Self::over(("/proc/sys".into(), Some(PROC_MAGIC)), ("/sys".into(), Some(SYS_MAGIC)))
    }
}

impl Knobs {
    /// Those that any of the patterns names: `vm.swappiness`, as sysctl(8) has it, or a path below `/proc/sys` or `/sys`. In
    /// each name `*` and `?` stand for other characters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a pattern is none, or names what is never written
    /// - [`Error::Limit`]: more than [`PATTERNS_MAX`]
    pub fn new(patterns: &[String]) -> Result<Self, Error> {
        Self::default().listing(patterns)
    }

    fn over(proc: (PathBuf, Option<u64>), sys: (PathBuf, Option<u64>)) -> Self {
        let tops = [
            Top { name: b"/proc/sys", path: proc.0, magic: proc.1, has_links: false },
            Top { name: b"/sys", path: sys.0, magic: sys.1, has_links: true },
        ];
        Self { tops, patterns: Vec::new() }
    }

    /// The same in folders that only look like the kernel's.
    #[cfg(test)]
    pub(crate) fn pretended(proc: PathBuf, sys: PathBuf, patterns: &[String]) -> Result<Self, Error> {
        Self::over((proc, None), (sys, None)).listing(patterns)
    }

    fn listing(mut self, patterns: &[String]) -> Result<Self, Error> {
        let (found, limit) = (length(patterns.len()), length(PATTERNS_MAX));
        if found > limit {
            return Err(Error::Limit { what: "the list of settings", found, limit });
        }
        self.patterns = patterns.iter().map(|text| self.pattern(text)).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Exactly those that a checkpoint holds: for who restores it without a configuration.
    #[must_use]
    pub fn of(settings: &[super::Setting]) -> Self {
        let mut knobs = Self::default();
        let patterns = settings.iter().filter(|setting| !NEVER.contains(&setting.path.as_slice()));
        let patterns = patterns.filter_map(|setting| {
            let (top, names) = knobs.split(&setting.path)?;
            Some(Pattern { top, names: names.into_iter().map(<[u8]>::to_vec).collect() })
        });
        knobs.patterns = patterns.collect();
        knobs
    }

    /// Whether the list is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    fn pattern(&self, text: &str) -> Result<Pattern, Error> {
        let wrong = |why: &str| Err(Error::Invalid(format!("the setting “{text}” {why}")));
        let path =
            if text.starts_with('/') { text.to_owned() } else { format!("/proc/sys/{}", slashed(text)) };
        let Some((top, names)) = self.split(path.as_bytes()) else {
            return wrong("is neither a key of sysctl nor a path below /proc/sys or /sys");
        };
        if NEVER.contains(&path.as_bytes()) {
            return wrong("is never written: it would give away the machine, or is a command");
        }
        Ok(Pattern { top, names: names.into_iter().map(<[u8]>::to_vec).collect() })
    }

    /// The folder and the names below it.
    fn split<'p>(&self, path: &'p [u8]) -> Option<(usize, Vec<&'p [u8]>)> {
        let (top, rest) = self
            .tops
            .iter()
            .enumerate()
            .find_map(|(place, top)| Some((place, path.strip_prefix(top.name)?.strip_prefix(b"/")?)))?;
        let names: Vec<_> = rest.split(|byte| *byte == b'/').collect();
        let plain = names.iter().all(|name| !matches!(*name, b"" | b"." | b"..") && !name.contains(&0));
        plain.then_some((top, names))
    }

    /// Whether the list names this setting.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        let Some((top, names)) = self.split(path).filter(|_| !NEVER.contains(&path)) else { return false };
        self.patterns.iter().any(|pattern| {
            pattern.top == top
                && pattern.names.len() == names.len()
                && pattern.names.iter().zip(&names).all(|(pattern, name)| matches(pattern, name))
        })
    }

    /// All that the list names, ascending. What a pattern without `*` and `?` names is there also where the kernel lacks it.
    ///
    /// # Errors
    ///
    /// - [`Error::Limit`]: more than [`SETTINGS_MAX`]
    pub fn list(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = BTreeSet::new();
        for pattern in &self.patterns {
            let Some(top) = self.tops.get(pattern.top) else { continue };
            let any = pattern.names.iter().any(|name| is_open(name));
            for path in expand(top, &pattern.names) {
                if self.covers(&path) && (!any || self.open(&path, OFlags::PATH).is_ok()) {
                    found.insert(path);
                }
                if found.len() > SETTINGS_MAX {
                    let (found, limit) = (length(found.len()), length(SETTINGS_MAX));
                    return Err(Error::Limit { what: "the number of settings", found, limit });
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The value of one of them.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`]: the list does not name it, or it is no setting
    /// - [`Error::Limit`]: it is longer than [`VALUE_BYTES_MAX`]
    /// - [`Error::Io`]: the kernel does not give it
    pub fn read(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut value = vec![0; VALUE_BYTES_MAX + 1];
        let mut filled = 0;
        while let Some(rest) = value.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&file, rest) {
                Ok(0) => {
                    value.truncate(filled);
                    return Ok(value);
                }
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        let (found, limit) = (length(filled), length(VALUE_BYTES_MAX));
        Err(Error::Limit { what: "the value of a setting", found, limit })
    }

    /// Writes one of them, as a line of its own, and looks whether it holds.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`]: the list does not name it, or it is no setting; nothing is written
    /// - [`Error::Io`]: the kernel does not take the value
    /// - [`Error::Failed`]: it holds another one afterwards
    pub fn write(&self, path: &[u8], value: &[u8]) -> Result<(), Error> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::Refused("the value of a setting is too long".into()));
        }
        let file = self.open(path, OFlags::WRONLY)?;
        let line = [meaning(value), b"\n"].concat();
        // The kernel takes a value whole or not at all.
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, &line));
        let written = written.map_err(|e| Error::io("write", path, e))?;
        let now = self.read(path)?;
        if written == line.len() && meaning(&now) == meaning(value) {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "{} holds {} after {} was written",
            crate::shown(path),
            super::told(&now),
            super::told(value)
        )))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
        let shown = crate::error::shown(path);
        let Some((top, names)) = self.split(path).filter(|_| self.covers(path)) else {
            return Err(Error::Refused(format!("{shown} is not in the configuration's list of settings")));
        };
        let Some(top) = self.tops.get(top) else { return Err(Error::Refused(shown)) };
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(&top.path, folder, Mode::empty()).map_err(|e| Error::io("reach", path, e))?;
        if let Some(magic) = top.magic {
            let found = rustix::fs::fstatfs(&folder).map_err(|e| Error::io("look at", path, e))?.f_type;
            if u64::try_from(found).ok() != Some(magic) {
                return Err(Error::Refused(format!("{} is not the kernel's", top.path.display())));
            }
        }
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        if !top.has_links {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat2(&folder, names.join(&b'/').as_slice(), flags, Mode::empty(), resolve)
            .map_err(|e| Error::io("reach", path, e))?;
        let mode = rustix::fs::fstat(&file).map_err(|e| Error::io("look at", path, e))?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::RegularFile {
            Ok(file)
        } else {
            Err(Error::Refused(format!("{shown} is no setting")))
        }
    }
}

/// What counts of a value: without outer white space, and of a choice such as `always [madvise] never` what is chosen.
#[must_use]
pub fn meaning(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let is_chosen = |word: &&[u8]| word.len() > 2 && word.starts_with(b"[") && word.ends_with(b"]");
    let mut words = value.split(u8::is_ascii_whitespace).filter(is_chosen);
    match (words.next(), words.next()) {
        (Some(word), None) => word.get(1..word.len() - 1).unwrap_or(value),
        _ => value,
    }
}

/// A key of sysctl as a path: dots and slashes change places.
fn slashed(key: &str) -> String {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(swap).collect()
}

fn is_open(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether a name is as a pattern says.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // For each place in the name, whether what was seen of the pattern fits what is before it.
    let mut fits: Vec<bool> = std::iter::once(true).chain(name.iter().map(|_| false)).collect();
    for wanted in pattern {
        let mut next = vec![false; fits.len()];
        let mut reached = false;
        for (place, slot) in next.iter_mut().enumerate() {
            let here = fits.get(place).copied().unwrap_or(false);
            let before = place.checked_sub(1);
            let from = before.and_then(|before| fits.get(before).copied()).unwrap_or(false);
            let byte = before.and_then(|before| name.get(before));
            *slot = match wanted {
                b'*' => {
                    reached |= here;
                    reached
                }
                b'?' => from,
                exact => from && byte == Some(exact),
            };
        }
        fits = next;
    }
    fits.last().copied().unwrap_or(false)
}

/// The paths that patterns of names lead to.
fn expand(top: &Top, names: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for name in names {
        found = found.iter().flat_map(|folder| inside(top, folder, name)).take(SETTINGS_MAX + 1).collect();
    }
    found.into_iter().map(|rest| [top.name, &rest].concat()).collect()
}

/// The names in a folder that fit a pattern.
fn inside(top: &Top, folder: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
    let below = |name: &[u8]| [folder, b"/", name].concat();
    if !is_open(name) {
        return vec![below(name)];
    }
    let relative = std::ffi::OsStr::from_bytes(folder.strip_prefix(b"/").unwrap_or(folder));
    let entries = fs::read_dir(top.path.join(relative)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_vec());
    names.filter(|found| matches(name, found)).map(|found| below(&found)).collect()
}

#[cfg(test)]
mod tests;
