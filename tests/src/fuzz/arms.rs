//! Which ends of which operation have been seen: success, or an error number and the module's reason.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;

use super::actor::Done;
use super::program::{Body, Call, Op};
use super::request;
use super::uapi::DSMIL_IOC_COMMIT;

/// The names of `enum dsmil_reason`, by number.
const REASONS: &[&str] = &[
    "",
    "RESERVED",
    "COUNT",
    "DEADLINE",
    "SELECT",
    "DUPLICATE",
    "UNKNOWN",
    "NEVER_WRITTEN",
    "NOT_SEALED",
    "SEALED",
    "NOT_ALLOWED",
    "PARTIAL_LOCATION",
    "CAPABILITY",
    "READ_ONLY_FILE",
    "LOCKED_DOWN",
    "VALUE",
    "EXPECTED",
    "BUSY",
    "UNDOING",
    "CLOSING",
    "FIRMWARE",
    "NOT_STUCK",
    "PASSWORD",
    "NO_TRANSACTION",
    "NOT_OWNER",
    "COMMITTED",
    "NOT_COMMITTED",
    "EMPTY",
    "FULL",
    "RATE",
    "ROOM",
    "CHANGED",
    "MEMORY",
    "INTERRUPTED",
];

/// What every run of some length must reach: by ioctl, what its errors are. Not there because it cannot be seen: a COMMIT that is cut
/// short by a signal, since only one that kills does that; BEGIN, CONFIRM and UNDO without memory, since they need none.
const REQUIRED: &[(&str, &[&str])] = &[
    ("VERSION", &["ok", "EFAULT", "EBADF"]),
    ("INFO", &["ok", "EFAULT"]),
    ("LIST", &["ok", "EFAULT", "EINVAL", "E2BIG"]),
    (
        "READ",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "EINVAL COUNT",
            "E2BIG COUNT",
            "EAGAIN RATE",
            "EINTR INTERRUPTED",
            "entry ENOENT",
            "entry EINVAL",
            "entry EIO",
            "entry ENXIO",
            "entry ENODATA",
        ],
    ),
    (
        "SNAPSHOT",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "EINVAL SELECT",
            "E2BIG COUNT",
            "ENOSPC ROOM",
            "EAGAIN RATE",
            "EINTR INTERRUPTED",
        ],
    ),
    (
        "ALLOW",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "E2BIG COUNT",
            "EINVAL DUPLICATE",
            "ENOENT UNKNOWN",
            "EPERM NEVER_WRITTEN",
            "EPERM SEALED",
            "EINVAL PARTIAL_LOCATION",
            "EPERM CAPABILITY",
            "EBADF READ_ONLY_FILE",
        ],
    ),
    (
        "BEGIN",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "EINVAL DEADLINE",
            "EPERM NOT_SEALED",
            "EPERM CAPABILITY",
            "EBADF READ_ONLY_FILE",
            "EBUSY BUSY",
            "EBUSY UNDOING",
        ],
    ),
    (
        "STAGE",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "EINVAL COUNT",
            "E2BIG COUNT",
            "EINVAL SELECT",
            "EINVAL DUPLICATE",
            "ENOENT UNKNOWN",
            "EPERM NEVER_WRITTEN",
            "EPERM NOT_ALLOWED",
            "EINVAL VALUE",
            "ESRCH NO_TRANSACTION",
            "EPERM NOT_OWNER",
            "EINVAL COMMITTED",
            "EBUSY UNDOING",
        ],
    ),
    (
        "COMMIT",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "ESRCH NO_TRANSACTION",
            "EPERM NOT_OWNER",
            "EINVAL COMMITTED",
            "EINVAL EMPTY",
            "ESTALE EXPECTED",
            "EIO FIRMWARE",
            "EIO NOT_STUCK",
            "ENXIO FIRMWARE",
            "EINVAL FIRMWARE",
            "EINVAL COUNT",
            "EPERM CAPABILITY",
            "EBADF READ_ONLY_FILE",
            "EBUSY UNDOING",
            "EAGAIN RATE",
            "EACCES PASSWORD",
            "undo 1",
            "undo 2",
        ],
    ),
    (
        "CONFIRM",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "ESRCH NO_TRANSACTION",
            "EPERM NOT_OWNER",
            "EINVAL NOT_COMMITTED",
            "EBUSY UNDOING",
        ],
    ),
    (
        "UNDO",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "ESRCH NO_TRANSACTION",
            "EPERM NOT_OWNER",
            "EBUSY UNDOING",
            "EIO FIRMWARE",
            "EIO NOT_STUCK",
        ],
    ),
    ("another", &["ENOTTY"]),
    ("read", &["ok", "EAGAIN", "EINTR", "EINVAL", "EFAULT"]),
    ("mmap", &["ok", "EACCES", "EINVAL"]),
    ("mprotect", &["ok", "EACCES"]),
    ("poll", &["ok"]),
];

