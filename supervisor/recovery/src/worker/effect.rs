//! What a worker can be asked to do, and what it answers: the only words of the helper's protocol.

use std::cell::RefCell;
use std::rc::Rc;

use minicbor::{Decode, Encode};

use crate::Error;
use crate::files::entry::Meta;
use crate::services::Service;

/// The most bytes of one [`Effect::Data`].
pub const DATA_BYTES_MAX: usize = 1 << 20;

/// One effect on one root. Roots are known by their index in the worker's own list, never by a path.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Effect {
    /// Makes the folder in which a restore works. There must be none.
    #[n(0)]
    Open {
        /// The root.
        #[n(0)]
        root: u16,
        /// How what is staged comes into place.
        #[cbor(n(1), default)]
        way: Way,
    },
    /// Stages one entry under a number of its own.
    #[n(1)]
    Stage {
        /// The root.
        #[n(0)]
        root: u16,
        /// The number, unique in this restore.
        #[n(1)]
        number: u64,
        /// What the entry is to have. For a folder it is set by [`Step::Meta`], when everything is in it.
        #[n(2)]
        meta: Meta,
        /// What it is.
        #[n(3)]
        body: Body,
    },
    /// The next bytes of the file that was staged last.
    #[n(2)]
    Data {
        /// The root.
        #[n(0)]
        root: u16,
        /// At most [`DATA_BYTES_MAX`] bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// Ends the file that was staged last; it must have all its bytes.
    #[n(3)]
    Seal {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Adds a step to the journal; nothing is done yet.
    #[n(4)]
    Add {
        /// The root.
        #[n(0)]
        root: u16,
        /// The step.
        #[n(1)]
        step: Step,
    },
    /// Makes what is staged and the journal durable, and builds the new root if it is to be exchanged: from here on `Execute` and `Undo` work, also after a crash.
    #[n(5)]
    Commit {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Does every step that is not done yet.
    #[n(6)]
    Execute {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Takes back every step that was done.
    #[n(7)]
    Undo {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Makes what was executed final: from here on it cannot be undone. Several roots are all finished before the first
    /// is cleaned, so that after a crash one can tell which way to go.
    #[n(10)]
    Finish {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Removes the folder of the restore: after `Finish`, after `Undo`, or before `Commit`.
    #[n(8)]
    Clean {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Asks how far a restore is.
    #[n(9)]
    Look {
        /// The root.
        #[n(0)]
        root: u16,
    },
    /// Writes a setting that the worker's own list names, and looks whether it holds.
    #[n(11)]
    Set {
        /// Its path.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// Its value.
        #[cbor(n(1), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// Makes an image of a database beside it, to look at: [`Progress::Loose`], or [`Progress::None`] where there is no
    /// database.
    #[n(12)]
    Image {
        /// The database, which has a number among the roots.
        #[n(0)]
        root: u16,
    },
    /// Removes that image.
    #[n(13)]
    Discard {
        /// The database.
        #[n(0)]
        root: u16,
    },
    /// Notes what stands in the files of a unit that the worker's own list names: only that may be put there later.
    #[n(14)]
    Witness {
        /// Its name.
        #[n(0)]
        unit: String,
    },
    /// Brings the files of a unit and its enablement to this.
    #[n(15)]
    Install {
        /// The unit as it is to be.
        #[n(0)]
        service: Service,
        /// Only look whether that would be refused.
        #[n(1)]
        only_check: bool,
    },
    /// Has systemd read all units' files again.
    #[n(16)]
    Reload,
    /// Starts or stops a unit, and waits until that has happened.
    #[n(17)]
    Run {
        /// Its name.
        #[n(0)]
        unit: String,
        /// Whether it is to run.
        #[n(1)]
        up: bool,
    },
    /// Begins a dump of a database of a server, to be read by [`Effect::Read`]: [`Progress::Loose`], or [`Progress::None`] where
    /// there is no such database. It ends with [`Effect::Discard`] at the latest.
    #[n(18)]
    Dump {
        /// The database, which has a number among the roots.
        #[n(0)]
        root: u16,
        /// Note it when it has come to its end: only what was noted may be brought back later.
        #[n(1)]
        note: bool,
    },
    /// The next bytes of a dump; see [`Executor::read`].
    #[n(19)]
    Read {
        /// The database.
        #[n(0)]
        root: u16,
    },
}

impl Effect {
    /// The root that it is about; none where it is about a setting or a service.
    #[must_use]
    pub const fn root(&self) -> Option<u16> {
        match self {
            Self::Set { .. }
            | Self::Witness { .. }
            | Self::Install { .. }
            | Self::Reload
            | Self::Run { .. } => None,
            Self::Open { root, .. }
            | Self::Stage { root, .. }
            | Self::Data { root, .. }
            | Self::Seal { root }
            | Self::Add { root, .. }
            | Self::Commit { root }
            | Self::Execute { root }
            | Self::Undo { root }
            | Self::Finish { root }
            | Self::Clean { root }
            | Self::Look { root }
            | Self::Image { root }
            | Self::Discard { root }
            | Self::Dump { root, .. }
            | Self::Read { root } => Some(*root),
        }
    }
}

/// What a staged entry is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Body {
    /// A regular file; its bytes follow.
    #[n(0)]
    Regular {
        /// Bytes that will follow.
        #[n(0)]
        size: u64,
    },
    /// An empty folder.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Symlink {
        /// Where it points; never followed here.
        #[cbor(n(0), with = "minicbor::bytes")]
        target: Vec<u8>,
    },
    /// A named pipe.
    #[n(3)]
    Fifo,
    /// Another name of a staged file.
    #[n(4)]
    LinkStaged {
        /// That file's number.
        #[n(0)]
        number: u64,
    },
    /// Another name of a file that stays where it is.
    #[n(5)]
    LinkPresent {
        /// Its path below the root.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
    },
}

/// One step of a restore.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Step {
    /// Puts what was staged at a path; what is there is kept aside until the end.
    #[n(0)]
    Place {
        /// Below the root.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// The number of the staged entry.
        #[n(1)]
        number: u64,
    },
    /// Takes away what is at a path; it is kept aside until the end.
    #[n(1)]
    Remove {
        /// Below the root.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
    },
    /// Sets the metadata of a folder, or of a file with one name. Where the root is exchanged, of a file only its times.
    #[n(2)]
    Meta {
        /// Below the root; empty for the root.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// What it is to have.
        #[n(1)]
        meta: Meta,
    },
}

impl Step {
    /// Whether it is about metadata alone.
    pub(crate) const fn is_meta(&self) -> bool {
        matches!(self, Self::Meta { .. })
    }

    /// The path that it is about.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Place { path, .. } | Self::Remove { path } | Self::Meta { path, .. } => path,
        }
    }
}

/// How what is staged comes into place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Way {
    /// Entry by entry, where they are: readers can see some that are new beside some that are old.
    #[default]
    #[n(0)]
    InPlace,
    /// A whole new root, in which what stays has a second name, is exchanged for the old one at once.
    #[n(1)]
    Exchange,
}

/// How far a restore of a root is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Progress {
    /// No restore is under way.
    #[n(0)]
    None,
    /// Being staged, or already put back: what is left can be removed.
    #[n(1)]
    Loose,
    /// Committed; some steps may be done.
    #[n(2)]
    Committed,
    /// Every step is done.
    #[n(3)]
    Executed,
    /// It can no longer be undone: what is left can be removed.
    #[n(4)]
    Finished,
}

