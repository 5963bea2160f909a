//! What the machine is doing: scheduler latency and thermal events from the kernel probes, and the
//! temperatures of the thermal zones.
//!
//! # Layout
//!
//! - [`Telemetry`]: the kernel probes, opened as root and handed down
//! - [`zone`]: the thermal zones of `/sys/class/thermal`, which need no probe and no privilege
//!
//! # Invariants
//!
//! - Nothing is invented: a value that cannot be had is an error, a loss or a [`zone::Reading`] that says
//!   so, never zero.
//! - [`Telemetry::open`] is the only step that needs privileges (CAP_BPF and CAP_PERFMON).

#![forbid(unsafe_code)]

pub mod zone;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use types::sample::{LATENCY_SLOTS, LatencyHistogram, Scheduler, Thermal};
use types::unit::MilliCelsius;

const _: () = assert!(ebpf::LATENCY_SLOTS == LATENCY_SLOTS, "kernel and user space count alike");

/// The loaded kernel probes. They leave the kernel when this is dropped.
///
/// To be opened before privileges are dropped; everything else works without them.
#[derive(Debug)]
pub struct Telemetry {
    probes: ebpf::Probes,
}

/// Why there is no measurement.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// Nothing can be measured by probes on this machine or with these privileges. A daemon that may run
    /// without goes on and says so in its replies.
    #[error("no kernel probes: {0}")]
    Unavailable(String),
    /// This one probe is not loaded (see [`Telemetry::missing`]); the other is.
    #[error("{0}")]
    Missing(String),
    /// A loaded probe could not be read. Not expected.
    #[error("cannot read a kernel probe")]
    Read(#[source] ebpf::Error),
}

impl From<ebpf::Error> for Error {
    fn from(error: ebpf::Error) -> Self {
        match error {
            ebpf::Error::Unavailable(_) => Self::Unavailable(error.to_string()),
            ebpf::Error::Lost(loss) => Self::Missing(loss.to_string()),
            ebpf::Error::Read { .. } | ebpf::Error::Size { .. } => Self::Read(error),
        }
    }
}

/// Samples that the kernel could not keep, since the probes were loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// Waits that are missing in [`Telemetry::scheduler`].
    pub scheduler_waits: u64,
    /// Thermal events that nobody fetched in time.
    pub thermal_events: u64,
}

impl Telemetry {
    /// Loads the probes into the kernel; takes some 20 ms.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: not one probe can be loaded; the text says why.
    /// - [`Error::Read`]: not expected.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { probes: ebpf::Probes::load()? })
    }

    /// One sentence for each probe that is not loaded, so for each guarantee that is missing.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.probes.losses().iter().map(ebpf::Loss::to_string).collect()
    }

    /// How long tasks waited for each CPU, since the probes were loaded; one entry for each possible CPU,
    /// also those that are offline. One system call.
    ///
    /// # Errors
    ///
    /// - [`Error::Missing`]: the scheduler probe is not loaded.
    /// - [`Error::Read`]: not expected.
    pub fn scheduler(&self) -> Result<Scheduler, Error> {
        let cpus = self.probes.scheduler()?;
        Ok(Scheduler { cpus: cpus.into_iter().map(|slots| LatencyHistogram { slots }).collect() })
    }

    /// A descriptor that is readable while thermal events wait, for an event loop. There is nothing to read
    /// from it; take the events with [`Telemetry::consume`], and until it gives none if the loop is
    /// edge-triggered. It stays valid only as long as this lives.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn readiness(&self) -> io::Result<OwnedFd> {
        self.probes.as_fd().try_clone_to_owned()
    }

    /// The thermal events that wait, oldest first, without waiting; at most [`ebpf::probes::EVENTS_MAX`].
    /// A temperature is as the driver gave it: ask [`MilliCelsius::is_plausible`].
    ///
    /// # Errors
    ///
    /// - [`Error::Missing`]: the thermal probe is not loaded.
    /// - [`Error::Read`]: not expected.
    pub fn consume(&mut self) -> Result<Vec<Thermal>, Error> {
        Ok(self.probes.consume()?.into_iter().map(thermal).collect())
    }

    /// As [`Telemetry::consume`], but waits up to `timeout` for the first event; none if it passes.
    ///
    /// # Errors
    ///
    /// As [`Telemetry::consume`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Thermal>, Error> {
        Ok(self.probes.thermal_events(timeout)?.into_iter().map(thermal).collect())
    }

    /// What is missing in the other answers because the kernel could not keep it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`]: not expected.
    pub fn lost(&self) -> Result<Lost, Error> {
        let lost = self.probes.lost()?;
        Ok(Lost { scheduler_waits: lost.scheduler_waits, thermal_events: lost.thermal_events })
    }
}

fn thermal(event: ebpf::ThermalEvent) -> Thermal {
    Thermal {
        zone: event.zone,
        id: event.zone_id,
        temperature: MilliCelsius(event.temperature_mc),
        trip: event.trip.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_scheduler_is_sampled() {
        let telemetry = match Telemetry::open() {
            Ok(telemetry) => telemetry,
            Err(Error::Unavailable(reason)) => return println!("skipped: {reason}"),
            Err(error) => panic!("{error}"),
        };
        if !telemetry.missing().is_empty() {
            return println!("skipped: {:?}", telemetry.missing());
        }
        let count =
            || -> u64 { telemetry.scheduler().unwrap().cpus.iter().map(LatencyHistogram::count).sum() };
        let before = count();
        // Each new thread waits once before it first runs.
        (0..50).for_each(|_| std::thread::spawn(|| ()).join().unwrap());
        assert!(count() >= before + 50);
        assert_eq!(telemetry.lost().unwrap(), Lost::default());
        telemetry.readiness().unwrap();
    }

    #[test]
    fn errors_keep_their_kind_and_reason() {
        let loss = ebpf::Loss { probe: ebpf::Probe::Thermal, reason: "no tracepoint".into() };
        let text = Error::from(ebpf::Error::Unavailable(vec![loss.clone()])).to_string();
        assert!(text.contains("the thermal probe is not loaded: no tracepoint"), "{text}");
        assert!(matches!(ebpf::Error::Lost(loss).into(), Error::Missing(text) if text.contains("thermal")));
    }

    #[test]
    fn a_trip_is_told_from_a_plain_temperature() {
        let event =
            |trip| ebpf::ThermalEvent { zone: "acpitz".into(), zone_id: 2, temperature_mc: 90_000, trip };
        let hot = Thermal { zone: "acpitz".into(), id: 2, temperature: MilliCelsius(90_000), trip: true };
        assert_eq!(thermal(event(Some(0))), hot);
        assert_eq!(thermal(event(None)), Thermal { trip: false, ..hot });
    }
}
