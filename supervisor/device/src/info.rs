//! What the module says of itself and of the firmware.

use std::time::Duration;

use crate::uapi::{self, dsmil_info};

/// The module's counts, limits and states at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Version of the interface.
    pub abi: u32,
    /// Tokens in the firmware's table.
    pub tokens: u32,
    /// DSMIL devices among them.
    pub devices: u32,
    /// Tokens on the sealed allow-list.
    pub writable: u32,
    /// An allow-list is sealed.
    pub sealed: bool,
    /// The way to the firmware.
    pub backend: Backend,
    /// The processor says that it is virtual: the firmware is emulated as far as is known.
    pub hypervisor: bool,
    /// The kernel's lockdown mode.
    pub lockdown: Lockdown,
    /// What the module takes at once.
    pub limits: Limits,
    /// Raised by each commit and each undo that reached the firmware.
    pub generation: u64,
    /// Number of the present or, when idle, the last transaction; 0: none since the module was loaded.
    pub transaction: u64,
    /// Where the transaction stands.
    pub state: State,
    /// How the last transaction that ended did.
    pub outcome: Outcome,
    /// Locations that undos left alone because somebody else had changed them, since load.
    pub left: u32,
}

/// What the module takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of one read; [`crate::Device::read`] splits longer ones.
    pub read: u32,
    /// Ids of an allow-list.
    pub allow: u32,
    /// Changes of one write.
    pub write: u32,
    /// Shortest deadline.
    pub deadline_min: Duration,
    /// Deadline where none is given.
    pub deadline_default: Duration,
    /// Longest deadline.
    pub deadline_max: Duration,
}

/// The way to the firmware that dell-smbios uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// None is known.
    None,
    /// ACPI WMI.
    Wmi,
    /// System management interrupts.
    Smm,
    /// One that this build does not know.
    Other(u32),
}

/// The kernel's lockdown mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Not locked down.
    None,
    /// Integrity: writes are refused.
    Integrity,
    /// Confidentiality: writes are refused.
    Confidentiality,
    /// One that this build does not know.
    Other(u32),
}

/// Where the module's one transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is pending.
    Idle,
    /// Written, waiting for its confirmation.
    Pending {
        /// Until the deadline.
        remaining: Duration,
    },
    /// An undo failed and is being retried.
    Undoing {
        /// Attempts that failed so far.
        attempts: u32,
    },
    /// One that this build does not know.
    Other(u32),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None has ended yet.
    None,
    /// Kept.
    Confirmed,
    /// Its writing failed, and what had been written was undone.
    Failed,
    /// Undone on request.
    Undone,
    /// Undone at its deadline.
    Expired,
    /// Undone because its owner closed the node or exited.
    Closed,
    /// Undone before a reboot.
    Shutdown,
    /// One that this build does not know.
    Other(u32),
}

impl From<dsmil_info> for Info {
    fn from(info: dsmil_info) -> Self {
        let ms = |value: u32| Duration::from_millis(u64::from(value));
        Self {
            abi: info.abi,
            tokens: info.tokens,
            devices: info.devices,
            writable: info.writable,
            sealed: info.flags & uapi::DSMIL_INFO_SEALED != 0,
            backend: match info.backend {
                uapi::DSMIL_BACKEND_NONE => Backend::None,
                uapi::DSMIL_BACKEND_WMI => Backend::Wmi,
                uapi::DSMIL_BACKEND_SMM => Backend::Smm,
                other => Backend::Other(other),
            },
            hypervisor: info.flags & uapi::DSMIL_INFO_HYPERVISOR != 0,
            lockdown: match info.lockdown {
                uapi::DSMIL_LOCKDOWN_NONE => Lockdown::None,
                uapi::DSMIL_LOCKDOWN_INTEGRITY => Lockdown::Integrity,
                uapi::DSMIL_LOCKDOWN_CONFIDENTIALITY => Lockdown::Confidentiality,
                other => Lockdown::Other(other),
            },
            limits: Limits {
                read: info.read_max,
                allow: info.allow_max,
                write: info.write_max,
                deadline_min: ms(info.deadline_min_ms),
                deadline_default: ms(info.deadline_default_ms),
                deadline_max: ms(info.deadline_max_ms),
            },
            generation: info.generation,
            transaction: info.transaction,
            state: match info.state {
                uapi::DSMIL_STATE_IDLE => State::Idle,
                uapi::DSMIL_STATE_PENDING => State::Pending { remaining: ms(info.remaining_ms) },
                uapi::DSMIL_STATE_UNDOING => State::Undoing { attempts: info.attempts },
                other => State::Other(other),
            },
            outcome: outcome(info.outcome),
            left: info.left,
        }
    }
}

const fn outcome(number: u32) -> Outcome {
    match number {
        uapi::DSMIL_OUTCOME_NONE => Outcome::None,
        uapi::DSMIL_OUTCOME_CONFIRMED => Outcome::Confirmed,
        uapi::DSMIL_OUTCOME_FAILED => Outcome::Failed,
        uapi::DSMIL_OUTCOME_UNDONE => Outcome::Undone,
        uapi::DSMIL_OUTCOME_EXPIRED => Outcome::Expired,
        uapi::DSMIL_OUTCOME_CLOSED => Outcome::Closed,
        uapi::DSMIL_OUTCOME_SHUTDOWN => Outcome::Shutdown,
        other => Outcome::Other(other),
    }
}
