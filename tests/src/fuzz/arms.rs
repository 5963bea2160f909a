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

/// What every run of some length must reach: by ioctl, what its errors are.
const REQUIRED: &[(&str, &[&str])] = &[
    ("VERSION", &["ok", "EFAULT", "EBADF"]),
    ("INFO", &["ok", "EFAULT"]),
    ("LIST", &["ok", "EFAULT", "EINVAL"]),
    (
        "READ",
        &[
            "ok",
            "EFAULT",
            "EINVAL RESERVED",
            "EINVAL COUNT",
            "E2BIG COUNT",
            "entry ENOENT",
            "entry EINVAL",
            "entry EIO",
        ],
    ),
    ("SNAPSHOT", &["ok", "EFAULT", "EINVAL RESERVED", "EINVAL SELECT", "ENOSPC ROOM"]),
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
            "EINVAL COUNT",
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
        ],
    ),
    ("UNDO", &["ok", "EFAULT", "EINVAL RESERVED", "ESRCH NO_TRANSACTION", "EPERM NOT_OWNER"]),
    ("another", &["ENOTTY"]),
    ("read", &["ok", "EAGAIN", "EINVAL", "EFAULT"]),
    ("mmap", &["ok", "EACCES", "EINVAL"]),
    ("mprotect", &["ok", "EACCES"]),
    ("poll", &["ok"]),
];

/// What needs a set-up that not every run or machine has: low limits, a password, a kernel that can be made to fail.
const SPECIAL: &[(&str, &[&str])] = &[
    ("READ", &["EAGAIN RATE", "ENOMEM MEMORY", "EINTR INTERRUPTED", "entry ENODATA", "entry ENXIO"]),
    ("SNAPSHOT", &["EAGAIN RATE", "ENOMEM MEMORY", "EINTR INTERRUPTED", "EAGAIN CHANGED"]),
    ("ALLOW", &["ENOMEM MEMORY", "EPERM LOCKED_DOWN"]),
    ("BEGIN", &["EBUSY UNDOING", "EPERM LOCKED_DOWN", "ENOMEM MEMORY"]),
    ("STAGE", &["ENOMEM MEMORY", "E2BIG FULL"]),
    (
        "COMMIT",
        &[
            "EAGAIN RATE",
            "EACCES PASSWORD",
            "ENXIO FIRMWARE",
            "EINVAL FIRMWARE",
            "EPERM LOCKED_DOWN",
            "ENOMEM MEMORY",
            "EINTR INTERRUPTED",
            "undo 1",
            "undo 2",
            "undo 3",
        ],
    ),
    ("UNDO", &["EIO FIRMWARE", "EBUSY UNDOING"]),
    ("read", &["EINTR"]),
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
        let names: BTreeSet<String> = self.names().into_keys().collect();
        let of = |wanted: &[(&str, &[&str])]| {
            let all =
                wanted.iter().flat_map(|(what, ends)| ends.iter().map(move |end| format!("{what} {end}")));
            all.filter(|name| !names.contains(name)).collect()
        };
        (of(REQUIRED), of(SPECIAL))
    }

    /// One line for each that was seen.
    pub(crate) fn table(&self) -> String {
        self.names().into_iter().map(|(name, count)| format!("  {count:>9}  {name}\n")).collect()
    }
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
        assert!(arms.missing().1.contains(&"COMMIT undo 2".to_owned()));
        arms.note(&op, &Done { answer: -5, reason: DSMIL_REASON_FIRMWARE, detail: 2, ..Done::default() });
        assert!(!arms.missing().1.contains(&"COMMIT undo 2".to_owned()));
    }
}
