//! What the module says of itself and of the firmware.

use std::time::Duration;

use types::unit::MilliCelsius;

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
    /// Tokens that can be read.
    pub readable: u32,
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
    /// Size of the mapped pages, in bytes.
    pub page_bytes: u32,
    /// Raised when a commit or an undo begins to write, and when it has ended.
    pub generation: u64,
    /// Number of the newest event; 0: none since the module was loaded.
    pub events: u64,
    /// Number of the present or, when idle, the last transaction; 0: none since the module was loaded.
    pub transaction: u64,
    /// Where the transaction stands.
    pub state: State,
    /// Changes of the present transaction.
    pub entries: u32,
    /// How the last transaction that ended did.
    pub outcome: Outcome,
    /// Locations that undos left alone because somebody else had changed them, since load.
    pub left: u32,
    /// What the processor's temperature means.
    pub heat: Heat,
    /// The processor's temperature, if it is known.
    pub temperature: Option<MilliCelsius>,
}

/// What the module takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of one read; [`crate::Device::read`] splits longer ones.
    pub read: u32,
    /// Ids of an allow-list.
    pub allow: u32,
    /// Changes that one call adds to a transaction; [`crate::Transaction::stage`] splits longer ones.
    pub stage: u32,
    /// Changes of one transaction.
    pub transaction: u32,
    /// Values of one snapshot.
    pub snapshot: u32,
    /// Events that are kept for readers who are behind.
    pub events: u32,
    /// Shortest deadline.
    pub deadline_min: Duration,
    /// Deadline where none is given.
    pub deadline_default: Duration,
    /// Longest deadline.
    pub deadline_max: Duration,
    /// Reads of the firmware.
    pub reads: Rate,
    /// Committed changes.
    pub writes: Rate,
}

/// How often the firmware may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls per second, 0: not limited.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
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
    /// There is none.
    Idle,
    /// Begun, and not yet committed.
    Open {
        /// Until it is dropped.
        remaining: Duration,
    },
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
    /// Undone, or dropped, at its deadline.
    Expired,
    /// Undone, or dropped, because its owner closed the node or exited.
    Closed,
    /// Undone before a reboot or the unloading of the module.
    Shutdown,
    /// Undone before suspend, as its owner had asked.
    Suspended,
    /// One that this build does not know.
    Other(u32),
}

/// What the processor's temperature means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heat {
    /// No sensor, or an implausible value: not to be taken as safe.
    Unknown,
    /// Below 85 °C.
    Normal,
    /// From 85 °C; ends below 83 °C.
    Warning,
    /// From 95 °C; ends below 93 °C.
    Critical,
    /// From 100 °C; ends below 98 °C.
    Emergency,
    /// One that this build does not know, so not to be taken as safe.
    Other(u32),
}

impl From<dsmil_info> for Info {
    fn from(info: dsmil_info) -> Self {
        Self {
            abi: info.abi,
            tokens: info.tokens,
            devices: info.devices,
            readable: info.readable,
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
            limits: limits(&info),
            page_bytes: info.page_bytes,
            generation: info.generation,
            events: info.events,
            transaction: info.transaction,
            state: match info.state {
                uapi::DSMIL_STATE_IDLE => State::Idle,
                uapi::DSMIL_STATE_OPEN => State::Open { remaining: ms(info.remaining_ms) },
                uapi::DSMIL_STATE_PENDING => State::Pending { remaining: ms(info.remaining_ms) },
                uapi::DSMIL_STATE_UNDOING => State::Undoing { attempts: info.attempts },
                other => State::Other(other),
            },
            entries: info.entries,
            outcome: outcome(info.outcome),
            left: info.left,
            heat: heat(info.heat),
            temperature: temperature(info.heat, info.temperature_mc),
        }
    }
}

fn limits(info: &dsmil_info) -> Limits {
    Limits {
        read: info.read_max,
        allow: info.allow_max,
        stage: info.stage_max,
        transaction: info.transaction_max,
        snapshot: info.snapshot_max,
        events: info.events_max,
        deadline_min: ms(info.deadline_min_ms),
        deadline_default: ms(info.deadline_default_ms),
        deadline_max: ms(info.deadline_max_ms),
        reads: Rate { per_second: info.read_rate, burst: info.read_burst },
        writes: Rate { per_second: info.write_rate, burst: info.write_burst },
    }
}

fn ms(value: u32) -> Duration {
    Duration::from_millis(u64::from(value))
}

pub(crate) const fn outcome(number: u32) -> Outcome {
    match number {
        uapi::DSMIL_OUTCOME_NONE => Outcome::None,
        uapi::DSMIL_OUTCOME_CONFIRMED => Outcome::Confirmed,
        uapi::DSMIL_OUTCOME_FAILED => Outcome::Failed,
        uapi::DSMIL_OUTCOME_UNDONE => Outcome::Undone,
        uapi::DSMIL_OUTCOME_EXPIRED => Outcome::Expired,
        uapi::DSMIL_OUTCOME_CLOSED => Outcome::Closed,
        uapi::DSMIL_OUTCOME_SHUTDOWN => Outcome::Shutdown,
        uapi::DSMIL_OUTCOME_SUSPENDED => Outcome::Suspended,
        other => Outcome::Other(other),
    }
}

pub(crate) const fn heat(number: u32) -> Heat {
    match number {
        uapi::DSMIL_HEAT_UNKNOWN => Heat::Unknown,
        uapi::DSMIL_HEAT_NORMAL => Heat::Normal,
        uapi::DSMIL_HEAT_WARNING => Heat::Warning,
        uapi::DSMIL_HEAT_CRITICAL => Heat::Critical,
        uapi::DSMIL_HEAT_EMERGENCY => Heat::Emergency,
        other => Heat::Other(other),
    }
}

/// The temperature, unless the module says that it does not know it.
pub(crate) fn temperature(heat: u32, temperature_mc: i32) -> Option<MilliCelsius> {
    (heat != uapi::DSMIL_HEAT_UNKNOWN).then_some(MilliCelsius(temperature_mc))
}