/// What needs a set-up that not every run or machine has: several runs reach them together (`scripts/survive.sh`).
const SPECIAL: &[(&str, &[&str])] = &[
    // A kernel that can be made to fail.
    ("READ", &["ENOMEM MEMORY"]),
    // One allocation that fails is made up for: `scripts/laptop/failing.sh told` has several fail.
    ("SNAPSHOT", &["ENOMEM MEMORY"]),
    ("ALLOW", &["ENOMEM MEMORY"]),
    ("STAGE", &["ENOMEM MEMORY"]),
    ("COMMIT", &["ENOMEM MEMORY"]),
    // One whose calls of the firmware do not take long.
    ("SNAPSHOT", &["EAGAIN CHANGED"]),
    ("COMMIT", &["undo 3"]),
    // One that is locked down.
    ("ALLOW", &["EPERM LOCKED_DOWN"]),
    ("BEGIN", &["EPERM LOCKED_DOWN"]),
    ("COMMIT", &["EPERM LOCKED_DOWN"]),
    // Other tables: with tokens that are write-only, with 2,000.
    ("READ", &["entry EACCES"]),
    ("STAGE", &["E2BIG FULL"]),
    // A machine that goes down (`scripts/restart.sh`).
    ("BEGIN", &["ESHUTDOWN CLOSING"]),
];

/// What an operation is, how it ended (a result or an error number, negative), and the reason.
type Arm = (&'static str, i32, u32);

/// The ends that were seen, and how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arms {
    seen: BTreeMap<Arm, u64>,
    entries: BTreeMap<u32, u64>,
    undos: BTreeMap<u64, u64>,
}

impl Arms {
    /// Notes how an operation ended.
    pub(crate) fn note(&mut self, op: &Op, done: &Done) {
        if done.flags & Done::SKIPPED != 0 {
            return;
        }
        let end = i32::try_from(done.answer.min(0)).unwrap_or_default();
        *self.seen.entry((name(&op.call), end, done.reason)).or_default() += 1;
        let Call::Ioctl(ioctl) = &op.call else { return };
        match ioctl.body {
            Body::Read { .. } => {
                for error in (0..64).filter(|error| done.detail & 1 << error != 0) {
                    *self.entries.entry(error).or_default() += 1;
                }
            }
            Body::Commit { .. } if end < 0 && done.detail > 0 => {
                *self.undos.entry(done.detail).or_default() += 1;
            }
            _ => {}
        }
    }

    /// How many different ones there are.
    pub(crate) fn count(&self) -> usize {
        self.seen.len() + self.entries.len() + self.undos.len()
    }

    fn names(&self) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for ((what, end, reason), count) in &self.seen {
            *names.entry(text(what, *end, *reason)).or_default() += count;
        }
        for (error, count) in &self.entries {
            let error = Errno::from_raw(i32::try_from(*error).unwrap_or_default());
            // An entry without an error is nothing to tell.
            if error != Errno::UnknownErrno {
                names.insert(format!("READ entry {error:?}"), *count);
            }
        }
        for (undo, count) in &self.undos {
            names.insert(
                format!("{} undo {undo}", request::name(DSMIL_IOC_COMMIT).unwrap_or_default()),
                *count,
            );
        }
        names
    }

    /// The required ones that were not seen, and those of a special set-up that were not.
    pub(crate) fn missing(&self) -> (Vec<String>, Vec<String>) {
        let names = self.names().into_keys().collect();
        (without(REQUIRED, &names), without(SPECIAL, &names))
    }

    /// Whether one of these was not seen.
    pub(crate) fn lacks(&self, ends: &[&str]) -> bool {
        let names = self.names();
        ends.iter().any(|end| !names.contains_key(*end))
    }

    /// One line for each that was seen.
    pub(crate) fn table(&self) -> String {
        self.names().into_iter().map(|(name, count)| format!("  {count:>9}  {name}\n")).collect()
    }
}

/// Of these those that are not among the names.
fn without(wanted: &[(&str, &[&str])], names: &BTreeSet<String>) -> Vec<String> {
    let all = wanted.iter().flat_map(|(what, ends)| ends.iter().map(move |end| format!("{what} {end}")));
    all.filter(|name| !names.contains(name)).collect()
}

/// How many ends there are that a run, or several with set-ups of their own, can reach.
#[must_use]
pub fn wanted() -> usize {
    REQUIRED.iter().chain(SPECIAL).map(|(_, ends)| ends.len()).sum()
}

