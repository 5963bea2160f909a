// SPDX-License-Identifier: GPL-2.0-only

//! Counts and states, for information and debugfs.

use super::{
    calls::now,
    Limits,
    Shared, //
};
use crate::{
    firmware,
    glue,
    time::NSEC_PER_MSEC,
    token::Token,
    uapi, //
};
use kernel::fmt;

/// What does not change while the module is loaded.
pub(super) struct Facts {
    /// Tokens in the table.
    tokens: u32,
    /// DSMIL devices among them.
    pub(super) devices: u32,
    /// Tokens that can be read.
    readable: u32,
    /// `DSMIL_INFO_*`.
    flags: u32,
    /// Rate and burst of reads, then of writes.
    limits: [u32; 4],
    backend: firmware::Backend,
}

impl Facts {
    /// Counts a table, and asks the machine.
    pub(super) fn of(tokens: &[Token], limits: &Limits) -> Self {
        let count = |test: fn(&Token) -> bool| tokens.iter().filter(|t| test(t)).count() as u32;
        let (read, write) = (&limits.read, &limits.write);
        Self {
            tokens: tokens.len() as u32,
            devices: count(|token| token.device().is_some()),
            readable: count(Token::readable),
            flags: if firmware::is_virtual() {
                uapi::DSMIL_INFO_HYPERVISOR
            } else {
                0
            },
            limits: [read.rate(), read.burst(), write.rate(), write.burst()],
            backend: firmware::Backend::find(),
        }
    }
}

impl Shared {
    /// Information that [`Self::describe`] has still to complete.
    // Where it is wanted, lest the structure is copied on its way.
    #[inline(always)]
    pub(crate) fn fixed_info(&self) -> uapi::dsmil_info {
        let facts = &self.facts;
        let [read_rate, read_burst, write_rate, write_burst] = facts.limits;
        uapi::dsmil_info {
            abi: uapi::DSMIL_ABI_VERSION,
            flags: facts.flags,
            tokens: facts.tokens,
            devices: facts.devices,
            readable: facts.readable,
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
            read_rate,
            read_burst,
            write_rate,
            write_burst,
            ..Default::default()
        }
    }

    /// Completes what [`Self::fixed_info`] gave. Waits for nobody.
    pub(crate) fn describe(&self, info: &mut uapi::dsmil_info) {
        info.backend = self.facts.backend.now();
        info.lockdown = glue::lockdown();
        if let Some(sealed) = self.allowed.as_ref() {
            info.flags |= uapi::DSMIL_INFO_SEALED;
            info.writable = sealed.count;
        }
        self.board.describe(info);
        if info.state != uapi::DSMIL_STATE_IDLE {
            self.describe_further(info);
        }
    }

    /// What takes longer: the time that is left.
    #[cold]
    fn describe_further(&self, info: &mut uapi::dsmil_info) {
        // State and deadline of one moment.
        let deadline = self.board.describe(info);
        if matches!(
            info.state,
            uapi::DSMIL_STATE_OPEN | uapi::DSMIL_STATE_PENDING
        ) {
            let remaining = deadline.saturating_sub(now()) / NSEC_PER_MSEC.unsigned_abs();
            info.remaining_ms = remaining.try_into().unwrap_or(u32::MAX);
        }
    }

    /// The counters, for debugfs.
    pub(crate) fn write_counters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters.write(f)
    }

    /// The state, for debugfs: name and number as in the interface.
    pub(crate) fn write_state(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut info = self.fixed_info();
        self.describe(&mut info);
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
