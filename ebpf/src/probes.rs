//! The loaded probes and what they measured.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::object::{self, Attached, SchedulerForm, Selection};
use crate::skeleton::types;
use crate::{Error, LATENCY_SLOTS, Loss, Lost, Probe, ThermalEvent};

/// At most so many events come back from one call, so that a caller's memory and time are bounded.
pub const EVENTS_MAX: usize = 1024;

/// The longest that one call waits for an event (libbpf counts milliseconds in an `i32`).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const RING: &str = "the ring of thermal events";
const HISTOGRAMS: &str = "the latency histograms";
const COUNTERS: &str = "the counters of losses";

/// What libbpf gives up with when a record has a foreign size (`-EINVAL`).
const BAD_RECORD: i32 = -22;

/// The probes, loaded and attached; dropping them takes them out of the kernel.
///
/// As a file descriptor ([`AsFd`]) it is readable while thermal events wait, for `poll` and `epoll`; there
/// is nothing to read from it, [`Probes::consume`] takes the events.
pub struct Probes {
    losses: Vec<Loss>,
    /// By CPU, then by slot.
    latency: MapHandle,
    counters: MapHandle,
    /// Hands each record to `events`.
    ring: RingBuffer<'static>,
    events: Receiver<ThermalEvent>,
    // Last, so that the programs stop writing after everything that reads is gone.
    #[cfg_attr(not(test), expect(dead_code, reason = "a link is there to be dropped"))]
    pub(crate) links: Vec<Link>,
}

impl Probes {
    /// Loads and attaches every probe that this kernel takes.
    ///
    /// Takes some 10 to 20 ms, more where a probe is refused, for then each is tried alone.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: not one could be loaded; holds the reason for each.
    /// - [`Error::Read`]: the ring of thermal events could not be mapped.
    pub fn load() -> Result<Self, Error> {
        let whole = Selection { scheduler: Some(SchedulerForm::Typed), thermal: true };
        if let Ok(attached) = object::attach(whole) {
            return Self::new(attached, Vec::new());
        }
        Self::load_parts(&[SchedulerForm::Typed, SchedulerForm::Raw], object::attach)
    }

    /// Finds out what can be loaded by trying each probe alone, then loads that.
    pub(crate) fn load_parts(
        forms: &[SchedulerForm],
        attach: impl Fn(Selection) -> Result<Attached, String>,
    ) -> Result<Self, Error> {
        let mut losses = Vec::new();
        let mut reasons = Vec::new();
        let scheduler = forms.iter().copied().find(|&form| {
            let alone = attach(Selection { scheduler: Some(form), thermal: false });
            alone.map_err(|reason| reasons.push(format!("{form:?} form: {reason}"))).is_ok()
        });
        if scheduler.is_none() {
            losses.push(Loss { probe: Probe::Scheduler, reason: reasons.join("; ") });
        }
        let thermal = match attach(Selection { scheduler: None, thermal: true }) {
            Ok(_) => true,
            Err(reason) => {
                losses.push(Loss { probe: Probe::Thermal, reason });
                false
            }
        };
        if scheduler.is_none() && !thermal {
            return Err(Error::Unavailable(losses));
        }
        match attach(Selection { scheduler, thermal }) {
            Ok(attached) => Self::new(attached, losses),
            // Each alone, but not together: what one attempt said stands for both.
            Err(reason) => {
                losses.extend(
                    [Probe::Scheduler, Probe::Thermal].map(|probe| Loss { probe, reason: reason.clone() }),
                );
                Err(Error::Unavailable(losses))
            }
        }
    }

