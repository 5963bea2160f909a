//! A program: what several processes and threads do with the node, as data and as text.
//!
//! As text an operation is one line of JSON, so that a failing sequence can be printed, edited and replayed; empty
//! lines and lines that start with `#` are left out.

mod limits;
mod text;

use serde::{Deserialize, Serialize};

/// Who can act: 0 is the fuzzer itself, the others are empty until an operation fills them.
pub(crate) const ACTORS: u8 = 5;
/// Descriptors that a program uses; one process's numbers, shared by its threads.
pub(crate) const FILES: u8 = 6;
/// Places for mappings in each address space.
pub(crate) const MAPS: u8 = 3;
/// Most operations of a program.
pub(crate) const OPS_MAX: usize = 256;
/// Most entries of one array.
pub(crate) const ENTRIES_MAX: usize = 1024;

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Op {
    /// The actor.
    pub(crate) on: u8,
    /// The next operation does not wait for this one's end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) later: bool,
    /// The kernel's n-th allocation or copy during it fails, where the kernel can do that; 0: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) fail: u8,
    /// What it does.
    #[serde(rename = "do")]
    pub(crate) call: Call,
}

/// What an operation does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Call {
    /// Opens the node as a descriptor.
    Open {
        file: u8,
        access: Access,
        #[serde(default, skip_serializing_if = "is_default")]
        nonblock: bool,
        /// Without CAP_SYS_ADMIN.
        #[serde(default, skip_serializing_if = "is_default")]
        weak: bool,
    },
    Close {
        file: u8,
    },
    /// A second descriptor for a file; closes what `to` was.
    Dup {
        from: u8,
        to: u8,
    },
    /// Fills an actor's slot; only actor 0 does.
    Spawn {
        slot: u8,
        kind: Kind,
    },
    /// SIGKILL for a process and its mappings; a thread ends after what it is doing.
    Kill {
        slot: u8,
    },
    /// A signal that is handled, to interrupt what the actor is doing.
    Signal {
        slot: u8,
    },
    /// The actor's process exits by itself.
    Exit,
    Ioctl(Ioctl),
    /// read() of so many bytes.
    Events {
        file: u8,
        bytes: u32,
        #[serde(default, skip_serializing_if = "is_default")]
        to: Place,
    },
    /// poll(), or one wait through epoll.
    Poll {
        file: u8,
        ms: u8,
        #[serde(default, skip_serializing_if = "is_default")]
        epoll: bool,
    },
    Map {
        file: u8,
        map: u8,
        length: Length,
        /// PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4.
        protection: u8,
        #[serde(default, skip_serializing_if = "is_default")]
        private: bool,
        /// In pages.
        #[serde(default, skip_serializing_if = "is_default")]
        offset: u32,
    },
    Protect {
        map: u8,
        protection: u8,
    },
    Unmap {
        map: u8,
    },
    /// Looks at eight bytes of a mapping.
    Touch {
        map: u8,
        offset: u32,
    },
    /// A file operation that the node need not have.
    Other {
        file: u8,
        which: Other,
    },
    Wait {
        ms: u16,
    },
    /// A firmware fault, as `laptop-ctl fault` takes it; only actor 0 sets it.
    Fault {
        spec: String,
    },
    ClearFaults,
    /// Somebody else changes a location, past the module; only actor 0 does.
    Poke {
        location: u16,
        select: u8,
        value: u32,
    },
    /// The temperature in tenths of a kelvin; only actor 0 sets it.
    Heat {
        decikelvin: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Access {
    Read,
    Write,
    #[default]
    Both,
}

/// What an actor is made as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A forked process: the same open files, mappings of its own.
    #[default]
    Process,
    /// A thread of the fuzzer.
    Thread,
    /// A process that shares the table of descriptors with the fuzzer (CLONE_FILES).
    Sharer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Other {
    #[default]
    Write,
    Seek,
    Sync,
    Truncate,
    Flags,
    Fdinfo,
}

/// How long a mapping is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Length {
    /// What the module says.
    #[default]
    Exact,
    Bytes(u32),
}

/// Where a structure or an array lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// In memory that may be written, its end at the end of what is accessible.
    #[default]
    Room,
    Null,
    /// An address of the kernel.
    Kernel,
    /// An address that nothing is mapped at.
    Nowhere,
    /// In memory that may only be read.
    ReadOnly,
    /// Only the first bytes are accessible.
    Cut(u8),
    /// One byte before its alignment.
    Odd,
}

/// One ioctl.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ioctl {
    pub(crate) file: u8,
    /// Where its structure lies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) at: Place,
    /// Where its array lies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) array: Place,
    /// Another count of entries than those given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) count: Option<u32>,
    /// Bits of the structure that are turned: byte (modulo its size) and bit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) flip: Option<(u16, u8)>,
    /// The same in the array.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) flip_array: Option<(u16, u8)>,
    /// By the system call of 32-bit programs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) compat: bool,
    pub(crate) body: Body,
}

/// An ioctl's arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Body {
    Version,
    Info,
    /// With room for so many tokens.
    List {
        cursor: u32,
        room: u16,
    },
    Read {
        age: u32,
        entries: Vec<(u16, u8)>,
    },
    Snapshot {
        age: u32,
        selects: u32,
        room: u16,
    },
    Allow {
        ids: Vec<u16>,
    },
    Begin {
        deadline: u32,
        flags: u32,
    },
    Stage {
        which: Which,
        entries: Vec<Stage>,
    },
    /// With room for so many old values.
    Commit {
        which: Which,
        room: u16,
    },
    Confirm {
        which: Which,
    },
    Undo {
        which: Which,
    },
    /// Any command with bytes made from a number.
    Raw {
        command: u32,
        fill: u64,
    },
}

/// The number of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// The one begun last by anybody in this sequence.
    #[default]
    Latest,
    /// The one begun last by this actor.
    Own,
    Number(u64),
}

/// One entry to stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    pub(crate) id: u16,
    pub(crate) select: u8,
    pub(crate) value: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) expected: Expected,
}

/// The value that is expected to stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expected {
    /// None is asked for.
    #[default]
    Any,
    /// The one that stood there when the sequence began.
    Before,
    This(u32),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A sequence of operations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Program(pub(crate) Vec<Op>);