/// The ends that none of several runs has reached, whatever set-up they need; from what these runs said.
#[must_use]
pub fn missing_in<'a>(said: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name = |line: &'a str| {
        let (count, name) = line.trim_start().split_once("  ")?;
        count.parse::<u64>().ok().map(|_| name.trim().to_owned())
    };
    let names: BTreeSet<String> = said.filter_map(name).collect();
    [without(REQUIRED, &names), without(SPECIAL, &names)].concat()
}

/// What an operation is called in the table.
pub(crate) fn name(call: &Call) -> &'static str {
    match call {
        Call::Open { .. } => "open",
        Call::Close { .. } => "close",
        Call::Dup { .. } => "dup",
        Call::Spawn { .. } => "spawn",
        Call::Kill { .. } => "kill",
        Call::Signal { .. } => "signal",
        Call::Exit => "exit",
        Call::Ioctl(ioctl) => match ioctl.body {
            Body::Version => "VERSION",
            Body::Info => "INFO",
            Body::List { .. } => "LIST",
            Body::Read { .. } => "READ",
            Body::Snapshot { .. } => "SNAPSHOT",
            Body::Allow { .. } => "ALLOW",
            Body::Begin { .. } => "BEGIN",
            Body::Stage { .. } => "STAGE",
            Body::Commit { .. } => "COMMIT",
            Body::Confirm { .. } => "CONFIRM",
            Body::Undo { .. } => "UNDO",
            Body::Raw { command, .. } => request::name(command).map_or("another", |_| "raw"),
        },
        Call::Events { .. } => "read",
        Call::Poll { .. } => "poll",
        Call::Map { .. } => "mmap",
        Call::Protect { .. } => "mprotect",
        Call::Unmap { .. } => "munmap",
        Call::Touch { .. } => "touch",
        Call::Other { .. } => "other",
        Call::Wait { .. } => "wait",
        Call::Fault { .. } | Call::ClearFaults | Call::Poke { .. } | Call::Heat { .. } => "firmware",
    }
}

/// An end as a person reads it.
pub(crate) fn text(what: &str, end: i32, reason: u32) -> String {
    let end = if end < 0 { format!("{:?}", Errno::from_raw(-end)) } else { "ok".to_owned() };
    let reason = usize::try_from(reason).ok().and_then(|reason| REASONS.get(reason)).copied().unwrap_or("?");
    format!("{what} {end} {reason}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::program::Which;
    use super::super::uapi::*;
    use super::*;

    #[test]
    fn reasons_are_named_by_their_numbers() {
        for (number, name) in [
            (DSMIL_REASON_RESERVED, "RESERVED"),
            (DSMIL_REASON_LOCKED_DOWN, "LOCKED_DOWN"),
            (DSMIL_REASON_PASSWORD, "PASSWORD"),
            (DSMIL_REASON_INTERRUPTED, "INTERRUPTED"),
        ] {
            assert_eq!(REASONS[usize::try_from(number).unwrap()], name);
        }
    }

    #[test]
    fn an_end_that_was_seen_is_no_longer_missing() {
        let ioctl = super::super::program::Ioctl {
            file: 0,
            at: Default::default(),
            array: Default::default(),
            count: None,
            flip: None,
            flip_array: None,
            compat: false,
            body: Body::Commit { which: Which::Latest, room: 0 },
        };
        let op = Op::new(0, Call::Ioctl(ioctl));
        let mut arms = Arms::default();
        assert!(arms.missing().0.contains(&"COMMIT ESTALE EXPECTED".to_owned()));
        arms.note(&op, &Done { answer: -116, reason: DSMIL_REASON_EXPECTED, ..Done::default() });
        assert!(!arms.missing().0.contains(&"COMMIT ESTALE EXPECTED".to_owned()));
        assert!(arms.lacks(&["COMMIT ESTALE EXPECTED", "COMMIT undo 3"]));
        arms.note(&op, &Done { answer: -5, reason: DSMIL_REASON_FIRMWARE, detail: 3, ..Done::default() });
        assert!(!arms.lacks(&["COMMIT ESTALE EXPECTED", "COMMIT undo 3"]));
        assert!(!arms.missing().1.contains(&"COMMIT undo 3".to_owned()));
    }

    #[test]
    fn several_runs_reach_ends_together() {
        let ioctl = |body| super::super::program::Ioctl {
            file: 0,
            at: Default::default(),
            array: Default::default(),
            count: None,
            flip: None,
            flip_array: None,
            compat: false,
            body,
        };
        let mut arms = Arms::default();
        arms.note(&Op::new(0, Call::Ioctl(ioctl(Body::Info))), &Done::default());
        let said = format!("    1.0 s: 5 ops\n{}          1  BEGIN ESHUTDOWN CLOSING\nthe end", arms.table());
        let missing = missing_in(said.lines());
        assert_eq!(missing.len(), wanted() - 2);
        assert!(missing.iter().all(|end| end != "INFO ok" && end != "BEGIN ESHUTDOWN CLOSING"));
    }
}