    fn new(attached: Attached, losses: Vec<Loss>) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel();
        let on_record = move |record: &[u8]| match ThermalEvent::decode(record) {
            // The receiver lives beside the ring, so the channel is open.
            Some(event) => sender.send(event).map_or(BAD_RECORD, |()| 0),
            None => BAD_RECORD,
        };
        let ring = |source| Error::Read { what: RING, source };
        let mut builder = RingBufferBuilder::new();
        builder.add(&attached.thermal_events, on_record).map_err(ring)?;
        let ring = builder.build().map_err(ring)?;
        Ok(Self {
            losses,
            latency: attached.latency,
            counters: attached.counters,
            ring,
            events,
            links: attached.links,
        })
    }

    /// The probes that could not be loaded; empty if all run.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// How long tasks waited for a CPU, since the probes were loaded: one histogram for each possible CPU,
    /// by CPU number. Costs one system call.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`]: the scheduler probe is not loaded.
    /// - [`Error::Read`], [`Error::Size`]: not expected.
    pub fn scheduler(&self) -> Result<Vec<[u64; LATENCY_SLOTS]>, Error> {
        self.require(Probe::Scheduler)?;
        let cpus = self
            .latency
            .lookup_percpu(&FIRST_KEY, MapFlags::ANY)
            .map_err(|source| Error::Read { what: HISTOGRAMS, source })?
            .unwrap_or_default();
        cpus.iter().map(|bytes| words(HISTOGRAMS, bytes)).collect()
    }

    /// Waits for thermal events and gives those that came, at most [`EVENTS_MAX`], oldest first; none if
    /// the time passes first. `timeout` is cut to [`TIMEOUT_MAX`] and rounded down to milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Probes::consume`].
    pub fn thermal_events(&mut self, timeout: Duration) -> Result<Vec<ThermalEvent>, Error> {
        self.require(Probe::Thermal)?;
        let waiting = self.consume()?;
        if !waiting.is_empty() {
            return Ok(waiting);
        }
        let timeout = PollTimeout::try_from(timeout.min(TIMEOUT_MAX)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => Ok(Vec::new()),
            // A signal is a reason to come back early, not an error.
            Ok(_) | Err(Errno::EINTR) => self.consume(),
            Err(errno) => Err(Error::Read { what: RING, source: std::io::Error::from(errno).into() }),
        }
    }

    /// The thermal events that wait, without waiting, at most [`EVENTS_MAX`], oldest first.
    ///
    /// With an edge-triggered `epoll` (as tokio's) call it until it gives none: the kernel wakes a reader
    /// only if that had read everything.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`]: the thermal probe is not loaded.
    /// - [`Error::Read`]: not expected.
    pub fn consume(&mut self) -> Result<Vec<ThermalEvent>, Error> {
        self.require(Probe::Thermal)?;
        let code = self.ring.consume_raw_n(EVENTS_MAX);
        if code < 0 {
            let source = libbpf_rs::Error::from_raw_os_error(code.saturating_neg());
            return Err(Error::Read { what: RING, source });
        }
        Ok(self.events.try_iter().collect())
    }

    /// What the kernel could not keep, since the probes were loaded.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Size`]: not expected.
    pub fn lost(&self) -> Result<Lost, Error> {
        let bytes = self
            .counters
            .lookup(&FIRST_KEY, MapFlags::ANY)
            .map_err(|source| Error::Read { what: COUNTERS, source })?
            .unwrap_or_default();
        if bytes.len() != size_of::<types::bss>() {
            return Err(Error::Size { what: COUNTERS, found: bytes.len(), wanted: size_of::<types::bss>() });
        }
        // SAFETY: There are as many bytes as the struct has, the read asks for no alignment, and any bytes
        // are a valid value of it: it holds integers only.
        let raw = unsafe { bytes.as_ptr().cast::<types::bss>().read_unaligned() };
        Ok(Lost { scheduler_waits: raw.waits_lost, thermal_events: raw.thermal_events_lost })
    }

    fn require(&self, probe: Probe) -> Result<(), Error> {
        match self.losses.iter().find(|loss| loss.probe == probe) {
            Some(loss) => Err(Error::Lost(loss.clone())),
            None => Ok(()),
        }
    }
}

impl AsFd for Probes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libbpf closes this descriptor only when the ring is freed, and the ring lives as long as
        // the borrow of self.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").field("losses", &self.losses).finish_non_exhaustive()
    }
}

/// The key of a map's only entry.
const FIRST_KEY: [u8; size_of::<u32>()] = 0u32.to_ne_bytes();

/// The counts in one CPU's histogram.
fn words(what: &'static str, bytes: &[u8]) -> Result<[u64; LATENCY_SLOTS], Error> {
    let wanted = size_of::<types::latency_histogram>();
    if bytes.len() != wanted {
        return Err(Error::Size { what, found: bytes.len(), wanted });
    }
    // SAFETY: There are as many bytes as the struct has, the read asks for no alignment, and any bytes are
    // a valid value of it: it holds integers only.
    Ok(unsafe { bytes.as_ptr().cast::<types::latency_histogram>().read_unaligned() }.slots)
}
