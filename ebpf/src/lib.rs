//! The kernel probes, and the loader for them: scheduler latency and thermal events.
//!
//! ```no_run
//! # fn main() -> Result<(), ebpf::Error> {
//! let mut probes = ebpf::Probes::load()?;
//! for loss in probes.losses() {
//!     eprintln!("{loss}");
//! }
//! let waits: u64 = probes.scheduler()?.iter().flatten().sum();
//! for event in probes.thermal_events(std::time::Duration::from_secs(1))? {
//!     println!("{waits} waits; {} has {} m°C", event.zone, event.temperature_mc);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! - `../events.h`: what the kernel hands over, the only source of those layouts
//! - `../compat.bpf.h`: the kernel's own structs as far as they are read, and what differs between versions
//! - `../sched.bpf.c`, `../thermal.bpf.c`: the probes, linked into one object
//! - `skeleton`: generated from that object
//! - [`probes`]: the loaded probes and what they measured
//! - `object`: opens, loads and attaches the object, whole or in part
//! - `record`: the ring's records, decoded
//!
//! # Invariants
//!
//! - CAP_BPF and CAP_PERFMON suffice to load; reading needs no capability, so that privileges can be
//!   dropped in between (from Linux 5.19 on).
//! - A probe that cannot be loaded never takes another with it, and is never silent: it is a [`Loss`].
//! - The kernel never waits for user space: what does not fit is counted as lost.

mod object;
pub mod probes;
mod record;
mod skeleton;
#[cfg(test)]
mod tests;

use std::fmt;

pub use probes::Probes;
pub use record::ThermalEvent;

/// Slots of a latency histogram: slot n counts waits of [2ⁿ, 2ⁿ⁺¹) microseconds, slot 0 also those below
/// 1 µs, the last one also everything above.
pub const LATENCY_SLOTS: usize = size_of::<skeleton::types::latency_histogram>() / size_of::<u64>();

/// What can be measured, each independent of the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// How long tasks wait for a CPU.
    Scheduler,
    /// Temperatures and trip points of the thermal zones.
    Thermal,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheduler => "scheduler",
            Self::Thermal => "thermal",
        })
    }
}

/// A probe that could not be loaded or attached, so that what it measures is not measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Which one.
    pub probe: Probe,
    /// Why, in the kernel's and libbpf's words.
    pub reason: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} probe is not loaded: {}", self.probe, self.reason)
    }
}

/// Counts of what the kernel could not keep, since the probes were loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// Waits that are missing in the histograms because there was no memory to note their beginning.
    pub scheduler_waits: u64,
    /// Thermal events that found the ring full.
    pub thermal_events: u64,
}

/// Why there is no measurement.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// Not one probe could be loaded: the kernel has no BPF or no BTF, or privileges are missing.
    #[error("no probe can be loaded (CAP_BPF, CAP_PERFMON and a kernel with BTF are needed): {}", join(.0))]
    Unavailable(Vec<Loss>),
    /// The probe that was asked is not loaded.
    #[error("{0}")]
    Lost(Loss),
    /// A loaded probe could not be read. Not expected; the source says what the kernel answered.
    #[error("cannot read {what} from the kernel")]
    Read {
        /// The map that was read.
        what: &'static str,
        /// What libbpf or the kernel answered.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The kernel gave a value of another size than the object describes. Not expected.
    #[error("{what} has {found} bytes instead of {wanted}")]
    Size {
        /// The map that was read.
        what: &'static str,
        /// Bytes that came.
        found: usize,
        /// Bytes that were expected.
        wanted: usize,
    },
}

fn join(losses: &[Loss]) -> String {
    losses.iter().map(Loss::to_string).collect::<Vec<_>>().join("; ")
}
