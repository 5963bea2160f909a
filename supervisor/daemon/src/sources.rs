//! The world's events become inputs: thermal zones, probes, signals.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use engine::Event;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use store::head::Head;
use telemetry::Telemetry;
use telemetry::zone::{Zone, Zones};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::run::Message;

/// How often zones are read where no event tells: firmware is asked each time.
const ZONES_EVERY: Duration = Duration::from_secs(1);

/// How often the thread that waits for probes looks up whether it is to stop, milliseconds.
const LOOK_UP_MS: u16 = 500;

/// Probes that several tasks look at.
pub type Probes = Arc<Mutex<Telemetry>>;

/// Reads all zones once.
pub fn temperatures(zones: &Zones) -> Vec<Event> {
    match zones.read() {
        Ok(zones) => zones.iter().map(temperature).collect(),
        Err(error) => {
            tracing::warn!("{error}");
            Vec::new()
        }
    }
}

fn temperature(zone: &Zone) -> Event {
    Event::Temperature {
        zone: label(zone.name.as_deref().unwrap_or("zone"), zone.id),
        temperature: zone.reading.temperature(),
    }
}

/// Two zones may have the same type, so the number belongs to the name.
fn label(name: &str, id: i32) -> String {
    format!("{name}-{id}")
}

/// Reads the zones at intervals for as long as somebody listens.
pub async fn watch_zones(zones: Zones, messages: mpsc::Sender<Message>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(ZONES_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let zones = zones.clone();
        let Ok(events) = tokio::task::spawn_blocking(move || temperatures(&zones)).await else { return };
        for event in events {
            if messages.send(Message::Event(event)).await.is_err() {
                return;
            }
        }
    }
}

/// How often is looked whether something is due. After a suspend it is looked at once that time has passed again: what is due is measured by
/// CLOCK_BOOTTIME, which counts it.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// Tells that time passes.
pub async fn tick(messages: mpsc::Sender<Message>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if messages.send(Message::Event(Event::Tick)).await.is_err() {
            return;
        }
    }
}

/// Waits for thermal events of the probes on a thread of its own: they come before the next look at the zones.
pub fn watch_probes(
    probes: Probes,
    messages: mpsc::Sender<Message>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = lock(&probes).readiness().context("watching the probes")?;
    std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
        while !stop.is_cancelled() {
            let mut descriptors = [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)];
            match poll(&mut descriptors, PollTimeout::from(LOOK_UP_MS)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("thermal events are no longer watched: {error}");
                    return;
                }
            }
            // Taken out first: the queue may be full, and the lock is not held while waiting for it.
            let events = lock(&probes).consume().unwrap_or_default();
            for event in events {
                let event = Event::Temperature {
                    zone: label(&event.zone, event.id),
                    temperature: Some(event.temperature),
                };
                if messages.blocking_send(Message::Event(event)).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}

/// The probes, also after a panic elsewhere: reading them leaves nothing half-done.
pub fn lock(probes: &Probes) -> std::sync::MutexGuard<'_, Telemetry> {
    probes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SIGUSR1 stops all agents at once, as “dsmil stop --emergency” does.
pub fn watch_emergency(messages: mpsc::Sender<Message>) -> anyhow::Result<()> {
    let mut emergency = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while emergency.recv().await.is_some() {
            if messages.send(Message::StopAll).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The first SIGTERM or SIGINT asks to stop, the second stops at once, whatever the loop is doing.
pub fn watch_signals(messages: mpsc::Sender<Message>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                std::process::exit(1);
            }
            tracing::info!("stopping; a second signal stops at once");
            let messages = messages.clone();
            tokio::spawn(async move { messages.send(Message::Stop).await.ok() });
        }
    });
    Ok(())
}

/// Reads what a start from a snapshot has left unread, in a thread of its own; damage stops the daemon.
pub fn scrub(
    dir: PathBuf,
    head: Head,
    bytes_per_second: u64,
    (messages, stop): (mpsc::Sender<Message>, CancellationToken),
) -> anyhow::Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stopped);
    tokio::spawn(async move {
        stop.cancelled().await;
        seen.store(true, Ordering::Relaxed);
    });
    std::thread::Builder::new().name("scrub".to_owned()).spawn(move || {
        match store::log::scrub(&dir, &head, bytes_per_second, &stopped) {
            Ok(Some(scrubbed)) => {
                tracing::info!(
                    entries = scrubbed.entries,
                    mended = scrubbed.mended,
                    "the log is as it was written"
                );
            }
            Ok(None) => {}
            Err(error @ store::Error::Damaged(_)) => {
                messages.blocking_send(Message::Damaged(error.to_string())).ok();
            }
            Err(error) => tracing::warn!("the rest of the log cannot be read: {error}"),
        }
    })?;
    Ok(())
}
