// SPDX-License-Identifier: GPL-2.0-only

//! Counts and states, for information and debugfs.

use super::Shared;
use crate::{
    board::Published,
    firmware,
    glue,
    time::NSEC_PER_MSEC,
    token::Token,
    uapi, //
};
use kernel::fmt;

impl Shared {
    /// Counts, limits and states. Waits for nobody.
    pub(crate) fn info(&self) -> uapi::dsmil_info {
        if self.board.published().heat == uapi::DSMIL_HEAT_UNKNOWN {
            self.look();
        }
        let mut info = uapi::dsmil_info {
            abi: uapi::DSMIL_ABI_VERSION,
            backend: firmware::backend(),
            lockdown: glue::lockdown(),
            list_max: uapi::DSMIL_LIST_MAX,
            read_max: uapi::DSMIL_READ_MAX,
            snapshot_max: uapi::DSMIL_SNAPSHOT_MAX,
            allow_max: uapi::DSMIL_ALLOW_MAX,
            stage_max: uapi::DSMIL_STAGE_MAX,
            transaction_max: uapi::DSMIL_TRANSACTION_MAX,
            events_max: uapi::DSMIL_EVENTS_MAX,
            page_bytes: self.pages().bytes() as u32,
            deadline_min_ms: uapi::DSMIL_DEADLINE_MIN_MS,
            deadline_default_ms: uapi::DSMIL_DEADLINE_DEFAULT_MS,
            deadline_max_ms: uapi::DSMIL_DEADLINE_MAX_MS,
            events: self.events.newest(),
            ..Default::default()
        };
        if firmware::is_virtual() {
            info.flags |= uapi::DSMIL_INFO_HYPERVISOR;
        }
        self.describe_table(&mut info);
        self.describe_limits(&mut info);
        describe_transaction(&self.board.published(), &mut info);
        info
    }

    fn describe_table(&self, info: &mut uapi::dsmil_info) {
        let count = |test: fn(&Token) -> bool| self.tokens.iter().filter(|t| test(t)).count();
        info.tokens = self.tokens.len() as u32;
        info.devices = count(|token| token.device().is_some()) as u32;
        info.readable = count(Token::readable) as u32;
        if let Some(marks) = self.allowed.as_ref() {
            info.flags |= uapi::DSMIL_INFO_SEALED;
            info.writable = marks.iter().filter(|marked| **marked).count() as u32;
        }
    }

    fn describe_limits(&self, info: &mut uapi::dsmil_info) {
        let limits = self.limits.lock();
        info.read_rate = limits.read.rate();
        info.read_burst = limits.read.burst();
        info.write_rate = limits.write.rate();
        info.write_burst = limits.write.burst();
    }

    /// The counters, for debugfs.
    pub(crate) fn write_counters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters.write(f)
    }

    /// The state, for debugfs: name and number as in the interface.
    pub(crate) fn write_state(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        writeln!(f, "state {}", info.state)?;
        writeln!(f, "transaction {}", info.transaction)?;
        writeln!(f, "entries {}", info.entries)?;
        writeln!(f, "outcome {}", info.outcome)?;
        writeln!(f, "remaining_ms {}", info.remaining_ms)?;
        writeln!(f, "attempts {}", info.attempts)?;
        writeln!(f, "left {}", info.left)?;
        writeln!(f, "generation {}", info.generation)?;
        writeln!(f, "events {}", info.events)?;
        writeln!(f, "tokens {}", info.tokens)?;
        writeln!(f, "writable {}", info.writable)?;
        writeln!(f, "heat {}", info.heat)?;
        writeln!(f, "temperature_mc {}", info.temperature_mc)
    }
}

fn describe_transaction(published: &Published, info: &mut uapi::dsmil_info) {
    let status = &published.status;
    info.generation = published.generation;
    info.transaction = status.transaction;
    info.state = status.state;
    info.outcome = status.outcome;
    info.entries = status.entries;
    info.attempts = status.attempts;
    info.left = status.left;
    info.heat = published.heat;
    info.temperature_mc = published.temperature_mc;
    if matches!(
        status.state,
        uapi::DSMIL_STATE_OPEN | uapi::DSMIL_STATE_PENDING
    ) {
        let now = glue::now().unsigned_abs();
        let remaining = status.deadline_ns.saturating_sub(now) / NSEC_PER_MSEC.unsigned_abs();
        info.remaining_ms = remaining.try_into().unwrap_or(u32::MAX);
    }
}