/// What a worker answers.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Reply {
    /// It is done.
    #[n(0)]
    Done,
    /// The answer to [`Effect::Look`], [`Effect::Image`] and [`Effect::Dump`].
    #[n(1)]
    Progress(#[n(0)] Progress),
    /// It is not allowed or not possible; nothing was changed by this effect.
    #[n(2)]
    Refused(#[n(0)] String),
    /// It failed half-way: undo.
    #[n(3)]
    Failed(#[n(0)] String),
    /// An earlier restore of the root is not finished.
    #[n(4)]
    Unfinished(#[n(0)] String),
    /// The answer to [`Effect::Read`]; empty at the end of the dump.
    #[n(5)]
    Bytes(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Another program holds it: nothing was changed by this effect.
    #[n(6)]
    Busy(#[n(0)] String),
}

/// Who performs effects: a worker in this process, or the helper at the other end of a socket.
pub trait Executor {
    /// Performs one effect and waits for it.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`]: it is not allowed, nothing was changed
    /// - [`Error::Unfinished`]: an earlier restore is in the way
    /// - [`Error::Io`] and others: it failed
    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error>;

    /// The next bytes of a dump that was begun, at most [`DATA_BYTES_MAX`]; none at its end.
    ///
    /// # Errors
    ///
    /// As [`Executor::perform`]; the dump is over then.
    fn read(&mut self, root: u16) -> Result<Vec<u8>, Error> {
        Err(Error::Refused(format!("root {root} gives no dump")))
    }
}

/// One executor for several components, of which only one acts at a time.
#[derive(Clone)]
pub struct Shared<'a>(Rc<RefCell<&'a mut dyn Executor>>);

impl<'a> Shared<'a> {
    /// Shares it.
    pub fn new(executor: &'a mut dyn Executor) -> Self {
        Self(Rc::new(RefCell::new(executor)))
    }
}

impl Executor for Shared<'_> {
    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        // An executor does not call back, so nobody else holds it.
        self.0.borrow_mut().perform(effect)
    }

    fn read(&mut self, root: u16) -> Result<Vec<u8>, Error> {
        self.0.borrow_mut().read(root)
    }
}
