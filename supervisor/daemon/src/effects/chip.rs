//! What is told of the TPM.

use std::time::{Duration, Instant};

use api::wire::tpm::{Features, Keys, Operation, Pcr, Queue, Quote, Report};
use engine::reply::Refusal;
use tokio::sync::Mutex;
use tpm::{Counters, Kind, NV_BUDGET, PcrSelection, Priority};

use super::{World, key_id};

/// How long an answer of the chip is told again: asking takes a dozen commands, and everybody may ask.
const OFFERS_KEPT: Duration = Duration::from_secs(10);
/// How long the chip may take to answer. Heads and seals go before it.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What the chip offers as it said last, and when that was. Who asks meanwhile waits for the same answer.
pub type Offers = Mutex<Option<(Instant, Result<Features, String>)>>;

impl World {
    /// What is known of the TPM, without the log's part.
    pub async fn tpm_report(&self) -> Report {
        let (features, failure) = match self.offers().await {
            Ok(features) => (Some(features), None),
            Err(failure) => (None, Some(failure)),
        };
        let identity = self.tpm.identity();
        let counters = self.tpm.counters();
        Report {
            // Chips pad their words with blanks.
            chip: identity.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
            software: identity.is_software(),
            keys: Keys {
                head: key_id(self.tpm.head_key()),
                general: key_id(self.tpm.general_key()),
                attestation: self.tpm.attestation_key().map(key_id),
            },
            features,
            failure,
            vault: Some(self.standing().await),
            queue: queue(&counters),
            operations: Kind::ALL.into_iter().map(|kind| operation(kind, counters.of(kind))).collect(),
            ..Report::default()
        }
    }

    /// What the TPM states of these registers, one bit each, with their values, which it states by their hash alone.
    pub async fn quote(&self, nonce: &[u8], registers: u32) -> Result<Quote, Refusal> {
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        let selection = PcrSelection::from_mask(registers)
            .ok_or_else(|| Refusal::Invalid("a quote is of one or more PCRs, 0 to 23".to_owned()))?;
        let tpm = self.tpm.within(PATIENCE);
        let key = self.tpm.attestation_key();
        let key = key.ok_or_else(|| Refusal::Failed("a key in software cannot quote".to_owned()))?;
        let statement = tpm.quote(selection, nonce).await.map_err(|error| failed(&error))?;
        let pcrs = tpm.pcr_read(selection).await.map_err(|error| failed(&error))?;
        // One that somebody extended in between would not match: better none than one that looks forged.
        tpm::verify_quote(key, nonce, &pcrs, &statement)
            .map_err(|why| Refusal::Failed(format!("the quote is not given away: {why}; ask again")))?;
        let pem = store::head::PublicKey::from_der(&key.spki()).map_err(|error| failed(&error))?.to_pem();
        Ok(Quote {
            statement: hex(&statement.bytes),
            signature: hex(&statement.signature),
            key: pem,
            pcrs: pcrs
                .0
                .iter()
                .map(|(register, value)| Pcr { register: *register, value: value.to_string() })
                .collect(),
        })
    }

    async fn offers(&self) -> Result<Features, String> {
        let mut kept = self.offers.lock().await;
        if let Some((since, offers)) = kept.as_ref()
            && since.elapsed() < OFFERS_KEPT
        {
            return offers.clone();
        }
        let answer = self.tpm.within(PATIENCE).at(Priority::Background).features().await;
        let offers = answer.map(features).map_err(|error| error.to_string());
        *kept = Some((Instant::now(), offers.clone()));
        offers
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn features(features: tpm::Features) -> Features {
    let (failures, failures_max) = features.lockout;
    Features {
        algorithms: features.algorithms,
        banks: features.banks,
        encrypts: features.encrypts,
        nv_indices: number(features.nv_indices),
        nv_used: features.nv_used,
        nv_left: features.nv_left,
        nv_budget: NV_BUDGET,
        counters_left: features.counters_left,
        failures,
        failures_max,
        locked_out: features.is_locked_out,
    }
}

fn queue(counters: &Counters) -> Queue {
    Queue {
        waiting: number(counters.queue_len),
        full: counters.queue_full,
        deadlines_passed: counters.deadline_passed,
        cancelled: counters.cancelled,
        commands: counters.commands,
        retries: counters.retries,
        reconnects: counters.reconnects,
    }
}

fn operation(kind: Kind, counted: tpm::Operation) -> Operation {
    Operation {
        kind: kind.name().to_owned(),
        count: counted.count,
        failed: counted.failed,
        waiting: number(counted.waiting),
        p50_us: counted.percentile_us(50),
        p99_us: counted.percentile_us(99),
        max_us: counted.time_ns_max / 1000,
        sum_us: counted.time_ns / 1000,
        buckets: counted.buckets.to_vec(),
    }
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
